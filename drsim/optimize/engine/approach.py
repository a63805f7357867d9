"""From a placement that is whole towards a better one that is not: whatever can go there goes, and all stays whole."""

from __future__ import annotations

import numpy as np

from drsim.compiled import compiled
from drsim.optimize.engine.model import Model, State
from drsim.optimize.engine.step import broken_delta, put, room


@compiled
def approach(m: Model, s: State, goal: np.ndarray, bar: np.ndarray) -> int:
    """Bring units, one by one, to their hosts in another placement, as long as no bar is passed and no rule breaks.

    What leaves makes room for others, so all units are looked at again until none can go.

    Parameters
    ----------
    m, s : Model, State
        The problem, and the placement to change.
    goal : array of int, shape (U,)
        Host of each unit in the other placement.
    bar : array of float, shape (H, R)
        What no host may come to hold.

    Returns
    -------
    int
        Units that are not where the other placement has them.
    """
    nobody = m.kind.size
    missing, before = nobody, nobody + 1
    while missing < before:
        before, missing = missing, 0
        for u in range(nobody):
            d = goal[u]
            if s.place[u] == d:
                continue
            fits = m.allowed[m.kind[u], d] and room(m.demand, m.held, s.full, bar, m.home, d, u, nobody)
            if fits and broken_delta(m, s, u, d) <= 0:
                put(m, s, u, d)
            else:
                missing += 1
    return missing
