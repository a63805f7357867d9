"""Fewer hosts within limits: against brute force, never half of a host for nothing, within what may be moved."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drsim import check
from drsim.inventory import Inventory
from drsim.optimize import optimize
from drsim.placement import Placement
from drsim.planner import make_plan
from drsim.policy import Limits, Objective, Policy
from drsim.synthetic import cluster
from tests.optimize.test_optimize import estate

WISH = Objective(goal="consolidate")
MEMORY_MIB = 8192


def moved(inventory: Inventory, placement: Placement) -> tuple[int, float]:
    """Count the moves, and the GiB that they carry."""
    names = [vm for vm, _, _ in Placement.of(inventory).changes(placement)]
    return len(names), sum(inventory.vm_by_name[name].data_mib for name in names) / 1024.0


def fewest(inventory: Inventory, limits: Limits) -> int:
    """Count the fewest hosts in use, all placements tried that fit and that the limits allow."""
    names = [vm.name for vm in inventory.vms]
    hosts = [host.name for host in inventory.hosts]
    best = len(set(Placement.of(inventory).values()))
    for places in itertools.product(hosts, repeat=len(names)):
        placement = Placement(dict(zip(names, places, strict=True)))
        moves, gib = moved(inventory, placement)
        dear = limits.max_moves is not None and moves > limits.max_moves
        dear = dear or (limits.max_gib is not None and gib > limits.max_gib)
        if not dear and len(set(places)) < best and not check.violations(inventory, Policy(), placement):
            best = len(set(places))
    return best


def spread_out(sizes: list[tuple[int, str]], memory_mib: int) -> Inventory:
    return estate([(1024 * size, 0.1, host) for size, host in sizes], 3, memory_mib=memory_mib, cores=64)


guests = st.lists(st.tuples(st.integers(1, 4), st.sampled_from(["h1", "h2", "h3"])), min_size=1, max_size=5)
limit = st.one_of(
    st.builds(Limits, max_moves=st.integers(0, 4)),
    st.builds(Limits, max_gib=st.integers(0, 8).map(float)),
    st.builds(Limits, max_moves=st.integers(0, 4), max_gib=st.integers(0, 8).map(float)),
)


@given(guests, limit, st.sampled_from([MEMORY_MIB, 1 << 20]))
@settings(max_examples=40, deadline=None)
def test_no_fewer_hosts_can_be_had_for_so_much_moved(
    sizes: list[tuple[int, str]], limits: Limits, memory_mib: int
) -> None:
    inventory = spread_out(sizes, memory_mib)
    lawful = not check.violations(inventory, Policy())
    result = optimize(inventory, Policy(limits=limits), WISH)
    moves, gib = moved(inventory, result.placement)
    assert limits.max_moves is None or moves <= limits.max_moves
    assert limits.max_gib is None or gib <= limits.max_gib * (1 + check.SLACK)
    assert result.lower_bound is not None
    if lawful:
        best = fewest(inventory, limits)
        assert result.lower_bound <= best == result.after.objective
        assert moves == 0 or result.after.objective < result.before.objective


@pytest.mark.parametrize("limits", [Limits(max_moves=10), Limits(max_gib=20.0), Limits(max_moves=20, max_gib=40.0)])
def test_hosts_that_cost_least_are_emptied_and_no_other_is_begun(limits: Limits) -> None:
    made = cluster(8, 60, 3)
    assert not check.violations(made, Policy())
    plan = make_plan(made, Policy(limits=limits), WISH, time_limit_s=3.0)
    now = Counter(vm.host for vm in made.vms if vm.state != "stopped")
    then = Counter(host for vm, host in plan.target.items() if made.vm_by_name[vm].state != "stopped")
    assert plan.after.objective == plan.lower_bound < plan.before.objective
    assert {move.source for move in plan.moves} == set(now) - set(then)
    assert check.plan_violations(plan) == ()


def test_what_is_too_little_for_any_host_moves_nobody() -> None:
    made = cluster(8, 60, 3)
    result = optimize(made, Policy(limits=Limits(max_moves=5)), WISH, time_limit_s=3.0)
    assert (result.status, result.lower_bound) == ("nothing to do", 8)
    assert result.placement == Placement.of(made)
