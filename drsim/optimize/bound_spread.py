"""Bounds of how many guests are beyond an even spread."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from drsim.optimize.problem import SPLIT, Bools, Floats, Group, Ints
from drsim.optimize.state import SLACK, State


def least_uneven(now: State, even: Sequence[Group], *, most: float = np.inf, most_mib: float = np.inf) -> float:
    """Bound from below how many guests are beyond an even spread, over all groups.

    Group by group, as many guests as can be at once where the group has not more than it should have, by where they
    may be and by room, are not beyond: a flow from guests to areas. And no more can be brought back than may be moved.

    Parameters
    ----------
    now : State
        Where everything is; its problem need not know the groups.
    even : sequence of Group
        Groups of an even spread.
    most, most_mib : float
        Moves of guests, and memory moved, MiB, at most.
    """
    alone = sum(_least_of(now, group) for group in even)
    return float(max(alone, np.ceil(_left(now, even, most, most_mib) - 1e-6)))


def _least_of(now: State, group: Group) -> int:
    """Return how many guests of one group are beyond an even spread at least."""
    seated = np.array([now.place[unit] != SPLIT or bool(now.seats(unit)) for unit in group.units.tolist()])
    units, weight = group.units[seated], group.weight[seated]
    if not len(units):
        return 0
    reach = _areas(now, units, group.cell)
    supply = np.minimum(weight, group.most)  # of guests kept together, no more than an area should have
    room = np.minimum(np.bincount(group.cell, _fitting(now, group), reach.shape[1]), group.most).astype(np.int64)
    rows, of = np.unique(reach, axis=0, return_inverse=True)
    sums = np.bincount(of.reshape(-1), supply, len(rows)).astype(np.int64)
    return int(weight.sum()) - _most_at_once(rows, sums, room)


def _areas(now: State, units: Ints, cell: Ints) -> Bools:
    """Return the areas in which each unit may be, shape (n, areas); all for those that no host is open to."""
    problem, count = now.problem, int(cell.max()) + 1
    if problem.narrowed:
        return np.ones((len(units), count), dtype=np.bool_)
    rows = np.zeros((len(problem.allowed_rows), count), dtype=np.bool_)
    for area in range(count):
        rows[:, area] = problem.allowed_rows[:, cell == area].any(axis=1)
    rows[~rows.any(axis=1)] = True
    reach: Bools = rows[problem.allowed_of[units]]
    return reach


def _fitting(now: State, group: Group) -> Floats:
    """Return how many guests of the group have room on each host at most, shape (H,), or are there already."""
    problem, units = now.problem, group.units
    found = np.full(now.hosts, np.inf)
    for column in range(problem.demand.shape[1]):
        need = problem.demand[units, column] / group.weight
        order = np.argsort(need, kind="stable")
        if need[order[-1]] <= 0.0:
            continue
        # The smallest first, and of those kept together a part: a knapsack that is never fuller.
        guests = np.concatenate([[0.0], np.cumsum(group.weight[order])])
        filled = np.concatenate([[0.0], np.cumsum(problem.demand[units[order], column])])
        much = np.maximum(problem.capacity[:, column], 0.0) + SLACK
        whole = np.searchsorted(filled, much, side="right") - 1
        rest = np.minimum(whole, len(order) - 1)
        part = np.where(whole < len(order), (much - filled[whole]) / np.maximum(need[order[rest]], 1e-12), 0.0)
        found = np.minimum(found, guests[whole] + part)
    places = now.place[units]
    here = np.bincount(places[places != SPLIT], group.weight[places != SPLIT], now.hosts)
    for unit in units[places == SPLIT].tolist():
        for _, host in now.seats(unit):
            here[host] += 1
    fitting: Floats = np.minimum(np.maximum(np.floor(found + 1e-6), here), group.weight.sum())
    return fitting


def _most_at_once(rows: Bools, supply: Ints, room: Ints) -> int:
    """Return the largest flow from classes of guests, each with the areas open to it, into these."""
    from ortools.graph.python import max_flow  # takes longer to load than a small cluster to solve

    classes, areas = rows.shape
    if classes == 1:
        return int(min(supply[0], room[rows[0]].sum()))
    flow = max_flow.SimpleMaxFlow()
    first, sink = 1 + classes, 1 + classes + areas
    number, area = np.nonzero(rows)
    flow.add_arcs_with_capacity(np.zeros(classes, dtype=np.int32), np.arange(1, first, dtype=np.int32), supply)
    flow.add_arcs_with_capacity((1 + number).astype(np.int32), (first + area).astype(np.int32), supply[number])
    flow.add_arcs_with_capacity(np.arange(first, sink, dtype=np.int32), np.full(areas, sink, dtype=np.int32), room)
    status = flow.solve(0, sink)
    return int(flow.optimal_flow()) if status == flow.OPTIMAL else int(supply.sum())


def _left(now: State, even: Sequence[Group], most: float, most_mib: float) -> float:
    """Return how many guests are beyond an even spread still, when those that count most have been moved."""
    problem, beyond = now.problem, 0
    gain = np.zeros(problem.units)
    for group in even:
        places, inside = now.place[group.units], np.zeros(now.hosts, dtype=np.int64)
        whole = places != SPLIT
        np.add.at(inside, group.cell[places[whole]], group.weight[whole])
        for unit in group.units[~whole].tolist():
            for _, host in now.seats(unit):
                inside[group.cell[host]] += 1
        excess = np.maximum(inside - group.most, 0)
        beyond += int(excess.sum())
        gain[group.units] += np.where(whole, np.minimum(group.weight, excess[group.cell[places]]), group.weight)
    gain[[unit for unit in np.flatnonzero(now.place == SPLIT).tolist() if not now.seats(unit)]] = 0.0
    moves = np.array([sum(host != SPLIT for host in homes) for homes in problem.homes], dtype=np.float64)
    # Of a unit on several hosts some guests may already be where all will be.
    moves[now.place == SPLIT] = 0.0
    data = np.where(now.place == SPLIT, 0.0, problem.data_mib)
    return beyond - min(most_bought(gain, moves, most), most_bought(gain, data, most_mib))


def most_bought(gain: Floats, cost: Floats, limit: float) -> float:
    """Return the most that can be gained for a limited cost, the last of it in part.

    Parameters
    ----------
    gain, cost : array of float, shape (n,)
        Of each choice.
    limit : float
        Infinite for no limit.
    """
    free = (cost <= 0.0) | np.isinf(limit)
    total = float(gain[free].sum())
    gain, cost = gain[~free], cost[~free]
    order = np.argsort(-gain / cost, kind="stable")
    spent = np.cumsum(cost[order])
    whole = int(np.searchsorted(spent, limit + SLACK, side="right"))
    total += float(gain[order[:whole]].sum())
    if whole < len(order):
        left = limit - (spent[whole - 1] if whole else 0.0)
        total += float(gain[order[whole]] * max(left, 0.0) / cost[order[whole]])
    return total
