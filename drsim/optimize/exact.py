"""CP-SAT: the best balance of chosen hosts, exactly, with the present placement as hint.

On a small problem all hosts are chosen and the answer is proven; on a large one a few hosts at a time are, as a step of
a large-neighbourhood search.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from drsim.optimize.problem import Ints
from drsim.optimize.state import State

SCALE = 100_000
"""Integer steps of a load of 1: a load is exact to 1e-5."""

CENTI = 100
"""Integer steps of a core, a vCPU and a MiB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What CP-SAT found.

    Parameters
    ----------
    place : array of int, shape (n,) or None
        Host of each of the units asked about; None if nothing better than the hint was found.
    peak, bound : float
        Highest load of the hosts asked about, and a lower bound of it.
    proven : bool
        Whether the peak is the least there is.
    """

    place: Ints | None
    peak: float
    bound: float
    proven: bool


def solve(state: State, hosts: Ints, effort_s: float, seed: int, limit_s: float) -> Answer:
    """Find the lowest highest load of some hosts, moving only guests among them.

    Parameters
    ----------
    state : State
        Present placement; the hint.
    hosts : array of int
        Hosts to look at.
    effort_s : float
        CP-SAT's deterministic time, about seconds of one core: counted work, so that the answer does not depend on the
        speed of the machine.
    seed : int
        Seed of the search; one worker.
    limit_s : float
        Seconds by the clock on the wall after which it ends in any case.
    """
    from ortools.sat.python import cp_model  # takes longer to load than a large cluster to solve

    problem = state.problem
    units = np.flatnonzero(np.isin(state.place, hosts))
    allowed = problem.allowed(units)[:, hosts]
    allowed[state.priced[units]] = False
    here = np.searchsorted(hosts, state.place[units])
    allowed[np.arange(len(units)), here] = True
    model = cp_model.CpModel()
    chosen = {(u, h): model.new_bool_var("") for u, h in np.argwhere(allowed).tolist()}
    for u in range(len(units)):
        model.add_exactly_one(chosen[u, h] for h in np.flatnonzero(allowed[u]).tolist())
    ceiling = int(np.ceil(state.levels()[hosts].max(initial=0.0) * SCALE)) + len(units) + 1
    peak = model.new_int_var(0, ceiling, "peak")
    demand = np.ceil(problem.demand[units] * CENTI - 1e-6).astype(np.int64)
    for h, host in enumerate(hosts.tolist()):
        there = np.flatnonzero(allowed[:, h]).tolist()
        mine = np.flatnonzero(here == h)
        for column in range(demand.shape[1]):
            room = max(int(problem.capacity[host, column] * CENTI), int(demand[mine, column].sum()))
            model.add(sum(int(demand[u, column]) * chosen[u, h] for u in there) <= room)
        for column in problem.balanced.tolist():
            parts = np.ceil(problem.demand[units, column] * problem.weight[host, column] * SCALE - 1e-6).astype(
                np.int64
            )
            if parts.any():
                model.add(sum(int(parts[u]) * chosen[u, h] for u in there) <= peak)
    for index, group in enumerate(problem.apart):
        members = np.flatnonzero(np.isin(units, group.units))
        weight = group.weight[np.searchsorted(group.units, units[members])]
        areas = group.cell[hosts]
        for area in np.unique(areas).tolist():
            inside = int(weight[areas[here[members]] == area].sum())
            outside = int(state.count[index, area]) - inside
            pairs = zip(members.tolist(), weight.tolist(), strict=True)
            there = np.flatnonzero(areas == area).tolist()
            those = [w * chosen[u, h] for u, w in pairs for h in there if (u, h) in chosen]
            if int(weight.sum()) + outside > group.most:
                model.add(sum(those) <= max(group.most - outside, inside))
    for (u, h), variable in chosen.items():
        model.add_hint(variable, int(here[u] == h))
    model.add_hint(peak, ceiling)
    model.minimize(peak)
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    solver.parameters.random_seed = seed % (1 << 31)
    solver.parameters.max_deterministic_time = effort_s
    solver.parameters.max_time_in_seconds = limit_s
    status = solver.solve(model)
    if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        return Answer(place=None, peak=ceiling / SCALE, bound=0.0, proven=False)
    place = np.array(
        [
            hosts[next(h for h in range(len(hosts)) if (u, h) in chosen and solver.value(chosen[u, h]))]
            for u in range(len(units))
        ]
    )
    # Demands were rounded up, by one step each at most: the bound is lowered by as much.
    bound = max(0.0, (solver.best_objective_bound - len(units)) / SCALE)
    return Answer(place=place, peak=solver.objective_value / SCALE, bound=bound, proven=status == cp_model.OPTIMAL)


def units_on(state: State, hosts: Ints) -> Ints:
    """Units that `solve` decides about, in its order."""
    return np.flatnonzero(np.isin(state.place, hosts))
