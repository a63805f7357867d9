"""A cluster over time: closed forms, conservation under failures, and the failures one by one."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drsim.check import inventory_problems, plan_violations
from drsim.errors import DataError, DrsimError
from drsim.inventory import Inventory, Link, PageClass, Switch
from drsim.plan import Landing, Plan
from drsim.planner import make_plan
from drsim.policy import Objective, Policy
from drsim.simulate.operate import Abort, Call, HostFailure, LinkFailure, Maintenance, Recorded, Watch, operate
from drsim.simulate.operate.operate import BOOT_S, BOOTS_AT_ONCE, NOTICE_S
from drsim.synthetic import cluster
from drsim.transfer import Transfer
from drsim.whatif import balancer, drain, parse_happening, restarter
from drsim.workload import Demand
from tests.simulate.days import at, kinds, moving, steady, two_sites, where


def test_guests_of_a_dead_host_start_elsewhere_a_few_at_a_time() -> None:
    estate = two_sites(guests=BOOTS_AT_ONCE + 1)

    def to_h3(_: Inventory, after: Inventory) -> dict[str, str]:
        return {vm.name: "h3" for vm in after.vms if vm.state == "stopped"}

    lived = operate(estate, steady(estate), happenings=(HostFailure(at_s=100.0, host="h1"),), restart=to_h3)
    assert lived.down_s[:BOOTS_AT_ONCE] == pytest.approx(NOTICE_S + BOOT_S)
    assert lived.down_s[BOOTS_AT_ONCE] == pytest.approx(NOTICE_S + 2 * BOOT_S)
    assert {where(lived, vm) for vm in lived.vms} == {"h3"}
    # Booting guests want all their vCPUs: the new host is over its cores.
    assert lived.used_cores[:, 2].max() == pytest.approx(8.0)


def test_without_a_restart_guests_wait_for_their_host() -> None:
    estate = two_sites(guests=1)
    lived = operate(estate, steady(estate), happenings=(HostFailure(at_s=100.0, host="h1", back_after_s=300.0),))
    assert lived.down_s == pytest.approx(300.0 + BOOT_S)
    assert where(lived, "v1") == "h1"
    assert kinds(lived) == {"host_down": 1, "host_up": 1, "started": 1}


def test_the_own_restart_finds_places() -> None:
    estate = two_sites(guests=3)
    failure = HostFailure(at_s=100.0, host="h1")
    lived = operate(estate, steady(estate), happenings=(failure,), restart=restarter(Policy()))
    assert lived.down_s == pytest.approx(NOTICE_S + BOOT_S)
    assert all(where(lived, vm) not in (None, "h1") for vm in lived.vms)


def test_precopy_whose_target_dies_leaves_the_guest_where_it_is() -> None:
    estate = two_sites(guests=1, memory_mib=16384)
    calls = (at(60.0, moving(estate, ("v1", "h1", "h3"))), HostFailure(at_s=70.0, host="h3"))
    lived = operate(estate, steady(estate), happenings=calls)
    assert where(lived, "v1") == "h1"
    assert lived.down_s.tolist() == [0.0]
    assert [one.outcome for one in lived.migrations] == ["aborted"]
    assert lived.memory_mib[-1].tolist() == [16384.0, 0.0, 0.0, 0.0]


@pytest.mark.parametrize("dies", ["h1", "h3"])
def test_postcopy_needs_both_ends(dies: str) -> None:
    estate = two_sites(guests=1, memory_mib=16384)
    calls = (at(60.0, moving(estate, ("v1", "h1", "h3"), mode="postcopy")), HostFailure(at_s=80.0, host=dies))
    lived = operate(estate, steady(estate), happenings=calls)
    assert where(lived, "v1") is None
    assert [one.outcome for one in lived.migrations] == ["lost"]
    assert lived.memory_mib[-1].sum() == 0.0


def test_a_cut_line_aborts_precopy_and_halts_postcopy_until_it_is_back() -> None:
    estate = two_sites(guests=1, memory_mib=16384)
    cut = LinkFailure(at_s=100.0, link="a--b", back_after_s=200.0)
    pre = operate(estate, steady(estate), happenings=(at(60.0, moving(estate, ("v1", "h1", "h2"))), cut))
    assert (where(pre, "v1"), pre.migrations[0].outcome) == ("h1", "aborted")
    assert pre.down_s.tolist() == [0.0]
    post = operate(
        estate, steady(estate), happenings=(at(60.0, moving(estate, ("v1", "h1", "h2"), mode="postcopy")), cut)
    )
    assert (where(post, "v1"), post.migrations[0].outcome) == ("h2", "done")
    assert post.down_s == pytest.approx(200.0)
    assert {"paused", "recovered"} <= set(kinds(post))


def detours(estate: Inventory) -> Inventory:
    """A second way between the two sites, over a switch and longer."""
    longer = (
        Link(a="a", b="c", bandwidth_mbit_s=400.0, rtt_ms=5.0),
        Link(a="c", b="b", bandwidth_mbit_s=400.0, rtt_ms=5.0),
    )
    return replace(estate, switches=(Switch(name="c"),), links=(*estate.links, *longer))


@pytest.mark.parametrize("mode", ["precopy", "postcopy"])
def test_where_there_is_another_way_a_cut_line_only_slows_migrations_down(mode: str) -> None:
    estate = detours(two_sites(guests=1, memory_mib=16384))
    plan = at(60.0, moving(estate, ("v1", "h1", "h2"), mode=mode))
    cut = LinkFailure(at_s=100.0, link="a--b", back_after_s=30.0)
    whole, broken = (operate(estate, steady(estate), happenings=(plan, *cuts)) for cuts in ((), (cut,)))
    assert [one.outcome for one in broken.migrations] == ["done"]
    assert broken.down_s.tolist() == [0.0]
    assert broken.migrations[0].end_s > whole.migrations[0].end_s + 30.0
    assert broken.migrations[0].sent_mib == pytest.approx(whole.migrations[0].sent_mib, rel=0.05)
    carried = {use.edge for use in broken.link_use if use.used_mbit_s > 0.0}
    assert {"a->b", "a->c", "c->b"} <= carried
    assert "a->c" not in {use.edge for use in whole.link_use if use.used_mbit_s > 0.0}


def test_a_planner_is_called_when_something_happens() -> None:
    estate = two_sites(guests=2)
    called: list[str] = []

    def look(now: Inventory) -> Plan:
        called.append(now.host_by_name["h1"].state)
        return moving(now, ("v1", "h1", "h3")) if len(called) == 2 else moving(now)

    lived = operate(
        estate,
        steady(estate),
        look,
        every_s=math.inf,
        on=("maintenance", "open", "link_down"),
        happenings=(
            Maintenance(at_s=100.0, host="h1", for_s=200.0),
            LinkFailure(at_s=330.0, link="a--b"),
            HostFailure(at_s=500.0, host="h4"),
        ),
    )
    assert called == ["maintenance", "up", "up"]
    (planned,) = [one for one in lived.incidents if one.kind == "planned"]
    assert planned.time_s == 300.0
    assert "h1 takes guests again" in planned.text
    with pytest.raises(DataError, match="'failed' is the planner's own doing"):
        operate(estate, steady(estate), look, on=("host_up", "failed"))


def test_a_migration_is_broken_off_on_request_unless_it_is_too_late() -> None:
    estate = two_sites(guests=1, memory_mib=16384)
    for mode, outcome, host in (("precopy", "aborted", "h1"), ("postcopy", "done", "h3")):
        calls = (at(60.0, moving(estate, ("v1", "h1", "h3"), mode=mode)), Abort(at_s=100.0, vm="v1"))
        lived = operate(estate, steady(estate), happenings=calls)
        assert ([one.outcome for one in lived.migrations], where(lived, "v1")) == ([outcome], host)
        assert lived.memory_mib[-1].sum() == 16384.0
    assert "refused" in kinds(lived)


def test_a_move_is_given_up_after_its_time() -> None:
    estate = two_sites(guests=1, memory_mib=16384)
    plan = moving(estate, ("v1", "h1", "h3"))
    slow = replace(plan, moves=(replace(plan.moves[0], transfer=Transfer(timeout_s=30.0)),))
    lived = operate(estate, steady(estate), happenings=(at(60.0, slow),))
    assert [(one.outcome, one.end_s) for one in lived.migrations] == [("aborted", 90.0)]


@pytest.mark.parametrize(("hot_mib", "outcome"), [(180.0, "done"), (1000.0, "aborted")])
def test_the_ladder_is_climbed_to_the_limit_of_the_guest_and_never_past_it(hot_mib: float, outcome: str) -> None:
    """All hot memory is dirty again after each pass, at 112 MiB/s; that takes 1.6 s, or 9."""
    estate = two_sites(guests=1)
    busy = replace(estate.vms[0], dirty=(PageClass(size_mib=hot_mib, dirty_rate_mib_s=800.0),))
    estate = replace(estate, vms=(busy,))
    plan = moving(estate, ("v1", "h1", "h3"))
    move = replace(plan.moves[0], first_downtime_ms=300.0, max_downtime_ms=2000.0)
    lived = operate(estate, steady(estate), happenings=(at(60.0, replace(plan, moves=(move,))),))
    (moved,) = lived.migrations
    assert moved.outcome == outcome
    assert (300.0 < moved.downtime_ms <= 2000.0) if outcome == "done" else moved.downtime_ms == 0.0
    assert where(lived, "v1") == ("h3" if outcome == "done" else "h1")
    assert lived.guests[-1].sum() == 1.0


def test_a_move_that_is_not_possible_any_more_is_left_out() -> None:
    estate = two_sites(guests=1)
    away = Maintenance(at_s=50.0, host="h3", for_s=600.0)
    lived = operate(estate, steady(estate), happenings=(away, at(60.0, moving(estate, ("v1", "h1", "h3")))))
    assert [one.outcome for one in lived.migrations] == ["refused"]
    assert "takes no guests" in next(one.text for one in lived.incidents if one.kind == "refused")
    assert where(lived, "v1") == "h1"


def test_moves_of_disks_on_one_host_are_left_out() -> None:
    estate = two_sites(guests=1)
    plan = moving(estate, ("v1", "h1", "h1"))
    at_home = replace(plan.moves[0], landings=(Landing(disk="vda", datastore="nfs", path="/d"),))
    lived = operate(estate, steady(estate), happenings=(at(60.0, replace(plan, moves=(at_home,))),))
    assert [one.outcome for one in lived.migrations] == ["refused"]
    assert lived.memory_mib[-1].tolist() == [4096.0, 0.0, 0.0, 0.0]


def test_a_host_is_empty_for_its_maintenance() -> None:
    estate = two_sites(guests=5)
    lived = operate(estate, steady(estate), happenings=parse_happening("maintain:h1@0:02+10m", Policy()))
    assert lived.guests[0, 0] == 5.0
    assert lived.guests[-1, 0] == 0.0
    assert lived.summary()["vm_hours_down"] == 0.0


def test_recorded_moves_are_replayed_at_no_cost() -> None:
    estate = two_sites(guests=1)
    lived = operate(estate, steady(estate), happenings=(Recorded(at_s=90.0, vm="v1", host="h2"),))
    assert lived.used_cores[:3, 0].tolist() == pytest.approx([1.0, 0.5, 0.0])
    assert lived.used_cores[:3, 1].tolist() == pytest.approx([0.0, 0.5, 1.0])
    assert lived.migrations == ()


def test_the_balancer_is_the_planner_of_real_plans_and_ends_contention() -> None:
    estate = cluster(20, 300, 1)
    demand = Demand.daily(estate, days=1.0, seed=2)
    plans: list[Plan] = []

    def watched(part: Inventory) -> Plan:
        plans.append(balancer(Policy())(part))
        return plans[-1]

    alone = operate(estate, demand).summary()
    led = operate(estate, demand, watched, watch=Watch(cpu_share=0.9))
    assert all(plan_violations(plan) == () for plan in plans)
    assert alone["ready_core_hours"] > 10.0
    assert led.summary()["ready_core_hours"] < 0.2 * alone["ready_core_hours"]
    assert led.summary()["migrations"] == sum(one.outcome == "done" for one in led.migrations) > 0


def test_the_same_days_are_the_same_to_the_last_bit() -> None:
    estate = cluster(8, 100, 1, sites=2)
    happenings = [
        one
        for text in ("fail:host0001@03:00+2h", "cut:site-1--site-2@05:00+1h")
        for one in parse_happening(text, Policy())
    ]
    lives = [
        operate(
            estate,
            Demand.daily(estate, days=0.5, seed=5),
            balancer(Policy()),
            watch=Watch(cpu_share=0.8),
            happenings=happenings,
            restart=restarter(Policy()),
        )
        for _ in range(2)
    ]
    for name, frame in lives[0].to_frames().items():
        pd.testing.assert_frame_equal(frame, lives[1].to_frames()[name], check_exact=True)
    assert lives[0].incidents == lives[1].incidents


failures = st.one_of(
    st.builds(
        HostFailure,
        at_s=st.floats(30.0, 500.0),
        host=st.sampled_from(["h1", "h2", "h3", "h4"]),
        back_after_s=st.sampled_from([30.0, 200.0, float("inf")]),
    ),
    st.builds(
        LinkFailure,
        at_s=st.floats(30.0, 500.0),
        link=st.just("a--b"),
        back_after_s=st.sampled_from([30.0, 200.0, float("inf")]),
    ),
    st.builds(Abort, at_s=st.floats(30.0, 500.0), vm=st.sampled_from(["v1", "v2"])),
)


@settings(max_examples=150, deadline=None)
@given(
    mishaps=st.lists(failures, min_size=1, max_size=4),
    mode=st.sampled_from(["precopy", "postcopy", "hybrid"]),
    targets=st.lists(st.sampled_from(["h2", "h3", "h4"]), min_size=4, max_size=4),
    starts=st.lists(st.floats(0.0, 300.0), min_size=2, max_size=2),
)
def test_whatever_fails_and_when_a_guest_is_in_one_place_or_none(
    mishaps: list[HostFailure | LinkFailure], mode: str, targets: list[str], starts: list[float]
) -> None:
    estate = two_sites(guests=4, memory_mib=8192)
    pairs = [(f"v{number}", "h1", target) for number, target in enumerate(targets, 1)]
    plans = [at(starts[0], moving(estate, *pairs[:2], mode=mode)), at(starts[1], moving(estate, *pairs[2:], mode=mode))]
    lived = operate(estate, steady(estate), happenings=[*plans, *mishaps], restart=restarter(Policy()))
    # In each step a guest counts on one host at most, and the memory taken at the end is that of the guests there.
    assert (lived.guests.sum(axis=1) <= 4.0).all()
    under_way = len(lived.migrations) < 4
    there = np.bincount(lived.place[lived.place >= 0], minlength=4)
    assert lived.guests[-1].tolist() == there.tolist()
    booting = kinds(lived)["host_down"] > 0
    if not under_way and not booting:
        assert lived.memory_mib[-1].tolist() == (there * 8192.0).tolist()
    assert (lived.memory_mib >= 0.0).all()
    assert (lived.ready_s >= 0.0).all()
    for one in lived.migrations:
        assert one.end_s >= one.start_s
    down = set(kinds(lived)) & {"host_down", "link_down"} or any(isinstance(one, Abort) for one in mishaps)
    assert down or all(one.outcome in ("done", "refused") for one in lived.migrations)


@pytest.mark.parametrize(
    ("text", "said"),
    [("fail:h1", "expected fail:HOST@HH:MM"), ("maintain:h1@10:00", "expected"), ("explode:h1@10:00", "expected")],
)
def test_what_happens_is_spelt_in_one_way(text: str, said: str) -> None:
    with pytest.raises(DrsimError, match=said):
        parse_happening(text, Policy())


def test_times_are_read_as_days_hours_and_durations() -> None:
    (failure,) = parse_happening("fail:h1@2d14:30+90m", Policy())
    assert failure == HostFailure(at_s=2 * 86400.0 + 14.5 * 3600.0, host="h1", back_after_s=5400.0)


def test_what_there_is_not_is_refused() -> None:
    estate = two_sites()
    with pytest.raises(DataError, match="there is no 'h9'"):
        operate(estate, steady(estate), happenings=(HostFailure(at_s=0.0, host="h9"),))
    few = Demand(vms=("v1",), step_s=60.0, cpu_cores=np.zeros((2, 1), dtype=np.float32))
    with pytest.raises(DataError, match="nothing of guest 'v2'"):
        operate(estate, few)


def test_a_planner_that_fails_changes_nothing() -> None:
    estate = two_sites()

    def broken(_: Inventory) -> Plan:
        raise DrsimError("no idea")

    lived = operate(estate, steady(estate), broken, every_s=300.0)
    assert kinds(lived) == {"failed": 3}
    assert lived.migrations == ()


def test_disks_that_travel_are_where_the_next_plan_needs_them() -> None:
    estate = cluster(6, 60, 3, sites=2, local_share=0.5)
    lived: list[Inventory] = []

    def seen(inventory: Inventory) -> Plan:
        lived.append(inventory)
        return make_plan(inventory, Policy(), Objective(goal="repair"))

    calls = (
        Call(at_s=0.0, planner=drain(Policy(), estate.hosts[0].name), why="test"),
        Call(at_s=6 * 3600.0, planner=seen, why="look"),
    )
    after = operate(estate, Demand.daily(estate, days=0.3, seed=1), happenings=calls)
    assert kinds(after)["failed"] == 0
    assert inventory_problems(lived[0]) == ()
    stores = [(vm.disks[0].datastore, estate.vm_by_name[vm.name].disks[0].datastore) for vm in lived[0].vms]
    assert sum(now != before for now, before in stores) >= 3
