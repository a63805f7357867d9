"""New guests, room in one piece, risk and losses beside their bounds: ``python -m tests.benchmarks.goals``; JSON.

Invented clusters at 70 % of memory, some hosts overfull. Objectives count what is not reached, so that 0 is the bound
of each; of `survive` the losses played and the guests left without a host are told. CPU seconds of the call alone.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from drsim.inventory import Inventory, Vm
from drsim.optimize import optimize
from drsim.policy import Goal, Objective, Policy, Survive
from drsim.synthetic import cluster

NEWCOMERS = 100
GOALS: tuple[Goal, ...] = ("place", "defragment", "spread")
T = TypeVar("T")


def timed(work: Callable[[], T]) -> tuple[T, float]:
    """Return what it returns, and its CPU seconds."""
    begin = time.process_time()
    return work(), round(time.process_time() - begin, 2)


def reached(made: Inventory, goal: Goal, limit_s: float, seed: int) -> dict[str, object]:
    """Run one search and tell how far it comes."""
    new = tuple(
        Vm(name=f"new-{number}", host="", vcpus=4, memory_mib=16384, cpu_demand_cores=1.0)
        for number in range(NEWCOMERS if goal == "place" else 0)
    )
    wish = Objective(goal=goal, newcomers=new)
    estate = replace(made, vms=made.vms + new)
    result, cpu_s = timed(lambda: optimize(estate, Policy(), wish, time_limit_s=limit_s, seed=seed))
    return {
        "cpu_s": cpu_s,
        "before": result.before.objective,
        "after": result.after.objective,
        "violations": result.after.violations,
        "moves": len(result.reasons) - len(new),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", nargs="*", default=["100x2000", "1000x20000"])
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
        row |= {goal: reached(made, goal, options.time_limit, options.seed) for goal in GOALS}
        print(json.dumps(row), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
