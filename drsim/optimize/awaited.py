"""Guests that may come: as many as there is room for in all take part in a search by the engine, so it makes room."""

from __future__ import annotations

import numpy as np

from drsim.optimize.clock import Budget
from drsim.optimize.engine.load import load
from drsim.optimize.engine.model import Model
from drsim.optimize.engine.search import Recipe, search
from drsim.optimize.even import HURRY, MOVE_MIB, engine_model
from drsim.optimize.mend import mend
from drsim.optimize.problem import Bools, Floats, Ints
from drsim.optimize.state import SLACK, State

RECIPE = Recipe(hot=0.05, over=4.0, homes=0.3, swaps=0.5, focus=0.1)
"""Cold, as most guests stay where they are; every second proposal is an exchange, as most hosts lack one thing."""

STEPS_PER_UNIT, FEWEST, STEPS_PER_S = 2_000, 1_000, 4e6
"""Steps for each unit that takes part, and so many at least: in fewer, everything is moved that need not be; steps that
fit into a second of the time limit with ease."""

SHARE = 0.85
"""Share of the time limit by which it ends."""

MOST = 3.0
"""So many times as many awaited guests as there are units may take part: beyond, they are so small that hosts opened in
turn lose next to nothing."""


def make_room(state: State, need: Floats, slots: Ints, count: int, budget: Budget, seed: int, takes: Bools) -> State:
    """Look for a placement in which so many more guests of one kind find room in one piece.

    They take part as units that may be anywhere for nothing; all others cost what moving them costs.

    Parameters
    ----------
    state : State
        Starting point.
    need : array of float, shape (R,)
        What one of them needs.
    slots : array of int, shape (H,)
        How many have room on each host already.
    count : int
        How many are wanted in all.
    budget : Budget
        Time.
    seed : int
        Seed of the search.
    takes : array of bool, shape (H,)
        Hosts that take guests.

    Returns
    -------
    State
        What was found; where it is not whole, fewer have room. No host holds more than it may that did not before.
    """
    taking = state.problem.units + count
    effort = min(STEPS_PER_UNIT * taking, STEPS_PER_S * budget.limit_s)
    if count > MOST * state.problem.units or effort < FEWEST * taking:
        return state
    load()
    model, start = engine_model(state, np.inf, MOVE_MIB)
    model, begin = _with_awaited(model, start, _wishes(state, need, slots, count, takes), need, state, takes)

    def gone() -> float:
        return 1.0 if budget.stopped() else 1.0 - (1.0 - budget.elapsed_s / (SHARE * budget.limit_s)) / HURRY

    found = search(model, begin, gone, effort=effort, seed=seed, workers=1, recipe=RECIPE)
    there = state.copy()
    for unit in np.flatnonzero(found.place[: len(start)] != start).tolist():
        there.shift(unit, int(found.place[unit]))
    if _worse(there, state):
        mend(there, budget)
    return state if _worse(there, state) else there


def _worse(there: State, state: State) -> bool:
    return bool((there.over() > state.over() + SLACK).any()) or there.crowds().sum() > state.crowds().sum()


def _wishes(state: State, need: Floats, slots: Ints, count: int, takes: Bools) -> Ints:
    """Choose hosts to begin on: where there is room, then where the least is lacking."""
    hosts = np.repeat(np.arange(state.hosts), np.where(takes, slots, 0)).tolist()
    size = np.maximum(state.problem.capacity.mean(axis=0), 1e-9)
    rest = state.problem.capacity - state.use - slots[:, None] * need
    while len(hosts) < count:
        lack = (np.maximum(need - rest, 0.0) / size).sum(axis=1)
        host = int(np.where(takes, lack, np.inf).argmin())
        hosts.append(host)
        rest[host] -= need
    return np.array(hosts[:count], dtype=np.int64)


def _with_awaited(
    model: Model, start: Ints, wishes: Ints, need: Floats, state: State, takes: Bools
) -> tuple[Model, Ints]:
    """Add the awaited guests to a model, behind its units."""
    count = len(wishes)
    asked = np.ceil(need / np.array([kind.step for kind in state.problem.kinds]) - SLACK)
    return model._replace(
        demand=np.vstack([model.demand[:-1], np.tile(asked, (count, 1)), model.demand[-1:]]),
        held=np.zeros((len(start) + count + 1, len(need))),
        home=np.concatenate([model.home[:-1], wishes, model.home[-1:]]),
        move_price=np.append(model.move_price, np.zeros(count)),
        groups_from=np.append(model.groups_from, np.full(count, model.groups_from[-1])),
        allowed=np.vstack([model.allowed, takes]),
        kind=np.append(model.kind, np.full(count, len(model.allowed))),
    ), np.concatenate([start, wishes])
