"""The recording of the lab that is kept in data/lab: whole, documented, and of migrations that lost nothing."""

from __future__ import annotations

import csv
from dataclasses import fields
from pathlib import Path

import pytest

pytest.importorskip("libvirt", reason="libvirt-python is not installed: make kvm")

from drsim.formats import read_inventory
from executor.record import CASES, TOPOLOGY, Row, readme

DATA = Path(__file__).parents[2] / "data" / "lab"


def typed(record: dict[str, str]) -> Row:
    """Return a line of the file with the types of its columns."""
    values: dict[str, object] = {}
    for field in fields(Row):
        text, kind = record[field.name], str(field.type)
        if "Annotated[bool" in kind:
            values[field.name] = text == "True"
        elif text == "":
            values[field.name] = None
        else:
            values[field.name] = float(text) if "[float" in kind else int(text) if "[int" in kind else text
    return Row(**values)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    with (DATA / "migrations.csv").open(newline="") as file:
        reader = csv.DictReader(file)
        assert reader.fieldnames == [field.name for field in fields(Row)]
        return [typed(record) for record in reader]


def test_every_case_was_recorded_and_nothing_was_lost(rows: list[Row]) -> None:
    assert [(row.working_set_mib, row.dirty_rate_mib_s, row.link_mbit_s, row.rtt_ms) for row in rows] == [
        (case.working_set_mib, case.dirty_rate_mib_s, case.link_mbit_s, case.rtt_ms) for case in CASES
    ]
    for row in rows:
        assert row.status == "moved"
        assert (row.lost, row.repeated, row.broken, row.bad_pages, row.bad_blocks) == (0, 0, False, 0, 0)


def test_the_figures_are_possible(rows: list[Row]) -> None:
    for row in rows:
        assert row.total_time_s is not None
        assert row.downtime_ms is not None
        assert row.sent_mib is not None
        assert row.total_time_s <= row.wall_s
        assert row.downtime_ms < row.total_time_s * 1000
        # What a client sees contains the standstill, but libvirt counts the hand-over between two daemons as well.
        assert row.tcp_gap_ms > 0.5 * row.downtime_ms
        # Nothing passes a line faster than its rate allows.
        assert row.sent_mib * 8 * 1.048576 / row.total_time_s <= row.link_mbit_s
        assert row.sent_mib >= row.working_set_mib


def test_the_readme_tells_every_column(rows: list[Row]) -> None:
    text = (DATA / "README.md").read_text()
    assert text == readme(rows)
    for field in fields(Row):
        assert f"| `{field.name}` |" in text


def test_the_inventory_is_the_lab(rows: list[Row]) -> None:
    inventory = read_inventory(DATA / "inventory.json")
    assert [host.name for host in inventory.hosts] == [host.name for host in TOPOLOGY.hosts]
    assert {vm.name: vm.memory_mib for vm in inventory.vms} == {g.name: g.memory_mib for g in TOPOLOGY.guests}
    assert {row.memory_mib for row in rows} <= {vm.memory_mib for vm in inventory.vms}
