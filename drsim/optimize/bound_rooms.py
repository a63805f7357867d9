"""Bounds of how many further guests of one kind can have room in one piece."""

from __future__ import annotations

import numpy as np

from drsim.optimize.bound_spread import most_bought
from drsim.optimize.defragment import pieces, room_for
from drsim.optimize.problem import SPLIT, Bools, Floats, Ints, Problem
from drsim.optimize.state import SLACK, State

CLASSES, CELLS = 60, 60_000
"""Classes of guests that a relaxation tells apart, and pairs of those and hosts, at most: the largest by memory; all
others may be anywhere in it."""


def least_lost(
    now: State, need: Floats, takes: Bools, *, columns: int, most: float = np.inf, most_mib: float = np.inf
) -> float:
    """Bound from below how many further guests have room in all and not in one piece (`defragment.lost_slots`).

    Parameters
    ----------
    now, need, takes, columns, most, most_mib
        As for `most_rooms`.
    """
    need = np.where(np.arange(len(need)) < columns, need, 0.0)
    problem = now.problem
    if any(need[column] > 0.0 for column in range(columns) if problem.kinds[column].kind == "numa"):
        return 0.0  # nodes of hosts that guests lie in by luck are counted as larger
    # Where a host is overfull what is free in all shrinks once it is not; guests of closed hosts may come.
    may_come = np.asarray(problem.allowed_rows[:, takes].any(axis=1))[problem.allowed_of]
    free = problem.capacity[takes].sum(axis=0) - problem.demand[may_come | problem.narrowed].sum(axis=0)
    in_all = min(int(room_for(free[None], need).sum()), int(room_for(problem.capacity[takes], need).sum()))
    rooms = most_rooms(now, need, takes, columns=columns, most=most, most_mib=most_mib)
    return float(max(in_all - rooms, 0))


def most_rooms(
    now: State, need: Floats, takes: Bools, *, columns: int, most: float = np.inf, most_mib: float = np.inf
) -> int:
    """Bound from above how many further guests have room in one piece, whatever is moved.

    By what cannot leave each host; by whole steps, such as GiB, of which guests leave none half used; by a linear
    relaxation in which guests are divisible and may be where rules let them; by what may be moved.

    Parameters
    ----------
    now : State
        Where everything is.
    need : array of float, shape (R,)
        What one of them needs.
    takes : array of bool, shape (H,)
        Hosts that take guests.
    columns : int
        Resources that count, the first ones; those that only a rule knows do not.
    most, most_mib : float
        Moves of guests, and memory moved, MiB, at most.
    """
    need = np.where(np.arange(len(need)) < columns, need, 0.0)
    if not (need > 0.0).any() or not takes.any():
        return 0
    rooms = _beside_the_held(now.problem, need, takes)
    bounds = [
        int(rooms.sum()),
        *(_by_steps(now, need, takes, rooms, column) for column in np.flatnonzero(need > 0.0).tolist()),
        _by_moves(now, need, takes, rooms, most, most_mib),
    ]
    if not now.problem.narrowed and not _anywhere(now.problem, takes).all():
        bounds.append(_relaxed(now, need, takes, rooms))
    return min(bounds)


def _beside_the_held(problem: Problem, need: Floats, takes: Bools) -> Ints:
    """Return how many have room on each host beside the guests that can be nowhere else."""
    fixed = np.zeros_like(problem.capacity)
    if not problem.narrowed:
        held = (problem.allowed_rows.sum(axis=1) == 1)[problem.allowed_of]
        np.add.at(fixed, problem.allowed_rows[problem.allowed_of[held]].argmax(axis=1), problem.demand[held])
    rooms: Ints = np.where(takes, room_for(problem.capacity - fixed, need), 0)
    return rooms


def _anywhere(problem: Problem, takes: Bools) -> Bools:
    """Classes of guests that may be on every host that takes guests; those that may be nowhere stay wherever."""
    rows = problem.allowed_rows
    anywhere: Bools = np.asarray(rows[:, takes].all(axis=1) | ~rows.any(axis=1))
    return anywhere


def _inside(problem: Problem, takes: Bools) -> Bools:
    """Units that can only be on hosts that take guests, and have a host."""
    if problem.narrowed and not takes.all():
        return np.zeros(problem.units, dtype=np.bool_)
    rows = problem.allowed_rows
    seated = np.array([any(host != SPLIT for host in homes) for homes in problem.homes], dtype=np.bool_)
    inside: Bools = seated & np.asarray(rows.any(axis=1) & ~rows[:, ~takes].any(axis=1))[problem.allowed_of]
    return inside


def _filled(now: State, takes: Bools, column: int) -> Floats:
    """Return what guests can use up on each host that takes them: an overfull one may stay as it is."""
    most: Floats = np.maximum(now.problem.capacity, now.use)[takes, column]
    return np.maximum(most, 0.0)


def _by_steps(now: State, need: Floats, takes: Bools, rooms: Ints, column: int) -> int:
    """Bound by one resource, in whole steps of which all guests need some: room less than a step is of no use."""
    problem = now.problem
    demand = problem.demand[_inside(problem, takes), column]
    step = float(np.gcd.reduce(np.rint(demand).astype(np.int64))) if len(demand) else 0.0
    whole = step >= 1.0 and np.allclose(demand, np.rint(demand), rtol=0.0, atol=SLACK)

    def usable(slots: int) -> Floats:
        room = problem.capacity[takes, column] - slots * need[column] if slots else _filled(now, takes, column)
        left = np.maximum(room, 0.0)
        return np.floor((left + SLACK) / step) * step if whole else left

    spare = float(usable(0).sum() - demand.sum()) + 1e-6
    if spare < 0.0:  # not even all that is there fits, so nothing is known
        return int(rooms.sum())
    most = rooms[takes]
    costs = [(usable(n) - usable(n + 1))[most > n] for n in range(int(most.max(initial=0)))]
    steps = np.sort(np.concatenate(costs)) if costs else np.zeros(0)
    return int(np.searchsorted(np.cumsum(steps), spare, side="right"))


