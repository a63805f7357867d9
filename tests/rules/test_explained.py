"""Why a plan is as it is, for every new rule: what would break, what a rule costs, what keeps other hosts away."""

from __future__ import annotations

from drsim.planner import make_plan
from drsim.policy import Licence, Objective, Policy, Pool, Rule, RunOn, Survive
from drsim.why import explain, rule_prices
from tests.rules.estates import estate


def test_refusing_a_move_breaks_the_rule_that_it_mends() -> None:
    inventory = estate("12233", memory_mib=(4096, 3000, 2000, 2000, 2500), host_mib=8192)
    cases: tuple[tuple[Rule, str], ...] = (
        (Survive(name="ha"), "no host left to start on"),
        (Licence(name="db", vms=("v2", "v4")), "beyond the 1 hosts"),
        (Pool(name="gold", vms=("v2", "v3"), most_memory_mib=4000.0), "beyond what its pool may have"),
    )
    for rule, says in cases:
        plan = make_plan(inventory, Policy(rules=(rule,)), Objective(goal="repair"))
        assert plan.after.violations == 0, rule
        (move,) = plan.moves
        told = explain(plan, move.vm)
        assert any(says in broken for broken in told.breaks), told.breaks
        assert told.refused.violations > plan.after.violations


def test_a_rule_costs_what_the_plan_without_it_saves() -> None:
    inventory = estate("1112", hosts=3, memory_mib=2000)
    rules = (Licence(name="db", vms=("*",), most=2), RunOn(name="run", vms=("v4",), hosts=("h3",)))
    plan = make_plan(inventory, Policy(rules=rules), Objective(goal="repair"))
    prices = {price.rule: price for price in rule_prices(plan)}
    assert set(prices) == {"db", "run"}
    assert prices["run"].moves == 0 < len(plan.moves)


def test_hosts_without_the_device_are_named_as_closed() -> None:
    inventory = estate("12", gpus=(1, 0), host_gpus=(1, 0, 1))
    plan = make_plan(inventory, Policy(), Objective(goal="evacuate", hosts=("h1",)))
    told = explain(plan, "v1")
    assert (told.target, told.closed) == ("h3", {"too full": 1})
