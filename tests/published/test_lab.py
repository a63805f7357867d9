"""The lab's recorded migrations (data/lab) against the parameter set that was tuned on every second of them."""

from __future__ import annotations

from pathlib import Path as File

import numpy as np
import pandas as pd
import pytest

from drsim.formats import observations_of, read_plan, read_trail
from drsim.migration import DEFAULT, LAB_TCG, Calibration, calibrate, foresee
from drsim.migration.scorecard import scorecard

RECORDED = File(__file__).parents[2] / "data" / "lab" / "migrations.csv"


def test_recorded_migrations_not_tuned_on() -> None:
    """Bounds leave room for another machine's recording."""
    rows = pd.read_csv(RECORDED)
    if set(rows.accelerator) != {"qemu"}:
        pytest.skip("data/lab was recorded with KVM; LAB_TCG describes emulation")
    seen = observations_of(rows[rows.case % 2 == 0])
    said = foresee(seen, LAB_TCG)
    assert len(seen) >= 5
    time = np.array([p.total_time_s / one.total_time_s - 1.0 for p, one in zip(said, seen, strict=True)])  # type: ignore[operator]
    downtime = np.array([p.downtime_ms / one.downtime_ms - 1.0 for p, one in zip(said, seen, strict=True)])  # type: ignore[operator]
    gap = np.array([p.client_gap_ms / one.client_gap_ms - 1.0 for p, one in zip(said, seen, strict=True)])  # type: ignore[operator]
    assert np.median(np.abs(time)) < 0.15
    assert np.abs(time).max() < 0.35
    assert np.median(np.abs(downtime)) < 0.30
    assert np.median(np.abs(gap)) < 0.30


def test_recorded_copies_of_disks_not_tuned_on() -> None:
    """Rounds of four moves each: every second one teaches, the others are kept."""
    folder = RECORDED.parents[1] / "lab-disks"
    plans = [read_plan(path) for path in sorted(folder.glob("plan-*.json"))]
    seen = sorted(read_trail(folder / "trail.jsonl", plans), key=lambda one: one.at or "")
    assert len(seen) == 4 * len(plans) == 48
    taught = [one for number, one in enumerate(seen) if number // 4 % 2]
    kept = [one for number, one in enumerate(seen) if not number // 4 % 2]
    made = calibrate(taught, base=DEFAULT)
    assert made.parameters.copy_mib_s == pytest.approx(LAB_TCG.copy_mib_s, rel=0.05)
    assert made.parameters.copy_s == pytest.approx(LAB_TCG.copy_s, rel=0.05)
    card = scorecard(kept, made)
    time = card[card["measure"] == "copy_total_time_s"]
    assert len(time) == 24
    assert time["error_share"].abs().median() < 0.2
    assert time["covered"].mean() >= 0.9
    blind = scorecard(kept, Calibration())
    assert blind[blind["measure"] == "copy_total_time_s"]["covered"].mean() >= 0.8
