"""Writes a host's own files over the image, with the owners and modes that the image gives to folders."""

from __future__ import annotations

import os
from pathlib import Path


class Files:
    """The files of one host that is off."""

    def __init__(self, image: Path, upper: Path) -> None:
        self._image = image
        self._upper = upper
        self._users = _ids(image / "etc/passwd")
        self._groups = _ids(image / "etc/group")
        upper.mkdir(parents=True, exist_ok=True)

    def write(self, path: str, content: str | bytes, mode: int = 0o644, owner: str = "root:root") -> None:
        """Write a file; `path` is absolute, as the host sees it."""
        target = self._place(path)
        target.write_bytes(content.encode() if isinstance(content, str) else content)
        target.chmod(mode)
        self._own(target, owner)

    def folder(self, path: str, mode: int = 0o755, owner: str = "root:root") -> None:
        """Make a folder."""
        target = self._place(path)
        target.mkdir(exist_ok=True)
        target.chmod(mode)
        self._own(target, owner)

    def link(self, path: str, to: str) -> None:
        """Make a symbolic link."""
        self._place(path).symlink_to(to)

    def enable(self, *units: str) -> None:
        """Have units start with the host: its own, or those of the image."""
        for unit in units:
            own = (self._upper / "etc/systemd/system" / unit).exists()
            folder = "/etc/systemd/system" if own else "/lib/systemd/system"
            self.link(f"/etc/systemd/system/multi-user.target.wants/{unit}", f"{folder}/{unit}")

    def _place(self, path: str) -> Path:
        relative = Path(path.lstrip("/"))
        folder = Path()
        for part in relative.parts[:-1]:
            folder /= part
            self._same_as_in_image(folder)
        return self._upper / relative

    def _same_as_in_image(self, folder: Path) -> None:
        """A folder over one of the image hides its owner and mode, so it gets the same."""
        target, original = self._upper / folder, self._image / folder
        if target.exists():
            return
        target.mkdir()
        if original.is_dir():
            found = original.stat()
            target.chmod(found.st_mode & 0o7777)
            os.chown(target, found.st_uid, found.st_gid)

    def _own(self, target: Path, owner: str) -> None:
        user, _, group = owner.partition(":")
        os.chown(target, self._users[user], self._groups[group])


def _ids(file: Path) -> dict[str, int]:
    fields = [line.split(":") for line in file.read_text(encoding="utf-8").splitlines()]
    return {name: int(number) for name, _, number, *_ in fields}
