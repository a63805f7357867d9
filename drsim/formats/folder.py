"""An inventory as tables: a folder of CSV files, or DataFrames; one table a kind of record.

The tables follow from the nouns: plain fields are columns, lists of names are cells joined by ``;``, records within
records are tables of their own whose first column names the record that they belong to. An empty cell means the
default, which is "not known" wherever that is possible; how texts stand in cells says `drsim.formats.cells`.
"""

from __future__ import annotations

import csv
import io
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from drsim.errors import InventoryError
from drsim.formats.cells import Row, from_cell, list_from_cell, plain_value, to_cell
from drsim.formats.text import read_text, refuse, write_text
from drsim.formats.validate import build, check_header
from drsim.inventory import FORMAT_VERSION, Host, Inventory, Network, Vm

if TYPE_CHECKING:
    import pandas as pd

FORMAT = "drsim-inventory"
HEAD = "inventory"
CHILDREN = {
    (Host, "nics"): "host_nics",
    (Network, "exceptions"): "network_bridges",
    (Vm, "disks"): "vm_disks",
    (Vm, "nics"): "vm_nics",
    (Vm, "dirty"): "vm_dirty",
    (Host, "devices"): "host_devices",
    (Vm, "devices"): "vm_devices",
}
"""Tables of records within records."""

OWNER = {Host: "host", Network: "network", Vm: "vm"}
"""Their first column."""

Rows = Sequence[dict[str, Any]]


@cache
def record_of(hint: Any) -> Any:
    """Return the dataclass that a tuple holds, or None."""
    inner = typing.get_args(hint)
    if typing.get_origin(hint) is typing.Annotated:
        return record_of(inner[0])
    return inner[0] if typing.get_origin(hint) is tuple and is_dataclass(inner[0]) else None


@cache
def layout(kind: Any) -> tuple[tuple[str, str, Any], ...]:
    """Return, by field, its name, what it is (``plain``, ``list`` or ``records``) and the record that it holds."""
    hints = typing.get_type_hints(kind)
    found = []
    for field in fields(kind):
        record = record_of(hints[field.name])
        is_list = typing.get_origin(hints[field.name]) is tuple
        found.append((field.name, "records" if record else "list" if is_list else "plain", record))
    return tuple(found)


def tables(inventory: Inventory) -> dict[str, list[dict[str, Any]]]:
    """Return all tables of an inventory; rows hold numbers, texts, booleans, tuples and None."""
    head = {"format": FORMAT, "format_version": FORMAT_VERSION, "name": inventory.name}
    result: dict[str, list[dict[str, Any]]] = {HEAD: [{**head, "captured_at": inventory.captured_at}]}
    for table, shape, kind in layout(Inventory):
        if shape == "records":
            _fill(result, table, kind, getattr(inventory, table), {})
    return result


def _fill(
    result: dict[str, list[dict[str, Any]]], table: str, kind: Any, records: Iterable[Any], owner: dict[str, Any]
) -> None:
    rows = result.setdefault(table, [])
    children = [(name, record) for name, shape, record in layout(kind) if shape == "records"]
    names = [name for name, shape, _ in layout(kind) if shape != "records"]
    for name, _ in children:
        result.setdefault(CHILDREN[kind, name], [])
    for record in records:
        rows.append({**owner, **{name: getattr(record, name) for name in names}})
        for name, child in children:
            _fill(result, CHILDREN[kind, name], child, getattr(record, name), {OWNER[kind]: record.name})


def columns(table: str) -> list[str]:
    """Return the columns of a table."""
    if table == HEAD:
        return ["format", "format_version", "name", "captured_at"]
    for (kind, field), name in CHILDREN.items():
        if name == table:
            inner = next(record for each, _, record in layout(kind) if each == field)
            return [OWNER[kind], *(each for each, shape, _ in layout(inner) if shape != "records")]
    kind = next(record for each, _, record in layout(Inventory) if each == table)
    return [each for each, shape, _ in layout(kind) if shape != "records"]


def table_names() -> list[str]:
    """Return the names of all tables, the head first."""
    names = [HEAD]
    for table, shape, kind in layout(Inventory):
        if shape == "records":
            names.append(table)
            names.extend(CHILDREN[kind, name] for name, inner, _ in layout(kind) if inner == "records")
    return names


def assemble(rows: Mapping[str, Rows], place: str) -> Inventory:
    """Build an inventory from its tables; the opposite of `tables`.

    Raises
    ------
    InventoryError
        If a child names an owner that is not there, or a value does not fit.
    """
    head = rows[HEAD][0] if rows.get(HEAD) else {}
    check_header(dict(head), FORMAT, FORMAT_VERSION, place, InventoryError)
    data: dict[str, Any] = {key: value for key, value in head.items() if key in ("name", "captured_at")}
    for table, shape, kind in layout(Inventory):
        if shape == "records":
            data[table] = [Row.like(row) for row in rows.get(table, [])]
            for field, inner, _ in layout(kind):
                if inner == "records":
                    _adopt(data[table], field, rows.get(CHILDREN[kind, field], []), OWNER[kind])
    return build(Inventory, data, place, InventoryError, strict=False)


def _adopt(owners: Rows, field: str, children: Rows, key: str) -> None:
    by_name = {row.get("name"): row for row in owners}
    for child in children:
        owner = by_name.get(child.get(key))
        if owner is None:
            expected = f"found '{child.get(key, '')}', and there is no such {key}."
            raise refuse(InventoryError, Row.like(child).origin, expected, f"Add the {key} or drop the row.", key)
        inner = Row.like(child)
        inner.pop(key)
        owner.setdefault(field, []).append(inner)


