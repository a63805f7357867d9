"""An experiment on real hypervisors, broken off and taken up again."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("pyarrow", reason="pyarrow is not installed: pip install 'drsim[parquet]'")

import pandas as pd

from executor.lab.matrix import Matrix, Trial
from executor.lab.state import lab_names

pytestmark = pytest.mark.kvm

SMALL = Trial(memory_mib=160, working_set_mib=16, disk_write_kib_s=0)
MATRIX = Matrix(
    name="recorded",
    base=SMALL,
    design={"transfer": [{"mode": "precopy"}, {"mode": "hybrid"}]},
    other_load_cores=1e3,
)


def test_what_was_broken_off_is_taken_up_and_nothing_is_done_twice(
    machine_for_labs: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from executor import record, recording

    monkeypatch.setattr(record, "SETTLE_S", 0.3)
    steps: list[recording.Step] = []

    def stop_after_one(step: recording.Step) -> None:
        steps.append(step)
        if step.done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        recording.record_matrix(MATRIX, tmp_path, stop_after_one)
    assert "recorded" not in lab_names()
    with (tmp_path / "rows.jsonl").open("a") as file:
        file.write('{"run": "half a li')  # killed while it wrote
    first = recording.read_rows(tmp_path / "rows.jsonl")
    assert len(first) == 1
    rows = recording.record_matrix(MATRIX, tmp_path, steps.append)
    assert rows[0] == first[0]
    table = pd.read_parquet(tmp_path / "migrations.parquet")
    assert sorted(table["transfer_mode"]) == ["hybrid", "precopy"]
    assert table["run"].nunique() == len(table) == 2
    assert set(table["status"]) == {"moved"}
    assert not table["broken"].any()
    assert (table[["lost", "repeated", "bad_pages", "bad_blocks"]] == 0).all(axis=None)
    assert (table["total_time_s"] > 0).all()
    assert (table["other_during_cores"] >= 0).all()
    assert table["bandwidth_mbit_s"].isna().all()
    text = (tmp_path / "README.md").read_text()
    assert all(f"| `{column}` |" in text for column in table.columns)
    assert recording.record_matrix(MATRIX, tmp_path) == rows  # nothing is left: no lab comes up
    assert "recorded" not in lab_names()
