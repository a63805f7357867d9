"""Mend what must hold: guests where they must not be, guests that must be apart, overfull hosts."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from drsim.optimize.clock import Budget
from drsim.optimize.problem import MEMORY, SPLIT, Floats, Ints
from drsim.optimize.state import State

PLEASED = 8
"""Rounds in which guests go to where rules want them: each may open a place for another."""


def mend(state: State, budget: Budget) -> tuple[int, ...]:
    """Move units, in place, until nothing is broken that can be mended; the heaviest displaced unit first.

    Returns
    -------
    tuple of int
        Units that found no place; they are where they were.
    """
    displaced = misplaced(state)
    order = displaced[np.argsort(-state.problem.demand[displaced, MEMORY], kind="stable")].tolist()
    homeless = [unit for unit in order if not (settle(state, unit) or _settle_by_ejection(state, unit, budget))]
    _spread(state)
    _relieve(state)
    please(state)
    # A unit that found no room may find some now.
    return tuple(unit for unit in homeless if not settle(state, unit))


def misplaced(state: State) -> Ints:
    """Units that may not be where they are."""
    problem = state.problem
    bad = (state.place == SPLIT) | ~problem.allowed_rows[problem.allowed_of, np.maximum(state.place, 0)]
    return np.flatnonzero(bad)


def preference(state: State, unit: int) -> Floats:
    """Cost of each host for a unit, smaller is better: price of rules first, then the load that it would have."""
    problem = state.problem
    levels = ((state.use + problem.demand[unit]) * problem.weight).max(axis=1)
    cost: Floats = levels + 1e3 * state.price_row(unit) - 0.05 * (np.arange(state.hosts) == problem.home[unit])
    return cost


def settle(state: State, unit: int) -> bool:
    """Put a unit on the best host that has room for it; whether there is one."""
    rooms = state.rooms([unit])[0]
    if not rooms.any():
        return False
    state.shift(unit, int(np.where(rooms, preference(state, unit), np.inf).argmin()))
    return True


def _settle_by_ejection(state: State, unit: int, budget: Budget) -> bool:
    """Make room for a unit by sending one guest of the target elsewhere."""
    problem = state.problem
    hosts = np.flatnonzero(problem.allowed([unit])[0] & ~state.crowded(np.array([unit]))[0])
    for host in hosts[np.argsort(preference(state, unit)[hosts], kind="stable")].tolist():
        if host == state.place[unit] or budget.out():
            continue
        lacking = state.use[host] + problem.demand[unit] - problem.capacity[host]
        others = state.on(host)
        enough = (problem.demand[others] >= lacking - 1e-9).all(axis=1)
        others = others[enough & (others != unit)]
        for other in others[np.argsort(problem.data_mib[others], kind="stable")].tolist():
            rooms = state.rooms([other])[0]
            if rooms.any():
                state.shift(other, int(np.where(rooms, preference(state, other), np.inf).argmin()))
                state.shift(unit, host)
                return True
    return False


def _spread(state: State) -> None:
    """Send guests that must be apart away from each other, the lightest first."""
    for index, group in enumerate(state.problem.apart):
        for area in np.flatnonzero(state.count[index] > group.most).tolist():
            places = state.place[group.units]
            units = group.units[(places != SPLIT) & (group.cell[places] == area)]
            for unit in units[np.argsort(state.problem.data_mib[units], kind="stable")].tolist():
                if state.count[index, area] <= group.most:
                    break
                settle(state, unit)


def _relieve(state: State) -> None:
    """Send guests away from overfull hosts, the least memory moved for the excess taken off first."""
    most = state.over().max(axis=1)  # no step makes more hosts overfull
    overfull = np.flatnonzero(most > 0.0)
    for host in overfull[np.argsort(-most[overfull], kind="stable")].tolist():
        for unit in _by_relief(state, host):
            if not state.over()[host].any():
                break
            settle(state, unit)


def _by_relief(state: State, host: int) -> Iterable[int]:
    over, units = state.over()[host], state.on(host)
    if not over.any() or not units.size:
        return ()
    share = np.minimum(state.problem.demand[units] / np.maximum(over, 1e-9), 1.0) * (over > 0)
    order = np.argsort(state.problem.data_mib[units] / np.maximum(share.max(axis=1), 1e-9), kind="stable")
    ordered: list[int] = units[order].tolist()
    return ordered


def please(state: State) -> None:
    """Move units to where the rules that should hold want them, if there is room, until that changes nothing more."""
    for _ in range(PLEASED):
        if not _pleased(state):
            return


def _pleased(state: State) -> bool:
    before = state.place.copy()
    for unit in np.flatnonzero(state.priced & state.movable & (state.place != SPLIT)).tolist():
        if state.content(unit):
            continue
        prices, here = state.price_row(unit), int(state.place[unit])
        rooms = state.rooms([unit])[0] & (prices < prices[here] - 1e-9)
        if rooms.any():
            state.shift(unit, int(np.where(rooms, preference(state, unit), np.inf).argmin()))
    return not np.array_equal(before, state.place)
