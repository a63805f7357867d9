"""Consolidate: empty hosts one after the other, the least loaded first."""

from __future__ import annotations

import numpy as np

from drsim.optimize.clock import Budget
from drsim.optimize.problem import MEMORY, VCPUS, Floats, Problem
from drsim.optimize.state import State


def pack(state: State, budget: Budget) -> None:
    """Empty as many hosts as can be emptied whole, in place."""
    problem = state.problem
    order = np.argsort(np.where(problem.weight.any(axis=1), (state.use * problem.weight).max(axis=1), np.inf))
    emptied = np.zeros(state.hosts, dtype=np.bool_)
    for host in order.tolist():
        units = np.flatnonzero(state.place == host)
        if budget.out() or not units.size or not state.movable[units].all():
            continue
        trial = state.copy()
        closed = emptied | (trial.use[:, VCPUS] == 0)
        closed[host] = True
        for unit in units[np.argsort(-problem.demand[units, MEMORY], kind="stable")].tolist():
            rooms = trial.rooms([unit])[0] & ~closed
            if not rooms.any():
                break
            # The fullest host that still has room: what stays free stays free in one piece.
            trial.shift(unit, int(np.where(rooms, _fullness(trial), -1.0).argmax()))
        else:
            state.place, state.use, state.count = trial.place, trial.use, trial.count
            emptied[host] = True


def _fullness(state: State) -> Floats:
    fullness: Floats = (state.use / np.maximum(state.problem.capacity, 1e-9)).max(axis=1)
    return fullness


def least_hosts(problem: Problem) -> float:
    """Bound the number of hosts in use from below: by the largest hosts in each resource, and by guests that stay."""
    need = problem.demand.sum(axis=0)
    least = 1 if problem.units else 0
    for column in range(3):
        sizes = np.cumsum(np.sort(problem.capacity[:, column])[::-1])
        least = max(least, int(np.searchsorted(sizes, need[column] - 1e-6) + 1) if need[column] > 0 else 0)
    held = problem.allowed_rows.sum(axis=1)[problem.allowed_of] == 1
    fixed = len(set(problem.allowed_rows[problem.allowed_of[held]].argmax(axis=1).tolist()))
    return float(max(min(least, len(problem.hosts)), fixed))
