"""An experiment on real hypervisors, broken off and taken up again."""

from __future__ import annotations

import json
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
    from executor import observe, record

    monkeypatch.setattr(observe, "SETTLE_S", 0.3)
    first, second = MATRIX.runs()
    # As a recording leaves it that was killed while it wrote its second row.
    seen = {"status": "moved", "broken": False, "lost": 0, "bad_pages": 0, "bad_blocks": 0, "other_during_cores": 0.0}
    done = {"run": first.key, **record.flat(first.trial), **seen, "cores": 2}
    (tmp_path / "rows.jsonl").write_text(json.dumps(done) + '\n{"run": "half a li')
    steps: list[record.Step] = []
    rows = record.record_matrix(MATRIX, tmp_path, steps.append)
    assert "recorded" not in lab_names()
    assert [row["run"] for row in rows] == [first.key, second.key]
    assert (steps[0].done, steps[-1].done, steps[-1].all) == (1, 2, 2)
    table = pd.read_parquet(tmp_path / "migrations.parquet")
    assert sorted(table["transfer_mode"]) == ["hybrid", "precopy"]
    assert set(table["status"]) == {"moved"}
    assert not table["broken"].any()
    assert (table[["lost", "bad_pages", "bad_blocks"]] == 0).all(axis=None)
    real = table[table["run"] == second.key].iloc[0]
    assert (real["repeated"], real["memory_mib"], real["disk_write_kib_s"]) == (0, 160, 0)
    assert real["total_time_s"] > 0
    assert real["other_during_cores"] >= 0
    assert table["bandwidth_mbit_s"].isna().all()
    text = (tmp_path / "README.md").read_text()
    assert all(f"| `{column}` |" in text for column in table.columns)
    assert record.record_matrix(MATRIX, tmp_path) == rows  # nothing is left: no lab comes up


def test_a_recording_that_is_stopped_takes_its_lab_down(machine_for_labs: None, tmp_path: Path) -> None:
    from executor import record

    def stop(step: record.Step) -> None:
        if step.says.startswith("booting"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        record.record_matrix(MATRIX, tmp_path, stop)
    assert "recorded" not in lab_names()
    assert record.read_rows(tmp_path / "rows.jsonl") == []
