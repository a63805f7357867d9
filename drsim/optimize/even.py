"""Balance by the engine: the least memory moved with which every host's load is below an aim."""

from __future__ import annotations

import numpy as np

from drsim.optimize.clock import Budget
from drsim.optimize.engine.model import Bools, Floats, Ints, Model, flat
from drsim.optimize.problem import SPLIT
from drsim.optimize.state import SLACK, State

MOVE_MIB = 1024.0
"""What a move costs beside its memory, as memory, MiB: connection, switchover and the operator's attention."""

HURRY = 0.3
"""Share of the time limit at its end in which the clock, not the count, says how far the search is."""


def hurry(budget: Budget) -> float:
    """Share of the search that the clock insists on: nothing until the time is nearly up."""
    return 1.0 - (1.0 - budget.elapsed_s / budget.limit_s) / HURRY


def engine_model(state: State, aim: float, move_mib: float) -> tuple[Model, Ints]:
    """Make the engine's problem of bringing every load below an aim.

    Parameters
    ----------
    state : State
        Placement to begin from; what it breaks stays as it is.
    aim : float
        Load that no host should exceed, 1 = mean.
    move_mib : float
        What a move costs beside its memory, as memory.

    Returns
    -------
    Model
        Units in their order, guests that cannot move or on whose place a rule has an opinion held where they are.
    array of int, shape (U,)
        Where the search begins.
    """
    problem, hosts = state.problem, state.hosts
    scale = 1.0 / np.array([kind.step for kind in problem.kinds])  # whole numbers add up exactly
    demand = np.vstack([np.ceil(problem.demand * scale - SLACK), np.zeros((1, len(problem.kinds)))])
    split = state.place == SPLIT
    start = np.where(split, 0, state.place)
    demand[:-1][split] = 0.0
    use = np.zeros_like(problem.capacity)
    np.add.at(use, start, demand[:-1])
    bar = np.floor(problem.capacity * scale + SLACK)
    weight = np.where(problem.weight > 0.0, problem.weight, np.nan)
    capacity = np.fmin(bar, np.floor(aim / weight * scale))
    held = np.maximum(_held(state, demand), 0.0)
    capacity = np.maximum(capacity, held)
    allowed, kind = _allowed(state, start)
    groups: list[list[int]] = [[] for _ in range(problem.units)]
    for number, group in enumerate(problem.apart):
        for unit in group.units.tolist():
            groups[unit].append(number)
    groups_from, groups_of = flat([*groups, []])
    count = len(problem.apart)
    cell, per = _cells(state)
    nothing = np.zeros(count + 1, dtype=np.int64), np.zeros(0, dtype=np.int64)
    return Model(
        demand=demand,
        held=np.zeros_like(demand),
        capacity=capacity,
        bar=np.maximum(bar, capacity),
        safety=np.full_like(capacity, np.inf),
        load_price=np.zeros(len(problem.kinds)),
        balance=np.zeros((0, 4), dtype=np.int64),
        home=np.append(np.where(problem.home == SPLIT, start, problem.home), -1),
        move_price=problem.moving(move_mib),
        route_price=np.zeros((0, 0)),
        group_price=0.0,
        groups_from=groups_from,
        groups_of=groups_of,
        most=state.most,
        cell=cell,
        per=per,
        spread=np.zeros(count, dtype=np.int64),
        needs_from=nothing[0],
        needs=nothing[1],
        needed_from=nothing[0],
        needed=nothing[1],
        location=np.zeros(hosts, dtype=np.int64),
        area=np.zeros(hosts, dtype=np.int64),
        allowed=allowed,
        kind=kind,
    ), start


def _cells(state: State) -> tuple[Ints, Ints]:
    """Return the ways to divide the hosts into areas, each once, and which of them each group means."""
    ways, per = np.unique(state.cells, axis=0, return_inverse=True)
    if not len(ways):
        ways = np.arange(state.hosts, dtype=np.int64)[None]
    return ways, per.reshape(-1).astype(np.int64)


def _held(state: State, demand: Floats) -> Floats:
    """Return what is on each host and cannot leave it."""
    held = np.zeros_like(state.problem.capacity)
    seated = _stays(state) & (state.place != SPLIT)
    np.add.at(held, state.place[seated], demand[:-1][seated])
    return held


def _stays(state: State) -> Bools:
    """Units that the engine leaves alone: held, split, priced, or worth more than one guest in a group."""
    stays: Bools = ~state.movable | state.priced | state.heavy | (state.place == SPLIT)
    return stays


def _allowed(state: State, start: Ints) -> tuple[Bools, Ints]:
    problem = state.problem
    stays = _stays(state)
    hosts, of = np.unique(start[stays], return_inverse=True)
    rows = np.zeros((len(hosts), state.hosts), dtype=np.bool_)
    rows[np.arange(len(hosts)), hosts] = True
    kind = problem.allowed_of.copy()
    kind[stays] = len(problem.allowed_rows) + of
    return np.vstack([problem.allowed_rows, rows]), kind
