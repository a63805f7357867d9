"""The same balance for less: send guests home, or let lighter ones go in their stead."""

from __future__ import annotations

import numpy as np

from drsim.optimize.clock import Budget
from drsim.optimize.problem import CPU, MEMORY, SPLIT
from drsim.optimize.state import State


def cheapen(state: State, threshold: float, budget: Budget, *, share: float = 1.0) -> None:
    """Bring moved guests home while no load rises above the threshold, heaviest first, in place.

    Where a guest's return alone would lift its home too high, a lighter guest of that host is sent away in exchange.

    Parameters
    ----------
    state : State
        A placement to make cheaper; keeps every rule that it keeps.
    threshold : float
        No load may pass it, 1 = mean, unless it was above it before and does not rise.
    budget : Budget
        Time; asked before each guest.
    share : float
        Share of the budget to use.
    """
    problem = state.problem
    for _ in range(3):
        before = state.moved_mib()
        moved = state.moved()
        moved = moved[problem.home[moved] != SPLIT]
        for unit in moved[np.argsort(-problem.data_mib[moved], kind="stable")].tolist():
            if budget.out(share):
                return
            if not state.priced[unit]:
                _return(state, unit, threshold)
        if state.moved_mib() >= before:
            return


def _return(state: State, unit: int, threshold: float) -> None:
    problem = state.problem
    home, away = int(problem.home[unit]), int(state.place[unit])
    if home == away or not problem.allowed([unit])[0, home] or state.crowded(np.array([unit]))[0, home]:
        return
    ceiling = np.maximum(state.levels(), threshold)
    state.shift(unit, home)
    fits = bool((state.over()[home] <= 0.0).all())
    if fits and (state.levels()[home] <= ceiling[home]).all():
        return
    units = state.on(home)
    units = units[~state.priced[units] & (units != unit)]
    paid = np.where(state.place[units] != problem.home[units], problem.data_mib[units], 0.0)
    extra = problem.data_mib[units] - paid
    units = units[extra < problem.data_mib[unit] * 0.8]
    step = _substitute(state, units, home, ceiling)
    if step is None:
        state.shift(unit, away)
    else:
        state.shift(*step)


def _substitute(state: State, units: np.ndarray, home: int, ceiling: np.ndarray) -> tuple[int, int] | None:
    """Find the lightest guest whose leaving brings `home` under its ceiling, and where it can go."""
    if not units.size:
        return None
    problem = state.problem
    weight = problem.weight[:, [MEMORY, CPU]]
    levels = state.levels()
    loads = problem.demand[units][:, [MEMORY, CPU]]
    cured = (levels[home] - loads * weight[home] <= ceiling[home]).all(axis=1)
    cured &= (state.use[home] - problem.demand[units] <= problem.capacity[home] + 1e-9).all(axis=1)
    units, loads = units[cured], loads[cured]
    if not units.size:
        return None
    after = levels[None] + loads[:, None, :] * weight[None]
    ok = state.rooms(units) & (after <= ceiling[None]).all(axis=2)
    cost = np.where(state.place[units] != problem.home[units], 0.0, problem.data_mib[units])[:, None] + np.zeros(
        state.hosts
    )
    homes = problem.home[units]
    away = (homes != SPLIT) & (homes != state.place[units])
    cost[np.flatnonzero(away), homes[away]] = -problem.data_mib[units][away]
    cost = np.where(ok, cost + after.max(axis=2), np.inf)
    best = int(cost.argmin())
    if not np.isfinite(cost.flat[best]):
        return None
    return int(units[best // state.hosts]), best % state.hosts
