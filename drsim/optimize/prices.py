"""What room on each host is worth: a linear relaxation of moving as little memory as possible.

Units may leave in parts, and those that leave are pooled by what they need most of; hosts take from the pools. That is
nearly the relaxation of the whole problem, at the size of one variable per unit and a few per host. Its duals are the
prices of room; a unit whose leaving they do not pay for hardly ever leaves in a good placement.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from drsim.optimize.problem import Bools, Floats, Ints

POOLS = 24
"""Most kinds of units by what they need most of."""

DEAR = 30.0
"""Price of what no placement can avoid to have above a limit, in the price of a unit of mean need."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prices:
    """Duals of the relaxation; H hosts, U units, R resources.

    Parameters
    ----------
    room : array of float, shape (H, R)
        Price of a unit of resource on a host, in the unit of the cost of leaving.
    leaving : array of float, shape (U,)
        What the leaving of a unit costs beyond what it is worth; below 0 for those that should leave.
    """

    room: Floats
    leaving: Floats


def prices(demand: Floats, cost: Floats, place: Ints, use: Floats, limit: Floats, movable: Bools) -> Prices:
    """Solve the relaxation.

    Parameters
    ----------
    demand : array of float, shape (U, R)
        What units need.
    cost : array of float, shape (U,)
        What the leaving of a unit costs.
    place : array of int, shape (U,)
        Host of each unit.
    use, limit : array of float, shape (H, R)
        What hosts hold, and what they should hold at most.
    movable : array of bool, shape (U,)
        Units that may leave.
    """
    from ortools.linear_solver import pywraplp  # takes longer to load than a small cluster to solve

    hosts, resources = limit.shape
    need = np.maximum(demand.mean(axis=0), 1e-12)
    demand, spare = demand / need, (limit - use) / need
    worth = float(cost.mean()) or 1.0
    cost = cost / worth
    solver = pywraplp.Solver.CreateSolver("GLOP")
    infinite = solver.infinity()
    objective = solver.Objective()
    objective.SetMinimization()
    rooms = [[solver.Constraint(-infinite, float(spare[h, r])) for r in range(resources)] for h in range(hosts)]
    for h, r in np.argwhere(spare < 0.0).tolist():
        excess = solver.NumVar(0.0, infinite, "")
        rooms[h][r].SetCoefficient(excess, -1.0)
        objective.SetCoefficient(excess, DEAR)
    pool_of = _pools(demand)
    pools = [solver.Constraint(0.0, 0.0) for _ in range(int(pool_of.max()) + 1)]
    whole = demand.sum(axis=1)
    leaves = {}
    for u in np.flatnonzero(movable).tolist():
        leaves[u] = part = solver.NumVar(0.0, 1.0, "")
        for r in range(resources):
            rooms[place[u]][r].SetCoefficient(part, -float(demand[u, r]))
        pools[pool_of[u]].SetCoefficient(part, float(whole[u]))
        objective.SetCoefficient(part, float(cost[u]))
    for number, pool in enumerate(pools):
        mixture = demand[pool_of == number].sum(axis=0)
        mixture = mixture / max(mixture.sum(), 1e-12)
        for h in range(hosts):
            taken = solver.NumVar(0.0, infinite, "")
            pool.SetCoefficient(taken, -1.0)
            for r in range(resources):
                rooms[h][r].SetCoefficient(taken, float(mixture[r]))
    solver.Solve()
    room = np.array([[-rooms[h][r].dual_value() for r in range(resources)] for h in range(hosts)])
    leaving = np.full(len(demand), np.inf)
    for u, part in leaves.items():
        leaving[u] = part.reduced_cost()
    return Prices(room=np.maximum(room, 0.0) * worth / need, leaving=leaving * worth)


def _pools(demand: Floats) -> Ints:
    """Part units by what they need most of: halve what is most spread, again and again."""
    share = demand / np.maximum(demand.sum(axis=1, keepdims=True), 1e-12)
    parts = [np.arange(len(demand))]
    while len(parts) < min(POOLS, max(1, len(demand) // 8)):
        spread = [float(np.ptp(share[part], axis=0).max()) * len(part) if len(part) > 1 else 0.0 for part in parts]
        widest = int(np.argmax(spread))
        if spread[widest] <= 0.0:
            break
        part = parts.pop(widest)
        column = int(np.ptp(share[part], axis=0).argmax())
        order = part[np.argsort(share[part, column], kind="stable")]
        parts += [order[: len(order) // 2], order[len(order) // 2 :]]
    pool_of = np.zeros(len(demand), dtype=np.int64)
    for number, part in enumerate(parts):
        pool_of[part] = number
    return pool_of
