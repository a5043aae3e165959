"""What pydantic found, in the words of somebody who writes an inventory.

The value itself is repeated only where it can't be a secret.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import Enum
from types import UnionType
from typing import Annotated, Any, Literal, Protocol, TypeGuard, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from inventory.models import Inventory
from inventory.problems import Finding, Path, closest, one_of, show_key

SECRET_FIELDS = ("key", "password", "secret")
"""Fields that hold a reference to a secret; whatever stands there instead is not repeated."""
_DISCRIMINATORS = ("kind", "provider")
_KEY = "[key]"

Words = tuple[str, str]
"""What is wrong, and what is allowed."""


class _Shown(Protocol):
    json_schema: dict[str, str]


Annotation = Any
"""Whatever may stand behind the colon of a field: a class, a union, a tuple, a dictionary."""


def findings(errors: Iterable[ErrorDetails]) -> list[Finding]:
    """Each error as a finding with the path that a person sees, without pydantic's own marks in it."""
    known = list(errors)
    return [_finding(error) for error in known if not _follows(error, known)]


def _follows(error: ErrorDetails, errors: list[ErrorDetails]) -> bool:
    """Whether it is only the consequence of another error: a list whose bad entries don't count, a key mistyped."""
    loc = error["loc"]
    if error["type"] == "too_short":
        return any(other["loc"][: len(loc)] == loc and len(other["loc"]) > len(loc) for other in errors)
    if error["type"] == "missing":
        return any(
            other["type"] == "extra_forbidden"
            and other["loc"][:-1] == loc[:-1]
            and closest(other["loc"][-1], known_keys(locate(other["loc"])[1])) == loc[-1]
            for other in errors
        )
    return False


def _finding(error: ErrorDetails) -> Finding:
    path, models = locate(error["loc"])
    at_key = error["type"] == "extra_forbidden" or error["loc"][-1:] == (_KEY,)
    if path and path[-1] in SECRET_FIELDS and error["type"] not in ("missing", "extra_forbidden"):
        return Finding(path, "not a reference to a secret", "env:NAME or file:/absolute/path; never the secret itself")
    if error["type"] == "extra_forbidden":
        wrong, allowed = _unknown_key(str(path[-1]), models)
    else:
        wrong, allowed = _WORDS.get(error["type"], _as_it_is)(error)
    return Finding(path, wrong, allowed, at_key)


def locate(loc: Path) -> tuple[Path, tuple[type[BaseModel], ...]]:
    """The path a person sees, and the models whose key its last item is.

    pydantic puts the kind that it chose, and `[key]`, into its locations; neither stands in the file.
    """
    path: list[str | int] = []
    here: list[Annotation] = [Inventory]
    around: tuple[type[BaseModel], ...] = (Inventory,)
    for item in loc:
        chosen = _chosen(here, item)
        if chosen:
            here = chosen
        elif item != _KEY:
            around = tuple(option for option in here if _is_model(option))
            here = [option for part in here for option in _inside(part, item)]
            path.append(item)
    return tuple(path), around


def _chosen(here: list[Annotation], item: str | int) -> list[Annotation]:
    """The one model that a discriminator chose, where there were several."""
    models = [option for option in here if _is_model(option)]
    return [model for model in models if item in _kinds(model)] if len(models) > 1 else []


def _kinds(model: type[BaseModel]) -> set[str]:
    fields = (model.model_fields[name] for name in _DISCRIMINATORS if name in model.model_fields)
    return {
        str(kind) for field in fields if _origin(field.annotation) is Literal for kind in get_args(field.annotation)
    }


def _is_model(option: object) -> bool:
    return isinstance(option, type) and issubclass(option, BaseModel)


def _inside(option: Annotation, item: str | int) -> list[Annotation]:
    if _is_model(option):
        field = option.model_fields.get(item)
        return _options(field.annotation) if field else []
    arguments = get_args(option)
    if _origin(option) is dict:
        return _options(arguments[1])
    return _options(arguments[0]) if _origin(option) is tuple else []


def _origin(annotation: Annotation) -> object:
    return get_origin(annotation)


def _options(annotation: Annotation) -> list[Annotation]:
    if _origin(annotation) is Annotated:
        return _options(get_args(annotation)[0])
    if _origin(annotation) in (Union, UnionType):
        return [option for part in get_args(annotation) for option in _options(part)]
    return [annotation]


def known_keys(models: tuple[type[BaseModel], ...]) -> list[str]:
    """The keys that these models know, in their order."""
    return [name for model in models for name in model.model_fields]


def _unknown_key(key: str, models: tuple[type[BaseModel], ...]) -> Words:
    if key == "<<":
        return "merging by << is not read here", "the keys themselves, or a whole value by an alias (*name)"
    return f"the key {show_key(key)!r} is not known here", one_of(known_keys(models), key)


def _as_it_is(error: ErrorDetails) -> Words:
    return error["msg"][:1].lower() + error["msg"][1:], "see the schema: python -m starters.inventory schema"


def _value_error(error: ErrorDetails) -> Words:
    said = str(error.get("ctx", {}).get("error", error["msg"]))
    wrong, _, allowed = said.partition("; allowed: ")
    wrong, _, allowed = (wrong, "", allowed) if allowed else said.partition("allowed: ")
    return wrong.strip(), allowed or "for example 30s, 5m, 2h, 1h 30m"


