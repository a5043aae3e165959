"""The worker of one cluster: `python -m worker`. See `python -m worker --help`."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from inventory.loading import load as load_inventory
from inventory.problems import InventoryError
from worker import logs, settings
from worker.exits import MEANINGS, Exit, end, guarded
from worker.settings import BadSettings
from workflows.connection import BadProfile, load_profile

_DESCRIPTION = """\
Carries out the steps of one cluster's failovers. It holds the inventory and the secrets; who starts and approves runs
needs neither. Run two of them, on hosts that are not failed over.

Settings, from the environment or as key = value in a TOML file (the environment wins):
"""
_CONNECTION = """\
The Temporal server: TEMPORAL_ADDRESS (default localhost:7233), TEMPORAL_NAMESPACE, TEMPORAL_API_KEY, TEMPORAL_TLS_…, or
a profile file (TEMPORAL_CONFIG_FILE, TEMPORAL_PROFILE). While it is away the worker waits for it.

Exit codes:
"""


def main(arguments: Sequence[str] | None = None) -> Exit:
    """Check everything, then work until asked to stop."""
    options = _parser().parse_args(arguments)
    return run(os.environ, options.settings)


def run(environment: Mapping[str, str], file: Path | None = None) -> Exit:
    """The whole life of a worker's process, but for its end.

    Returns:
        How it ended; the reason was printed or logged.
    """
    try:
        found = settings.load(environment, file)
        inventory = load_inventory(found.inventory)
        settings.refuse_unknown(environment, inventory)
        profile = load_profile()
    except (BadSettings, BadProfile) as error:
        return _refused(Exit.BAD_SETTINGS, "The settings can't be used", error)
    except InventoryError as error:
        return _refused(Exit.BAD_INVENTORY, "The inventory can't be used", error)
    logs.configure(found.log_format, found.log_level)
    # Only now: settings are to be refused at once, and the systems' libraries take their time to load.
    from worker.process import work  # noqa: PLC0415

    return asyncio.run(work(found, inventory, profile))


def _refused(code: Exit, what: str, error: Exception) -> Exit:
    sys.stderr.write(f"{what}. Nothing was started.\n{error}\n")
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m worker",
        description=_DESCRIPTION + _settings() + "\n" + _CONNECTION + _exits(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--settings", type=Path, metavar="FILE", help="TOML file (default: FAILOVER_SETTINGS)")
    return parser


def _settings() -> str:
    lines = []
    for key, field in settings.Settings.model_fields.items():
        default = f" (default {settings.shown(field.default)})" if field.default and not field.is_required() else ""
        lines.append(f"  {settings.variable(key):36} {settings.allowed(key)}{default}")
    return "\n".join(lines) + "\n"


def _exits() -> str:
    return "\n".join(f"  {code.value}  {meaning}" for code, meaning in MEANINGS.items())


if __name__ == "__main__":
    try:
        end(guarded(main))
    except SystemExit as wanted:
        end(wanted.code if isinstance(wanted.code, int) else Exit.BAD_SETTINGS)
    except KeyboardInterrupt:
        end(Exit.STOPPED)
