"""Explanations agree with what the checker says of the plan done otherwise."""

from __future__ import annotations

from dataclasses import replace

import pytest

from drsim import check
from drsim.errors import DrsimError
from drsim.inventory import Host, Inventory, Site, Vm
from drsim.optimize import score
from drsim.placement import Placement
from drsim.plan import replay
from drsim.planner import make_plan
from drsim.policy import Apart, NotOn, Objective, Policy
from drsim.synthetic import cluster
from drsim.why import explain, rule_prices


def test_what_if_a_guest_stayed_is_the_plan_without_its_moves() -> None:
    inventory = cluster(8, 80, seed=2)
    plan = make_plan(inventory, time_limit_s=2.0)
    assert plan.moves
    for vm in {move.vm for move in plan.moves}:
        told = explain(plan, vm)
        others = tuple(move for move in plan.moves if move.vm != vm)
        without = replay(others, Placement.of(inventory))
        assert told.refused == score(inventory, plan.policy, plan.objective, without)
        assert told.target == plan.target[vm]
        assert told.reason
        for other in told.alternatives:
            there = Placement({**plan.target, vm: other.host})
            assert other.host not in (told.source, told.target)
            assert not check.violations(inventory, plan.policy, there)
            assert other.score == score(inventory, plan.policy, plan.objective, there)


def small(*homes: str, hosts: int = 3) -> Inventory:
    return Inventory(
        sites=(Site(name="s"),),
        hosts=tuple(Host(name=f"h{n}", site="s", cores=16, memory_mib=16384) for n in range(1, hosts + 1)),
        vms=tuple(
            Vm(name=f"vm{n}", host=home, vcpus=2, memory_mib=2048, cpu_demand_cores=1.0) for n, home in enumerate(homes)
        ),
    )


def test_a_broken_rule_is_what_a_refused_move_breaks() -> None:
    policy = Policy(rules=(Apart(name="db apart", vms=("vm0", "vm1")), NotOn(name="old", vms=("vm2",), hosts=("h1",))))
    plan = make_plan(small("h1", "h1", "h1"), policy, Objective(goal="repair"))
    moved = {move.vm for move in plan.moves}
    assert "vm2" in moved
    (told,) = explain(plan, "vm2").breaks
    assert "'old'" in told
    (other,) = explain(plan, next(vm for vm in ("vm0", "vm1") if vm in moved)).breaks
    assert "'db apart'" in other


def test_an_evacuated_guest_has_no_alternative_on_a_host_that_is_left() -> None:
    plan = make_plan(small("h1", "h2", "h3"), objective=Objective(goal="evacuate", hosts=("h1", "h2")))
    told = explain(plan, "vm0")
    assert told.alternatives == ()
    assert told.closed["are to be evacuated"] == 1


def test_each_rule_has_its_price() -> None:
    rules = (
        Apart(name="useless", vms=("vm0", "vm3")),
        NotOn(name="keeps one idle", vms=("vm0", "vm1", "vm2", "vm3", "vm4", "vm5"), hosts=("h3",)),
    )
    plan = make_plan(small("h1", "h1", "h1", "h2", "h2", "h2"), Policy(rules=rules))
    useless, dear = rule_prices(plan)
    assert (useless.rule, dear.rule) == ("useless", "keeps one idle")
    assert useless.score.objective == pytest.approx(plan.after.objective)
    assert dear.score.objective < plan.after.objective - 0.3
    assert dear.moves == 2


def test_a_guest_that_is_not_there_is_refused() -> None:
    plan = make_plan(small("h1"))
    with pytest.raises(DrsimError, match="no guest 'vm9'"):
        explain(plan, "vm9")
    assert rule_prices(replace(plan)) == ()
