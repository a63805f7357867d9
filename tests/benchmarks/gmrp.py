"""Google's machine reassignment (ROADEF/EURO challenge 2012), solved by the engine as one more placement problem.

``python -m tests.benchmarks.gmrp MODEL ASSIGNMENT --time-limit S --seed N --out SOLUTION`` writes the machine of every
process, separated by spaces, and prints JSON. The format and the costs are those of the challenge's problem statement,
http://challenge.roadef.org/2012/en/sujet.php; a machine's transient resources are what a unit holds on both ends.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from pathlib import Path

import numpy as np

from drsim.optimize.engine.load import load
from drsim.optimize.engine.model import Ints, Model, flat
from drsim.optimize.engine.search import race

READING = 0.97
"""Share of the time limit for the search; the rest is for writing the answer and for the end of a last step."""


def read_model(path: Path, assignment: Path) -> Model:
    """Read a model file and the initial assignment."""
    numbers = np.fromstring(path.read_text(), dtype=np.int64, sep=" ")
    at = 0

    def take(count: int) -> Ints:
        nonlocal at
        at += count
        return numbers[at - count : at]

    resources = int(take(1)[0])
    transient, load_price = take(2 * resources).reshape(resources, 2).T
    machines = int(take(1)[0])
    rows = take(machines * (2 + 2 * resources + machines)).reshape(machines, -1)
    services = int(take(1)[0])
    spread, needs = np.zeros(services, dtype=np.int64), []
    for service in range(services):
        spread[service], count = take(2)
        needs.append([one for one in sorted(set(take(int(count)).tolist())) if one != service])
    processes = int(take(1)[0])
    table = take(processes * (resources + 2)).reshape(processes, resources + 2)
    balances = int(take(1)[0])
    balance = take(4 * balances).reshape(balances, 4)
    price_process, price_service, price_machine = take(3).tolist()
    needed: list[list[int]] = [[] for _ in range(services)]
    for service, those in enumerate(needs):
        for other in those:
            needed[other].append(service)
    needs_from, needs_flat = flat(needs)
    needed_from, needed_flat = flat(needed)
    demand = np.vstack([table[:, 1:-1], np.zeros((1, resources))])
    route = rows[:, 2 + 2 * resources :] * float(price_machine)
    return Model(
        demand=demand,
        held=demand * (transient == 1),
        capacity=np.ascontiguousarray(rows[:, 2 : 2 + resources], dtype=np.float64),
        bar=np.full((machines, resources), np.inf),
        safety=np.ascontiguousarray(rows[:, 2 + resources : 2 + 2 * resources], dtype=np.float64),
        load_price=load_price.astype(np.float64),
        balance=balance.copy(),
        home=np.array([*assignment.read_bytes().split(), -1], dtype=np.int64),
        move_price=table[:, -1] * float(price_process),
        route_price=np.ascontiguousarray(route) if route.any() else np.zeros((0, 0)),
        group_price=float(price_service),
        groups_from=np.minimum(np.arange(processes + 2), processes),
        groups_of=np.ascontiguousarray(table[:, 0]),
        most=np.ones(services, dtype=np.int64),
        cell=np.arange(machines, dtype=np.int64)[None],
        per=np.zeros(services, dtype=np.int64),
        spread=spread,
        needs_from=needs_from,
        needs=needs_flat,
        needed_from=needed_from,
        needed=needed_flat,
        location=np.ascontiguousarray(rows[:, 1]),
        area=np.ascontiguousarray(rows[:, 0]),
        allowed=np.ones((1, machines), dtype=np.bool_),
        kind=np.zeros(processes, dtype=np.int64),
    )


def main() -> None:
    """Solve one instance."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("assignment", type=Path)
    parser.add_argument("--time-limit", type=float, default=60.0, help="wall time, seconds")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    start = time.perf_counter()
    load()
    model = read_model(asked.model, asked.assignment)
    limit_s = asked.time_limit * READING
    found = race(model, model.home[:-1], lambda: (time.perf_counter() - start) / limit_s, seed=asked.seed)
    asked.out.write_text(" ".join(map(str, found.place.tolist())) + "\n")
    used = resource.getrusage(resource.RUSAGE_SELF)
    sys.stdout.write(
        json.dumps(
            {
                "cost": round(found.cost),
                "feasible": found.over == 0 and found.broken == 0,
                "wall_s": round(time.perf_counter() - start, 2),
                "cpu_s": round(used.ru_utime + used.ru_stime, 2),
                "peak_mib": used.ru_maxrss // 1024,
            }
        )
        + "\n"
    )


if __name__ == "__main__":
    main()
