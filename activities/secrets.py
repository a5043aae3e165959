"""Secrets: the inventory names them, the worker resolves them at the moment of use, and nothing repeats them."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from pydantic import SecretStr

from activities.errors import Rejected

MAX_BYTES = 65536
"""The largest private keys are a tenth of it; what is larger is not a secret but a wrong path."""


def resolve(reference: str, wanted_by: str) -> SecretStr:
    """The value behind ``env:NAME`` or ``file:/path``, without the line end of the file.

    Args:
        reference: from the inventory.
        wanted_by: the machine or service that needs it, for the message.

    Raises:
        Rejected: it is missing, empty or readable by others. The message holds the reference, never the value.
    """
    kind, _, place = reference.partition(":")
    value = _from_environment(place, wanted_by) if kind == "env" else _from_file(Path(place), wanted_by)
    if not value:
        raise Rejected(wanted_by, f"the secret {reference} is empty", "put the secret there")
    return SecretStr(value)


def _from_environment(name: str, wanted_by: str) -> str:
    value = os.environ.get(name)
    if value is None:
        raise Rejected(
            wanted_by, f"the secret env:{name} is not set", f"set {name} in the worker's environment and restart it"
        )
    return value


def _from_file(path: Path, wanted_by: str) -> str:
    try:
        # Mode and content of the same open file; without waiting, should it be a pipe that nobody writes to.
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as opened:
            _refuse_open_to_others(path, os.fstat(opened.fileno()), wanted_by)
            content = opened.read(MAX_BYTES + 1)
    except OSError as error:
        raise Rejected(
            wanted_by, f"the secret file:{path} can't be read: {error.strerror}", "check path and owner"
        ) from error
    return _text(path, content, wanted_by)


def _refuse_open_to_others(path: Path, status: os.stat_result, wanted_by: str) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise Rejected(wanted_by, f"the secret file:{path} is no regular file", "name a file")
    if status.st_mode & _closed_to(path):
        mode = stat.S_IMODE(status.st_mode)
        raise Rejected(wanted_by, f"the secret file:{path} is open to others (mode {mode:04o})", f"chmod 600 {path}")


def _closed_to(path: Path) -> int:
    """Whom a secret must be closed to: group and others.

    But systemd shows what it hands to a service as readable by the group (0440): that is the mask of the access list by
    which the service's own user may read it, in a directory that is closed to all others (systemd#29435).
    """
    handed_over = os.environ.get("CREDENTIALS_DIRECTORY")
    if handed_over and path.parent == Path(handed_over):
        return stat.S_IWGRP | stat.S_IXGRP | stat.S_IRWXO
    return stat.S_IRWXG | stat.S_IRWXO


def _text(path: Path, content: bytes, wanted_by: str) -> str:
    if len(content) > MAX_BYTES:
        raise Rejected(wanted_by, f"the secret file:{path} is longer than {MAX_BYTES} bytes", "check the path")
    try:
        return content.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        # Without the cause: it would carry the content.
        raise Rejected(wanted_by, f"the secret file:{path} is not text in UTF-8", "check the path") from None
