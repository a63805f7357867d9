"""Balance with few moves: the evenest loads, of every host and not of the highest alone, that so many moves reach."""

from __future__ import annotations

from functools import cache

import numpy as np

from drsim.optimize.clock import Budget
from drsim.optimize.engine.anneal import PATIENCE
from drsim.optimize.engine.spread import Few, spread
from drsim.optimize.problem import Floats
from drsim.optimize.state import State
from drsim.optimize.steps import in_steps, seats, two_seats

STEPS_PER_MOVE, FEWEST = 12_000, 800_000
"""Steps of a search for each move that may be made, and at least."""

STEPS_PER_S = 3e6
"""Steps that fit into a second with ease."""

STEEP = 1.25
"""The price of a variance goes by this power of what it is at the start, inverse: by the first power none would be
evened out at the expense of another; a little more, for what varies less is evened out with fewer moves."""

PEAK = 0.25
"""Price of the highest load, in the price of the largest variance at the start."""

MEMORY = 1.0
"""Price of moving all memory there is, likewise."""

HOT, COLD = 0.02, 1e-4
"""First and last temperature, likewise."""


@cache
def load() -> None:
    """Load what a search needs before its clock starts; compiles what is not compiled yet."""
    two, ones = np.arange(2), np.ones((2, 1))
    model = Few(
        seats=two_seats(),
        share=ones,
        counted=ones[0],
        price=ones[0],
        peak_price=PEAK,
        memory_price=MEMORY,
    )
    spread(model, two, 0, 0.0, PATIENCE, np.ones(1, dtype=np.uint64), 1, HOT, COLD)


def few(state: State, most: int, budget: Budget, seed: int, *, most_mib: float = np.inf) -> None:
    """Even out the loads with at most so many moves, in place.

    The variance of each resource's utilisation over the hosts counts, in proportion to what it is at the start; the
    highest load counts, too, and memory moved a little.

    Parameters
    ----------
    state : State
        Starting point; no rule is broken that it keeps.
    most : int
        Moves of guests at most, those of the state included; if it has more, no further ones.
    budget : Budget
        Time.
    seed : int
        Seed of the search.
    most_mib : float
        Memory moved at most, MiB, likewise.
    """
    problem = state.problem
    steps = in_steps(state, 1.0, 0.0)
    free = np.flatnonzero(steps.free)
    if not len(free):
        return
    counted = problem.weight > 0.0
    share_of = np.divide(1.0, problem.size * steps.scale, out=np.zeros_like(problem.size), where=counted)
    parts, hosts = steps.use * share_of, np.maximum(counted.sum(axis=0), 1).astype(np.float64)
    variance = (parts**2).sum(axis=0) / hosts - (parts.sum(axis=0) / hosts) ** 2
    model = Few(
        seats=seats(state, steps),
        share=share_of,
        counted=np.where(counted.any(axis=0), hosts, 0.0),
        price=_prices(variance),
        peak_price=PEAK,
        memory_price=MEMORY / max(float(problem.data_mib.sum()), 1.0),
    )
    moves = min(most, problem.units)
    effort = min(max(STEPS_PER_MOVE * moves, FEWEST), STEPS_PER_S * max(budget.left_s, 0.0))
    random = np.random.default_rng(seed).integers(1, 2**63, size=1, dtype=np.uint64)
    place = spread(model, free, most, most_mib, PATIENCE, random, int(effort), HOT, COLD)
    for unit in free[place[free] != state.place[free]].tolist():
        state.shift(unit, int(place[unit]))


def _prices(variance: Floats) -> Floats:
    """Return the price of each variance; what does not vary costs nothing."""
    widest = max(float(variance.max(initial=0.0)), 1e-12)
    share = variance / widest
    prices: Floats = np.where(share > 1e-9, np.maximum(share, 1e-9) ** -STEEP / widest, 0.0)
    return prices
