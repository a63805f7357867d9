"""Licences by the host: how many hosts run the guests, and what the optimiser makes of it."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drsim import check
from drsim.optimize import optimize
from drsim.placement import Placement
from drsim.planner import make_plan
from drsim.policy import Licence, Objective, Policy, Rule, RunOn
from tests.rules.estates import estate


def test_guests_beyond_the_licensed_hosts_are_named() -> None:
    inventory = estate("1123", hosts=3)
    one = Licence(name="db", vms=("*",))
    assert [vm.name for vm in one.breakers(inventory, Placement.of(inventory))] == ["v3", "v4"]
    assert Licence(name="db", vms=("*",), most=3).breakers(inventory, Placement.of(inventory)) == []
    assert Licence(name="db", vms=("*",), per="site").breakers(inventory, Placement.of(inventory)) == []
    (found,) = check.violations(inventory, Policy(rules=(one,)))
    assert "beyond the 1 hosts that hold most of them" in found.text


def test_licensed_guests_gather_by_the_fewest_moves_and_stay_so_when_balanced() -> None:
    inventory = estate("11123", hosts=4)
    policy = Policy(rules=(Licence(name="db", vms=("tag:all",), most=2),))
    plan = make_plan(inventory, policy, Objective(goal="repair"))
    assert (len(plan.moves), plan.before.violations, plan.after.violations) == (1, 1, 0)
    assert check.plan_violations(plan) == ()
    even = make_plan(inventory, policy, Objective(goal="balance"))
    assert even.after.violations == 0
    assert len(set(even.target.values())) == 2


def test_an_evacuated_host_hands_its_licence_on() -> None:
    inventory = estate("1122", hosts=3)
    policy = Policy(rules=(Licence(name="db", vms=("*",), most=2),))
    plan = make_plan(inventory, policy, Objective(goal="evacuate", hosts=("h1",)))
    assert plan.complete
    assert set(plan.target.values()) <= {"h2", "h3"}


def test_a_licence_that_should_hold_costs_its_price() -> None:
    inventory = estate("12", hosts=2, memory_mib=6000)
    policy = Policy(rules=(Licence(name="db", vms=("*",), strength="should", price=3.0),))
    assert check.penalty(inventory, policy, Placement.of(inventory)) == 3.0
    assert make_plan(inventory, policy, Objective(goal="repair")).moves == ()


@settings(max_examples=150, deadline=None)
@given(
    places=st.text("123", min_size=4, max_size=4),
    sizes=st.lists(st.sampled_from([1000, 2000, 3000, 4000]), min_size=4, max_size=4),
    room=st.sampled_from([4000, 6000, 8000]),
    most=st.integers(1, 2),
    held=st.booleans(),
)
def test_what_can_be_kept_is_kept(places: str, sizes: list[int], room: int, most: int, held: bool) -> None:
    inventory = estate(places, memory_mib=sizes, host_mib=room)
    rules: tuple[Rule, ...] = (Licence(name="db", vms=("*",), most=most),)
    if held:
        rules = (*rules, RunOn(name="run", vms=("v1",), hosts=("h2", "h3")))
    policy = Policy(rules=rules)
    names = [vm.name for vm in inventory.vms]
    possible = any(
        not check.violations(inventory, policy, Placement(dict(zip(names, hosts, strict=True))))
        for hosts in itertools.product(("h1", "h2", "h3"), repeat=4)
    )
    result = optimize(inventory, policy, Objective(goal="repair"), time_limit_s=5.0)
    assert (result.after.violations == 0) == possible
    if not possible and not check.policy_problems(policy, inventory):
        assert "No placement holds everything" in "\n".join(result.notes)


@pytest.mark.parametrize("goal", ["balance", "consolidate", "repair"])
def test_bounds_stay_bounds_although_hosts_are_chosen_ahead(goal: str) -> None:
    inventory = estate("1122333", memory_mib=(3000, 1000, 2000, 1000, 4000, 500, 500))
    policy = Policy(rules=(Licence(name="db", vms=("v1", "v3"), most=1),))
    names = [vm.name for vm in inventory.vms]
    from drsim.optimize import score

    wish = Objective(goal=goal)  # type: ignore[arg-type]
    result = optimize(inventory, policy, wish, time_limit_s=5.0)
    best = min(
        score(inventory, policy, wish, where).objective
        for hosts in itertools.product(("h1", "h2", "h3"), repeat=7)
        for where in (Placement(dict(zip(names, hosts, strict=True))),)
        if len({hosts[0], hosts[2]}) == 1 and not check.violations(inventory, policy, where)
    )
    assert result.lower_bound is not None
    assert result.lower_bound <= best + 1e-4