def _missing(error: ErrorDetails) -> Words:
    last = error["loc"][-1]
    if isinstance(last, int):
        return f"there are only {last}", f"at least {last + 1}"
    return f"{show_key(str(last))!r} is missing", f"it is required{_description(error['loc'])}"


def _description(loc: Path) -> str:
    """What belongs there, from the docstring of the field or the schema of its type."""
    path, models = locate(loc)
    fields = [model.model_fields[str(path[-1])] for model in models if path[-1] in model.model_fields]
    said = [field.description for field in fields]
    for field in fields:
        said += [one.json_schema.get("description") for one in field.metadata if _shows(one)]
        if isinstance(field.annotation, type) and issubclass(field.annotation, Enum):
            said.append(one_of(str(member.value) for member in field.annotation))
        elif _is_model(field.annotation):
            said.append(field.annotation.__doc__)
    return next((f"; {text[:1].lower()}{text[1:]}" for text in said if text), "")


def _shows(metadata: object) -> TypeGuard[_Shown]:
    return isinstance(getattr(metadata, "json_schema", None), dict)


def _text(error: ErrorDetails) -> Words:
    given = error["input"]
    if isinstance(given, bool | int | float):
        return f"{given} is a number or a truth value, where text is expected", f'text; in quotes: "{given}"'
    return f"{_shape(given)}, where text is expected", "text"


def _shape(given: object) -> str:
    if given is None:
        return "nothing stands here"
    shapes = ((dict, "a mapping"), (list, "a list"), (str, "text"))
    return next((words for kind, words in shapes if isinstance(given, kind)), "a number or a truth value")


def _expected(what: str) -> Callable[[ErrorDetails], Words]:
    return lambda error: (f"{_shape(error['input'])}, where {what} is expected", what)


def _choice(error: ErrorDetails) -> Words:
    words = [word.strip("'") for word in error["ctx"]["expected"].replace(" or ", ", ").split(", ")]
    return _not_allowed(error["input"]), one_of(words, error["input"])


def _not_allowed(given: object) -> str:
    return f"{show_key(given)!r} is not allowed here" if isinstance(given, str) else _shape(given)


def _bounds(error: ErrorDetails) -> Words:
    context = error["ctx"]
    limits = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}
    allowed = " and ".join(f"{words} {context[name]}" for name, words in limits.items() if name in context)
    return f"{error['input']} is out of range", allowed


def _length(error: ErrorDetails) -> Words:
    context = error["ctx"]
    limits = {"min_length": "at least", "max_length": "at most"}
    allowed = " and ".join(f"{words} {context[name]}" for name, words in limits.items() if name in context)
    of = "characters" if error["type"].startswith("string") else "entries"
    return f"too {'long' if 'long' in error['type'] else 'short'}", f"{allowed} {of}"


def _pattern(error: ErrorDetails) -> Words:
    # Not repeated: an address of a web service may hold a password.
    name = next((str(item) for item in reversed(error["loc"]) if isinstance(item, str)), "")
    # A regular expression is no help to an engineer.
    allowed = _FORMS.get(name, "one line of text, without line breaks and control characters")
    return "characters that have no business here, or another form", allowed


_FORMS = {
    "url": "http:// or https://, a host, optionally a port and a path; without blanks, user or password",
    "query": "one SELECT without a semicolon",
    "path": "a path that starts with /, as in `stats uri`",
    "user": "letters, digits, dot, hyphen, underscore, @ and backslash",
    "name": "letters, digits, blank and . / + -; at most 80, starting with a letter or a digit",
    "label": "a label's name: letters, digits, underscore",
}


def _kind(error: ErrorDetails) -> Words:
    context = error.get("ctx", {})
    name = str(context.get("discriminator", "kind")).strip("'")
    if error["type"] == "union_tag_not_found":
        return f"{name!r} is missing", f"{name}: " + one_of(_kinds_at(error["loc"]))
    return f"{name}: {_not_allowed(context.get('tag'))}", one_of(_kinds_at(error["loc"]), context.get("tag"))


def _kinds_at(loc: Path) -> list[str]:
    _, here = locate((*loc, ""))
    return [kind for model in here for kind in sorted(_kinds(model))]


_whole = _expected("a whole number")
_truth = _expected("true or false")
_mapping = _expected("a mapping (key: value)")
_WORDS: dict[str, Callable[[ErrorDetails], Words]] = {
    "value_error": _value_error,
    "missing": _missing,
    "string_type": _text,
    "string_pattern_mismatch": _pattern,
    "string_too_short": _length,
    "string_too_long": _length,
    "too_short": _length,
    "too_long": _length,
    "int_type": _whole,
    "int_parsing": _whole,
    "int_parsing_size": _whole,
    "int_from_float": _whole,
    "bool_type": _truth,
    "bool_parsing": _truth,
    "tuple_type": _expected("a list"),
    "dict_type": _mapping,
    "model_type": _mapping,
    "model_attributes_type": _mapping,
    "literal_error": _choice,
    "enum": _choice,
    "greater_than_equal": _bounds,
    "less_than_equal": _bounds,
    "union_tag_invalid": _kind,
    "union_tag_not_found": _kind,
    "time_delta_type": _expected("a duration with its unit, for example 30s, 5m, 2h"),
    "time_delta_parsing": _expected("a duration with its unit, for example 30s, 5m, 2h"),
}

__all__ = ["SECRET_FIELDS", "closest", "findings", "known_keys", "locate"]
