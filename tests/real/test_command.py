"""`python -m lab real …` as a person types it, in a network of its own: up, disturbed, killed, taken away."""

from __future__ import annotations

import asyncio
import functools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from lab.real.holding import holder
from lab.real.image import image
from lab.real.network import CONTROLLER, MAC
from lab.real.pacemaker import POWER_PORT
from lab.real.places import Places, cgroup_root

ROOT = Path(__file__).parents[2]
NOBODY = "65534"
_HOLDS = """
from lab.real.holding import only_one
from lab.real.places import Places
with only_one(Places.default()):
    print("begun", flush=True)
    input()
"""
_LISTENS = f"""
import socket
listener = socket.create_server(("", {POWER_PORT}))
print("begun", flush=True)
input()
"""
pytestmark = pytest.mark.timeout(300)


def aside(test: Callable[..., None]) -> Callable[..., Awaitable[None]]:
    """In a thread: in this process is the power controller of a lab that other tests share, which must go on."""

    @functools.wraps(test)
    async def in_a_thread(**fixtures: object) -> None:
        await asyncio.to_thread(test, **fixtures)

    return in_a_thread


class Typing:
    """A network namespace and a home, in which the command is typed."""

    def __init__(self, home: Path, network: int) -> None:
        self.home = home
        self._network = network

    def run(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Type a command and wait for its end."""
        inside = ("nsenter", "--target", str(self._network), "--net", "env")
        settings = [f"{name}={value}" for name, value in environment.items()]
        return subprocess.run(
            [*inside, *settings, sys.executable, "-m", "lab", "real", *words],
            cwd=ROOT,
            env={**os.environ, "REAL_LAB": str(self.home)},
            capture_output=True,
            text=True,
            check=False,
        )

    @contextmanager
    def inside(self, program: str) -> Iterator[subprocess.Popen[bytes]]:
        """A Python program that says when it has begun, and runs meanwhile."""
        with self._popen(sys.executable, "-c", program, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
            assert other.stdout is not None
            assert other.stdout.readline()
            yield other
            other.kill()

    def begun(self, *words: str) -> subprocess.Popen[bytes]:
        """Type a command, and do not wait for its end."""
        return self._popen(sys.executable, "-m", "lab", "real", *words, stdout=subprocess.DEVNULL)

    def _popen(self, *argv: str, stdin: int | None = None, stdout: int) -> subprocess.Popen[bytes]:
        inside = ["nsenter", "--target", str(self._network), "--net", *argv]
        environment = {**os.environ, "REAL_LAB": str(self.home)}
        return subprocess.Popen(inside, cwd=ROOT, env=environment, stdin=stdin, stdout=stdout)

    def links(self) -> str:
        """Network cards and routes."""
        inside = ["nsenter", "--target", str(self._network), "--net", "ip", "-o"]
        shown = [
            subprocess.run([*inside, what], capture_output=True, text=True, check=True) for what in ("link", "route")
        ]
        return "".join(one.stdout for one in shown)


@pytest.fixture(scope="module")
def typing(possible: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Typing]:
    """A place of its own, beside any other lab of this machine."""
    home = tmp_path_factory.mktemp("real-lab")
    found = image(Places.default().home)
    (home / found.name).symlink_to(found)
    with subprocess.Popen(
        ["unshare", "--net", "sh", "-c", "ip link set lo up && echo ready && exec sleep infinity"],
        stdout=subprocess.PIPE,
    ) as network:
        assert network.stdout is not None
        network.stdout.readline()
        typing = Typing(home, network.pid)
        yield typing
        typing.run("down")
        network.kill()


def left_of(home: Path) -> list[str]:
    """What a lab of this home has left on the machine."""
    mounts = [line for line in Path("/proc/mounts").read_text().splitlines() if str(home) in line]
    groups = [str(path) for path in cgroup_root().glob(Places(home).cgroup.name)]
    commands = [str(home) in command for command in _commands()]
    return [*mounts, *groups, *(["a process"] if any(commands) else []), *(str(p) for p in (home / "hosts").glob("*"))]


def _commands() -> Iterator[str]:
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            yield process.read_text().replace("\0", " ")
        except OSError:
            continue


@aside
def test_up_looked_at_disturbed_and_down(typing: Typing) -> None:
    before = typing.links()
    up = typing.run("up", "--no-callers")
    assert up.returncode == 0, up.stderr
    assert Path(json.loads(up.stdout)["inventory"]).exists()

    status = _status(typing)
    assert (status["storage"], status["load_balancer"], status["writer"]) == (["acd-store1"], ["acd-lb1"], "acd-dbm1")
    assert set(status["hosts"].values()) == {"on"}
    assert typing.run("ssh", "acd-jb1", "hostname").stdout == "acd-jb1\n"
    # At the second site, too, this machine is known by the hardware address that stays.
    assert MAC in typing.run("ssh", "acd-jb4", "ip", "neigh", "show", CONTROLLER).stdout
    assert "there is no host 'acd-jb9'" in typing.run("ssh", "acd-jb9").stderr
    again = typing.run("up")
    assert again.returncode == 1
    assert "another real lab runs on this machine" in again.stderr

    assert json.loads(typing.run("power", "cut", "acd-jb1").stdout) == {"host": "acd-jb1", "power": "off"}
    assert _status(typing)["hosts"]["acd-jb1"] == "off"
    assert json.loads(typing.run("power", "on", "acd-jb1").stdout) == {"host": "acd-jb1", "power": "on"}
    assert json.loads(typing.run("cut").stdout) == {"line": "cut"}
    assert typing.run("ssh", "acd-jb4", "-o", "ConnectTimeout=1", "true").returncode == 255
    assert json.loads(typing.run("mend").stdout) == {"line": "up"}

    down = typing.run("down")
    assert (down.returncode, down.stderr) == (0, "")
    assert typing.links() == before
    assert left_of(typing.home) == []
    assert "no real lab runs here" in typing.run("status").stderr


@aside
def test_one_that_was_killed_is_taken_away(typing: Typing) -> None:
    before = typing.links()
    up = typing.run("up", "--no-callers")
    assert up.returncode == 0, up.stderr
    pid = json.loads(up.stdout)["pid"]
    assert left_of(typing.home) != []
    os.kill(pid, signal.SIGKILL)
    assert typing.run("down").returncode == 0
    assert typing.links() == before
    assert left_of(typing.home) == []


@aside
def test_nobody_but_root_may(typing: Typing) -> None:
    done = subprocess.run(
        ["setpriv", f"--reuid={NOBODY}", "--clear-groups", sys.executable, "-m", "lab", "real", "up"],
        cwd=ROOT,
        env={**os.environ, "REAL_LAB": str(typing.home), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert "It needs\n  - root: hosts are namespaces, which only root may make" in done.stderr


@aside
def test_every_tool_that_is_missing_is_named(typing: Typing, tmp_path: Path) -> None:
    done = typing.run("up", PATH=str(tmp_path))
    assert done.returncode == 2, done.stderr
    assert "  - the command mmdebstrap: apt-get install mmdebstrap\n" in done.stderr
    assert "  - the command unshare: apt-get install util-linux\n" in done.stderr


def _status(typing: Typing) -> dict[str, Any]:
    status: dict[str, Any] = json.loads(typing.run("status").stdout)
    return status


@aside
def test_an_archive_that_is_not_reached_is_told_from_an_image_that_is_wrong(possible: None, tmp_path: Path) -> None:
    words = "import sys, pathlib; from lab.real.image import image; image(pathlib.Path(sys.argv[1]))"
    built = subprocess.run(
        ["unshare", "--net", sys.executable, "-c", words, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 1
    assert "lab.real.image.ArchiveError: mmdebstrap ended with" in built.stderr


@aside
def test_what_is_not_its_own_is_left_alone(typing: Typing) -> None:
    """A number that is a stranger's by now, and a lab that a test has started."""
    places = Places(typing.home)
    with subprocess.Popen(["sleep", "infinity"]) as stranger:
        try:
            places.ready.write_text(json.dumps({"pid": stranger.pid, "directory": str(typing.home)}))
            assert "no real lab runs here" in typing.run("status").stderr
            with typing.inside(_HOLDS) as test:
                down = typing.run("down")
                assert down.returncode == 1
                assert f"process {test.pid} has a real lab in {typing.home}" in down.stderr
                assert places.ready.exists()
            assert typing.run("down").returncode == 0
            assert not places.ready.exists()
            assert stranger.poll() is None
        finally:
            stranger.kill()


@aside
def test_one_that_is_ended_while_it_boots_leaves_nothing(typing: Typing) -> None:
    before = typing.links()
    with typing.begun("up", "--foreground", "--no-callers") as starting:
        while not left_of(typing.home):
            assert starting.poll() is None
        assert f"kill {holder(Places(typing.home))}" in typing.run("down").stderr
        starting.terminate()
        assert starting.wait() == 0
    assert typing.links() == before
    assert left_of(typing.home) == []


@aside
def test_one_that_does_not_come_up_leaves_nothing(typing: Typing) -> None:
    before = typing.links()
    with typing.inside(_LISTENS):
        up = typing.run("up", "--no-callers")
    assert up.returncode == 1
    assert "address already in use" in up.stderr
    assert typing.links() == before
    assert left_of(typing.home) == []
