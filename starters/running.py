"""How every command runs and ends: messages to standard error, the documented exit code, whatever happens."""

from __future__ import annotations

import argparse
import asyncio
import io
import os
import sys
import traceback
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, NoReturn, TextIO

from temporalio.service import RPCError, RPCStatusCode

from starters.exit_codes import ExitCode
from starters.wording import printable
from workflows.connection import START_A_SERVER, BadProfile, ServerAway, ServerRefuses, shortened

Work = Callable[[argparse.Namespace], Coroutine[Any, Any, ExitCode]]
_NOT_ALLOWED = (RPCStatusCode.PERMISSION_DENIED, RPCStatusCode.UNAUTHENTICATED)
_AWAY = (RPCStatusCode.UNAVAILABLE, RPCStatusCode.DEADLINE_EXCEEDED, RPCStatusCode.CANCELLED)


class Stopped(Exception):
    """A command can't go on. The text tells a person why, and what to do."""

    def __init__(self, code: ExitCode, text: str) -> None:
        self.code = code
        super().__init__(text)


def run_and_exit(parser: argparse.ArgumentParser, work: Work) -> NoReturn:
    """Run a command and end the process.

    The process ends without the interpreter's clean-up, in which the SDK can crash after all work succeeded
    (sdk-python#300): the exit code would be wrong every few times.
    """
    sys.stdout, sys.stderr = _heard_or_not(sys.stdout), _heard_or_not(sys.stderr)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal without UTF-8 shows question marks, and no exception
            stream.reconfigure(errors="replace")
    code = run(parser, work)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)


def run(parser: argparse.ArgumentParser, work: Work, arguments: Sequence[str] | None = None) -> int:
    """Run a command and tell how it ended."""
    try:
        return asyncio.run(work(parser.parse_args(arguments)))
    except SystemExit as wanted:  # argparse: 0 after --help, 2 for a wrong command line
        return wanted.code if isinstance(wanted.code, int) else ExitCode.USAGE
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except (Stopped, BadProfile, ServerAway, ServerRefuses, RPCError) as trouble:
        code, text = _explained(trouble)
        print(printable(text), file=sys.stderr)
        return code
    # The last resort: a mistake of the command's own is one line and a documented code, and no traceback.
    except Exception as bug:
        print(_told(bug), file=sys.stderr)
        return ExitCode.BROKEN


class _Output(io.FileIO):
    """An output whose reader may go: whoever read it has seen enough, and the work is done all the same."""

    def write(self, data: Any, /) -> int:  # noqa: ANN401 - any buffer, as in the base class
        """Write; once nobody reads any more, nowhere."""
        try:
            return super().write(data) or 0
        except BrokenPipeError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)
            return len(data)


def _heard_or_not(stream: TextIO) -> TextIO:
    stream.flush()
    buffer = io.BufferedWriter(_Output(stream.fileno(), "w", closefd=False))
    return io.TextIOWrapper(buffer, encoding=stream.encoding, line_buffering=True)


def _told(bug: Exception) -> str:
    """What, and where; not its text, which may repeat what was read."""
    where = traceback.extract_tb(bug.__traceback__)[-1]
    return (
        f"The command broke off by a mistake of its own: {type(bug).__name__} in {Path(where.filename).name}, line "
        f"{where.lineno}. Whether anything was sent is not known: python -m starters.status shows the run."
    )


def _explained(trouble: Exception) -> tuple[ExitCode, str]:
    if isinstance(trouble, Stopped):
        return trouble.code, str(trouble)
    if isinstance(trouble, BadProfile):
        return ExitCode.USAGE, str(trouble)
    if isinstance(trouble, ServerAway) or (isinstance(trouble, RPCError) and trouble.status in _AWAY):
        return ExitCode.NO_SERVER, no_server(shortened(str(trouble)))
    if isinstance(trouble, RPCError) and trouble.status in _NOT_ALLOWED:
        return ExitCode.REFUSED, f"The Temporal server does not allow this: {shortened(trouble.message)}"
    return ExitCode.REFUSED, f"The Temporal server refused: {shortened(str(trouble))}"


def no_server(reason: str) -> str:
    """What to do without a server."""
    return (
        f"No answer from the {reason.removeprefix('The ')}\n"
        f"Start one:            {START_A_SERVER}\n"
        "or name another one:  TEMPORAL_ADDRESS=host:port (or TEMPORAL_PROFILE)"
    )
