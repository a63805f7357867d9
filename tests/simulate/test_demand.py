"""Demand over time: read from tables, and invented."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from drsim.errors import DataError
from drsim.synthetic import cluster
from drsim.workload import Demand


def test_demand_of_a_table_is_what_the_table_says() -> None:
    frame = pd.DataFrame(
        [(0.0, "a", 1.0), (300.0, "a", 2.0), (600.0, "b", 3.0), (600.0, "a", 2.5)],
        columns=["time_s", "vm", "cpu_cores"],
    )
    demand = Demand.of_frame(frame)
    assert demand.vms == ("a", "b")
    assert demand.cpu_cores.tolist() == [[1.0, 0.0], [2.0, 0.0], [2.5, 3.0]]
    assert demand.duration_s == 900.0
    with pytest.raises(DataError, match="not in equal steps"):
        Demand.of_frame(replace_times(frame, {600.0: 700.0}))
    with pytest.raises(DataError, match="no column 'vm'"):
        Demand.of_frame(frame.drop(columns="vm"))
    with pytest.raises(DataError, match="negative or no number"):
        Demand(vms=("a",), step_s=1.0, cpu_cores=np.array([[-1.0]], dtype=np.float32))


def replace_times(frame: pd.DataFrame, times: dict[float, float]) -> pd.DataFrame:
    return frame.assign(time_s=frame["time_s"].replace(times))


def test_invented_demand_has_a_rhythm_and_keeps_to_the_vcpus() -> None:
    estate = cluster(10, 200, 1)
    demand = Demand.daily(estate, days=7.0, seed=1)
    total = demand.cpu_cores.sum(axis=1).reshape(7, -1)
    noon, night = total[:5, 144:192].mean(), total[:5, :36].mean()
    assert noon > 1.5 * night
    assert total[5:].mean() < 0.85 * total[:5].mean()
    assert (demand.cpu_cores <= np.array([vm.vcpus for vm in estate.vms])).all()
    grown = Demand.daily(estate, days=7.0, seed=1, growth_per_day=0.05)
    assert grown.cpu_cores[-288:].sum() > 1.15 * demand.cpu_cores[-288:].sum()
    same = replace(estate, name="other")
    assert np.array_equal(Demand.daily(same, days=7.0, seed=1).cpu_cores, demand.cpu_cores)
