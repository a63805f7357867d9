"""Plans that move no more than they may."""

from __future__ import annotations

import numpy as np

from drsim.optimize.problem import SPLIT
from drsim.optimize.state import State
from drsim.policy import Limits


def most_moved(limits: Limits) -> tuple[float, float]:
    """Return how many guests may be moved at most, and how much memory, MiB; infinite without a limit."""
    most = np.inf if limits.max_moves is None else float(limits.max_moves)
    return most, np.inf if limits.max_gib is None else limits.max_gib * 1024.0


def within(now: State, then: State, most: float, most_mib: float, homeless: tuple[int, ...] = ()) -> State:
    """Keep what may be moved: what must be mended first, then what takes most off the most loaded hosts.

    Parameters
    ----------
    now, then : State
        Where everything is, and where it should be.
    most, most_mib : float
        Moves of guests, and memory moved, MiB, at most.
    homeless : tuple of int
        Units that stay.
    """
    if not np.isfinite(min(most, most_mib)):
        return then
    moved = then.moved()
    moves = np.array([sum(host != then.place[u] for _, host in now.seats(u)) for u in moved.tolist()], dtype=np.float64)
    mib = np.array([now.problem.cost_mib(u)[then.place[u]] for u in moved.tolist()])
    if moves.sum() <= most and mib.sum() <= most_mib:
        return then
    kept, used, carried = now.copy(), 0.0, 0.0
    levels = now.levels().max(axis=1)
    heat = np.array([np.inf if now.place[u] == SPLIT else levels[now.place[u]] for u in moved.tolist()])
    broken = np.array([_broken(now, unit) for unit in moved.tolist()])
    for index in np.lexsort((moved, -heat, ~broken)).tolist():
        unit = int(moved[index])
        fits = used + moves[index] <= most and carried + mib[index] <= most_mib
        fits = fits and bool(kept.rooms([unit])[0, then.place[unit]])
        if fits and unit not in homeless:
            kept.shift(unit, int(then.place[unit]))
            used += moves[index]
            carried += mib[index]
    return kept


def _broken(state: State, unit: int) -> bool:
    place = int(state.place[unit])
    if place == SPLIT or not state.problem.allowed([unit])[0, place]:
        return True
    return bool(state.crowded(np.array([unit]))[0, place] or state.over()[place].any())
