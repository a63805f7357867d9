"""The lab's recorded migrations (data/lab) against the parameter set that was tuned on every second of them."""

from __future__ import annotations

from pathlib import Path as File

import numpy as np
import pandas as pd
import pytest

from drsim.inventory import PageClass, Vm
from drsim.migration import LAB_TCG, predict
from drsim.plan import Prediction
from drsim.topology import Path

RECORDED = File(__file__).parents[2] / "data" / "lab" / "migrations.csv"
TRANSLATED_MIB = 28.0
"""TCG's translated code, which the recorded `memory_used_mib` still holds: resident size less traffic, quiet cases."""


def _predict(row: pd.Series) -> Prediction:
    idle = PageClass(size_mib=1.0, dirty_rate_mib_s=0.0)
    busy = PageClass(size_mib=max(1.0, float(row.working_set_mib)), dirty_rate_mib_s=float(row.achieved_rate_mib_s))
    vm = Vm(
        name="g",
        host="h1",
        vcpus=1,
        memory_mib=int(row.memory_mib),
        memory_used_mib=float(row.memory_used_mib) - TRANSLATED_MIB,
        dirty=(busy if row.working_set_mib else idle,),
    )
    return predict(
        vm,
        Path(edges=(), bandwidth_mbit_s=float(row.link_mbit_s), rtt_ms=float(row.rtt_ms), loss=0.0),
        max_downtime_ms=float(row.max_downtime_ms),
        bandwidth_mbit_s=None if pd.isna(row.bandwidth_mbit_s) else float(row.bandwidth_mbit_s),
        parameters=LAB_TCG,
    )


def test_recorded_migrations_not_tuned_on() -> None:
    """Bounds leave room for another machine's recording."""
    rows = pd.read_csv(RECORDED)
    if set(rows.accelerator) != {"qemu"}:
        pytest.skip("data/lab was recorded with KVM; LAB_TCG describes emulation")
    rows = rows[(rows.case % 2 == 0) & (rows.status == "moved")]
    predicted = [_predict(row) for _, row in rows.iterrows()]
    time = np.array([p.total_time_s for p in predicted]) / rows.wall_s.to_numpy() - 1.0
    downtime = np.array([p.downtime_ms for p in predicted]) / rows.downtime_ms.to_numpy() - 1.0
    assert len(rows) >= 5
    assert np.median(np.abs(time)) < 0.15
    assert np.abs(time).max() < 0.35
    assert np.median(np.abs(downtime)) < 0.30
