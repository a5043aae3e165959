"""Files that are no inventory, each with its own message; and that reading one never ends in anything else."""

import os
import time
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inventory.document import MAX_VALUES
from inventory.loading import MAX_BYTES, MOST_FINDINGS, load, parse
from inventory.models import Inventory
from inventory.problems import InventoryError, Problem
from tests.inventory.bad_inventories import REFERENCE


def outcome(text: str) -> tuple[Inventory | None, tuple[Problem, ...]]:
    try:
        return parse(text), ()
    except InventoryError as error:
        return None, error.problems


def refusal(path: Path) -> Problem:
    with pytest.raises(InventoryError) as caught:
        load(path)
    assert len(caught.value.problems) == 1
    return caught.value.problems[0]


def test_the_reference_is_good() -> None:
    inventory = load(REFERENCE)
    assert (inventory.cluster, len(inventory.machines), len(inventory.components)) == ("reference", 20, 10)


def test_the_reference_says_its_defaults_right() -> None:
    data = yaml.safe_load(REFERENCE.read_text())
    timings = Inventory.model_validate({**data, "timings": {}}).timings
    assert load(REFERENCE).timings == timings
    assert load(REFERENCE).approval == Inventory.model_validate({**data, "approval": {}}).approval


@pytest.mark.parametrize(
    ("content", "line", "says"),
    [
        (b"", 1, "the file is empty"),
        (b"\n\n# only a comment\n", 1, "the file is empty"),
        (b"- a list\n", 1, "this is no mapping"),
        (b"just words\n", 1, "this is no mapping"),
        (b"42\n", 1, "this is no mapping"),
        (b"!!set {a, b}\n", 1, "a YAML tag"),
        (b"\x7fELF\x02\x01\x01\x00\xff\xfe", 1, "no UTF-8: byte 0xff"),
        ("cluster: größe\n".encode("latin-1"), 1, "no UTF-8: byte 0xf6"),
        ("cluster: a\n".encode("utf-16"), 1, "no UTF-8"),
        (b"cluster: a\nmachines: \x00\n", 2, "character U+0000"),
        (b"cluster: a\n\tfeatures: []\n", 2, "a tab character"),
        (b"cluster: a\n---\ncluster: b\n", 2, "a second document begins here"),
        (b"a: &a [*a]\n", 1, "an alias that contains itself"),
        (b"a: " + b"[" * 5000, 1, "nested too deep"),
        (b"a: " + b"{a: " * 5000, 1, "nested too deep"),
        (b"? [a, b]\n: c\n", 1, "a list or a mapping is no key"),
        (b"cluster: 'not closed\n", 2, "while scanning a quoted scalar"),
    ],
)
def test_no_inventory(tmp_path: Path, content: bytes, line: int, says: str) -> None:
    file = tmp_path / "bad.yaml"
    file.write_bytes(content)
    with pytest.raises(InventoryError) as caught:
        load(file)
    problem = next(problem for problem in caught.value.problems if says in problem.wrong)
    assert (problem.file, problem.line) == (str(file), line)
    assert problem.allowed


def test_a_directory(tmp_path: Path) -> None:
    assert refusal(tmp_path).wrong == "this is a directory"


def test_a_missing_file(tmp_path: Path) -> None:
    assert refusal(tmp_path / "missing.yaml").wrong == "there is no such file"


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    assert refusal(pipe).wrong == "this is a device, pipe or socket"