def _relaxed(now: State, need: Floats, takes: Bools, rooms: Ints) -> int:
    """Bound by a linear relaxation: classes of guests and the hosts open to them, divisible, resource by resource."""
    from ortools.linear_solver import pywraplp  # takes longer to load than a small cluster to solve

    problem, hosts = now.problem, np.flatnonzero(takes)
    inside = _inside(problem, takes)
    kinds = np.unique(problem.allowed_of[inside])
    tight = kinds[~_anywhere(problem, takes)[kinds]]
    load = np.array([problem.demand[inside & (problem.allowed_of == kind), 0].sum() for kind in tight.tolist()])
    tight = tight[np.argsort(-load, kind="stable")][: min(CLASSES, CELLS // len(hosts))]
    solver = pywraplp.Solver.CreateSolver("GLOP")
    infinite = solver.infinity()
    objective = solver.Objective()
    objective.SetMaximization()
    slots = [solver.NumVar(0.0, float(rooms[host]), "") for host in hosts.tolist()]
    for slot in slots:
        objective.SetCoefficient(slot, 1.0)
    for column in np.flatnonzero(need > 0.0).tolist():
        total = float(problem.demand[inside, column].sum())
        room = _filled(now, takes, column)
        if room.sum() < total:  # not even all that is there fits, so nothing is known
            continue
        whole = solver.Constraint(-infinite, float(room.sum()) - total)
        limits = []
        for slot, much in zip(slots, room.tolist(), strict=True):
            whole.SetCoefficient(slot, float(need[column]))
            limits.append(solver.Constraint(-infinite, much))
            limits[-1].SetCoefficient(slot, float(need[column]))
        for kind in tight.tolist():
            amount = float(problem.demand[inside & (problem.allowed_of == kind), column].sum())
            all_of_it = solver.Constraint(amount, amount)
            for limit, host in zip(limits, hosts.tolist(), strict=True):
                if problem.allowed_rows[kind, host]:
                    part = solver.NumVar(0.0, infinite, "")
                    all_of_it.SetCoefficient(part, 1.0)
                    limit.SetCoefficient(part, 1.0)
    if solver.Solve() != pywraplp.Solver.OPTIMAL:
        return int(rooms.sum())
    return int(np.floor(objective.Value() + 1e-6))


def _by_moves(now: State, need: Floats, takes: Bools, rooms: Ints, most: float, most_mib: float) -> int:
    """Bound by what may be moved: a host has room for more only when guests leave it that need as much."""
    problem, here = now.problem, pieces(now, need, takes)
    if np.isinf(min(most, most_mib)) or (now.place == SPLIT).any():
        return int(np.maximum(rooms, here).sum())
    moves = np.array([sum(host != SPLIT for host in homes) for homes in problem.homes], dtype=np.float64)
    found = []
    for each, limit in ((moves, most), (problem.data_mib, most_mib)):
        gain, cost = [], []
        for host in np.flatnonzero(takes & (rooms > here)).tolist():
            units = np.flatnonzero((now.place == host) & now.movable)
            steps = _minorant(_prices(now, need, host, units, each[units], int(here[host]), int(rooms[host])))
            gain.append(np.ones(len(steps)))
            cost.append(steps)
        bought = most_bought(np.concatenate(gain), np.concatenate(cost), limit) if gain else 0.0
        found.append(int(here.sum()) + int(np.floor(bought + 1e-6)))
    return min(found)


def _prices(now: State, need: Floats, host: int, units: Ints, each: Floats, here: int, most: int) -> Floats:
    """Return the least that has to be moved off a host for one more room, two more, ...; ends where none can be."""
    problem, prices = now.problem, np.zeros(most - here)
    free = problem.capacity[host] - now.use[host]
    for column in np.flatnonzero(need > 0.0).tolist():
        lack = np.arange(here + 1, most + 1) * need[column] - np.maximum(free[column], 0.0) - SLACK
        gives = problem.demand[units, column] > 0.0
        demand, cost = problem.demand[units[gives], column], each[gives]
        order = np.argsort(cost / demand, kind="stable")
        given = np.concatenate([[0.0], np.cumsum(demand[order])])
        paid = np.concatenate([[0.0], np.cumsum(cost[order])])
        price = np.interp(np.maximum(lack, 0.0), given, paid)
        price[lack > given[-1] + 1e-6] = np.inf
        prices = np.maximum(prices, price)
    return prices[np.isfinite(prices)]


def _minorant(prices: Floats) -> Floats:
    """Return the steps of the largest convex function below prices of one, two, ..., nothing of none."""
    points = np.concatenate([[0.0], prices])
    steps: list[float] = []
    at = 0
    while at < len(points) - 1:
        slopes = (points[at + 1 :] - points[at]) / np.arange(1, len(points) - at)
        least = len(slopes) - 1 - int(slopes[::-1].argmin())
        steps += [float(slopes[least])] * (least + 1)
        at += least + 1
    return np.array(steps)
