"""The environment of a worker, as a file that only its owner may read."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path


def environment_file(directory: Path, environment: Mapping[str, str]) -> Path:
    """Write it as lines of NAME=VALUE; where it is."""
    path = directory / "environment"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with contextlib.closing(os.fdopen(descriptor, "w", encoding="utf-8")) as file:
        file.writelines(f"{name}={value}\n" for name, value in environment.items())
    return path
