"""`python -m lab real up|down|reset|status|ssh|cut|mend|power`: a cluster of real hosts on this machine."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

from inventory.loading import load
from lab.environment import environment_file
from lab.real.control import RealControl
from lab.real.holding import TakenError, holder, only_one, told
from lab.real.host import HostError
from lab.real.image import ImageError
from lab.real.lab import RealLab, RealLabError, clean_up
from lab.real.network import NetworkError
from lab.real.places import Places
from lab.real.requirements import ImpossibleError, refuse_where_impossible
from lab.real.site import Options, addresses
from lab.remote import RemoteLab

_IMPOSSIBLE = 2
_FAILED = 1
_LOOK_SECONDS = 0.2
_UP_SECONDS = 600.0
_DOWN_SECONDS = 60.0
_OPTIONS = [option.name for option in fields(Options)]
_Work = Callable[[Places, argparse.Namespace], int]
_MISTAKES = (TakenError, RealLabError, ImageError, HostError, NetworkError)


def main(argv: list[str]) -> int:
    """Do one command; 0 done, 1 failed, 2 impossible here."""
    given = _parser().parse_args(argv)
    places = Places.default()
    try:
        code: int = given.work(places, given)
    except ImpossibleError as error:
        print(error, file=sys.stderr)
        return _IMPOSSIBLE
    except _MISTAKES as error:
        print(error, file=sys.stderr)
        return _FAILED
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m lab real", description="A cluster of real hosts in namespaces.")
    commands = parser.add_subparsers(dest="command", required=True)

    def command(name: str, about: str, work: _Work) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=about)
        made.set_defaults(work=work)
        return made

    up = command("up", "start it; one JSON line tells where it is when it is in its normal state", _up)
    up.add_argument(
        "--haproxy", choices=("service", "clone"), default="service", help="who runs it: systemd, Pacemaker"
    )
    up.add_argument("--replication", choices=("gtid", "positions"), default="gtid", help="how replicas count")
    up.add_argument("--monitoring", choices=("alertmanager", "nagios"), default="alertmanager", help="who tells people")
    up.add_argument("--probe", type=float, default=0.5, help="seconds between two measurements of the outage")
    up.add_argument("--no-callers", action="store_true", help="nobody asks for pages")
    up.add_argument("--foreground", action="store_true", help="stay, and end it with Ctrl-C or SIGTERM")
    command("down", "end it, and take away what is left, also of one that was killed", _down)
    command("reset", "begin anew with hosts that have never run", _ask("POST", "reset"))
    command("status", "who is on, who holds what", _ask("GET", "status"))
    ssh = command("ssh", "log in as the product does: ssh HOST [COMMAND…]", _ssh)
    ssh.add_argument("host")
    ssh.add_argument("words", nargs=argparse.REMAINDER)
    command("cut", "cut the line between the sites", _ask("POST", "line", up=False))
    command("mend", "mend the line between the sites", _ask("POST", "line", up=True))
    power = command("power", "switch a host on, or take its power away", _power)
    power.add_argument("action", choices=("on", "cut"))
    power.add_argument("host")
    return parser


# --- up and down ------------------------------------------------------------------------------------------------------


def _up(places: Places, given: argparse.Namespace) -> int:
    refuse_where_impossible()
    if given.foreground:
        asyncio.run(_stay(places, given))
        return 0
    places.home.mkdir(parents=True, exist_ok=True)
    options = [f"--{name}={getattr(given, name)}" for name in _OPTIONS] + ["--no-callers"] * given.no_callers
    if holder(places) is None:
        places.ready.unlink(missing_ok=True)
    with places.log.open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "lab", "real", "up", "--foreground", *options],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    return _await_ready(places, process)


def _await_ready(places: Places, process: subprocess.Popen[bytes]) -> int:
    until = time.monotonic() + _UP_SECONDS
    while time.monotonic() < until and process.poll() is None:
        ready = _said(places)
        if ready and ready["pid"] == process.pid:
            print(json.dumps(ready))
            return 0
        time.sleep(_LOOK_SECONDS)
    print(f"the real lab did not start; the end of {places.log}:\n{places.log.read_text()[-2000:]}", file=sys.stderr)
    return _FAILED


async def _stay(places: Places, given: argparse.Namespace) -> None:
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    options = Options(**{name: getattr(given, name) for name in _OPTIONS})
    starting = asyncio.create_task(_run(places, options, ended, callers=not given.no_callers))
    waiting = asyncio.create_task(ended.wait())
    await asyncio.wait((starting, waiting), return_when=asyncio.FIRST_COMPLETED)
    if not starting.done() and not places.ready.exists():
        starting.cancel()  # It was told to end before it had begun.
    await asyncio.wait([starting])
    waiting.cancel()
    if not starting.cancelled():
        starting.result()


async def _run(places: Places, options: Options, ended: asyncio.Event, *, callers: bool) -> None:
    async with RealLab.start(places, options=options, callers=callers) as lab:
        control = RealControl(lab)
        await control.start()
        try:
            ready = json.dumps(_ready(lab, control))
            places.ready.write_text(ready, encoding="utf-8")
            print(ready, flush=True)
            await ended.wait()
        finally:
            await control.stop()


def _ready(lab: RealLab, control: RealControl) -> dict[str, Any]:
    return {
        "directory": str(lab.places.site),
        "inventory": str(lab.inventory_path),
        "environment": str(environment_file(lab.places.site, lab.environment)),
        "control": control.url,
        "token": str(control.token_file),
        "speed": 1.0,
        "seed": 0,
        "times": lab.times,
        "pid": os.getpid(),
    }


def _said(places: Places) -> dict[str, Any] | None:
    try:
        ready: dict[str, Any] = json.loads(places.ready.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return ready


def _running(places: Places) -> dict[str, Any] | None:
    """What the running lab said when it was ready; None: none runs. A number alone may be a stranger's by now."""
    ready = _said(places)
    return ready if ready and ready["pid"] == holder(places) else None