# CSV


def write_folder(inventory: Inventory, folder: Path) -> None:
    """Write a folder of CSV files; tables without rows keep their header."""
    for table, rows in tables(inventory).items():
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        names = columns(table)
        writer.writerow(names)
        writer.writerows([to_cell(row[name]) for name in names] for row in rows)
        write_text(text.getvalue(), folder / f"{table}.csv")


@cache
def _lists(table: str) -> frozenset[str]:
    kind = next((record for each, _, record in layout(Inventory) if each == table), None)
    return frozenset(name for name, shape, _ in layout(kind) if shape == "list") if kind else frozenset()


def read_folder(folder: Path) -> Inventory:
    """Read a folder of CSV files.

    Raises
    ------
    InventoryError
        If a file or a column is missing or unknown, or a cell does not fit.
    """
    rows: dict[str, Rows] = {}
    for table in table_names():
        path = folder / f"{table}.csv"
        if path.exists():
            rows[table] = _read_table(path, table)
        elif table in (HEAD, "hosts", "vms"):
            remedy = "A folder written by 'drsim convert IN FOLDER' shows all that belongs into it."
            raise refuse(InventoryError, str(folder), f"there is no {path.name}.", remedy)
    for path in sorted(folder.glob("*.csv")):
        if path.stem not in rows:
            raise refuse(InventoryError, str(path), "no such table.", f"Known are {', '.join(table_names())}.")
    return assemble(rows, str(folder))


@cache
def _required(table: str) -> frozenset[str]:
    """Return the columns without a default."""
    if table == HEAD:
        return frozenset({"format", "format_version"})
    owner = next((OWNER[kind] for (kind, _), name in CHILDREN.items() if name == table), None)
    kinds = {name: record for name, shape, record in layout(Inventory) if shape == "records"}
    kinds |= {
        CHILDREN[kind, name]: record for kind in OWNER for name, shape, record in layout(kind) if shape == "records"
    }
    needed = {each.name for each in fields(kinds[table]) if each.default is MISSING}
    return frozenset(needed | ({owner} if owner else set()))


def _check_columns(header: Sequence[Any], table: str, place: str) -> None:
    known = columns(table)
    for name in header:
        if name not in known or header.count(name) > 1:
            what = "stands twice" if name in known else "is unknown"
            raise refuse(InventoryError, place, f"column '{name}' {what}.", f"Known are {', '.join(known)}.", str(name))
    for name in known:
        if name in _required(table) and name not in header:
            raise refuse(InventoryError, place, f"column '{name}' is missing.", "Add it.", name)


def _read_table(path: Path, table: str) -> Rows:
    text = read_text(path, InventoryError, "a CSV file with a header")
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    lists = _lists(table)
    rows: list[dict[str, Any]] = []
    try:
        header = next(reader)
        for mark, word in ((";", "semicolons"), ("\t", "tabs")):
            if len(header) == 1 and mark in header[0]:
                remedy = "Save it as CSV separated by commas, with decimal points."
                raise refuse(InventoryError, str(path), f"its columns are separated by {word}.", remedy)
        _check_columns(header, table, str(path))
        for number, row in enumerate(reader, 2):
            if not any(row):  # spreadsheets leave blank rows behind
                continue
            place = f"{path}, row {number}"
            if len(row) != len(header):
                expected = f"it has {len(row)} cells, the header {len(header)}."
                raise refuse(InventoryError, place, expected, "Quote cells that hold commas.")
            pairs = zip(header, row, strict=True)
            rows.append(Row({n: (list_from_cell if n in lists else from_cell)(c) for n, c in pairs if c}, place))
    except csv.Error as error:
        raise refuse(InventoryError, f"{path}, line {reader.line_num}", f"{error}.", "Correct it there.") from error
    if table == HEAD and rows and str(rows[0].get("format_version", "")).isdigit():
        rows[0]["format_version"] = int(rows[0]["format_version"])
    return rows


# DataFrames


def to_frames(inventory: Inventory) -> dict[str, pd.DataFrame]:
    """Return an inventory as DataFrames, one a table; units stand in the names of the columns."""
    import pandas as pd

    result = {}
    for table, rows in tables(inventory).items():
        names = columns(table)
        result[table] = pd.DataFrame({name: [row[name] for row in rows] for name in names}, columns=names)
    return result


def from_frames(frames: Mapping[str, pd.DataFrame]) -> Inventory:
    """Build an inventory from its DataFrames; the opposite of `to_frames`.

    Raises
    ------
    InventoryError
        If a table or a column is unknown or missing, or a value does not fit.
    """
    rows: dict[str, Rows] = {}
    for table, frame in frames.items():
        if table not in table_names():
            raise refuse(
                InventoryError, f"frames '{table}'", "no such table.", f"Known are {', '.join(table_names())}."
            )
        _check_columns(list(frame.columns), table, f"frames '{table}'")
        # Column by column: a DataFrame's rows cost a Series each.
        lists = {name: [plain_value(value) for value in frame[name].tolist()] for name in frame.columns}
        rows[table] = [
            Row({n: values[i] for n, values in lists.items() if values[i] is not None}, f"frames '{table}', row {i}")
            for i in range(len(frame))
        ]
    return assemble(rows, "frames")
