"""From plain data to nouns: types, ranges and unknown keys, each refusal with its record and its remedy."""

from __future__ import annotations

import difflib
import json
import math
import types
import typing
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from drsim.errors import DataError, Problem
from drsim.formats.text import refuse
from drsim.inventory import Inventory
from drsim.plan import Plan
from drsim.policy import Policy

T = TypeVar("T")
SHOWN = 20
"""Problems told at once."""

_WORDS = {
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a number, neither NaN nor infinite",
    "string_type": "a text",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "tuple_type": "a list",
    "dataclass_type": "a record",
    "string_too_short": "a text that is not empty",
}


@cache
def adapter(kind: Any) -> TypeAdapter[Any]:
    """Return the validator of a noun (`Inventory`, `Policy` or `Plan`)."""
    return TypeAdapter(kind)


def parse_json(text: str, place: str, error: type[DataError]) -> dict[str, Any]:
    """Parse a JSON object.

    Raises
    ------
    DataError
        Of the class given: line and column of the mistake, or what stands there instead of an object.
    """

    def constant(word: str) -> Any:
        raise refuse(error, place, f"found {word}; JSON knows only finite numbers.", "Put a number or null there.")

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        keys = [key for key, _ in pairs]
        for key in keys:
            if keys.count(key) > 1:
                raise refuse(error, place, f"the key '{key}' stands twice in one record.", "Keep one of them.")
        return dict(pairs)

    try:
        data = json.loads(text, parse_constant=constant, object_pairs_hook=unique if len(text) < 1 << 16 else None)
    except json.JSONDecodeError as found:
        expected = f"line {found.lineno}, column {found.colno} is not JSON: {found.msg.lower()}."
        raise refuse(error, place, expected, "Correct it there; the file may be cut off.") from found
    except RecursionError as found:
        raise refuse(error, place, "it is nested too deeply.", "Name a file written by drsim.") from found
    except ValueError as found:
        raise refuse(error, place, "it holds a number of too many digits.", "Correct it.") from found
    if not isinstance(data, dict):
        raise refuse(error, place, f"found {_shown(data)}; expected an object.", "See 'drsim schema'.")
    return data


def check_header(data: dict[str, Any], name: str, version: int, place: str, error: type[DataError]) -> dict[str, Any]:
    """Return the data without its header.

    Raises
    ------
    DataError
        If it is another format or another version.
    """
    found, number = data.get("format"), data.get("format_version")
    if found != name:
        expected = f"found {_shown(found)}; expected '{name}'."
        remedy = (
            f"Name a file of that format; one written by hand begins with format: {name}, format_version: {version}."
        )
        raise refuse(error, place, expected, remedy, "format")
    if number != version or isinstance(number, bool):
        expected = f"found {_shown(number)}; this drsim reads version {version}."
        raise refuse(error, place, expected, "Write the file again with this drsim.", "format_version")
    return {key: value for key, value in data.items() if key not in ("format", "format_version")}


def build(kind: type[T], data: dict[str, Any], place: str, error: type[DataError], *, strict: bool = True) -> T:
    """Build a noun from plain data.

    Parameters
    ----------
    kind : type
        `Inventory`, `Policy` or `Plan`.
    data : dict
        As JSON gives it.
    place : str
        File, for messages.
    error : type
        Class of the refusal.
    strict : bool
        Whether "12" is refused where a number is expected; cells of CSV files are text.

    Raises
    ------
    DataError
        With up to `SHOWN` problems.
    """
    problems = [*_unknown_keys(kind, data, place), *_infinite(data, data, place, [])]
    if not problems:
        try:
            text = json.dumps(data, allow_nan=False)
            noun: Any = kind
            built: T = adapter(noun).validate_json(text, strict=strict)
            return built
        except ValidationError as found:
            details = [detail for detail in found.errors(include_url=False) if _is_meant(detail["loc"], data)]
            problems = [_translated(detail, data, place) for detail in details]
        except (TypeError, ValueError, RecursionError) as found:
            expected = f"it holds what no field takes: {str(found).splitlines()[0]}."
            raise refuse(error, place, expected, "Put plain finite numbers and texts there; quote dates.") from found
    shown = problems[:SHOWN]
    if len(problems) > SHOWN:
        rest = f"there are {len(problems) - SHOWN} more problems."
        shown.append(Problem(place=place, expected=rest, remedy="Correct these first."))
    raise error(*shown)


def _is_meant(location: tuple[Any, ...], data: Any) -> bool:
    """Whether a refusal is about the kind of rule that stands there; each other kind refuses it, too."""
    for part in location:
        if isinstance(part, str) and part in _tags() and isinstance(data, dict) and "kind" in data:
            return part.lower() == str(data["kind"]).replace("_", "")
        try:
            data = data[part]
        except (KeyError, IndexError, TypeError):
            return True
    return True


def _is_kind(before: Any, part: Any) -> bool:
    return isinstance(before, int) and isinstance(part, str) and part in _tags()


