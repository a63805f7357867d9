"""Bounds of the highest load, and from where on evening out further is not worth its migrations."""

from __future__ import annotations

import numpy as np

from drsim.optimize.problem import Bools, Problem
from drsim.optimize.state import SLACK

TOLERANCE, GRAIN = 0.02, 0.043
"""Balance is sought to this distance from the bound at most, and to this one over the square root of the guests per
host: what lies below costs migrations that nobody feels, for many small guests even out what few large ones do not."""

SMALL = 1200
"""Guests times hosts up to which CP-SAT is given the whole problem."""


def aims(problem: Problem, wanted: float | None) -> tuple[float, float]:
    """Return the bound of the highest load, and what is sought."""
    bound, whole, hosts = least_peak(problem), whole_steps(problem), len(problem.hosts)
    grain = GRAIN * float(np.sqrt(hosts / max(problem.units, 1)))
    if hosts * problem.units <= SMALL:
        grain /= 2.0  # a few guests more make no difference
    bound, free = max(bound, whole), bound
    if wanted is not None:
        return bound, max(bound, wanted) * (1.0 + SLACK)
    return bound, max(bound * (1.0 + SLACK), free * (1.0 + min(TOLERANCE, grain)))


def least_peak(problem: Problem) -> float:
    """Bound the highest load from below.

    The mean load is 1, more over the hosts alone that any guest may be on; guests that can only be in one place load
    it; every guest loads the host that it is on.
    """
    columns = problem.balanced
    least = 1.0 if problem.weight.any() else 0.0
    if problem.narrowed:
        return least
    least = max(least, _shared(problem))
    many, of = problem.allowed_rows.sum(axis=1), problem.allowed_of  # not a row a unit: they share few
    held = many[of] == 1
    fixed = np.zeros_like(problem.capacity)
    np.add.at(fixed, problem.allowed_rows.argmax(axis=1)[of[held]], problem.demand[held])
    least = max(least, float((fixed * problem.weight).max(initial=0.0)))
    free = many[of] > 1
    for kind in np.unique(problem.allowed_of[free]).tolist():
        units = np.flatnonzero(free & (problem.allowed_of == kind))
        weights = np.unique(problem.weight[problem.allowed_rows[kind]][:, columns], axis=0)  # few kinds of hosts
        alone = np.full(len(units), np.inf)
        for weight in weights:
            alone = np.minimum(alone, (problem.demand[units][:, columns] * weight).max(axis=1, initial=0.0))
        # A unit may also stay on a host whose load is not counted; then it bounds nothing.
        least = max(least, float(alone.max(initial=0.0)))
    return least


def _shared(problem: Problem) -> float:
    """Return the mean load of the hosts that any guest may be on, where others are closed; 0 where none are."""
    opened = problem.allowed_rows[np.unique(problem.allowed_of)].any(axis=0)
    least = 0.0
    for column in problem.balanced.tolist():
        counted = problem.weight[:, column] > 0.0
        rows = problem.allowed_rows
        bears: Bools = np.asarray(rows.any(axis=1) & ~(rows & ~counted).any(axis=1))
        room = (1.0 / problem.weight[counted & opened, column]).sum()
        if (counted & ~opened).any() and room > 0.0:
            least = max(least, float(problem.demand[bears[problem.allowed_of], column].sum() / room))
    return least


def whole_steps(problem: Problem) -> float:
    """Bound the highest load from below by what guests need: whole steps, such as GiB, that no two hosts share."""
    least = 0.0
    if problem.narrowed or not problem.units:
        return least
    for column in problem.balanced.tolist():
        needs = problem.demand[:, column]
        step = int(np.gcd.reduce(np.rint(needs).astype(np.int64)))
        whole = step > 1 and np.allclose(needs, np.rint(needs), rtol=0.0, atol=SLACK)
        if not whole or (problem.weight[:, column] <= 0.0).any():  # what no load counts takes any number
            continue
        steps, low, high = float(needs.sum()) / step, 1.0, 2.0
        parts = 1.0 / (problem.weight[:, column] * step)
        while high - low > SLACK:
            middle = (low + high) / 2.0
            fits = np.floor(middle * parts + SLACK).sum() >= steps - SLACK
            low, high = (low, middle) if fits else (middle, high)
        least = max(least, low)
    return least
