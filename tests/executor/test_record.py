"""The recording of the lab that is kept in data/lab: whole, documented, and of migrations that lost nothing."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

pytest.importorskip("libvirt", reason="libvirt-python is not installed: make kvm")

from drsim.formats import read_inventory
from drsim.formats.recordings import observations_of
from drsim.transfer import Transfer
from executor.lab.matrix import Trial, read_matrix
from executor.record import STANDARD, flat
from executor.record_table import COLUMNS, readme, write_table

Row = dict[str, Any]
DATA = Path(__file__).parents[2] / "data" / "lab"
INTEGERS = {"case", "memory_mib", "working_set_mib", "dirty_rate_mib_s", "disk_write_kib_s", "rounds", "lost"}
INTEGERS |= {"repeated", "udp_lost", "bad_pages", "bad_blocks", "cores"}
TEXTS = {"status", "accelerator", "qemu", "libvirt", "kernel", "recorded_at"}


def typed(record: dict[str, str]) -> Row:
    """Return a line of the file with the types of its columns."""

    def value(column: str, text: str) -> object:
        if column == "broken":
            return {"True": True, "False": False}[text]
        if text == "":
            return None
        return text if column in TEXTS else int(text) if column in INTEGERS else float(text)

    return {column: value(column, text) for column, text in record.items()}


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    with (DATA / "migrations.csv").open(newline="") as file:
        reader = csv.DictReader(file)
        assert reader.fieldnames == [column for column in COLUMNS if column in reader.fieldnames]
        return [typed(record) for record in reader]


def test_every_case_was_recorded_and_nothing_was_lost(rows: list[Row]) -> None:
    told = ("working_set_mib", "dirty_rate_mib_s", "link_mbit_s", "rtt_ms", "memory_mib", "max_downtime_ms")
    told += ("bandwidth_mbit_s", "disk_write_kib_s")
    trials = [run.trial for run in read_matrix(STANDARD).runs()]
    assert [[row[key] for key in told] for row in rows] == [[getattr(trial, key) for key in told] for trial in trials]
    assert [row["case"] for row in rows] == list(range(1, 14))
    for row in rows:
        assert row["status"] == "moved"
        clean = (row["lost"], row["repeated"], row["broken"], row["bad_pages"], row["bad_blocks"])
        assert clean == (0, 0, False, 0, 0)


def test_the_figures_are_possible(rows: list[Row]) -> None:
    for row in rows:
        assert row["total_time_s"] is not None
        assert row["downtime_ms"] is not None
        assert row["sent_mib"] is not None
        assert row["total_time_s"] <= row["wall_s"]
        assert row["downtime_ms"] < row["total_time_s"] * 1000
        # What a client sees contains the standstill, but libvirt counts the hand-over between two daemons as well.
        assert row["tcp_gap_ms"] > 0.5 * row["downtime_ms"]
        # Nothing passes a line faster than its rate allows.
        assert row["sent_mib"] * 8 * 1.048576 / row["total_time_s"] <= row["link_mbit_s"]
        assert row["sent_mib"] >= row["working_set_mib"]


def test_the_readme_tells_every_column(rows: list[Row]) -> None:
    text = (DATA / "README.md").read_text()
    assert text == readme(rows, "standard", "csv")
    for column in rows[0]:
        assert f"| `{column}` |" in text


def test_the_inventory_is_the_lab(rows: list[Row]) -> None:
    inventory = read_inventory(DATA / "inventory.json")
    assert [host.name for host in inventory.hosts] == ["h1", "h2", "h3"]
    assert {vm.name: vm.memory_mib for vm in inventory.vms} == {"small": 256, "large": 512}
    wanted = {guest.memory_mib for guest in read_matrix(STANDARD).topology().guests}
    assert {row["memory_mib"] for row in rows} == wanted == {vm.memory_mib for vm in inventory.vms}


def test_every_column_of_a_trial_is_described() -> None:
    for run in read_matrix(STANDARD).runs():
        assert set(flat(run.trial)) <= set(COLUMNS)


def test_how_a_guest_travelled_is_read_as_it_was_written() -> None:
    transfer = Transfer(mode="hybrid", precopy_passes=3, tls=True, timeout_s=45.0)
    row = {**flat(Trial(working_set_mib=24, transfer=transfer)), "status": "moved", "achieved_rate_mib_s": 9.5}
    other = {**row, **flat(Trial(working_set_mib=24))}
    found, plain = observations_of(pd.DataFrame([row, other]))
    assert (found.options.mode, found.options.precopy_passes, found.options.tls) == ("hybrid", 3, True)
    assert (plain.options.mode, plain.options.tls) == ("precopy", False)
    assert found.cell != plain.cell
    assert found.vm.dirty[0].dirty_rate_mib_s == 9.5


def test_what_is_written_is_what_was_recorded(rows: list[Row], tmp_path: Path) -> None:
    write_table(rows, tmp_path, "standard", "csv")
    for name in ("migrations.csv", "README.md"):
        assert (tmp_path / name).read_text() == (DATA / name).read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["README.md", "migrations.csv"]
