"""Mistakes of a first day: files of the wrong kind, and tables as a spreadsheet of another country saves them."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from drsim.errors import DataError
from drsim.formats import read_inventory, read_plan, read_policy, write_inventory
from drsim.synthetic import demo


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    inventory, _ = demo()
    write_inventory(inventory, tmp_path / "cluster")
    table = tmp_path / "cluster" / "vms.csv"
    table.write_bytes(b"\xef\xbb\xbf" + table.read_bytes())
    assert read_inventory(tmp_path / "cluster") == inventory


def test_decimal_commas_are_named_with_row_and_column(tmp_path: Path) -> None:
    write_inventory(demo()[0], tmp_path / "cluster")
    table = tmp_path / "cluster" / "vms.csv"
    rows = list(csv.reader(table.open(encoding="utf-8", newline="")))
    column = rows[0].index("cpu_demand_cores")
    rows[2][column] = "1,5"
    with table.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
    with pytest.raises(DataError, match=r"vms\.csv, row 3: .*'cpu_demand_cores': found \"1,5\"; expected a number"):
        read_inventory(tmp_path / "cluster")


def test_a_folder_where_a_file_belongs(tmp_path: Path) -> None:
    for read in (read_plan, read_policy):
        with pytest.raises(DataError, match="Is a directory"):
            read(tmp_path)


def test_a_binary_file_and_a_policy_with_tabs(tmp_path: Path) -> None:
    binary, tabs = tmp_path / "b", tmp_path / "t.yaml"
    binary.write_bytes(b"\x7fELF\x02\x01\xff\xfe\x00")
    tabs.write_text("rules:\n\t- kind: pin\n")
    for read in (read_inventory, read_plan, read_policy):
        with pytest.raises(DataError, match="no text file"):
            read(binary)
    with pytest.raises(DataError, match="line 2, column 1"):
        read_policy(tabs)
