"""Replications: what is drawn, that it does not depend on who draws it, and what a window is worth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drsim.inventory import Disk, Host, HostNic, Inventory, PageClass, Site, Vm
from drsim.migration import Calibration
from drsim.plan import Move
from drsim.policy import Limits
from drsim.simulate import replicate, simulate

CERTAIN = Calibration(residuals={"total_time_s": (0.0, 0.0), "downtime_ms": (0.0, 0.0)})
LIMITS = Limits()


def estate(guests: int) -> tuple[Inventory, list[Move]]:
    """Guests that all leave h1, two at a time."""
    hosts = tuple(
        Host(name=name, site="s", cores=8, memory_mib=65536, nics=(HostNic(name="e", rate_mbit_s=1000.0),))
        for name in ("h1", "h2", "h3", "idle")
    )
    vms = tuple(
        Vm(
            name=f"v{n}",
            host="h1",
            vcpus=1,
            memory_mib=4096,
            memory_used_mib=2048.0 + 64 * n,
            dirty=(PageClass(size_mib=256.0, dirty_rate_mib_s=4.0),),
            disks=(Disk(name="vda", datastore="d", size_mib=1024.0),),
        )
        for n in range(guests + 1)
    )
    moves = [
        Move(id=f"m{n}", vm=f"v{n}", source="h1", target=("h2", "h3")[n % 2], reason="", wave=1 + n // 2)
        for n in range(guests)
    ]
    return Inventory(sites=(Site(name="s"),), hosts=hosts, vms=vms), moves


def test_without_doubt_every_replication_is_the_simulation() -> None:
    inventory, moves = estate(5)
    played = simulate(inventory, moves, LIMITS, CERTAIN.parameters)
    drawn = replicate(inventory, moves, LIMITS, CERTAIN, replications=3)
    assert drawn.makespan_s.tolist() == [played.makespan_s] * 3
    assert drawn.downtime_ms.tolist() == [[played.predictions[move.id].downtime_ms for move in moves]] * 3
    assert drawn.chance_within(played.makespan_s) == 1.0
    assert drawn.chance_within(played.makespan_s * 0.999) == 0.0


def test_the_result_does_not_depend_on_the_number_of_processes() -> None:
    inventory, moves = estate(3)
    doubt = Calibration(residuals={"total_time_s": (-0.2, 0.0, 0.3), "downtime_ms": (-0.5, 0.1, 0.2)})
    one, two = (replicate(inventory, moves, LIMITS, doubt, replications=60, seed=7, processes=n) for n in (1, 2))
    assert np.array_equal(one.makespan_s, two.makespan_s)
    assert np.array_equal(one.downtime_ms, two.downtime_ms)
    # A child's draws do not depend on how many there are.
    few = replicate(inventory, moves, LIMITS, doubt, replications=10, seed=7)
    assert np.array_equal(few.total_time_s, one.total_time_s[:10])
    other = replicate(inventory, moves, LIMITS, doubt, replications=10, seed=8)
    assert not np.array_equal(few.total_time_s, other.total_time_s)


@settings(max_examples=15, deadline=None)
@given(st.floats(-0.6, 0.6))
def test_a_guest_alone_takes_as_much_longer_as_predictions_were_off(off: float) -> None:
    inventory, moves = estate(1)
    always = Calibration(residuals={"total_time_s": (off, off), "downtime_ms": (off, off)})
    sure = replicate(inventory, moves, LIMITS, CERTAIN, replications=1)
    drawn = replicate(inventory, moves, LIMITS, always, replications=1)
    # Connecting and the passes over what was dirtied meanwhile do not scale.
    assert drawn.makespan_s[0] == pytest.approx(sure.makespan_s[0] * math.exp(off), rel=0.05)


def test_nothing_known_means_a_factor_of_two_at_90_percent() -> None:
    inventory, moves = estate(4)
    drawn = replicate(inventory, moves, LIMITS, Calibration(), replications=400, seed=3)
    middle = drawn.makespan_percentile_s(50)
    low, high = drawn.makespan_percentile_s(5), drawn.makespan_percentile_s(95)
    assert 1.7 < high / middle < 2.3
    assert 1.7 < middle / low < 2.3
    assert 0.4 < drawn.chance_within(middle * 1.0001) < 0.6


def test_tables_tell_each_move_and_each_replication() -> None:
    inventory, moves = estate(2)
    frames = replicate(inventory, moves, LIMITS, Calibration(), replications=20).to_frames()
    assert len(frames["plan"]) == 20
    row = frames["moves"].iloc[0]
    assert row["move"] == "m0"
    assert row["p5_total_time_s"] < row["p50_total_time_s"] < row["p95_total_time_s"]
    assert row["converges"] == 1.0
