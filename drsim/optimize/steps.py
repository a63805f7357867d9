"""A state in whole steps of each resource, as compiled searches want it: whole numbers add up exactly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from drsim.optimize.engine.model import flat
from drsim.optimize.engine.seats import Seats
from drsim.optimize.problem import SPLIT, Bools, Floats, Ints
from drsim.optimize.state import SLACK, State


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Steps:
    """A cluster in steps; U units, H hosts, R resources.

    Parameters
    ----------
    demand : array of float, shape (U, R)
        What each unit needs, rounded up.
    use : array of float, shape (H, R)
        What each host holds.
    limit : array of float, shape (H, R)
        What it should hold at most; never less than what cannot leave it.
    bar : array of float, shape (H, R)
        What it can hold, rounded down.
    cost : array of float, shape (U,)
        What a move costs, as memory, MiB.
    place : array of int, shape (U,)
        Host of each unit; the first one for those that are on several.
    free : array of bool, shape (U,)
        Units that may be moved: not held, not on several hosts, no rule has an opinion on their place, and they count
        once in their groups.
    priced : array of int
        Resources that have a load.
    scale : array of float, shape (R,)
        Steps in a unit of each resource.
    """

    demand: Floats
    use: Floats
    limit: Floats
    bar: Floats
    cost: Floats
    place: Ints
    free: Bools
    priced: Ints
    scale: Floats


def in_steps(state: State, aim: float, move_mib: float) -> Steps:
    """Express a state in steps.

    Parameters
    ----------
    state : State
        Any placement.
    aim : float
        Load that no host should exceed, 1 = mean.
    move_mib : float
        What a move costs beside its memory, as memory.
    """
    problem = state.problem
    scale = 1.0 / np.array([kind.step for kind in problem.kinds])
    demand = np.ceil(problem.demand * scale - SLACK)
    whole = state.place != SPLIT
    place = np.where(whole, state.place, 0)
    known, use = np.zeros_like(state.use), np.zeros_like(state.use)
    np.add.at(known, place[whole], problem.demand[whole])
    np.add.at(use, place[whole], demand[whole])
    use += np.ceil(np.maximum(state.use - known, 0.0) * scale - SLACK)  # of units that are on several hosts
    free = whole & state.movable & ~state.priced & ~state.heavy
    held = use.copy()
    np.subtract.at(held, place[free], demand[free])
    bar = np.floor(problem.capacity * scale + SLACK)
    limit = np.divide(aim * scale, problem.weight, out=np.full_like(bar, np.inf), where=problem.weight > 0.0)
    return Steps(
        demand=demand,
        use=use,
        limit=np.maximum(np.minimum(bar, np.floor(limit)), held),
        bar=bar,
        cost=problem.moving(move_mib),
        place=place,
        free=free,
        priced=np.flatnonzero(problem.weight.any(axis=0)),
        scale=scale,
    )


def seats(state: State, steps: Steps) -> Seats:
    """Lay out who is where, and who may be, for a compiled search.

    Parameters
    ----------
    state : State
        Any placement.
    steps : Steps
        The same in steps; a search changes its ``use``.
    """
    problem = state.problem
    groups_from, groups_of = groups_of_units(state, np.arange(problem.units))
    return Seats(
        needs=steps.demand,
        guests=np.array([len(guests) for guests in problem.members], dtype=np.int64),
        memory=problem.data_mib,
        home=problem.home,
        place=steps.place.copy(),
        use=steps.use,
        bar=steps.bar,
        load=problem.weight / steps.scale,
        allowed=problem.allowed_rows,
        kind=problem.allowed_of,
        groups_from=groups_from,
        groups_of=groups_of,
        most=state.most,
        cells=state.cells,
        inside=state.count.copy(),
    )


def two_seats() -> Seats:
    """Return two units on two hosts: what a search is compiled with."""
    two, ones, none = np.arange(2), np.ones((2, 1)), np.zeros((0, 2), dtype=np.int64)
    return Seats(
        needs=ones,
        guests=two,
        memory=ones[:, 0],
        home=two,
        place=two.copy(),
        use=np.ones((2, 1)),
        bar=ones,
        load=ones,
        allowed=np.ones((1, 2), dtype=np.bool_),
        kind=two,
        groups_from=np.zeros(3, dtype=np.int64),
        groups_of=none[:, 0],
        most=none[:, 0],
        cells=none,
        inside=none,
    )


def groups_of_units(state: State, units: Ints) -> tuple[Ints, Ints]:
    """Return the `apart` groups of each of these units, laid one behind the other: where each begins, and all."""
    none: list[int] = []
    return flat([state.groups_of[unit].tolist() if unit in state.groups_of else none for unit in units.tolist()])
