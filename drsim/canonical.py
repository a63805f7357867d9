"""The one form in which values are written down and hashed: same value, same bytes."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from itertools import compress
from json.encoder import encode_basestring
from operator import attrgetter, is_, is_not
from typing import Any

OMITTED = {"omitted": "if not known"}
"""Metadata of a field that is not written where nothing is known: what was written before there was it has its hash."""


def plain(value: Any) -> Any:
    """Return a value of the project's nouns in plain JSON types; what is no noun stays as it is."""
    if is_dataclass(value):
        return _kept(value.__class__, {name: plain(getattr(value, name)) for name in _names(value.__class__)})
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return value


@cache
def _names(noun: type[Any]) -> tuple[str, ...]:
    return tuple(field.name for field in fields(noun))


@cache
def _optional(noun: type[Any]) -> tuple[str, ...]:
    return tuple(field.name for field in fields(noun) if dict(field.metadata) == OMITTED)


def _kept(noun: Any, record: dict[str, Any]) -> dict[str, Any]:
    for name in _optional(noun):
        if record[name] is None:
            del record[name]
    return record


def fingerprint(value: Any) -> str:
    """SHA-256 of a noun or a value of JSON types in canonical form: sorted keys, no spaces, 1.0 written as 1."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


def canonical(value: Any) -> str:
    """Return the canonical form of a noun or a value of JSON types.

    Raises
    ------
    ValueError
        If it holds a number that is not finite, which JSON cannot tell.
    """
    kind: Any = value.__class__
    if kind in _SIMPLE:
        return _SIMPLE[kind](value)
    if kind in (tuple, list):
        return f"[{','.join([canonical(item) for item in value])}]"
    if kind is dict:
        return f"{{{','.join([f'{encode_basestring(key)}:{canonical(value[key])}' for key in sorted(value)])}}}"
    if is_dataclass(value):
        return _form(kind).text(value)
    bases: tuple[Any, ...] = (float, str, tuple, list, dict)
    for base in bases:  # what derives from them, such as NumPy's numbers
        if isinstance(value, base):
            return canonical(base(value))
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _number(value: float) -> str:
    if value.is_integer():
        return int.__repr__(int(value))
    if not math.isfinite(value):
        raise ValueError(f"{value} is no number that JSON can tell.")
    return float.__repr__(value)


_SIMPLE: dict[type[Any], Callable[[Any], str]] = {
    str: encode_basestring,
    int: int.__repr__,
    float: _number,
    bool: lambda value: "true" if value else "false",
    type(None): lambda _: "null",
}


class _Form:
    """How a noun is written: most fields of most nouns are what they usually are, and are written at once."""

    def __init__(self, noun: Any) -> None:
        own = sorted(fields(noun), key=lambda field: field.name)
        self._names = [field.name for field in own]
        self._omitted = [field.name in _optional(noun) for field in own]
        self._usual = [
            None if omitted else object() if field.default is MISSING else field.default
            for field, omitted in zip(own, self._omitted, strict=True)
        ]
        self._get = attrgetter(*self._names) if len(own) > 1 else lambda value: (getattr(value, own[0].name),)
        self._templates: dict[tuple[bool, ...], str] = {}

    def text(self, value: Any) -> str:
        values = self._get(value)
        usual = tuple(map(is_, values, self._usual))
        template = self._templates.get(usual)
        if template is None:
            template = self._templates[usual] = self._template(usual)
        others = compress(values, map(is_not, values, self._usual))
        return template % tuple([(_SIMPLE.get(item.__class__) or canonical)(item) for item in others])

    def _template(self, usual: tuple[bool, ...]) -> str:
        parts = [
            f'"{name}":' + (canonical(value).replace("%", "%%") if same else "%s")
            for name, same, value, omitted in zip(self._names, usual, self._usual, self._omitted, strict=True)
            if not (same and omitted)
        ]
        return f"{{{','.join(parts)}}}"


@cache
def _form(noun: Any) -> _Form:
    return _Form(noun)


def compact(value: Any) -> str:
    """Write a noun or a value of JSON types on one line."""
    return json.dumps(plain(value), ensure_ascii=False, allow_nan=False)


def lines(value: Any, record: Callable[[Any], str] = compact) -> str:
    """Write a value of JSON types with one record a line: what changed shows in a diff, and it is written fast.

    Parameters
    ----------
    value : object
        What to write; in it records may be nouns.
    record : callable
        Writes one record.
    """
    return "".join(_lines(value, "", record)) + "\n"


def _lines(value: Any, indent: str, record: Callable[[Any], str]) -> Iterator[str]:
    inner = indent + " "
    if isinstance(value, dict) and any(_holds_records(item) for item in value.values()):
        for number, (key, item) in enumerate(value.items()):
            yield f"{',' if number else '{'}\n{inner}{compact(key)}: "
            yield from _lines(item, inner, record)
        yield f"\n{indent}}}"
    elif isinstance(value, list | tuple) and value and _is_record(value[0]):
        for number, item in enumerate(value):
            yield f"{',' if number else '['}\n{inner}{record(item)}"
        yield f"\n{indent}]"
    else:
        yield compact(value)


def _is_record(value: Any) -> bool:
    return isinstance(value, dict) or is_dataclass(value)


def _holds_records(value: Any) -> bool:
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return any(isinstance(item, list) or _is_record(item) for item in items)
