"""One host: booted, shut down, cut off, entered. It lives in namespaces of its own and dies with its PID 1."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lab.real import network

_BECOME = Path(__file__).with_name("become_host.sh")
_PR_SET_PDEATHSIG = 1  # prctl(2): nothing is left behind when the lab's process is killed
_POWER_BUTTON = signal.SIGRTMIN + 4  # systemd(1): an orderly power-off
_LOOK_SECONDS = 0.005
_KILL_SECONDS = 10.0
_BOOT_SECONDS = 20.0
_ENVIRONMENT = ("PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", "HOME=/root")


class HostError(Exception):
    """A host does not do what it should; with what was seen."""


@dataclass(frozen=True)
class HostPlan:
    """What a host is.

    Attributes:
        name: its host name.
        number: of its network card and hardware address.
        site: 1 or 2.
        address: with the length of the prefix.
    """

    name: str
    number: int
    site: int
    address: str

    @property
    def mac(self) -> str:
        """Its hardware address, the same after each boot."""
        return f"02:77:00:00:{self.number >> 8:02x}:{self.number & 255:02x}"

    @property
    def card(self) -> str:
        """This machine's end of its network card."""
        return network.card_of(self.number)


@dataclass(frozen=True)
class Ended:
    """A command that has run in a host."""

    code: int
    stdout: str
    stderr: str


