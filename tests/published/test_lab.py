"""The lab's recorded migrations (data/lab) against the parameter set that was tuned on every second of them."""

from __future__ import annotations

from pathlib import Path as File

import numpy as np
import pandas as pd
import pytest

from drsim.formats import observations_of
from drsim.migration import LAB_TCG, foresee

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
