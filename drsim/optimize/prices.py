"""What room on each host is worth: a linear relaxation of moving as little memory as possible.

Units may leave in parts, and those that leave are pooled by what they need most of; hosts take from the pools. That is
nearly the relaxation of the whole problem, at the size of one variable per unit and a few per host. Its duals are the
prices of room; a unit whose leaving they do not pay for hardly ever leaves in a good placement.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from drsim.optimize.problem import Bools, Floats, Ints

POOLS = 8
"""Most kinds of units by what they need most of."""

DEAR = 30.0
"""Price of what no placement can avoid to have above a limit, in the price of a unit of mean need."""

DUAL_SIMPLEX = "use_dual_simplex: true use_preprocessing: false initial_basis: NONE"
"""How GLOP solves it: costs are not negative, so that moving nothing is a start for the dual simplex, a few steps from
the end: up to five times faster than the primal one, to the same duals."""


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
    solver = pywraplp.Solver.CreateSolver("GLOP")
    solver.SetSolverSpecificParametersAsString(DUAL_SIMPLEX)
    infinite, variable, constraint = solver.infinity(), solver.NumVar, solver.Constraint
    objective = solver.Objective()
    objective.SetMinimization()
    rooms = [[constraint(-infinite, room) for room in row] for row in spare.tolist()]
    for h, r in np.argwhere(spare < 0.0).tolist():
        excess = variable(0.0, infinite, "")
        rooms[h][r].SetCoefficient(excess, -1.0)
        objective.SetCoefficient(excess, DEAR)
    pool_of = _pools(demand)
    pools = [constraint(0.0, 0.0) for _ in range(int(pool_of.max()) + 1)]
    free = np.flatnonzero(movable)
    columns = (place[free], pool_of[free], demand[free].sum(axis=1), cost[free] / worth)
    leaves = []
    for needs, host, number, whole, price in zip(
        demand[free].tolist(), *(column.tolist() for column in columns), strict=True
    ):
        part = variable(0.0, 1.0, "")
        for room, much in zip(rooms[host], needs, strict=True):
            room.SetCoefficient(part, -much)
        pools[number].SetCoefficient(part, whole)
        objective.SetCoefficient(part, price)
        leaves.append(part)
    for number, pool in enumerate(pools):
        mixture = demand[pool_of == number].sum(axis=0)
        parts = (mixture / max(mixture.sum(), 1e-12)).tolist()
        for row in rooms:
            taken = variable(0.0, infinite, "")
            pool.SetCoefficient(taken, -1.0)
            for room, much in zip(row, parts, strict=True):
                room.SetCoefficient(taken, much)
    solver.Solve()
    dual = np.array([[-room.dual_value() for room in row] for row in rooms]).reshape(hosts, resources)
    leaving = np.full(len(demand), np.inf)
    leaving[free] = [part.reduced_cost() for part in leaves]
    return Prices(room=np.maximum(dual, 0.0) * worth / need, leaving=leaving * worth)


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
