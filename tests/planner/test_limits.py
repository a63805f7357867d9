"""What a plan may use: memory moved, minutes; kept by the plan and judged by the checker."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from drsim import check
from drsim.planner import make_plan
from drsim.policy import Goal, Limits, Objective, Policy
from drsim.synthetic import cluster
from tests.rules.estates import estate


def gib(plan: object) -> float:
    vms = plan.inventory.vm_by_name  # type: ignore[attr-defined]
    return float(sum(vms[move.vm].data_mib for move in plan.moves)) / 1024.0  # type: ignore[attr-defined]


@pytest.mark.parametrize("goal", ["balance", "consolidate", "spread"])
def test_no_more_memory_is_moved_than_may_be(goal: Goal) -> None:
    made = cluster(8, 60, 3)
    free = make_plan(made, Policy(), Objective(goal=goal), time_limit_s=3.0)
    most = gib(free) / 2.0
    policy = Policy(limits=Limits(max_gib=most))
    plan = make_plan(made, policy, Objective(goal=goal), time_limit_s=3.0)
    assert 0.0 < gib(plan) <= most
    assert check.plan_violations(plan) == ()
    over = replace(free, policy=policy)
    assert any("more than max_gib" in found.text for found in check.plan_violations(over))


def test_an_evacuation_that_may_not_move_enough_is_not_complete() -> None:
    inventory = estate("111", memory_mib=1024)
    wish = Objective(goal="evacuate", hosts=("h1",))
    plan = make_plan(inventory, Policy(limits=Limits(max_gib=2.0)), wish)
    assert (len(plan.moves), plan.complete, plan.after.objective) == (2, False, 1024)
    assert make_plan(inventory, Policy(limits=Limits(max_moves=1)), wish).complete is False


def test_as_much_is_moved_as_fits_the_time() -> None:
    made = cluster(8, 60, 3)
    free = make_plan(made, Policy(), time_limit_s=3.0)
    minutes = 0.9 * free.makespan_s / 60.0
    policy = Policy(limits=Limits(max_minutes=minutes))
    plan = make_plan(made, policy, time_limit_s=3.0)
    assert 0 < len(plan.moves) < len(free.moves)
    assert plan.makespan_s <= minutes * 60.0
    assert plan.policy == policy
    assert plan.after.objective < plan.before.objective
    assert check.plan_violations(plan) == ()
    assert any("moves fit" in note for note in plan.notes)
    late = replace(free, policy=policy)
    assert any("more than max_minutes" in found.text for found in check.plan_violations(late))
    roomy = make_plan(made, Policy(limits=Limits(max_minutes=1e6)), time_limit_s=3.0)
    assert not any("moves fit" in note for note in roomy.notes)


@pytest.mark.parametrize("most", [3, 8, 15])
def test_no_host_is_half_emptied_for_want_of_moves(most: int) -> None:
    made = cluster(8, 60, 3, fill=0.5)
    plan = make_plan(made, Policy(limits=Limits(max_moves=most)), Objective(goal="consolidate"), time_limit_s=3.0)
    assert len(plan.moves) <= most
    assert {move.source for move in plan.moves}.isdisjoint(dict(plan.target).values())
    # The hosts with the fewest guests, one after the other, are as many as that many moves could empty at best.
    fewest = sorted(Counter(vm.host for vm in made.vms).values())
    emptied = plan.before.objective - plan.after.objective
    assert emptied == sum(sum(fewest[: number + 1]) <= most for number in range(len(fewest)))
    assert check.plan_violations(plan) == ()
