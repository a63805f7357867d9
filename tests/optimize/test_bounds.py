"""Lower bounds of an even spread and of room in one piece: never above the least there is, and reached where it is."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drsim import check
from drsim.inventory import Inventory
from drsim.optimize import optimize, score
from drsim.optimize.bound_spread import most_bought
from drsim.placement import Placement
from drsim.policy import Apart, Goal, Limits, NotOn, Objective, Pin, Policy, Rule, RunOn, Together
from drsim.synthetic import cluster
from tests.rules.estates import estate

HOSTS = ("h1", "h2", "h3")


def least(inventory: Inventory, policy: Policy, wish: Objective) -> float | None:
    """Try every placement that keeps the rules and moves no more than may be; None if there is none."""
    names, now = [vm.name for vm in inventory.vms], Placement.of(inventory)
    found = []
    for hosts in itertools.product(HOSTS, repeat=len(names)):
        where = Placement(dict(zip(names, hosts, strict=True)))
        moved = [vm for vm, _, _ in now.changes(where)]
        gib, limits = sum(inventory.vm_by_name[vm].data_mib for vm in moved) / 1024.0, policy.limits
        affordable = limits.max_moves is None or len(moved) <= limits.max_moves
        affordable &= limits.max_gib is None or gib <= limits.max_gib
        if affordable and not check.violations(inventory, policy, where):
            found.append(score(inventory, policy, wish, where).objective)
    return min(found, default=None)


@st.composite
def rules(draw: st.DrawFn) -> tuple[Rule, ...]:
    """Rules of which some hold guests, some keep them off hosts, some join them."""
    chosen: list[Rule] = []
    if draw(st.booleans()):
        chosen.append(Pin(name="p", vms=(draw(st.sampled_from(["v1", "v2"])),)))
    if draw(st.booleans()):
        chosen.append(RunOn(name="r", vms=("tag:odd",), hosts=tuple(draw(st.permutations(HOSTS)))[:2]))
    if draw(st.booleans()):
        chosen.append(NotOn(name="n", vms=("v4",), hosts=(draw(st.sampled_from(HOSTS)),)))
    if draw(st.booleans()):
        chosen.append(Together(name="t", vms=("v2", "v3")))
    if draw(st.booleans()):
        chosen.append(Apart(name="a", vms=("v1", "v4")))
    return tuple(chosen)


@pytest.mark.parametrize("goal", ["spread", "defragment"])
@settings(max_examples=60, deadline=None)
@given(
    places=st.text("123", min_size=4, max_size=6),
    sizes=st.lists(st.sampled_from([1, 2, 2, 3, 4]), min_size=6, max_size=6),
    rooms=st.lists(st.integers(5, 10), min_size=3, max_size=3),
    rules=rules(),
    max_moves=st.sampled_from([None, None, 0, 1, 2]),
    max_gib=st.sampled_from([None, None, 0.003]),
)
def test_no_placement_is_below_the_bound(
    goal: Goal,
    places: str,
    sizes: list[int],
    rooms: list[int],
    rules: tuple[Rule, ...],
    max_moves: int | None,
    max_gib: float | None,
) -> None:
    inventory = estate(places, memory_mib=sizes[: len(places)], host_mib=rooms)
    policy = Policy(rules=rules, limits=Limits(max_moves=max_moves, max_gib=max_gib))
    wish = Objective(goal=goal)
    result = optimize(inventory, policy, wish, time_limit_s=0.9)
    assert result.lower_bound is not None
    assert result.lower_bound <= result.after.objective + 1e-6
    best = least(inventory, policy, wish)
    if best is not None:
        assert result.lower_bound <= best + 1e-6


def of_one_kind(places: str, **more: object) -> Inventory:
    """Guests with one tag, all of them."""
    inventory = estate(places, **more)  # type: ignore[arg-type]
    return replace(inventory, vms=tuple(replace(vm, tags=("all",)) for vm in inventory.vms))


def test_a_spread_that_rules_forbid_is_proven() -> None:
    inventory = of_one_kind("111222", hosts=4)
    held = Policy(rules=(Pin(name="p", vms=("v1", "v2", "v3")),))
    result = optimize(inventory, held, Objective(goal="spread"))
    # Three stay on the first host, one more than it should have.
    assert result.lower_bound == 1
    assert (result.after.objective, result.status) == (1, "optimal")


def test_a_spread_that_has_no_room_is_proven() -> None:
    # The second host holds one guest and no more, where two should be.
    result = optimize(of_one_kind("1111", hosts=2, host_mib=(8192, 1500)), Policy(), Objective(goal="spread"))
    assert (result.lower_bound, result.after.objective, result.status) == (1, 1, "optimal")


def test_guests_kept_together_are_no_more_spread_than_that_allows() -> None:
    joined = Policy(rules=(Together(name="t", vms=("v1", "v2", "v3")),))
    result = optimize(of_one_kind("111123", hosts=3), joined, Objective(goal="spread"))
    assert result.lower_bound == 1
    assert result.after.objective == 1


def test_with_few_moves_a_plan_still_reaches_its_bound() -> None:
    inventory = estate("111111", hosts=3)
    policy = Policy(limits=Limits(max_moves=2))
    result = optimize(inventory, policy, Objective(goal="spread"))
    assert len(result.reasons) == 2
    assert 0 < result.lower_bound <= result.after.objective  # type: ignore[operator]


def test_room_beside_guests_that_are_pinned_is_proven() -> None:
    inventory = estate("112233", memory_mib=(4000, 1000, 4000, 1000, 4000, 1000), host_mib=8000)
    free = optimize(inventory, Policy(), Objective(goal="defragment"))
    assert (free.lower_bound, free.after.objective, free.status) == (0, 0, "optimal")
    held = optimize(inventory, Policy(rules=(Pin(name="p", vms=("*",)),)), Objective(goal="defragment"))
    assert (held.lower_bound, held.after.objective) == (2, 2)


def test_steps_that_leave_room_unused_are_seen() -> None:
    # Guests of 4 GiB on hosts of 10: of each the last 2 are of no use, and 8 of 12 GiB that lie free fit no third one.
    inventory = estate("112", memory_mib=4096, host_mib=10240)
    result = optimize(inventory, Policy(), Objective(goal="defragment"))
    assert result.lower_bound == result.after.objective
    assert result.status == "nothing to do"


def test_few_moves_bound_the_room_that_can_be_made() -> None:
    made = cluster(20, 300, 3, fill=0.7)
    wish = Objective(goal="defragment")
    bounds = [
        optimize(made, Policy(limits=Limits(max_moves=most)), wish, time_limit_s=2.0).lower_bound
        for most in (0, 4, 8, 1000)
    ]
    assert bounds == sorted(bounds, reverse=True)  # type: ignore[type-var]
    assert bounds[0] == score(made, Policy(), wish, Placement.of(made)).objective
    assert bounds[0] > bounds[1] > bounds[2]  # type: ignore[operator]


def test_the_most_that_can_be_bought_is_a_knapsack_in_parts() -> None:
    gain, cost = np.array([6.0, 5.0, 4.0, 1.0]), np.array([3.0, 1.0, 4.0, 0.0])
    assert most_bought(gain, cost, 0.0) == 1.0
    assert most_bought(gain, cost, 2.0) == pytest.approx(1.0 + 5.0 + 2.0)
    assert most_bought(gain, cost, np.inf) == 16.0


def test_guests_that_nothing_holds_leave_the_bound_at_zero() -> None:
    inventory = replace(estate("123"), name="even")
    assert optimize(inventory, Policy(), Objective(goal="spread")).lower_bound == 0