class Host:
    """A host, on or off."""

    def __init__(
        self, plan: HostPlan, image: Path, directory: Path, cgroup: Path, changed: Callable[[str], None]
    ) -> None:
        """Off at first.

        Args:
            plan: what it is.
            image: file system that all hosts share.
            directory: where it keeps what it writes.
            cgroup: its control group.
            changed: called with its name when it goes on or off.
        """
        self.cgroup = cgroup
        self.plan = plan
        self.directory = directory
        self._image = image
        self._changed = changed
        self._process: asyncio.subprocess.Process | None = None
        self._watching: asyncio.Task[None] | None = None
        self.pid: int | None = None
        """Of its PID 1, as this machine counts; None: it is off."""
        self._was_cut = False
        self.trouble = ""
        """Why it could not boot; empty: it could."""

    @property
    def name(self) -> str:
        """Its host name."""
        return self.plan.name

    @property
    def on(self) -> bool:
        """Whether it has power."""
        return self.pid is not None

    @property
    def files(self) -> Path:
        """What it has written, also while it is off."""
        return self.directory / "up"

    @property
    def root(self) -> Path:
        """Its whole file system, while it is on."""
        return Path(f"/proc/{self.pid}/root")

    # --- power -------------------------------------------------------------------------------------------------------

    async def power_on(self) -> None:
        """Switch it on; returns when it boots, not when it has booted. On already: nothing happens.

        Raises:
            HostError: it does not begin to boot.
        """
        if self.on:
            return
        self._was_cut = False
        self.directory.mkdir(parents=True, exist_ok=True)
        self.cgroup.mkdir(parents=True, exist_ok=True)
        plan = self.plan
        self._process = await asyncio.create_subprocess_exec(
            *("unshare", "-m", "-u", "-i", "-n", "-p", "-C", "-f", "--kill-child", "--propagation", "private"),
            *("sh", str(_BECOME), str(self._image), str(self.directory), plan.name, plan.address),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            preexec_fn=self._enter_cgroup,
        )
        try:
            async with asyncio.timeout(_BOOT_SECONDS):
                pid = await self._child(self._process)
            await asyncio.to_thread(network.plug_in, plan.card, plan.site, pid, plan.mac)
        except BaseException as error:
            # It never was on, so nobody would cut it.
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            if isinstance(error, TimeoutError):
                raise HostError(f"{self.name} does not begin to boot") from None
            raise
        assert self._process.stdin is not None
        self._process.stdin.write(b"plugged in\n")
        self._process.stdin.close()
        self.pid = pid
        self._watching = asyncio.create_task(self._watch(self._process))
        self._changed(self.name)

    def _enter_cgroup(self) -> None:
        # The new cgroup namespace begins where its maker is.
        (self.cgroup / "cgroup.procs").write_text(str(os.getpid()))
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)

    async def _child(self, process: asyncio.subprocess.Process) -> int:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        while True:
            if process.returncode is not None:
                raise HostError(f"{self.name} can't be made: {await self._complaint(process)}")
            with contextlib.suppress(OSError):
                found = _read(children).split()
                # Until it runs the script the child is still a copy of its parent, in half of the namespaces.
                if found and _read(Path(f"/proc/{found[0]}/comm")).strip() == "sh":
                    return int(found[0])
            await asyncio.sleep(_LOOK_SECONDS)

    async def _complaint(self, process: asyncio.subprocess.Process) -> str:
        assert process.stderr is not None
        return (await process.stderr.read()).decode().strip() or "nothing was said"

    async def _watch(self, process: asyncio.subprocess.Process) -> None:
        code = await process.wait()
        self.pid = None
        self._changed(self.name)
        if code == -signal.SIGHUP:  # reboot(2) in a PID namespace
            await self._gone()
            await self.power_on()
        elif code > 0 and not self._was_cut:
            self.trouble = f"{self.name} could not boot: {await self._complaint(process)}"

    async def cut(self) -> None:
        """Take its power away: everything in it is gone at once."""
        if self.pid is not None:
            self._was_cut = True
            os.kill(self.pid, signal.SIGKILL)
        await self.until_off()

    def press_power_button(self) -> None:
        """Ask it to shut down in order."""
        if self.pid is not None:
            os.kill(self.pid, _POWER_BUTTON)

    async def until_off(self) -> None:
        """Wait until it has no power."""
        if self._watching is not None:
            await asyncio.wait([self._watching])

    async def _gone(self) -> None:
        """Wait until nothing of it is left: the kernel takes its time with the network card."""
        while network_card_exists(self.plan.card):  # noqa: ASYNC110 - the kernel tells nobody
            await asyncio.sleep(_LOOK_SECONDS)

    async def destroy(self) -> None:
        """Cut it off and forget what it has written."""
        await self.cut()
        remove_cgroup(self.cgroup)
        await asyncio.to_thread(shutil.rmtree, self.directory, True)

    def set_network(self, *, up: bool) -> None:
        """Pull its network plug, or put it back."""
        network.set_card(self.plan.card, up=up)

    # --- inside ------------------------------------------------------------------------------------------------------

    def entering(self, *argv: str) -> tuple[str, ...]:
        """The words of a command that runs in this host, as root.

        Raises:
            HostError: it is off.
        """
        if self.pid is None:
            raise HostError(f"{self.name} is off")
        return (
            "nsenter",
            "--target",
            str(self.pid),
            "-m",
            "-u",
            "-i",
            "-n",
            "-p",
            "-C",
            "--",
            "env",
            "-i",
            *_ENVIRONMENT,
            *argv,
        )

    async def run(self, *argv: str, stdin: str = "") -> Ended:
        """Run a command in this host, as root, and wait for its end.

        Raises:
            HostError: it is off.
        """
        process = await asyncio.create_subprocess_exec(
            *self.entering(*argv),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        stdout, stderr = await process.communicate(stdin.encode())
        self._tell_of_an_end()
        return Ended(process.returncode or 0, stdout.decode(), stderr.decode())

    def _tell_of_an_end(self) -> None:
        # A host that shuts down waits until everything in it has ended, but hears of the end of its children alone.
        # Of one that came in from outside it would only see after its timeout, 90 s, that it is gone.
        if self.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGCHLD)


def _read(file: Path) -> str:
    return file.read_text(encoding="utf-8")


def network_card_exists(card: str) -> bool:
    """Whether this machine has such a network card."""
    return Path(f"/sys/class/net/{card}").exists()


def kill_cgroup(group: Path) -> None:
    """Kill everything in a control group and below, and wait until it is gone.

    Raises:
        HostError: something of it does not end.
    """
    until = time.monotonic() + _KILL_SECONDS
    while pids := _in(group):
        if time.monotonic() > until:
            raise HostError(f"processes {', '.join(map(str, pids))} of {group} do not end, though they were killed")
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(_LOOK_SECONDS)


def _in(group: Path) -> list[int]:
    pids: set[int] = set()
    for procs in group.rglob("cgroup.procs"):
        with contextlib.suppress(OSError):
            pids.update(map(int, procs.read_text().split()))
    # cgroups(7): 0 is a process that this namespace does not see; for kill(2) it would be this process and its own.
    return sorted(pids - {0})


def remove_cgroup(group: Path) -> None:
    """Remove a control group and those below, once they are empty."""
    folders = sorted((path for path in group.rglob("*") if path.is_dir()), key=lambda path: -len(path.parts))
    for folder in (*folders, group):
        with contextlib.suppress(OSError):
            folder.rmdir()
