"""Goals alone and several together, beside their bounds: ``python -m tests.benchmarks.goals``; JSON, a line a size.

Invented clusters at 70 % of memory, some hosts overfull. Objectives of `place`, `spread` and `defragment` count what is
not reached; of `survive` the losses played and the guests left without a host are told. Several goals stand beside each
of them alone, from the same run. CPU seconds of the call alone; the most memory that the process has had.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from drsim.inventory import Inventory, Vm
from drsim.optimize import Result, optimize
from drsim.policy import Goal, Objective, Policy, Survive
from drsim.synthetic import cluster
from drsim.terms import parse_terms

NEWCOMERS = 100
GOALS: tuple[Goal, ...] = ("place", "defragment", "spread", "balance", "consolidate")
TOGETHER = (
    "balance=1,spread=0.5",
    "spread>balance",
    "balance>spread",
    "defragment>balance",
    "balance=1,defragment=0.5",
    "spread>balance,defragment=0.5",
    "consolidate>balance",
)
T = TypeVar("T")


def timed(work: Callable[[], T]) -> tuple[T, float]:
    """Return what it returns, and its CPU seconds."""
    begin = time.process_time()
    return work(), round(time.process_time() - begin, 2)


def moved(made: Inventory, result: Result) -> dict[str, object]:
    """Tell what a result moves."""
    gib = sum(vm.data_mib for vm in made.vms if vm.host and result.placement[vm.name] != vm.host) / 1024.0
    moves = sum(bool(vm.host) and result.placement[vm.name] != vm.host for vm in made.vms)
    return {"moves": moves, "gib": round(gib), "violations": result.after.violations, "status": result.status}


def reached(made: Inventory, goal: Goal, limit_s: float, seed: int) -> dict[str, object]:
    """Run one search and tell how far it comes."""
    new = tuple(
        Vm(name=f"new-{number}", host="", vcpus=4, memory_mib=16384, cpu_demand_cores=1.0)
        for number in range(NEWCOMERS if goal == "place" else 0)
    )
    wish = Objective(goal=goal, newcomers=new)
    estate = replace(made, vms=made.vms + new)
    result, cpu_s = timed(lambda: optimize(estate, Policy(), wish, time_limit_s=limit_s, seed=seed))
    values = {"before": result.before.objective, "after": result.after.objective, "bound": result.lower_bound}
    return {"cpu_s": cpu_s, **values, **moved(made, result)}


def together(made: Inventory, wish: str, limit_s: float, seed: int) -> dict[str, object]:
    """Seek several goals and tell how far each comes."""
    sought = Objective.seeking(*parse_terms(wish))
    result, cpu_s = timed(lambda: optimize(made, Policy(), sought, time_limit_s=limit_s, seed=seed))
    after = {part.goal: {"after": round(part.value, 4), "bound": part.lower_bound} for part in result.after.parts}
    return {"cpu_s": cpu_s, **after, **moved(made, result)}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", nargs="*", default=["100x2000", "1000x20000"])
    parser.add_argument("--goal", nargs="*", default=GOALS, choices=GOALS)
    parser.add_argument("--together", nargs="*", default=TOGETHER, metavar="WISH", help="Several goals.")
    parser.add_argument("--time-limit", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    for size in options.size:
        hosts, guests = map(int, size.split("x"))
        made = cluster(hosts, guests, options.seed, fill=0.7)
        where = {vm.name: vm.host for vm in made.vms}
        rule = Survive(name="n+1")
        left, cpu_s = timed(lambda: rule.breakers(made, where))  # noqa: B023
        row: dict[str, object] = {
            "size": size,
            "survive": {"cpu_s": cpu_s, "losses": len(rule.losses(made, where)), "left": len(left)},
        }
        row |= {goal: reached(made, goal, options.time_limit, options.seed) for goal in options.goal}
        row |= {wish: together(made, wish, options.time_limit, options.seed) for wish in options.together}
        row["most_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        print(json.dumps(row), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
