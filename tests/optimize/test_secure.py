"""Placements that outlive losses: found where they are, told with what would help where not."""

from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from drsim import check
from drsim.optimize import optimize
from drsim.placement import Placement
from drsim.planner import make_plan
from drsim.policy import Objective, Policy, Survive
from tests.rules.estates import estate

HA = Policy(rules=(Survive(name="ha"),))


def test_room_for_the_largest_is_made_in_one_piece() -> None:
    # When h1 is lost, v1 finds no hole of 4096; there is one when a guest of 2000 has left h2 for h3.
    inventory = estate("12233", memory_mib=(4096, 3000, 2000, 2000, 2500), host_mib=8192)
    plan = make_plan(inventory, HA, Objective(goal="repair"))
    assert (plan.before.violations, plan.after.violations, plan.complete) == (1, 0, True)
    assert check.plan_violations(plan) == ()
    assert len(plan.moves) == 1
    assert "could not start again" in plan.moves[0].reason


def test_a_balanced_cluster_keeps_its_promise() -> None:
    inventory = estate("1" * 8 + "2" * 8, hosts=5, memory_mib=900, host_mib=8192)
    plan = make_plan(inventory, HA, Objective(goal="balance"))
    assert plan.after.violations == 0
    assert plan.after.objective < plan.before.objective


def test_what_cannot_be_is_proven_by_sums_and_says_what_would_do() -> None:
    inventory = estate("12", hosts=2, memory_mib=6000, host_mib=8192)
    result = optimize(inventory, HA, Objective(goal="repair"))
    said = "\n".join(result.notes)
    assert not result.complete
    assert "No placement holds everything that must hold" in said
    assert "drop rule 'ha'" in said
    assert "3808 MiB of memory more on h2 and 3808 MiB of memory more on h1" in said or "3808" in said


def test_what_is_not_found_is_not_called_proven() -> None:
    inventory = estate("123", hosts=3, memory_mib=5000, host_mib=8192)
    said = "\n".join(optimize(inventory, HA, Objective(goal="repair")).notes)
    assert "No placement that does was found" in said
    assert "drop rule 'ha'" in said


@settings(max_examples=120, deadline=None)
@given(
    places=st.text("123", min_size=3, max_size=5),
    sizes=st.lists(st.integers(1, 4), min_size=5, max_size=5),
    rooms=st.lists(st.integers(5, 9), min_size=3, max_size=3),
)
def test_a_proof_is_never_wrong_and_an_answer_is_always_checked(
    places: str, sizes: list[int], rooms: list[int]
) -> None:
    inventory = estate(places, memory_mib=sizes[: len(places)], host_mib=rooms)
    names = [vm.name for vm in inventory.vms]
    result = optimize(inventory, HA, Objective(goal="repair"), time_limit_s=5.0)
    possible = any(
        not check.violations(inventory, HA, Placement(dict(zip(names, hosts, strict=True))))
        for hosts in itertools.product(("h1", "h2", "h3"), repeat=len(names))
    )
    said = "\n".join(result.notes)
    if result.after.violations == 0:
        assert result.complete
        assert check.violations(inventory, HA, result.placement) == ()
    else:
        assert said
    if possible:
        assert "No placement holds everything" not in said
