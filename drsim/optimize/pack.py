"""Consolidate: empty hosts one after the other, the least loaded first; then by the engine, if fewer hosts can do."""

from __future__ import annotations

import numpy as np

from drsim.optimize.clock import Budget
from drsim.optimize.engine.fewest import fewest
from drsim.optimize.engine.fill import least
from drsim.optimize.engine.search import Recipe, search
from drsim.optimize.even import MOVE_MIB, engine_model, hurry
from drsim.optimize.problem import MEMORY, SPLIT, VCPUS, Floats, Ints, Problem
from drsim.optimize.state import SLACK, State

GATHERING, RETURNING = 40_000, 5_000
"""Steps per unit of the search for fewer hosts, and of the one that sends units home as far as the hosts allow."""

STEPS_PER_S = 8e6, 2e6
"""Steps of each that fit into a second of the time limit with ease, half of the time for each."""


def pack(state: State, budget: Budget, seed: int, most: float, most_mib: float) -> None:
    """Bring all units to as few hosts as can be found, in place.

    Hosts are emptied in turn: few moves. What the engine finds costs more of them and is taken if it needs fewer hosts;
    then units go home again, for the least memory moved, as far as those hosts allow.

    Parameters
    ----------
    state : State
        Starting point; no rule is broken that it keeps.
    budget : Budget
        Time.
    seed : int
        Seed of the searches.
    most, most_mib : float
        Moves of guests, and memory moved, MiB, at most: hosts that cost least are emptied first then, and one that
        would cost too much is not begun, as half an emptied host saves nothing.
    """
    _empty_in_turn(state, budget, most, most_mib)
    problem = state.problem
    bound = int(least_hosts(problem))
    used = np.unique(state.place)
    if len(used) <= bound or (state.place == SPLIT).any():
        return
    model, start = engine_model(state, np.inf, MOVE_MIB)
    effort = min(GATHERING * problem.units, STEPS_PER_S[0] * budget.limit_s)
    place = fewest(model, start, lambda: hurry(budget), least=bound, effort=effort, seed=seed)
    opened = np.unique(place)
    if len(opened) >= len(used):
        return
    closed = np.ones(state.hosts, dtype=np.bool_)
    closed[opened] = False
    model = model._replace(allowed=model.allowed & ~closed)
    effort = min(RETURNING * problem.units, STEPS_PER_S[1] * budget.limit_s)
    recipe = Recipe(lawful=True, homes=0.5)
    found = search(model, place, lambda: hurry(budget), effort=effort, seed=seed, workers=1, recipe=recipe)
    packed = state.copy()
    for unit in np.flatnonzero(found.place != state.place).tolist():
        packed.shift(unit, int(found.place[unit]))
    if _cost(packed, most, most_mib) <= 1.0:
        state.take(packed)


def _cost(state: State, most: float, most_mib: float) -> float:
    """Return what a state has of what it may move: above 1 it has too much."""
    return max(_share(state.moved_guests(), most), _share(state.moved_mib(), most_mib))


def _share(much: float, most: float) -> float:
    return much / most if most > 0.0 else float(np.inf) if much > 0.0 else 0.0


def _order(state: State, most: float, most_mib: float) -> Ints:
    """Return the hosts in the order in which they are emptied: the least loaded, or what costs least, first."""
    problem = state.problem
    load = np.where(problem.weight.any(axis=1), (state.use * problem.weight).max(axis=1), np.inf)
    if not np.isfinite(min(most, most_mib)):
        return np.argsort(load)
    on = np.maximum(state.place, 0)
    guests = np.bincount(on, [len(guests) for guests in problem.members], state.hosts)
    data_mib = np.bincount(on, problem.data_mib, state.hosts)
    cost = [max(_share(many, most), _share(mib, most_mib)) for many, mib in zip(guests, data_mib, strict=True)]
    return np.lexsort((load, np.array(cost)))


def _empty_in_turn(state: State, budget: Budget, most: float, most_mib: float) -> None:
    problem = state.problem
    order = _order(state, most, most_mib)
    emptied = np.zeros(state.hosts, dtype=np.bool_)
    for host in order.tolist():
        units = np.flatnonzero(state.place == host)
        if budget.out() or not units.size or not state.movable[units].all():
            continue
        trial = state.copy()
        closed = emptied | (trial.use[:, VCPUS] == 0)
        closed[host] = True
        for unit in units[np.argsort(-problem.demand[units, MEMORY], kind="stable")].tolist():
            rooms = trial.rooms([unit])[0] & ~closed
            if not rooms.any():
                break
            # The fullest host that still has room: what stays free stays free in one piece.
            trial.shift(unit, int(np.where(rooms, _fullness(trial), -1.0).argmax()))
        else:
            if _cost(trial, most, most_mib) > 1.0:
                continue
            state.take(trial)
            emptied[host] = True


def _fullness(state: State) -> Floats:
    fullness: Floats = (state.use / np.maximum(state.problem.capacity, 1e-9)).max(axis=1)
    return fullness


def least_hosts(problem: Problem) -> float:
    """Bound the number of hosts in use from below.

    By the largest hosts in each resource, by hosts that are all as large as the largest, and by guests that stay.
    """
    need = problem.demand.sum(axis=0)
    needed = 1 if problem.units else 0
    for column in range(need.size):
        sizes = np.cumsum(np.sort(problem.capacity[:, column])[::-1])
        needed = max(needed, int(np.searchsorted(sizes, need[column] - 1e-6) + 1) if need[column] > 0 else 0)
    needed = max(needed, least(problem.demand, problem.capacity.max(axis=0, initial=0.0)))
    if problem.narrowed:
        return float(min(needed, len(problem.hosts)))
    held = problem.allowed_rows.sum(axis=1)[problem.allowed_of] == 1
    fixed = len(set(problem.allowed_rows[problem.allowed_of[held]].argmax(axis=1).tolist()))
    return float(max(min(needed, len(problem.hosts)), fixed))


def least_left(state: State, most: float, most_mib: float) -> float:
    """Bound the number of hosts in use from below by what may be moved: every guest of an emptied host has to leave.

    Parameters
    ----------
    state : State
        Where everything is now.
    most, most_mib : float
        Moves of guests, and memory moved, MiB, at most.

    Returns
    -------
    float
        Hosts in use now, without as many as could be emptied if room were no matter.
    """
    problem = state.problem
    guests, mib = np.zeros(state.hosts), np.zeros(state.hosts)
    for members, homes in zip(problem.members, problem.homes, strict=True):
        for vm, host in zip(members, homes, strict=True):
            if host != SPLIT:
                guests[host] += 1
                mib[host] += problem.member_data_mib[vm]
    used = guests > 0
    by_moves = (np.cumsum(np.sort(guests[used])) <= most).sum()
    by_mib = (np.cumsum(np.sort(mib[used])) <= most_mib * (1.0 + SLACK)).sum()
    return float(used.sum() - min(by_moves, by_mib))
