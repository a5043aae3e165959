"""`python -m lab up --inventory FILE`: a simulated cluster in the foreground, with a control endpoint.

`python -m lab real …`: a cluster of real hosts; see `lab.real.command`.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import json
import logging
import os
import signal
import sys
from pathlib import Path

from inventory.loading import load
from inventory.models import Inventory
from inventory.problems import InventoryError
from lab.control import Control
from lab.environment import environment_file
from lab.lab import Lab
from lab.real import command as real

_PR_SET_PDEATHSIG = 1  # prctl(2)
_BAD_INPUT = 2


def main() -> int:
    """Run until told to end; 0 after a clean end, 2 for bad input."""
    if sys.argv[1:2] == ["real"]:
        return real.main(sys.argv[2:])
    arguments = _arguments()
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
    if arguments.die_with_parent:
        _die_with(os.getppid())
    try:
        inventory = load(arguments.inventory)
    except InventoryError as error:
        print(error, file=sys.stderr)
        return _BAD_INPUT
    asyncio.run(_up(arguments, inventory))
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m lab", description="A simulated cluster on loopback; `real`: real hosts."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="run in the foreground; one JSON line tells when it is ready and where it is")
    up.add_argument("--inventory", type=Path, required=True, help="any inventory; addresses and secrets are replaced")
    up.add_argument("--directory", type=Path, help="for the derived inventory, keys and secrets; default: temporary")
    up.add_argument("--speed", type=float, default=20.0, help="simulated seconds in a real one (default: %(default)s)")
    up.add_argument("--seed", type=int, default=1, help="of all chance (default: %(default)s)")
    up.add_argument("--no-callers", action="store_true", help="nobody uses the simulated cluster")
    up.add_argument("--die-with-parent", action="store_true", help="end when the parent process is gone")
    return parser.parse_args()


async def _up(arguments: argparse.Namespace, inventory: Inventory) -> None:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    started = Lab.start(
        inventory,
        speed=arguments.speed,
        seed=arguments.seed,
        directory=arguments.directory,
        callers=not arguments.no_callers,
    )
    async with started as lab:
        control = Control(lab)
        await control.start()
        try:
            print(json.dumps(_ready(lab, control)), flush=True)
            await ended.wait()
        finally:
            await control.stop()


def _ready(lab: Lab, control: Control) -> dict[str, object]:
    return {
        "directory": str(lab.site.directory),
        "inventory": str(lab.inventory_path),
        "environment": str(environment_file(lab.site.directory, lab.environment)),
        "control": control.url,
        "token": str(control.token_file),
        "speed": lab.speed,
        "seed": lab.seed,
        "pid": os.getpid(),
    }


def _die_with(parent: int) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    # It may have ended before prctl was called.
    if os.getppid() != parent:
        raise SystemExit(1)


if __name__ == "__main__":
    sys.exit(main())
