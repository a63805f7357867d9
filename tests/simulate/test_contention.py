"""Who waits for CPU and memory, and how long: guests, and migrations on hosts that are full."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from drsim.inventory import PageClass
from drsim.migration import DEFAULT, predict, sender_mib_s
from drsim.policy import Shares
from drsim.simulate.operate import Recorded, operate
from drsim.simulate.operate.estate import SWAP_IN_S
from drsim.topology import Topology
from drsim.workload import Demand
from tests.simulate.days import STEP_S, at, moving, steady, two_sites


def test_guests_wait_for_what_their_host_lacks() -> None:
    estate = two_sites(guests=4)
    lived = operate(estate, steady(estate, cores=3.0))
    # 12 cores are wanted of 8: a third of what each wants is waited for.
    assert lived.used_cores[:, 0] == pytest.approx(8.0)
    assert lived.ready_cores[:, 0] == pytest.approx(4.0)
    assert lived.ready_s == pytest.approx(1.0 * 20 * STEP_S)
    assert lived.summary()["contended_host_hours"] == pytest.approx(20 * STEP_S / 3600.0)
    assert lived.summary()["worst_ready_share"] == pytest.approx(1.0 / 3.0)
    # One core of four vCPUs.
    assert lived.to_frames()["vms"].cpu_ready_percent.tolist() == pytest.approx([25.0] * 4)


def test_shares_say_who_waits_and_leave_the_host_as_busy() -> None:
    estate = two_sites(guests=4)
    rules = (
        Shares(name="gold", vms=("v1",), shares=8000.0, most_cores=2.5),
        Shares(name="rest", vms=("v2", "v3", "v4"), shares=1000.0),
        Shares(name="v4", vms=("v4",), per="guest", kept_cores=2.0),
    )
    alike, shared = operate(estate, steady(estate, cores=3.0)), operate(estate, steady(estate, cores=3.0), rules=rules)
    assert (shared.used_cores == alike.used_cores).all()
    assert (shared.ready_cores == alike.ready_cores).all()
    # 8 cores: v1 has its 3, for limits are not played; of 5 v4 has 2 by what is kept for it, or 5 / 3 by its shares.
    assert shared.ready_s == pytest.approx(np.array([0.0, 1.5, 1.5, 1.0]) * 20 * STEP_S)
    weighed = replace(estate, vms=(replace(estate.vms[0], cpu_shares=3000.0), *estate.vms[1:]))
    assert operate(weighed, steady(estate, cores=3.0)).ready_s == pytest.approx(
        np.array([0.0, 4, 4, 4]) / 3 * 20 * STEP_S
    )


def test_a_move_alone_takes_what_was_predicted_and_ends_the_waiting() -> None:
    estate = two_sites(guests=4)
    plan = moving(estate, ("v1", "h1", "h3"), ("v2", "h1", "h3"))
    alone = operate(estate, steady(estate), happenings=(at(60.0, moving(estate, ("v1", "h1", "h3"))),))
    path = Topology(estate).path("h1", "h3")
    assert path is not None
    limit_ms = plan.moves[0].max_downtime_ms
    said = predict(estate.vms[0], path, max_downtime_ms=limit_ms, bandwidth_mbit_s=None)
    (done,) = alone.migrations
    assert done.end_s - done.start_s == pytest.approx(said.total_time_s, rel=1e-9)
    assert (done.sent_mib, done.downtime_ms) == pytest.approx((said.sent_mib, said.downtime_ms))
    lived = operate(estate, steady(estate, cores=3.0), happenings=(at(60.0, plan),))
    assert lived.ready_cores[0, 0] == pytest.approx(4.0)
    assert lived.ready_cores[10:].sum() == 0.0
    assert lived.guests[-1].tolist() == [2.0, 0.0, 2.0, 0.0]


def test_a_migration_takes_the_cpu_that_its_traffic_costs_however_many_share_a_line() -> None:
    """A thread at either end manages 18 Gbit/s with a core; one at a time or eight at once, that is the sum."""
    estate = two_sites(guests=8)
    for count in (1, 8):
        plan = moving(estate, *((f"v{number}", "h1", "h3") for number in range(1, count + 1)))
        lived = operate(estate, steady(estate, cores=0.0, minutes=60), happenings=(at(60.0, plan),))
        sent_mib = sum(one.sent_mib for one in lived.migrations)
        full_core_s = sent_mib / sender_mib_s(DEFAULT)
        for host in (0, 2):
            assert lived.used_cores[:, host].sum() * STEP_S == pytest.approx(full_core_s, rel=0.02)


@pytest.mark.parametrize("full", ["h1", "h3"])
def test_a_host_without_cores_to_spare_slows_its_migrations(full: str) -> None:
    """On eight cores from which 24 are wanted a thread gets a third: as if it managed a third."""
    estate = two_sites(guests=9)
    estate = replace(estate, vms=(estate.vms[0], *(replace(vm, host=full) for vm in estate.vms[1:])))
    demand = steady(estate, cores=0.0)
    demand.cpu_cores[:, 1:] = 23.0 / 8.0
    slow = replace(DEFAULT, stream_limit_mbit_s=600.0)
    plan = moving(estate, ("v1", "h1", "h3"))
    lived = operate(estate, demand, happenings=(at(60.0, plan),), parameters=slow)
    path = Topology(estate).path("h1", "h3")
    assert path is not None
    third = replace(slow, stream_limit_mbit_s=200.0)
    limit_ms = plan.moves[0].max_downtime_ms
    said = predict(estate.vms[0], path, max_downtime_ms=limit_ms, bandwidth_mbit_s=None, parameters=third)
    (done,) = lived.migrations
    assert done.end_s - done.start_s == pytest.approx(said.total_time_s, rel=0.01)
    alone = operate(estate, steady(estate, cores=0.0), happenings=(at(60.0, plan),), parameters=slow)
    assert done.end_s - done.start_s > 2.5 * (alone.migrations[0].end_s - alone.migrations[0].start_s)


def test_a_migration_follows_the_cpu_that_there_is() -> None:
    """Demand falls while it is under way, and it is done sooner than on a host that stays full, later than on none."""
    estate = two_sites(guests=9, memory_mib=8192)
    slow = replace(DEFAULT, stream_limit_mbit_s=600.0)
    times = []
    for busy_steps in (0, 2, 20):
        demand = steady(estate, cores=0.0)
        demand.cpu_cores[:busy_steps, 1:] = 23.0 / 8.0
        plan = moving(estate, ("v1", "h1", "h3"))
        (done,) = operate(estate, demand, happenings=(at(60.0, plan),), parameters=slow).migrations
        times.append(done.end_s - done.start_s)
    free, between, full = times
    # One minute at a third of the speed loses two thirds of a minute.
    assert between == pytest.approx(free + 40.0, rel=0.02)
    assert full > between


def test_memory_beyond_what_a_host_has_is_short() -> None:
    """Two guests of 40 GiB, allowed by overcommit on 64 GiB: 16 GiB are short once both have filled theirs."""
    estate = two_sites(guests=2, memory_mib=40960)
    estate = replace(estate, hosts=tuple(replace(host, memory_overcommit=1.5) for host in estate.hosts))
    frame = pd.DataFrame(
        [(t * STEP_S, vm.name, 0.1, 20480.0 if t < 2 else 40960.0) for t in range(4) for vm in estate.vms],
        columns=["time_s", "vm", "cpu_cores", "memory_used_mib"],
    )
    lived = operate(estate, Demand.of_frame(frame), happenings=(Recorded(at_s=3.5 * STEP_S, vm="v2", host="h2"),))
    assert lived.memory_held_mib[:, 0].tolist() == [40960.0, 40960.0, 81920.0, 40960.0]
    assert lived.memory_short_mib[:, 0].tolist() == [0.0, 0.0, 16384.0, 8192.0]
    assert lived.summary()["memory_short_gib_hours"] == pytest.approx(24.0 * STEP_S / 3600.0)


def test_guests_wait_for_memory_once_what_they_use_does_not_fit() -> None:
    """Two guests that use 48 GiB each on 64 GiB: a third of it is out; what they only hold costs nothing."""
    estate = two_sites(guests=2, memory_mib=49152)
    host = replace(estate.hosts[0], memory_overcommit=1.5)
    hot = PageClass(size_mib=49152.0, dirty_rate_mib_s=100.0)
    for dirty, waits in ((hot, True), (PageClass(size_mib=1024.0, dirty_rate_mib_s=100.0), False)):
        vms = tuple(replace(vm, dirty=(dirty,)) for vm in estate.vms)
        lived = operate(replace(estate, hosts=(host, *estate.hosts[1:]), vms=vms), steady(estate))
        assert lived.memory_short_mib[:, 0] == pytest.approx(2 * 49152.0 - host.memory_mib)
        # 100 MiB/s are 25,600 pages a second; a third of them costs 100 us each.
        waiting = 25_600.0 * SWAP_IN_S / 3.0
        share = waiting / (1.0 + waiting) if waits else 0.0
        assert lived.swap_s == pytest.approx(share * 20 * STEP_S)
        assert lived.to_frames()["vms"].swap_wait_s.tolist() == pytest.approx(lived.swap_s.tolist())
        assert lived.summary()["vm_hours_swapping"] == pytest.approx(lived.swap_s.sum() / 3600.0)
