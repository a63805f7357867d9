"""The fewest hosts: gather units on as few as can be found, within capacities and rules."""

from __future__ import annotations

import numpy as np

from drsim.optimize.engine.anneal import PATIENCE
from drsim.optimize.engine.gather import gather
from drsim.optimize.engine.model import Floats, Ints, Model, new_state
from drsim.optimize.engine.search import Gone

STEPS = 50_000
"""Steps between two looks at the clock."""

HOT, COLD = 0.2, 0.003
"""First and last temperature of a cycle, in mean squares of the units' amounts."""

FIRST, LONGER = 4_000, 2.0
"""Steps per unit of the first cycle; each further one is that many times longer, the last lasts to the end."""

SWAPS = 0.8
"""Share of the proposals that exchange two units."""


def fewest(model: Model, start: Ints, gone: Gone, *, least: int = 1, effort: float = np.inf, seed: int = 0) -> Ints:
    """Look for a placement on few hosts.

    Cycles of annealing, each longer than the one before; units that are alone in their bins need hundreds of steps,
    others hundred thousands.

    Parameters
    ----------
    model : Model
        The problem; its prices are not looked at.
    start : array of int, shape (U,)
        Placement to begin from; hosts that are empty in it stay empty.
    gone : callable
        Share of the time that is gone, 0 to 1.
    least : int
        A lower bound; the search ends when it is reached.
    effort : float
        Steps at most.
    seed : int
        Same input and seed: same answer, unless the time ends the search.

    Returns
    -------
    array of int, shape (U,)
        Hosts of the units; never more hosts than at the start.
    """
    units = len(start)
    best, hosts = start, len(np.unique(start))
    if hosts <= least:
        return best
    state = new_state(model, start)
    amount = amounts(model)
    fill = np.zeros(len(model.capacity))
    np.add.at(fill, start, amount[:-1])
    scale = float((amount[:-1] ** 2).mean())
    free = bool(model.allowed.all()) and not len(model.most)
    random = np.random.default_rng(seed).integers(1, 2**63, size=1, dtype=np.uint64)
    done, begun, long = 0, 0.0, float(FIRST * units)

    def share() -> float:
        return max(done / effort, gone())

    last = False
    while not last and share() < 1.0:
        began, at = done, share()
        last = at > 0.0 and 1.0 - at < (1.0 + LONGER) * (at - begun)
        begun = at
        progress = 0.0
        while progress < 1.0:
            heat = scale * HOT * (COLD / HOT) ** progress
            gather(model, state, amount, fill, free, PATIENCE, random, STEPS, heat, SWAPS)
            done += STEPS
            now = share()
            progress = (now - at) / (1.0 - at) if last else (done - began) / long
            if now >= 1.0:
                break
        if (count := len(np.unique(state.place))) < hosts:
            best, hosts = state.place.copy(), count
            if hosts <= least:
                break
        long *= LONGER
    return best


def amounts(model: Model) -> Floats:
    """Put all that a unit needs into one figure, in shares of a mean host: what is scarce counts the more."""
    size = np.maximum(model.capacity.mean(axis=0), 1e-12)
    need = model.demand / size
    weight = need.sum(axis=0)
    one: Floats = need @ (weight / max(float(weight.sum()), 1e-12))
    return one
