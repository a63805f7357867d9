"""Pools: what a group of guests may have of a host, and what is kept for it, at every instant."""

from __future__ import annotations

import itertools
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from drsim import check
from drsim.optimize import optimize
from drsim.optimize.relax import judge
from drsim.placement import Placement
from drsim.planner import make_plan
from drsim.policy import Objective, Policy, Pool
from tests.rules.estates import estate


def test_guests_beyond_their_share_and_others_in_what_is_kept() -> None:
    inventory = estate("1112", memory_mib=2000)
    gold = Pool(name="gold", vms=("v1", "v2"), most_memory_mib=3000.0)
    assert [vm.name for vm in gold.breakers(inventory, Placement.of(inventory))] == ["v2"]
    kept = Pool(name="gold", vms=("v1",), hosts=("h1",), kept_memory_mib=5000.0)
    assert [vm.name for vm in kept.breakers(inventory, Placement.of(inventory))] == ["v3"]
    assert replace(kept, kept_memory_mib=4192.0).breakers(inventory, Placement.of(inventory)) == []
    cores = Pool(name="gold", vms=("v1", "v2"), most_cores=0.1, kept_cores=7.95)
    assert [vm.name for vm in cores.breakers(inventory, Placement.of(inventory))] == ["v2", "v3", "v4"]


def test_a_balanced_cluster_keeps_its_pools_on_the_way_and_in_the_end() -> None:
    inventory = estate("1" * 6 + "2" * 6, hosts=4, memory_mib=1000)
    policy = Policy(
        rules=(
            Pool(name="gold", vms=("tag:odd",), most_memory_mib=3000.0),
            Pool(name="kept", vms=("v1",), hosts=("h3",), kept_memory_mib=6500.0),
        )
    )
    plan = make_plan(inventory, policy, Objective(goal="balance"))
    assert plan.after.violations == 0
    assert check.plan_violations(plan) == ()
    others = [vm for vm, host in plan.target.items() if host == "h3" and vm != "v1"]
    assert len(others) <= 1
    one = replace(plan.moves[0], source="h1", target="h3", wave=1)
    crowd = tuple(replace(one, id=vm, vm=vm) for vm in ("v2", "v4"))
    found = [violation.text for violation in check.plan_violations(replace(plan, moves=crowd))]
    assert any("MiB of memory beside pool 'kept'; its limit is 1692" in text for text in found)


@settings(max_examples=120, deadline=None)
@given(
    places=st.text("123", min_size=4, max_size=4),
    sizes=st.lists(st.integers(1, 4), min_size=4, max_size=4),
    most=st.one_of(st.none(), st.integers(3, 5)),
    kept=st.integers(0, 4),
)
def test_what_can_be_kept_is_kept_and_what_cannot_is_proven(
    places: str, sizes: list[int], most: float | None, kept: int
) -> None:
    inventory = estate(places, memory_mib=sizes, host_mib=6)
    rule = Pool(name="p", vms=("v1", "v2"), most_memory_mib=most, kept_memory_mib=kept)
    policy = Policy(rules=(rule,))
    names = [vm.name for vm in inventory.vms]
    possible = any(
        not check.violations(inventory, policy, Placement(dict(zip(names, hosts, strict=True))))
        for hosts in itertools.product(("h1", "h2", "h3"), repeat=4)
    )
    result = optimize(inventory, policy, Objective(goal="repair"), time_limit_s=5.0)
    assert (result.after.violations == 0) == possible
    verdict = judge(inventory, policy, Objective(goal="repair"), Placement.of(inventory))
    assert (verdict.placement is not None) == possible
    if not possible:
        assert verdict.proven


def test_a_pool_that_says_nothing_or_too_much_is_refused() -> None:
    inventory = estate("1")
    (nothing,) = check.policy_problems(Policy(rules=(Pool(name="p", vms=("v1",)),)), inventory)
    assert "neither limits nor keeps" in nothing.expected
    much = Pool(name="p", vms=("v1",), hosts=("h2",), kept_memory_mib=9000.0)
    (problem,) = check.policy_problems(Policy(rules=(much,)), inventory)
    assert "'h2' has 8192 MiB" in problem.expected