def _translated(detail: Any, data: Any, place: str) -> Problem:
    # The kind of a record stands behind its number; behind the kind stands a field, which may be called alike.
    given_as = detail["loc"]
    location = [part for before, part in zip((None, *given_as), given_as, strict=False) if not _is_kind(before, part)]
    where, field = record_place(location, data)
    place = _origin(location, data) or place
    kind, given = detail["type"], detail.get("input")
    context = detail.get("ctx", {})
    bounds = {
        "greater_than": ("gt", "more than"),
        "greater_than_equal": ("ge", "at least"),
        "less_than": ("lt", "less than"),
        "less_than_equal": ("le", "at most"),
    }
    if kind == "missing":
        expected, remedy = "it is missing.", "Add it."
    else:
        if kind in bounds:
            key, word = bounds[kind]
            wanted = f"{word} {context[key]:g}"
        elif kind == "too_short":
            wanted = f"at least {context.get('min_length', 1)} entry"
        elif "expected" in context:
            wanted = f"one of {context['expected']}"
        elif "expected_tags" in context:
            wanted = f"a kind among {context['expected_tags']}"
        else:
            wanted = _WORDS.get(kind, "something else")
        expected, remedy = f"found {_shown(given)}; expected {wanted}.", "Correct it."
    return Problem(place=f"{place}: {where}" if where else place, field=field, expected=expected, remedy=remedy)


@cache
def _tags() -> frozenset[str]:
    from drsim.policy import Rule

    kinds = typing.get_args(Rule)
    return frozenset(kind.__name__ for kind in kinds) | {kind.__dataclass_fields__["kind"].default for kind in kinds}


def record_place(location: list[Any], data: Any) -> tuple[str, str | None]:
    """Name the record at a path through plain data, and the field: ``vms 'db-1', disks 'vda'``, ``size_mib``."""
    words: list[str] = []
    field: str | None = None
    for index, part in enumerate(location):
        last = index == len(location) - 1
        below = None
        if isinstance(data, dict):
            below = data.get(part)
        elif isinstance(data, list) and isinstance(part, int) and part < len(data):
            below = data[part]
        if isinstance(part, int):
            name = below.get("name") if isinstance(below, dict) else None
            words[-1:] = [
                f"{words[-1] if words else ''} {name!r}" if name else f"{words[-1] if words else ''} no. {part + 1}"
            ]
        elif last:
            field = str(part)
        else:
            words.append(str(part))
        data = below
    return ", ".join(word.strip() for word in words), field


def _origin(location: list[Any], data: Any) -> str | None:
    """Return file and row of the innermost record on a path, if it was read from a table."""
    origin = None
    for part in location:
        try:
            data = data[part]
        except (KeyError, IndexError, TypeError):
            break
        origin = getattr(data, "origin", origin)
    return origin


def _shown(value: Any) -> str:
    if isinstance(value, dict | list):
        return "a record" if isinstance(value, dict) else "a list"
    text = json.dumps(value, ensure_ascii=True) if value is not None else "nothing"
    return text if len(text) <= 60 else f"{text[:57]}..."


def _unknown_keys(kind: Any, data: Any, place: str, where: tuple[str, ...] = ()) -> Iterator[Problem]:
    if not is_dataclass(kind) or not isinstance(data, dict):
        return
    fields_of: Any = kind
    hints = _hints(fields_of)
    for key, value in data.items():
        if key not in hints:
            close = difflib.get_close_matches(str(key), hints, 1)
            remedy = f"Did you mean '{close[0]}'?" if close else f"Known are {', '.join(hints)}. Drop it."
            record = ", ".join(where)
            yield Problem(
                place=f"{place}: {record}" if record else place,
                field=str(key),
                expected="unknown field.",
                remedy=remedy,
            )
            continue
        inner = hints[key]
        if isinstance(value, dict):
            yield from _unknown_keys(inner[0] if inner else None, value, place, (*where, key))
        elif isinstance(value, list) and inner:
            for index, item in enumerate(value):
                if isinstance(item, dict):
                    one = _of_kind(inner, item)
                    name = item.get("name")
                    label = f"{key} {name!r}" if name else f"{key} no. {index + 1}"
                    yield from _unknown_keys(one, item, place, (*where, label))


def _infinite(part: Any, data: Any, place: str, location: list[Any]) -> Iterator[Problem]:
    if isinstance(part, float) and not math.isfinite(part):
        where, field = record_place(location, data)
        origin = _origin(location, data) or place
        expected = f"found {part}; expected {_WORDS['finite_number']}."
        yield Problem(
            place=f"{origin}: {where}" if where else origin, field=field, expected=expected, remedy="Correct it."
        )
    elif isinstance(part, dict | list):
        for key, item in part.items() if isinstance(part, dict) else enumerate(part):
            if isinstance(item, float | dict | list):
                yield from _infinite(item, data, place, [*location, key])


def _of_kind(kinds: tuple[Any, ...], item: dict[str, Any]) -> Any:
    if len(kinds) == 1:
        return kinds[0]
    return next((k for k in kinds if {f.name: f.default for f in fields(k)}.get("kind") == item.get("kind")), None)


@cache
def _hints(kind: Any) -> dict[str, tuple[Any, ...]]:
    """Return, by field, the dataclasses that it may hold."""

    def inner(hint: Any) -> tuple[Any, ...]:
        if is_dataclass(hint):
            return (hint,)
        if typing.get_origin(hint) in (tuple, typing.Union, types.UnionType):
            return tuple(each for argument in typing.get_args(hint) for each in inner(argument))
        return ()

    resolved = typing.get_type_hints(kind)
    return {field.name: inner(resolved[field.name]) for field in fields(kind)}


KINDS: dict[str, type[Any]] = {"inventory": Inventory, "policy": Policy, "plan": Plan}
"""The files that drsim knows, by what they hold."""
