"""XML as a system's answer: read without entities or a document type, bounded, and strict about every attribute.

The standard library's parser is enough: entities can only be declared in a document type, and a text with one is
refused before it is parsed.
"""

from __future__ import annotations

from collections.abc import Collection
from xml.etree import ElementTree

from activities.errors import NotUnderstood

Element = ElementTree.Element

MAX_CHARACTERS = 4_000_000
"""A hundred times the state of a pair; parsing that much takes well under a second."""
MAX_DEPTH = 50
"""Elements within elements: readers go down into them, and a cluster manager nests some ten."""


def parse(machine: str, text: str) -> Element:
    """The root element.

    Raises:
        NotUnderstood: no XML, too long, too deep, or with a document type.
    """
    if len(text) > MAX_CHARACTERS:
        raise NotUnderstood(machine, f"an XML answer of {len(text)} characters, at most {MAX_CHARACTERS} are read")
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise NotUnderstood(machine, "an XML answer with a document type, which is never read")
    try:
        root = ElementTree.fromstring(text)  # noqa: S314 - document types were refused above
    except (ElementTree.ParseError, ValueError) as error:
        raise NotUnderstood(machine, f"this is no XML ({error}): {text[:120]!r}") from error
    if _deeper(root, MAX_DEPTH):
        raise NotUnderstood(machine, f"an XML answer with elements more than {MAX_DEPTH} deep")
    return root


def _deeper(root: Element, limit: int) -> bool:
    """Without recursion, which is what too deep an answer would break."""
    level = [root]
    for _ in range(limit):
        level = [child for element in level for child in element]
    return bool(level)


class Reader:
    """Reads elements strictly: what is missing or unknown raises `NotUnderstood` for the machine that answered."""

    def __init__(self, machine: str) -> None:
        self.machine = machine

    def child(self, element: Element, tag: str) -> Element:
        """The only child with that tag."""
        found = element.findall(tag)
        if len(found) != 1:
            raise NotUnderstood(self.machine, f"{len(found)} elements <{tag}> in <{element.tag}>, one was expected")
        return found[0]

    def text(self, element: Element, name: str) -> str:
        """An attribute that must be there and not be empty."""
        value = element.get(name)
        if not value:
            raise NotUnderstood(self.machine, f"<{element.tag} {_named(element)}> has no attribute {name}")
        return value

    def word(self, element: Element, name: str, known: Collection[str]) -> str:
        """An attribute with one of the known words."""
        value = self.text(element, name)
        if value not in known:
            raise NotUnderstood(
                self.machine, f"<{element.tag} {_named(element)}>: {name}={value!r} is not known ({', '.join(known)})"
            )
        return value

    def flag(self, element: Element, name: str, default: bool | None = None) -> bool:
        """`true` or `false`; without a default it must be there."""
        if default is not None and name not in element.attrib:
            return default
        return self.word(element, name, ("true", "false")) == "true"

    def number(self, element: Element, name: str) -> int:
        """A whole number, not negative."""
        value = self.text(element, name)
        # int() alone would take digits of any alphabet, signs and underscores.
        if not (value.isascii() and value.isdigit() and len(value) <= 9):
            raise NotUnderstood(self.machine, f"<{element.tag} {_named(element)}>: {name}={value!r} is no number")
        return int(value)


def _named(element: Element) -> str:
    return next((f'{name}="{element.get(name)}"' for name in ("id", "name", "op_key") if element.get(name)), "").strip()
