"""Balance: take load off the highest host, step by step, for as little memory moved as it can be had.

Each step looks at the most loaded host and at every shift of its guests to every other host; when none helps, at every
swap with a guest of another host. A step is valued by what it takes off a convex potential of the loads, per MiB moved.
"""

from __future__ import annotations

import numpy as np

from drsim.optimize.clock import Budget
from drsim.optimize.problem import SPLIT, Bools, Floats, Ints
from drsim.optimize.state import SLACK, State

EVEN = 0.3
"""Weight of evenness below the threshold in the potential: it steers a guest to the host that lacks what it brings."""

MOVE_MIB = 4096.0
"""What a move costs beside its memory, as memory, MiB: connection, switchover and the operator's attention."""

PARTNERS = 2000
"""Guests of other hosts that those of the most loaded one are weighed against."""

GAIN = 1e-7
"""A step that takes less off the potential is not worth taking."""


def descend(state: State, threshold: float, budget: Budget, *, share: float = 1.0) -> None:
    """Bring every host's load under the threshold, as far as shifts and swaps can, in place.

    Parameters
    ----------
    state : State
        Starting point; keeps every rule that it keeps.
    threshold : float
        Load to reach, 1 = mean.
    budget : Budget
        Time; asked before each step.
    share : float
        Share of the budget to use.
    """
    stuck: set[int] = set()
    while not budget.out(share):
        levels = state.levels().max(axis=1)
        levels[list(stuck)] = 0.0
        host = int(levels.argmax())
        if levels[host] <= threshold:
            return
        units = state.on(host)
        units = units[~state.priced[units]]
        step = _best_shift(state, units, host, threshold)
        if step is None:
            step = _best_swap(state, units, host, threshold)
        if step is None:
            stuck.add(host)
            continue
        touched = {host}
        for unit, target in step:
            touched |= {int(state.place[unit]), target}
            state.shift(unit, target)
        stuck -= touched


def _potential(levels: Floats, threshold: float) -> Floats:
    over = np.maximum(levels - threshold, 0.0)
    return over * over + EVEN * (levels - 1.0) ** 2


def _loads(state: State, units: Ints) -> Floats:
    loads: Floats = state.problem.demand[units][:, state.problem.balanced]
    return loads


def _data(state: State, units: Ints) -> Floats:
    """Memory that is paid for already by a unit: what it costs to leave home counts once."""
    away = state.place[units] != state.problem.home[units]
    return np.where(away, 0.0, state.problem.data_mib[units] + MOVE_MIB)


def _pick(gain: Floats, cost: Floats) -> int | None:
    """Best gain per cost; what costs nothing or gives memory back goes first."""
    if not gain.size:
        return None
    value = np.where(gain > GAIN, gain / np.maximum(cost, MOVE_MIB), -np.inf)
    best = int(value.argmax())
    return best if value.flat[best] > -np.inf else None


def _best_shift(state: State, units: Ints, host: int, threshold: float) -> list[tuple[int, int]] | None:
    if not units.size:
        return None
    problem, levels = state.problem, state.levels()
    weight = problem.weight[:, problem.balanced]
    loads = _loads(state, units)
    source = _potential(levels[host], threshold) - _potential(levels[host] - loads * weight[host], threshold)
    after = levels[None, :, :] + loads[:, None, :] * weight[None, :, :]
    target = (_potential(after, threshold) - _potential(levels, threshold)[None]).sum(axis=2)
    gain = source.sum(axis=1)[:, None] - target
    ok = state.rooms(units) & (after.max(axis=2) < levels[host].max())
    gain = np.where(ok, gain, -np.inf)
    cost = np.repeat(_data(state, units)[:, None], state.hosts, axis=1)
    homes = problem.home[units]
    for row in np.flatnonzero((homes != SPLIT) & (homes != host)).tolist():
        cost[row, homes[row]] = -problem.data_mib[units[row]]
    best = _pick(gain, cost)
    if best is None:
        return None
    return [(int(units[best // state.hosts]), best % state.hosts)]


def _best_swap(state: State, units: Ints, host: int, threshold: float) -> list[tuple[int, int]] | None:
    problem = state.problem
    others = np.flatnonzero((state.place != host) & (state.place != SPLIT) & state.movable & ~state.priced)
    if others.size > PARTNERS:  # those on the least loaded hosts
        cool = np.argsort(state.levels().max(axis=1)[state.place[others]], kind="stable")
        others = np.sort(others[cool[:PARTNERS]])
    others = others[problem.allowed_rows[problem.allowed_of[others], host]]
    others = others[~state.crowded_on(host)[others]]
    if not units.size or not others.size:
        return None
    places = state.place[others]
    ok: Bools = (problem.allowed(units) & ~state.crowded(units))[:, places]
    here, there = problem.demand[units], problem.demand[others]
    change = here[:, None, :] - there[None, :, :]
    room = np.maximum(problem.capacity - state.use, 0.0) + SLACK
    ok &= (change <= room[places][None]).all(axis=2) & (-change <= room[host]).all(axis=2)
    weight = problem.weight[:, problem.balanced]
    levels = state.levels()
    change = change[:, :, problem.balanced]
    after_here = levels[host] - change * weight[host]
    after_there = levels[places][None] + change * weight[places][None]
    before = _potential(levels, threshold).sum(axis=1)
    gain = before[host] + before[places][None] - _potential(after_here, threshold).sum(axis=2)
    gain -= _potential(after_there, threshold).sum(axis=2)
    ok &= np.maximum(after_here.max(axis=2), after_there.max(axis=2)) < levels[host].max()
    gain = np.where(ok, gain, -np.inf)
    cost = _data(state, units)[:, None] + _data(state, others)[None]
    best = _pick(gain, cost)
    if best is None:
        return None
    a, b = divmod(best, len(others))
    return [(int(units[a]), int(places[b])), (int(others[b]), host)]
