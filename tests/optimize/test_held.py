"""What goals have reached, held while another is sought: it stays, and the other comes as far as by itself."""

from __future__ import annotations

import time

import numpy as np
import pytest

from drsim.inventory import Inventory
from drsim.optimize import optimize, score
from drsim.optimize.bound import aims
from drsim.optimize.clock import Budget
from drsim.optimize.defragment import asked, flavour, pieces
from drsim.optimize.held import held, together
from drsim.optimize.places import taken_over
from drsim.optimize.problem import SPLIT, Group, compile_problem
from drsim.optimize.seek import Quest, ready, seek
from drsim.optimize.spread import spread_rules
from drsim.optimize.state import State
from drsim.optimize.trade import trade
from drsim.policy import Apart, Goal, Objective, Policy
from drsim.synthetic import cluster
from drsim.terms import parse_terms
from tests.rules.estates import estate

MADE = cluster(12, 150, 3, fill=0.7)
TAKES = np.ones(12, dtype=np.bool_)


def plain(inventory: Inventory, goal: Goal) -> State:
    """Return where one goal alone comes to."""
    result = optimize(inventory, Policy(), Objective(goal=goal), time_limit_s=2.0, seed=1)
    return taken_over(State(compile_problem(inventory, Policy(), Objective())), inventory, result.placement)


def groups(inventory: Inventory) -> tuple[Group, ...]:
    rules = spread_rules(inventory, Policy())
    return compile_problem(inventory, Policy(rules=rules), Objective()).should_apart


def beyond(state: State, even: tuple[Group, ...]) -> int:
    inside = [np.bincount(group.cell[state.place[group.units]], group.weight) for group in even]
    return int(sum(np.maximum(count - group.most, 0).sum() for count, group in zip(inside, even, strict=True)))


def sought(state: State, kept: Goal, goal: Goal) -> State:
    """Seek a goal with another held; return where its units are then."""
    one = flavour(MADE, Objective(goal="defragment"))
    assert one is not None
    need = asked(state.problem, one) if "defragment" in (kept, goal) else None
    peak = max(state.peak() if kept == "balance" else 0.0, aims(state.problem, None)[1])
    holds = held(state, [kept], goal, peak=peak, even=groups(MADE), need=need, takes=TAKES)
    name: Goal = "balance" if together([kept], goal) else goal
    ready(name)
    quest = Quest(goal=name, seed=1, takes=TAKES, aim=holds.aim, need=holds.need, finish=False)
    then, _ = seek(holds.state, quest, Budget(limit_s=3.0, clock=time.process_time))
    return State(state.problem, then.place[: state.problem.units])


def rooms(state: State) -> int:
    one = flavour(MADE, Objective(goal="defragment"))
    assert one is not None
    return int(pieces(state, asked(state.problem, one), TAKES).sum())


def hosts(state: State) -> int:
    return len(np.unique(state.place))


@pytest.mark.parametrize("kept", ["balance", "defragment", "consolidate"])
@pytest.mark.parametrize("goal", ["balance", "defragment", "consolidate"])
def test_what_is_held_stays(kept: Goal, goal: Goal) -> None:
    if kept == goal:
        return
    before = plain(MADE, kept)
    after = sought(before, kept, goal)
    assert (after.over() <= before.over() + 1e-6).all()
    if kept == "balance":
        assert after.peak() <= max(before.peak(), aims(before.problem, None)[1]) + 1e-6
    if kept == "consolidate":
        assert hosts(after) <= hosts(before)
    if kept == "defragment" and goal == "balance":
        assert rooms(after) >= rooms(before)


def test_room_in_one_piece_is_kept_and_loads_are_evened_out_beside_it() -> None:
    before = plain(MADE, "defragment")
    after = sought(before, "defragment", "balance")
    assert rooms(after) >= rooms(before)
    assert after.peak() < 1.0 + 0.5 * (before.peak() - 1.0)


def test_an_even_spread_and_balance_are_sought_as_one() -> None:
    even, alone = groups(MADE), {goal: plain(MADE, goal) for goal in ("balance", "spread")}  # type: ignore[arg-type]
    after = sought(alone["spread"], "spread", "balance")
    assert beyond(after, even) <= beyond(alone["balance"], even) // 10
    assert after.peak() - 1.0 <= 0.2 * (alone["spread"].peak() - 1.0)
    both = optimize(MADE, Policy(), Objective.seeking(*parse_terms("spread>balance")), time_limit_s=4.0, seed=1)
    spread, balance = (part.value for part in both.after.parts)
    assert spread == 0.0
    assert balance <= alone["balance"].peak() + 1e-6
    assert len(both.reasons) < sum(state.moved_guests() for state in alone.values())


def test_guests_that_are_awaited_are_not_moved_and_cost_nothing() -> None:
    before = plain(MADE, "defragment")
    one = flavour(MADE, Objective(goal="defragment"))
    assert one is not None
    need = asked(before.problem, one)
    holds = held(before, ["defragment"], "balance", peak=1.1, even=(), need=need, takes=TAKES)
    count = rooms(before)
    assert holds.state.problem.units == before.problem.units + count
    assert holds.state.moved_guests() == before.moved_guests()
    assert holds.state.moved_mib() == pytest.approx(before.moved_mib())
    assert (holds.state.problem.moving(128.0)[-count:] == 0.0).all()
    assert (holds.state.problem.home[-count:] == SPLIT).all()
    assert holds.state.levels().max() == pytest.approx(before.peak())
    assert not holds.state.over().any()


def test_two_of_a_kind_change_places_between_racks_that_are_full_of_it() -> None:
    # Each rack holds as many of them as it may: only in exchange for one that leaves may one come.
    inventory = estate("11335577", hosts=8, memory_mib=(4000, 4000, 1000, 1000, 1000, 1000, 1000, 1000), host_mib=9000)
    policy = Policy(rules=(Apart(name="a", vms=("*",), per="rack", most=2),))
    state = State(compile_problem(inventory, policy, Objective()))
    trade(state, 2.9, Budget(limit_s=2.0, clock=time.process_time), 1)
    assert state.peak() <= 2.9
    assert (state.count <= 2).all()


def test_the_score_of_what_is_held_is_that_of_the_checker() -> None:
    before = plain(MADE, "spread")
    after = sought(before, "spread", "balance")
    names = {vm.name: after.problem.hosts[host] for vm, host in zip(MADE.vms, after.place.tolist(), strict=True)}
    where = type(optimize(MADE, Policy(), Objective(goal="repair")).placement)(names)
    assert score(MADE, Policy(), Objective(goal="spread"), where).objective == beyond(after, groups(MADE))
