"""Annealing that gathers units on few hosts, compiled."""

from __future__ import annotations

import numpy as np

from drsim.compiled import compiled
from drsim.optimize.engine.anneal import draw
from drsim.optimize.engine.model import Floats, Model, State
from drsim.optimize.engine.step import broken_delta, put


@compiled
def gather(
    m: Model,
    s: State,
    amount: Floats,
    fill: Floats,
    free: bool,
    patience: np.ndarray,
    random: np.ndarray,
    steps: int,
    heat: float,
    swaps: float,
) -> None:
    """Propose so many steps; what grows is the sum of the squares of what hosts hold.

    The amounts of all hosts add up to the same whatever is moved, so the sum of squares is the larger the fewer hosts
    hold all of it. No host that is empty is opened, no capacity is passed and no rule is broken that was not before.

    Parameters
    ----------
    m, s : Model, State
        The problem; prices are not looked at. The placement is changed.
    amount : array of float, shape (U + 1,)
        How much a unit is, all resources in one figure; nobody's is 0.
    fill : array of float, shape (H,)
        The same of the units on a host; changed.
    free : bool
        Every unit may be anywhere and there are no groups: nothing but capacity is looked at.
    patience : array of float
        `PATIENCE`.
    random : array of uint64, shape (1,)
        State of the random numbers; changed.
    steps : int
        How many steps to propose.
    heat : float
        Temperature, in squares of amounts.
    swaps : float
        Share of the proposals that exchange two units.
    """
    demand, capacity, allowed, kind = m.demand, m.capacity, m.allowed, m.kind
    place, full = s.place, s.full
    units, resources = kind.size, demand.shape[1]
    nobody = units
    swap_below = np.int64(swaps * 1024)
    for _ in range(steps):
        u, w = draw(random, units), draw(random, units)
        a, b = place[u], place[w]
        if a == b:
            continue
        v = w if draw(random, 1024) < swap_below else nobody
        more = amount[u] - amount[v]
        if -2.0 * more * (fill[b] - fill[a] + more) > heat * patience[draw(random, patience.size)]:
            continue
        fits = True
        for r in range(resources):
            change = demand[u, r] - demand[v, r]
            if (change > 0.0 and full[b, r] + change > capacity[b, r]) or (
                change < 0.0 and full[a, r] - change > capacity[a, r]
            ):
                fits = False
                break
        if not fits:
            continue
        if not free:
            if not allowed[kind[u], b] or (v != nobody and not allowed[kind[v], a]):
                continue
            broken = broken_delta(m, s, u, b)
            if v == nobody and broken > 0:
                continue
            put(m, s, u, b)
            if v != nobody:
                broken += broken_delta(m, s, v, a)
                if broken > 0:
                    put(m, s, u, a)
                    continue
                put(m, s, v, a)
        else:
            put(m, s, u, b)
            if v != nobody:
                put(m, s, v, a)
        fill[a] -= more
        fill[b] += more
