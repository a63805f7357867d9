"""Verdicts on wishes that may contradict each other: against every placement tried, and in large estates."""

from __future__ import annotations

import itertools
import time
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from drsim import check
from drsim.optimize import optimize
from drsim.optimize.relax import judge
from drsim.placement import Placement
from drsim.policy import (
    Apart,
    NotOn,
    Objective,
    Pin,
    Policy,
    Rule,
    RunOn,
    Together,
)
from tests.optimize.test_infeasible import WITHIN_S, estate, with_vm

rules = st.one_of(
    st.builds(Apart, name=st.just("a"), vms=st.sampled_from([("v1", "v2"), ("v1", "v2", "v3")])),
    st.builds(Together, name=st.just("b"), vms=st.sampled_from([("v1", "v3"), ("v2", "v3", "v4")])),
    st.builds(RunOn, name=st.just("c"), vms=st.sampled_from([("v1",), ("v2", "v3")]), hosts=st.just(("h1", "h2"))),
    st.builds(NotOn, name=st.just("d"), vms=st.sampled_from([("v4",), ("v2",)]), hosts=st.just(("h3",))),
    st.builds(Pin, name=st.just("e"), vms=st.sampled_from([("v4",), ("v1",)])),
)


@settings(max_examples=150, deadline=None)
@given(
    places=st.text("123", min_size=4, max_size=4),
    sizes=st.lists(st.sampled_from([1000, 2000, 3000, 4000]), min_size=4, max_size=4),
    chosen=st.lists(rules, min_size=1, max_size=4, unique_by=lambda rule: rule.name),
    host_mib=st.sampled_from([3000, 4000, 5000, 8000]),
)
def test_the_verdict_is_that_of_trying_every_placement(
    places: str, sizes: list[int], chosen: list[Rule], host_mib: int
) -> None:
    inventory = estate(places, memory_mib=sizes, host_mib=host_mib)
    policy = Policy(rules=tuple(chosen))
    names = [vm.name for vm in inventory.vms]

    def possible(without: frozenset[str]) -> bool:
        fewer = replace(policy, rules=tuple(rule for rule in policy.rules if rule.name not in without))
        return any(
            not check.violations(inventory, fewer, Placement(dict(zip(names, hosts, strict=True))))
            for hosts in itertools.product(("h1", "h2", "h3"), repeat=4)
        )

    now = Placement.of(inventory)
    if not check.violations(inventory, policy, now):
        return
    verdict = judge(inventory, policy, Objective(goal="repair"), now)
    if possible(frozenset()):
        assert verdict.placement is not None
        assert check.violations(inventory, policy, verdict.placement) == ()
        return
    assert verdict.placement is None
    assert verdict.proven
    least = next(
        (
            count
            for count in range(1, len(chosen) + 1)
            if any(possible(frozenset(one)) for one in itertools.combinations([r.name for r in chosen], count))
        ),
        None,
    )
    dropping = [len(one.drop) for one in verdict.relaxations if one.drop and not one.room]
    if least is None:
        assert not dropping
    else:
        assert min(dropping) == least
    if least == 1:
        told = {one.drop for one in verdict.relaxations if len(one.drop) == 1 and not one.room}
        assert told == {(rule.name,) for rule in chosen if possible(frozenset({rule.name}))}


def test_what_the_search_misses_is_found_where_it_can_be() -> None:
    # Only one of the ways to pack these leaves room for the one that must go.
    inventory = estate("112233", memory_mib=(5000, 3000, 4500, 3500, 4000, 4000), host_mib=8100)
    policy = Policy(rules=(RunOn(name="run", vms=("v1",), hosts=("h3",)),))
    result = optimize(inventory, policy, Objective(goal="repair"))
    assert result.complete, result.notes
    assert check.violations(inventory, policy, result.placement) == ()


def test_in_a_large_estate_the_answer_comes_at_once_and_proves_nothing() -> None:
    inventory = estate("123" * 200, hosts=100, memory_mib=30, host_mib=8192)
    inventory = with_vm(inventory, "v1", memory_mib=9000)
    began = time.process_time()
    result = optimize(inventory, Policy(), Objective(goal="repair"))
    assert time.process_time() - began < WITHIN_S
    assert not result.complete
    said = "\n".join(result.notes)
    assert "No placement that does was found" in said
    assert "MiB of memory more on" in said
