"""Why a guest is moved, and why one cannot be."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from drsim.optimize.problem import CPU, MEMORY, SPLIT, Floats
from drsim.optimize.state import State
from drsim.policy import Goal

NEAR = 1e-9
"""What sums may be off by."""


def reason(now: State, then: State, unit: int, goal: Goal) -> str:
    """Say in one sentence why a unit goes where it goes.

    Parameters
    ----------
    now, then : State
        Placements before and after.
    unit : int
        The unit.
    goal : Goal
        What was asked for.
    """
    problem = now.problem
    source, target = int(now.place[unit]), int(then.place[unit])
    if why := needed(now, then, unit):
        return why
    name = problem.hosts[source]
    if goal == "spread":
        return f"{name} holds more guests of one kind than an even spread would give it"
    if then.price_row(unit)[target] < now.price_row(unit)[source] - 1e-9:
        return f"a rule that should hold is broken on {name}"
    if goal == "consolidate" and not np.any(then.place == source):
        return f"empties {name}; {_load_text(now, then, target)}"
    if goal == "defragment":
        return f"frees room in one piece on {name}"
    if goal == "balance":
        column = int((now.use[source] * problem.weight[source]).argmax())
        load = now.use[source, column] / max(_size(now, source, column), 1e-9)
        left = then.use[source, column] / max(_size(now, source, column), 1e-9)
        return (
            f"{name} is at {load:.0%} of its {problem.kinds[column].name}, {left:.0%} after the plan; "
            f"{_load_text(now, then, target)}"
        )
    return f"makes room on {name} for a guest that must go there"


def needed(now: State, then: State, unit: int) -> str | None:
    """Say why a unit cannot stay, whatever is sought; None if it can."""
    problem = now.problem
    source, target = int(now.place[unit]), int(then.place[unit])
    if source == SPLIT and not now.seats(unit):
        return f"has no host yet; {_load_text(now, then, target)}"
    if source == SPLIT:
        return f"joins the guests that it must be together with on {problem.hosts[target]}"
    name = problem.hosts[source]
    if problem.leave[source]:
        return f"{name} is to be evacuated; {_load_text(now, then, target)}"
    if not problem.allowed([unit])[0, source]:
        return f"rules forbid {name} to it"
    for index in now.groups_of.get(unit, np.zeros(0, dtype=np.int64)).tolist():
        if now.count[index, now.cells[index, source]] > now.most[index]:
            return f"rule '{problem.apart[index].name}' is broken on {name}"
    over = now.over_on(source)
    if over.any():
        column = int((over / np.maximum(problem.capacity[source], 1e-9)).argmax())
        excess = f"{over[column]:.4g} {problem.kinds[column].unit}"
        return f"{name} holds {excess} more than it may; {_load_text(now, then, target)}"
    return None


def beside(now: State, then: State, unit: int, goals: Sequence[Goal], here: Floats, back: Floats) -> str:
    """Say in one sentence what a unit's move is for where several goals are sought.

    Parameters
    ----------
    now, then : State
        Placements before and after.
    unit : int
        The unit.
    goals : sequence of Goal
        What is sought.
    here, back : array of float, shape (goals,)
        What each goal counts with the plan, and with this unit alone back where it was.
    """
    if why := needed(now, then, unit):
        return why
    name = now.problem.hosts[int(now.place[unit])]
    worse = [
        f"{goal} {more:.4g} instead of {less:.4g}"
        for goal, less, more in zip(goals, here.tolist(), back.tolist(), strict=True)
        if more > less + NEAR
    ]
    means = f"back on {name} it would make {' and '.join(worse)}" if worse else f"makes room on {name} for others"
    return f"{means}; {_load_text(now, then, int(then.place[unit]))}"


def _size(state: State, host: int, column: int) -> float:
    return float(state.problem.size[host, column])


def _load_text(now: State, then: State, target: int) -> str:
    shares = []
    for column in (CPU, MEMORY):
        size = max(_size(now, target, column), 1e-9)
        before, after = now.use[target, column] / size, then.use[target, column] / size
        shares.append(f"{now.problem.kinds[column].name} {before:.0%} to {after:.0%}")
    return f"{now.problem.hosts[target]} goes from {shares[0]} and {shares[1]}"


def blocked(state: State, unit: int, names: str) -> str:
    """Say why a unit found no place, host by host in counts, and what would help most."""
    problem = state.problem
    allowed = problem.allowed([unit])[0]
    crowded = state.crowded(np.array([unit]))[0]
    forbidden = int((~allowed).sum())
    kept_apart = int((allowed & crowded).sum())
    lack = np.maximum(state.use + problem.demand[unit] - problem.capacity, 0.0)
    full = np.flatnonzero(allowed & ~crowded & (lack > 0).any(axis=1))
    parts = []
    if forbidden:
        parts.append(f"{forbidden} hosts are closed to it (state, network, line, CPU or a rule)")
    if kept_apart:
        parts.append(f"an 'apart' rule keeps it off {kept_apart}")
    remedy = "Relax a rule that holds it, or add a host."
    if full.size:
        parts.append(f"{full.size} are too full")
        best = int(full[(lack[full] / np.maximum(problem.capacity[full], 1e-9)).max(axis=1).argmin()])
        column = int((lack[best] / np.maximum(problem.capacity[best], 1e-9)).argmax())
        remedy = f"{problem.kinds[column].more(float(lack[best, column]), problem.hosts[best])} would do."
    return f"{names} cannot be placed: {'; '.join(parts) or 'no host is left'}. {remedy}"
