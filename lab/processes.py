"""Processes of a demo or a whole-run test: started, watched, killed, and never left behind."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

_PR_SET_PDEATHSIG = 1  # prctl(2): the kernel's own cleaning-up, which also works when we are killed
_GRACE = 15.0
"""Seconds a process gets to end by itself: a worker ends its steps first."""


def free_port() -> int:
    """A port that is free now, on loopback."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


@dataclass
class Processes:
    """All processes of one demo or test, with a log file each."""

    directory: Path
    _running: dict[str, asyncio.subprocess.Process] = field(default_factory=dict)
    _logs: list[IO[bytes]] = field(default_factory=list)

    def log(self, name: str) -> Path:
        """Where a process writes."""
        return self.directory / f"{name}.log"

    async def start(
        self,
        name: str,
        *argv: str,
        environment: Mapping[str, str],
        output: int | None = None,
        keyboard: bool = False,
    ) -> asyncio.subprocess.Process:
        """Start a process; its output goes to its log unless told otherwise. With `keyboard` it may ask."""
        log = self.log(name).open("ab")
        self._logs.append(log)
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=None if keyboard else asyncio.subprocess.DEVNULL,
            stdout=log if output is None else output,
            stderr=log,
            env={**os.environ, **environment},
            preexec_fn=_die_with_parent,
        )
        self._running[name] = process
        return process

    async def python(
        self,
        name: str,
        *argv: str,
        environment: Mapping[str, str],
        output: int | None = None,
        keyboard: bool = False,
    ) -> asyncio.subprocess.Process:
        """Start a module of this installation."""
        command = (sys.executable, "-m", *argv)
        return await self.start(name, *command, environment=environment, output=output, keyboard=keyboard)

    def cpu_seconds(self, name: str) -> float:
        """User and system time that a running process has used."""
        words = Path(f"/proc/{self._running[name].pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")

    async def kill(self, name: str) -> int:
        """SIGKILL: what a power cut does to a process. Returns its process id."""
        process = self._running.pop(name)
        process.kill()
        await process.wait()
        return process.pid

    async def stop(self, name: str) -> int:
        """End a process in good order; returns its exit code."""
        process = self._running.pop(name)
        if process.returncode is None:
            process.terminate()
        try:
            return await asyncio.wait_for(process.wait(), _GRACE)
        except TimeoutError:
            process.kill()
            return await process.wait()

    async def stop_all(self) -> None:
        """End everything, last started first."""
        for name in reversed(list(self._running)):
            with contextlib.suppress(ProcessLookupError):
                await self.stop(name)
        for log in self._logs:
            log.close()
