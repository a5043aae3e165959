"""YAML text as plain data that remembers where everything stood.

Read by the core schema of YAML 1.2, as editors do: `on`, `no` and `12:30` are words here, not values of YAML 1.1.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import yaml
from yaml.error import Mark, MarkedYAMLError
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from yaml.reader import ReaderError

from inventory.problems import Path, Problem, show_key, show_path

MAX_DEPTH = 32
"""An inventory nests seven deep; more is a mistake or an attack on the recursion limit."""
MAX_VALUES = 100_000
"""Values after aliases are followed. The reference cluster has about 700; an alias bomb has billions."""

_TAG = "tag:yaml.org,2002:"
_QUOTED = re.compile(r"""'([^']*)'|"([^"]*)\"""")
_SHOWN = re.compile(r"|.|\\[a-z]|<[a-z ]+>")  # nothing, one character, an escape, the name of a token
_SYNTAX = "YAML: `key: value`, lists with `- `, indentation by spaces; text with special characters in quotes"


class NotYamlError(Exception):
    """The text can't be read as one YAML document."""

    def __init__(self, line: int, column: int, wrong: str, allowed: str = _SYNTAX) -> None:
        super().__init__(wrong)
        self.line, self.column, self.wrong, self.allowed = line, column, wrong, allowed

    @classmethod
    def at(cls, mark: Mark | None, wrong: str, allowed: str = _SYNTAX) -> NotYamlError:
        """The same at a mark of the parser, which counts from 0."""
        return cls(mark.line + 1 if mark else 1, mark.column + 1 if mark else 1, wrong, allowed)


class _Loader(yaml.SafeLoader):
    """Composes nodes with the core schema of YAML 1.2, and stops at what is too deep or too much."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - declared so by PyYAML

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0
        self._count = 0

    def compose_node(self, parent: Node | None, index: int) -> Node | None:
        self._depth += 1
        self._count += 1
        if self._depth > MAX_DEPTH or self._count > MAX_VALUES:
            raise NotYamlError.at(self._mark(), *_too_much(self._depth > MAX_DEPTH))
        node: Node | None = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def _mark(self) -> Mark:
        mark: Mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]  # PyYAML's stubs leave it open
        return mark


for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]{1,18}", "-+0123456789"),
    ("float", r"[-+]?[0-9]{1,18}\.[0-9]{0,18}", "-+0123456789"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
):
    _Loader.add_implicit_resolver(_TAG + _tag, re.compile(rf"(?:{_pattern})\Z"), list(_first))


def _too_much(deep: bool) -> tuple[str, str]:
    if deep:
        return "nested too deep, or an alias that contains itself", f"at most {MAX_DEPTH} levels"
    return "too many values, counting what aliases repeat", f"at most {MAX_VALUES:,} values"


class Document:
    """The data of a YAML document, and the line and column of each of its parts."""

    def __init__(self, text: str, file: str) -> None:
        """Read a text.

        Raises:
            NotYamlError: it is no YAML, several documents, too deep or too much; told without repeating its content.
        """
        self.file = file
        self.problems: list[Problem] = []
        """Keys that stand twice, tags that are not allowed: readable, but not to be used."""
        self._count = 0
        self._root = _compose(text)
        self.data = None if self._root is None else self._value(self._root, ())

    def place(self, path: Path, *, at_key: bool = False) -> tuple[int, int]:
        """Line and column, from 1, of a value or of its key; of the nearest part around it where it is absent."""
        node, mark = self._root, None
        for item in path:
            found = _child(node, item)
            if found is None:
                return _position(mark or node)
            key, node = found
            mark = key
        return _position(mark if at_key else node)

    def _problem(self, node: Node, path: Path, wrong: str, allowed: str) -> None:
        line, column = _position(node)
        self.problems.append(Problem(self.file, line, column, show_path(path), wrong, allowed))

    def _value(self, node: Node, path: Path) -> object:
        self._count += 1
        if len(path) > MAX_DEPTH or self._count > MAX_VALUES:
            raise NotYamlError.at(node.start_mark, *_too_much(len(path) > MAX_DEPTH))
        if isinstance(node, MappingNode) and node.tag == f"{_TAG}map":
            return self._mapping(node, path)
        if isinstance(node, SequenceNode) and node.tag == f"{_TAG}seq":
            return [self._value(child, (*path, index)) for index, child in enumerate(node.value)]
        return self._scalar(node, path)

    def _mapping(self, node: MappingNode, path: Path) -> dict[str, object]:
        data: dict[str, object] = {}
        for key, value in node.value:
            if not isinstance(key, ScalarNode):
                self._problem(key, path, "a list or a mapping is no key", "a word")
            elif key.value in data:
                wrong = f"the key {show_key(key.value)!r} stands twice; YAML would silently use the last one"
                self._problem(key, (*path, key.value), wrong, "each key once")
            else:
                data[key.value] = self._value(value, (*path, key.value))
        return data

    def _scalar(self, node: Node, path: Path) -> object:
        tag = node.tag.removeprefix(_TAG)
        if isinstance(node, ScalarNode) and (tag == "str" or (tag in _READ and node.style is None)):
            return _READ[tag](node.value)
        self._problem(node, path, "a YAML tag (it starts with !)", "plain values; text that starts with ! in quotes")
        return None


_READ: dict[str, Callable[[str], object]] = {
    "str": lambda text: text,
    "int": int,
    "float": float,
    "bool": lambda text: text.lower() == "true",
    "null": lambda _: None,
}


def _compose(text: str) -> Node | None:
    try:
        loader = _Loader(text)
        try:
            root: Node | None = loader.get_single_node()
        finally:
            loader.dispose()
    except ReaderError as error:
        before = text[: error.position]
        wrong = f"no text: character U+{error.character:04X}" if isinstance(error.character, int) else "no text"
        raise NotYamlError(before.count("\n") + 1, len(before) - before.rfind("\n"), wrong, "printable text") from None
    except MarkedYAMLError as error:
        raise NotYamlError.at(error.problem_mark or error.context_mark, _syntax(error)) from None
    return root


def _syntax(error: MarkedYAMLError) -> str:
    # What stands between quotes may be a piece of a secret: a password that starts with * reads as an alias.
    said = _QUOTED.sub(_without_secret, f"{error.context or ''}: {error.problem or ''}".strip(": "))
    if "'\\t'" in said:
        return "no YAML: a tab character; YAML is indented by spaces"
    if "expected a single document" in said:
        return "a second document begins here (---); an inventory is one"
    return f"no YAML: {said}"


def _without_secret(quoted: re.Match[str]) -> str:
    return quoted[0] if _SHOWN.fullmatch(quoted[1] or quoted[2] or "") else "…"


def _child(node: Node | None, item: str | int) -> tuple[Node, Node] | None:
    if isinstance(node, SequenceNode) and isinstance(item, int) and item < len(node.value):
        return node.value[item], node.value[item]
    if isinstance(node, MappingNode):
        for key, value in node.value:
            if isinstance(key, ScalarNode) and key.value == item:
                return key, value
    return None


def _position(node: Node | None) -> tuple[int, int]:
    mark = node.start_mark if node else None
    return (mark.line + 1, mark.column + 1) if mark else (1, 1)
