"""Read an inventory from a file: whole and proved, or not at all."""

from __future__ import annotations

import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from pydantic import ValidationError

from inventory import checks, mending, wording
from inventory.document import Document, NotYamlError
from inventory.models import Inventory
from inventory.problems import Finding, InventoryError, Problem, show_path

MAX_BYTES = 1024 * 1024
"""The reference cluster, with all its comments, has 25 kB; a file of another kind should not be read at all."""
MOST_FINDINGS = 200
"""More than one can read; a file with so many is another kind of file, and telling them all would take minutes."""
_LONGEST_TEXT = 400  # of one line of a problem: enough for every machine's name, too little for a pasted file


def load(path: Path) -> Inventory:
    """Read and check an inventory.

    Raises:
        InventoryError: with every problem that was found, each with file, line and column, path, what is wrong and what
            is allowed. A secret in clear is never repeated in it.
    """
    return parse(_read(path), str(path))


def parse(text: str, file: str = "inventory") -> Inventory:
    """The same from text; `file` is the name that problems show.

    Raises:
        InventoryError: as for `load`.
    """
    document = _document(text, file)
    inventory, found = _validated(document.data)
    unreadable = {problem.path for problem in document.problems}
    further = (_problem(document, finding) for finding in found if show_path(finding.path) not in unreadable)
    problems = _once([*document.problems, *further])
    if inventory is None or problems:
        raise InventoryError(problems)
    return inventory


def _once(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """In the order of the file; one problem a place, and one for all the places that an alias repeats it in."""
    first: dict[tuple[int, int, str], Problem] = {}
    for problem in problems:
        first.setdefault((problem.line, problem.column, problem.wrong), problem)
    return tuple(first[key] for key in sorted(first))


def _read(path: Path) -> str:
    try:
        _refuse_unfit(path)
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise _refused(path, "there is no such file", "the path of an inventory") from None
    except OSError as error:
        raise _refused(path, f"can't be read: {error.strerror}", "a file that this user may read") from None
    except ValueError:
        raise _refused(path, "no path: it holds a NUL character", "the path of an inventory") from None
    return _text(path, content)


def _refuse_unfit(path: Path) -> None:
    # The size is asked for before anything is read: a hundred megabytes are refused at once.
    status = path.stat()
    if stat.S_ISDIR(status.st_mode):
        raise _refused(path, "this is a directory", "one YAML file")
    if not stat.S_ISREG(status.st_mode):
        raise _refused(path, "this is a device, pipe or socket", "one YAML file")
    if status.st_size > MAX_BYTES:
        raise _refused(path, f"{status.st_size:,} bytes: too large for an inventory", f"at most {MAX_BYTES:,} bytes")


def _text(path: Path, content: bytes) -> str:
    if len(content) > MAX_BYTES:
        raise _refused(path, "too large for an inventory", f"at most {MAX_BYTES:,} bytes")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise _refused(path, f"no UTF-8: byte 0x{content[error.start]:02x}", "text in UTF-8", line) from None


def _document(text: str, file: str) -> Document:
    try:
        document = Document(text, file)
    except NotYamlError as error:
        raise InventoryError((Problem(file, error.line, error.column, "", error.wrong, error.allowed),)) from None
    if document.problems:
        return document
    if document.data is None:
        raise _refused(file, "the file is empty", "an inventory: see deploy/inventories/reference.yaml")
    if not isinstance(document.data, dict):
        raise _refused(file, "this is no mapping", "`key: value` at the left margin, beginning with `cluster: NAME`")
    return document


def _refused(file: object, wrong: str, allowed: str, line: int = 1) -> InventoryError:
    return InventoryError((Problem(str(file), line, 1, "", wrong, allowed),))


def _validated(data: object) -> tuple[Inventory | None, list[Finding]]:
    try:
        inventory = Inventory.model_validate(data)
    except ValidationError as error:
        found = wording.findings(error.errors(include_url=False)[:MOST_FINDINGS])
        more = () if error.error_count() > MOST_FINDINGS else _further(data, found)
        return None, _most([*found, *more], error.error_count())
    return inventory, _most(list(checks.check(inventory)), 0)


def _most(found: list[Finding], count: int) -> list[Finding]:
    if max(count, len(found)) <= MOST_FINDINGS:
        return found
    wrong = f"{max(count, len(found)):,} problems; only {MOST_FINDINGS} of them are shown"
    return [*found[:MOST_FINDINGS], Finding((), wrong, "an inventory: see deploy/inventories/reference.yaml")]


def _further(data: object, found: Iterable[Finding]) -> Iterator[Finding]:
    """What the checks of the whole find beside values that are already known to be wrong."""
    wrong = [finding.path for finding in found]
    mended, replaced = mending.mend(data)
    for finding in checks.check(mended) if mended else ():
        known = any(finding.path[: len(path)] == path for path in wrong)
        if not known and not any(value in finding.wrong + finding.allowed for value in replaced):
            yield finding


def _problem(document: Document, finding: Finding) -> Problem:
    line, column = document.place(finding.path, at_key=finding.at_key)
    wrong, allowed = _short(finding.wrong), _short(finding.allowed)
    return Problem(document.file, line, column, show_path(finding.path), wrong, allowed)


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST_TEXT else line[:_LONGEST_TEXT] + "…"
