"""The one form in which values are written down and hashed: same value, same bytes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from functools import cache
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
    text = json.dumps(_whole(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _whole(value: Any) -> Any:
    """Do as `plain`, and write whole numbers as such."""
    kind = value.__class__
    if kind is str or kind is int or value is None:
        return value
    if isinstance(value, float):
        return int(value) if value.is_integer() else value
    if is_dataclass(value):
        return _kept(kind, {name: _whole(getattr(value, name)) for name in _names(kind)})
    if isinstance(value, tuple | list):
        return [_whole(item) for item in value]
    if isinstance(value, dict):
        return {key: _whole(item) for key, item in value.items()}
    return value


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