def test_a_path_that_goes_in_circles(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(link)
    assert "can't be read" in refusal(link).wrong


def test_a_path_through_a_file() -> None:
    assert "can't be read" in refusal(REFERENCE / "inventory.yaml").wrong


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file(tmp_path: Path) -> None:
    file = tmp_path / "secret.yaml"
    file.touch(mode=0)
    assert refusal(file).wrong == "can't be read: Permission denied"


def test_a_hundred_megabytes_are_refused_unread(tmp_path: Path) -> None:
    file = tmp_path / "large.yaml"
    with file.open("wb") as large:
        large.truncate(100 * 1024 * 1024)
    began = time.monotonic()
    problem = refusal(file)
    assert time.monotonic() - began < 1
    assert problem.wrong == "104,857,600 bytes: too large for an inventory"
    assert problem.allowed == f"at most {MAX_BYTES:,} bytes"


def test_an_alias_bomb() -> None:
    levels = "\n".join(f"l{level}: &l{level} [{', '.join([f'*l{level - 1}'] * 10)}]" for level in range(1, 10))
    with pytest.raises(InventoryError) as caught:
        parse(f"l0: &l0 [lol, lol]\n{levels}\n")
    assert caught.value.problems[0].allowed == f"at most {MAX_VALUES:,} values"


def test_a_file_of_another_kind_is_refused_quickly() -> None:
    began = time.monotonic()
    with pytest.raises(InventoryError) as caught:
        parse("\n".join(f"k{number}: 1" for number in range(20_000)))
    assert time.monotonic() - began < 20
    assert len(caught.value.problems) == MOST_FINDINGS + 1
    assert any("only 200 of them are shown" in problem.wrong for problem in caught.value.problems)


@pytest.mark.parametrize("word", ["on", "off", "yes", "no", "y", "1e3", "12:30", "2024-01-01", "0x10", "1_000", ".inf"])
def test_words_stay_words(word: str) -> None:
    text = REFERENCE.read_text().replace("cluster: reference", f"cluster: {word}", 1)
    if word == ".inf":
        with pytest.raises(InventoryError, match="no name"):
            parse(text)
    elif ":" in word:
        with pytest.raises(InventoryError, match="'12:30' is no name"):
            parse(text)
    else:
        assert parse(text).cluster == word


def test_keys_on_and_off_need_no_quotes() -> None:
    text = REFERENCE.read_text().replace('"on":', "on:").replace('"off":', "off:")
    assert parse(text) == load(REFERENCE)


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm(tmp_path: Path) -> None:
    file = tmp_path / "windows.yaml"
    file.write_bytes(b"\xef\xbb\xbf" + REFERENCE.read_bytes().replace(b"\n", b"\r\n"))
    assert load(file) == load(REFERENCE)


@pytest.mark.parametrize("duration", ["9" * 4000 + "d", "9" * 39 + "d", "1" * 500_000, "P99999999D"])
def test_absurd_durations_are_refused_quickly(duration: str) -> None:
    began = time.monotonic()
    with pytest.raises(InventoryError):
        parse(REFERENCE.read_text().replace("  drain: 30m ", f"  drain: {duration} ", 1))
    assert time.monotonic() - began < 5


_TEXT = REFERENCE.read_text()
_LINES = [line for line in _TEXT.splitlines() if line.strip() and not line.lstrip().startswith("#")]
_VALUES = st.sampled_from(
    [
        "null",
        "[]",
        "{}",
        "-1",
        "1.5",
        "true",
        "''",
        "x y",
        "*libvirt",
        "!x y",
        "'",
        "[",
        "{vm}",
        "9" * 30,
        "file:x",
        "::",
    ]
) | st.text(max_size=12)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(index=st.integers(0, len(_LINES) - 1), value=_VALUES, keep=st.booleans(), twice=st.booleans())
def test_a_random_change_is_good_or_an_inventory_error(index: int, value: str, keep: bool, twice: bool) -> None:
    line = _LINES[index]
    head = line[: line.rfind(": ") + 2] if ": " in line else line[: len(line) - len(line.lstrip())]
    changed = f"{line if keep else head}{value}"
    text = "\n".join([*_LINES[:index], changed, *([changed] if twice else []), *_LINES[index + 1 :]])
    inventory, problems = outcome(text)
    assert (inventory is None) == bool(problems)
    assert all(problem.wrong and problem.allowed and problem.line >= 1 for problem in problems)
    if inventory:
        assert Inventory.model_validate(inventory.model_dump(mode="json")) == inventory


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=200))
def test_random_text_is_an_inventory_error(text: str) -> None:
    with pytest.raises(InventoryError):
        parse(text)