def _down(places: Places, _: argparse.Namespace) -> int:
    if ready := _running(places):
        os.kill(ready["pid"], signal.SIGTERM)
        until = time.monotonic() + _DOWN_SECONDS
        while holder(places) == ready["pid"]:
            if time.monotonic() > until:
                raise RealLabError(f"process {ready['pid']} does not end: kill -9 {ready['pid']}, then once more")
            time.sleep(_LOOK_SECONDS)
    if (pid := holder(places)) is not None:
        raise TakenError(
            f"{told(pid)} has a real lab in {places.home} that is still starting, or that a test, a demo or a "
            "measurement has started. Wait for its end, or end it" + (f": kill {pid}" if pid else "")
        )
    with only_one(places):
        clean_up(places)
    return 0


# --- orders -----------------------------------------------------------------------------------------------------------


def _ask(method: str, path: str, **body: object) -> _Work:
    def work(places: Places, _: argparse.Namespace) -> int:
        return _order(places, method, path, body)

    return work


def _power(places: Places, given: argparse.Namespace) -> int:
    return _order(places, "POST", "power", {"host": given.host, "action": given.action})


def _order(places: Places, method: str, path: str, body: dict[str, object]) -> int:
    ready = _needed(places)

    async def ask() -> object:
        async with RemoteLab(ready) as lab:
            return await (lab.ask(path) if method == "GET" else lab.tell(path, body))

    print(json.dumps(asyncio.run(ask()), indent=2))
    return 0


def _ssh(places: Places, given: argparse.Namespace) -> int:
    ready = _needed(places)
    site = Path(ready["directory"])
    known = addresses(load(Path(ready["inventory"])))
    if given.host not in known:
        raise RealLabError(f"there is no host {given.host!r} that is reached by SSH; there are {', '.join(known)}")
    strict = ("-o", "StrictHostKeyChecking=yes", "-o", f"UserKnownHostsFile={site / 'known_hosts'}")
    words = ["ssh", "-i", str(site / "id_ed25519"), *strict, f"failover@{known[given.host]}", *given.words]
    return subprocess.run(words, check=False).returncode


def _needed(places: Places) -> dict[str, Any]:
    ready = _running(places)
    if ready is None:
        raise RealLabError("no real lab runs here: python -m lab real up")
    return ready
