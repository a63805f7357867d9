"""Calibration files and recordings."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from drsim.errors import DataError
from drsim.formats import read_calibration, read_recording, read_trail, write_calibration
from drsim.migration import DEFAULT, LAB_TCG, SIMGRID, Calibration, calibrate
from drsim.planner import make_plan
from drsim.policy import Objective
from drsim.synthetic import demo

RECORDED = Path(__file__).parents[2] / "data" / "lab" / "migrations.csv"


def test_a_calibration_comes_back_as_it_was(tmp_path: Path) -> None:
    made = Calibration(
        name="rack 7",
        version=3,
        made_at="2026-11-23T10:00:00+00:00",
        source="runs",
        observations=40,
        parameters=replace(LAB_TCG, prepare_s=0.7),
        uncertainty={"prepare_s": 0.02},
        residuals={"total_time_s": (-0.1, 0.0, 0.2)},
        ranges={"rtt_ms": (0.0, 20.0)},
    )
    write_calibration(made, tmp_path / "c.yaml", "lab-tcg")
    assert read_calibration(tmp_path / "c.yaml") == made
    assert "stream_limit_mbit_s" not in (tmp_path / "c.yaml").read_text()  # as in its base


def test_presets_go_by_name() -> None:
    assert read_calibration("default").parameters == DEFAULT
    assert read_calibration("simgrid").parameters == SIMGRID


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty"),
        ("- 1", "no record"),
        ("format: drsim-policy\nformat_version: 1", "format"),
        ("format: drsim-calibration\nformat_version: 1\nbase: moon", "'moon' is unknown"),
        ("format: drsim-calibration\nformat_version: 1\nparameters: {prepare: 1}", "prepare_s"),
        ("format: drsim-calibration\nformat_version: 1\nparameters: {prepare_s: -1}", "at least 0"),
        ("format: drsim-calibration\nformat_version: 1\nparameters: [1]", "constants by name"),
        ("{", "not YAML"),
    ],
)
def test_wrong_files_are_refused_with_their_remedy(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(DataError, match=said):
        read_calibration(tmp_path / "c.yaml")


def test_a_recording_of_the_lab() -> None:
    seen = read_recording(RECORDED)
    assert len(seen) >= 10
    assert all(one.total_time_s and one.client_gap_ms and one.sent_mib for one in seen)
    assert len({one.cell for one in seen}) > 5
    assert all(c.in_order for one in seen for c in one.vm.dirty)


def test_json_and_modes(tmp_path: Path) -> None:
    rows = pd.read_csv(RECORDED).head(2).to_dict("records")
    rows[0] |= {"mode": "postcopy", "tls": True}
    rows[1] |= {"mode": "hybrid", "precopy_passes": 3, "loss": 0.001}
    (tmp_path / "r.json").write_text(json.dumps([{k: None if v != v else v for k, v in row.items()} for row in rows]))
    one, two = read_recording(tmp_path / "r.json")
    assert (one.options.mode, one.options.tls) == ("postcopy", True)
    assert (two.options.precopy_passes, two.path.loss) == (3, 0.001)


def test_no_recording_is_refused(tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match="memory_mib is missing"):
        read_recording(tmp_path / "r.csv")
    with pytest.raises(DataError, match="cannot be read"):
        read_recording(tmp_path / "none.csv")


def test_an_audit_trail_with_its_plan(tmp_path: Path) -> None:
    """What a run measured beside what its plan knew; moves of plans that are not at hand are left out."""
    plan = make_plan(*demo(), Objective(goal="balance"), time_limit_s=0.5)
    lines = [{"event": "run_started", "run_id": "r", "move_id": None, "at": "t", "detail": {"plan_hash": plan.hash}}]
    for move in plan.moves:
        detail = {"state": "done", "total_time_s": 9.0, "downtime_ms": 99.0, "sent_mib": 999.0, "rounds": 3}
        lines.append({"event": "move_ended", "run_id": "r", "move_id": move.id, "at": "t", "detail": detail})
        lines.append({"event": "move_ended", "run_id": "other", "move_id": move.id, "at": "t", "detail": detail})
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    seen = read_trail(tmp_path / "a.jsonl", [plan])
    assert len(seen) == len(plan.moves) > 1
    assert {one.vm.name for one in seen} == {move.vm for move in plan.moves}
    assert all((one.total_time_s, one.downtime_ms, one.sent_mib) == (9.0, 99.0, 999.0) for one in seen)
    assert calibrate(seen).observations == len(seen)
    (tmp_path / "b.jsonl").write_text("nonsense\n")
    with pytest.raises(DataError, match="line 1 is no audit record"):
        read_trail(tmp_path / "b.jsonl", [plan])


def test_a_plan_made_with_a_calibration_has_bands() -> None:
    calibration = calibrate(read_recording(RECORDED), base=LAB_TCG)
    plan = make_plan(*demo(), Objective(goal="balance"), time_limit_s=0.5, calibration=calibration)
    for move in plan.moves:
        said = move.prediction
        assert said is not None
        assert said.total_time_low_s is not None
        assert said.total_time_high_s is not None
        assert said.total_time_low_s < said.total_time_s < said.total_time_high_s
        assert not said.in_range  # the demo's guests are larger than the lab's
