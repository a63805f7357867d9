"""NUMA nodes: packed by the checker, kept by the optimiser, and never broken on the way."""

from __future__ import annotations

import itertools
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from drsim import check
from drsim.inventory import Inventory
from drsim.optimize import optimize
from drsim.placement import Placement
from drsim.planner import make_plan
from drsim.policy import Objective, Policy
from tests.rules.estates import estate


def bound(places: str, sizes: list[int], nodes: int = 2, host_mib: int = 8000, hosts: int = 2) -> Inventory:
    made = estate(places, hosts=hosts, memory_mib=sizes, host_mib=host_mib)
    return replace(
        made,
        hosts=tuple(replace(host, numa_nodes=nodes) for host in made.hosts),
        vms=tuple(replace(vm, numa_nodes=1) for vm in made.vms),
    )


def test_what_fits_by_the_sum_may_not_fit_the_nodes() -> None:
    assert check.violations(bound("111", [3000, 3000, 1000]), Policy()) == ()
    (found,) = check.violations(bound("111", [2500, 2500, 2500]), Policy())
    assert "3 guests of 'h1' do not fit into its 2 NUMA nodes" in found.text
    free = bound("111", [2500, 2500, 2500])
    spread = replace(free, vms=(replace(free.vms[0], numa_nodes=2), *free.vms[1:]))
    assert check.violations(spread, Policy()) == ()
    anywhere = replace(free, vms=(replace(free.vms[0], numa_nodes=None), *free.vms[1:]))
    assert check.violations(anywhere, Policy()) == ()


def test_a_guest_larger_than_a_node_goes_where_nodes_are_larger() -> None:
    inventory = bound("1", [5000], hosts=3)
    inventory = replace(inventory, hosts=(*inventory.hosts[:2], replace(inventory.hosts[2], numa_nodes=1)))
    plan = make_plan(inventory, Policy(), Objective(goal="repair"))
    assert [(move.target, plan.after.violations) for move in plan.moves] == [("h3", 0)]
    assert "cannot" not in "".join(plan.notes)


@settings(max_examples=150, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 6), min_size=1, max_size=5),
    asked=st.lists(st.sampled_from([1, 1, 2]), min_size=5, max_size=5),
    nodes=st.integers(1, 3),
)
def test_packing_is_what_trying_every_way_says(sizes: list[int], asked: list[int], nodes: int) -> None:
    inventory = bound("1" * len(sizes), sizes, nodes=nodes, host_mib=nodes * 7)
    vms = [replace(vm, numa_nodes=count) for vm, count in zip(inventory.vms, asked, strict=False)]
    choices = [list(itertools.combinations(range(nodes), count)) for count in asked[: len(sizes)]]
    possible = False
    for way in itertools.product(*choices):
        load = [0.0] * nodes
        for vm, on in zip(vms, way, strict=True):
            for node in on:
                load[node] += vm.memory_mib / len(on)
        possible = possible or max(load) <= 7
    said = check.fits_nodes(inventory.hosts[0], vms)
    assert said <= possible
    if set(asked[: len(sizes)]) == {1}:
        assert said == possible


@settings(max_examples=80, deadline=None)
@given(places=st.text("12", min_size=3, max_size=5), sizes=st.lists(st.sampled_from([1, 2, 3, 4]), min_size=5))
def test_plans_keep_nodes_at_every_instant(places: str, sizes: list[int]) -> None:
    inventory = bound(places, sizes[: len(places)], host_mib=10, hosts=3)
    result = optimize(inventory, Policy(), Objective(goal="balance"), time_limit_s=5.0)
    assert result.after.violations <= result.before.violations
    if not result.before.violations:
        assert result.after.violations == 0
    plan = make_plan(inventory, Policy(), Objective(goal="balance"), time_limit_s=5.0)
    before = {found.subject for found in check.violations(inventory, Policy())}
    assert {found.subject for found in check.plan_violations(plan)} <= before
    assert Placement.of(inventory).changes(plan.target) or not plan.moves
