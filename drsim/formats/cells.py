r"""Values as cells of a table, and back.

A text stands in its cell as it is. Only where CSV could not hold it, the cell begins with a backslash, and after that
``\\`` is a backslash, ``\n`` and ``\r`` are the two line breaks; ``\e`` is the empty text (an empty cell means "not
known"). That is so for a text that is empty, begins with a backslash or holds a line break. In lists, joined by ``;``,
every backslash and semicolon within an item is escaped.
"""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np

EMPTY = r"\e"
_ESCAPES = {"\\": r"\\", "\n": r"\n", "\r": r"\r", ";": r"\;"}
_MEANINGS = {"n": "\n", "r": "\r"}


class Row(dict[str, Any]):
    """A record that knows where it was read."""

    __slots__ = ("origin",)

    def __init__(self, values: dict[str, Any], origin: str) -> None:
        super().__init__(values)
        self.origin = origin

    @classmethod
    def like(cls, row: dict[str, Any]) -> Row:
        """Copy a row."""
        return cls(row, getattr(row, "origin", "a row"))


def to_cell(value: Any) -> str:
    """Write a value as the text of a cell."""
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case float():
            return repr(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
        case tuple():
            return ";".join(_escaped(_text(item), r"[\\;\r\n]") if item != "" else EMPTY for item in value)
        case "":
            return EMPTY
        case str() if value[0] == "\\" or "\n" in value or "\r" in value:
            return "\\" + _escaped(value, r"[\\\r\n]")
        case _:
            return str(value)


def from_cell(cell: str) -> str:
    """Read the text of a cell; the opposite of `to_cell` for everything but lists."""
    if cell[:1] != "\\":
        return cell
    return "" if cell == EMPTY else _plain(cell[1:])


def list_from_cell(cell: str) -> list[str]:
    """Read a list; the opposite of `to_cell` for tuples of texts."""
    parts = re.findall(r"(?:\\.|[^\\;])+", cell, re.DOTALL)
    return ["" if part == EMPTY else _plain(part) for part in parts]


def plain_value(value: Any) -> Any:
    """Return a value of a DataFrame as JSON knows it; None if pandas calls it missing."""
    import pandas as pd

    if value is None or value is pd.NaT or value is pd.NA:
        return None
    match value:
        case tuple() | list() | np.ndarray():
            return [plain_value(item) for item in value]
        case pd.Timestamp():
            return value.isoformat()
        case np.generic():
            return plain_value(value.item())
        case float() if math.isnan(value):
            return None
        case _:
            return value


def _text(item: str | float) -> str:
    return item if isinstance(item, str) else to_cell(item)


def _escaped(text: str, what: str) -> str:
    return re.sub(what, lambda found: _ESCAPES[found[0]], text)


def _plain(text: str) -> str:
    return re.sub(r"\\(.)", lambda found: _MEANINGS.get(found[1], found[1]), text, flags=re.DOTALL)
