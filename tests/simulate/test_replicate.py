"""Replications: what is drawn, that it does not depend on who draws it, and what a window is worth."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from joblib import parallel_config, register_parallel_backend
from joblib.parallel import ThreadingBackend

from drsim.disk_lines import DiskLines
from drsim.inventory import Disk, Host, HostNic, Inventory, PageClass, Site, Vm
from drsim.migration import DEFAULT, LAB_TCG, SIMGRID, Calibration, Parameters
from drsim.migration.presets import XEN
from drsim.plan import Move
from drsim.policy import Limits
from drsim.simulate import replicate, simulate
from drsim.simulate.replicate import _play
from drsim.transfer import Transfer
from tests.simulate.estate import estate as two_sites
from tests.simulate.estate import move

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
    assert drawn.makespan_s == pytest.approx([played.makespan_s] * 3, rel=1e-12)
    downtime_ms = [played.predictions[move.id].downtime_ms for move in moves]
    assert drawn.downtime_ms == pytest.approx(np.array([downtime_ms] * 3), rel=1e-9)
    assert drawn.chance_within(played.makespan_s * 1.000001) == 1.0
    assert drawn.chance_within(played.makespan_s * 0.999) == 0.0


MODELS = (DEFAULT, replace(DEFAULT, return_share=0.9, multifd_queue_mib=8.0, multifd_rtts=2.0), LAB_TCG, SIMGRID, XEN)

transfers = st.sampled_from(
    [
        Transfer(),
        Transfer(parallel_connections=4, compression="zstd"),
        Transfer(tls=True),
        Transfer(mode="postcopy"),
        Transfer(mode="hybrid"),
        Transfer(auto_converge=True),
    ]
)
parts = st.builds(
    PageClass, size_mib=st.floats(1.0, 500.0), dirty_rate_mib_s=st.floats(0.0, 120.0), in_order=st.booleans()
)
legs = st.tuples(
    st.sampled_from(["h2", "h3", "h4"]),
    st.integers(1, 3),
    st.none() | st.floats(50.0, 900.0),
    st.lists(parts, max_size=2),
)


def choices(transfer: Transfer) -> bool:
    """Whether something is decided under way: what is played by numbers alone has no such choices."""
    return transfer.may_postcopy or transfer.auto_converge


@pytest.mark.parametrize("compiled", [False, True])
@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(legs, transfers), min_size=1, max_size=8), st.booleans(), st.sampled_from(MODELS))
def test_any_plan_driven_straight_through_is_the_plan_played_in_simpy(
    compiled: bool, chosen: list[tuple[Any, Transfer]], plain: bool, model: Parameters
) -> None:
    inventory = two_sites(guests=len(chosen))
    vms = [
        replace(vm, dirty=tuple(leg[3]), memory_used_mib=0.7 * vm.memory_mib)
        for vm, (leg, _) in zip(inventory.vms, chosen, strict=True)
    ]
    inventory = replace(inventory, vms=tuple(vms))
    moves = [
        move(
            number, target, wave, bandwidth_mbit_s=cap, transfer=Transfer() if plain and choices(transfer) else transfer
        )
        for number, ((target, wave, cap, _), transfer) in enumerate(chosen, 1)
    ]
    calibration = replace(CERTAIN, parameters=model)
    played = simulate(inventory, moves, LIMITS, calibration.parameters)
    ((makespan_s, total_s, downtime_ms, converges),) = _play(
        *(inventory, DiskLines(inventory, moves, model.copy_mib_s), moves, LIMITS, calibration),
        *(np.random.SeedSequence(0).spawn(1), compiled),
    )
    found = [played.predictions[one.id] for one in moves]
    assert makespan_s == pytest.approx(played.makespan_s, rel=1e-9)
    assert total_s == pytest.approx([one.total_time_s for one in found], rel=1e-9)
    assert downtime_ms == pytest.approx([one.downtime_ms for one in found], rel=1e-6)
    assert converges.tolist() == [one.converges for one in found]


def test_a_dask_cluster_plays_the_same_without_a_change_of_code() -> None:
    distributed = pytest.importorskip("distributed", reason="pip install '.[sweep]'")
    inventory, moves = estate(3)
    here = replicate(inventory, moves, LIMITS, Calibration(), replications=60, seed=7)
    cluster = distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None)
    with cluster, distributed.Client(cluster), parallel_config(backend="dask"):
        there = replicate(inventory, moves, LIMITS, Calibration(), replications=60, seed=7, processes=-1)
    assert np.array_equal(here.makespan_s, there.makespan_s)
    assert np.array_equal(here.downtime_ms, there.downtime_ms)


class AllAtOnce(ThreadingBackend):  # type: ignore[misc]
    """A backend like Ray's, that hands over nothing before all is done."""

    supports_return_generator = False


def test_a_cluster_that_hands_over_all_at_once_plays_the_same() -> None:
    inventory, moves = estate(3)
    here = replicate(inventory, moves, LIMITS, Calibration(), replications=60, seed=7)
    register_parallel_backend("all at once", AllAtOnce)
    told: list[float] = []
    with parallel_config(backend="all at once"):
        there = replicate(
            inventory, moves, LIMITS, Calibration(), replications=60, seed=7, processes=2, on_progress=told.append
        )
    assert np.array_equal(here.makespan_s, there.makespan_s)
    assert told[-1] == 1.0


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
