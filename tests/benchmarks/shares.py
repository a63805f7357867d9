"""CPU divided by shares: ``python -m tests.benchmarks.shares [--size HOSTSxGUESTS@SECONDS ...]``; prints JSON.

A cluster of ``DRSIM_BENCH_DATA/peers`` is balanced three times by the same search: as it is, without rules; as it is,
with a tree of pools, where there is enough for all; and with demand raised until guests ask for a tenth more than there
is. Told are CPU seconds of `make_plan` and of its parts that shares add, the highest load over the mean beside its
bound, and who gets less than it is entitled to before and after.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from drsim import check
from drsim.formats import read_inventory
from drsim.inventory import Inventory
from drsim.plan import Plan
from drsim.planner import make_plan
from drsim.policy import Objective, Policy, Shares
from drsim.sharing import entitled
from drsim.warm import warm

PEERS = Path(os.environ.get("DRSIM_BENCH_DATA", "")) / "peers"
SIZES = ("100x2000@1", "1000x20000@5")
TENANTS, DEPARTMENTS = 40, 8
"""Pools with guests, and pools that these are in."""


def tree() -> Policy:
    """Departments with shares by rank, tenants in them, something kept for each."""
    above = [Shares(name=f"d{n}", shares=1000.0 * (n + 1)) for n in range(DEPARTMENTS)]
    below = [
        Shares(
            name=f"t{n}",
            vms=(f"tag:t{n}",),
            within=f"d{n % DEPARTMENTS}",
            shares=1000.0 * (1 + n // DEPARTMENTS),
            kept_cores=4.0,
        )
        for n in range(TENANTS)
    ]
    return Policy(rules=(*above, *below))


def tagged(inventory: Inventory, factor: float) -> Inventory:
    """Every guest a tenant's, with so many times its demand, its vCPUs at most."""
    return replace(
        inventory,
        vms=tuple(
            replace(vm, tags=(f"t{n % TENANTS}",), cpu_demand_cores=min(vm.cpu_cores * factor, float(vm.vcpus)))
            for n, vm in enumerate(inventory.vms)
        ),
    )


def scarce(inventory: Inventory) -> Inventory:
    """Raise demand until guests ask for a tenth more than there is, or their vCPUs are nearly busy."""
    cores = sum(host.cores for host in inventory.hosts)
    most = sum(vm.vcpus for vm in inventory.vms)
    wanted = min(1.1 * cores, 0.9 * most)
    low, high = 1.0, 64.0
    for _ in range(40):
        middle = (low + high) / 2.0
        asked = sum(min(vm.cpu_cores * middle, float(vm.vcpus)) for vm in inventory.vms)
        low, high = (middle, high) if asked < wanted else (low, middle)
    return tagged(inventory, high)


def timed(call: Any) -> tuple[float, Any]:
    """Return CPU seconds and what was returned."""
    begun = time.process_time()
    result = call()
    return time.process_time() - begun, result


def told(inventory: Inventory, policy: Policy, limit_s: float, seed: int) -> dict[str, Any]:
    """Balance, and say what came of it."""
    plan: Plan
    cpu_s, plan = timed(lambda: make_plan(inventory, policy, Objective(), time_limit_s=limit_s, seed=seed))
    entitled_s, shared = timed(lambda: entitled(inventory, policy, Objective()))
    counted_s, _ = timed(lambda: check.counted(inventory, policy))
    felt_s, before = timed(lambda: check.felt(inventory, policy))
    after = check.felt(inventory, policy, plan.target)
    moved = sum(inventory.vm_by_name[move.vm].data_mib for move in plan.moves) / 1024.0
    return {
        "asked_over_cores": round(
            sum(vm.cpu_cores for vm in inventory.vms) / sum(host.cores for host in inventory.hosts), 3
        ),
        "cpu_s": round(cpu_s, 2),
        "entitled_s": round(entitled_s, 3),
        "counted_s": round(counted_s, 3),
        "felt_s": round(felt_s, 3),
        "guests_counting_less": shared.guests,
        "before": round(plan.before.objective, 4),
        "after": round(plan.after.objective, 4),
        "bound": plan.lower_bound,
        "violations": plan.after.violations,
        "moves": len(plan.moves),
        "gib": round(moved, 1),
        "applyable": plan.applyable,
        "short_before": [sum(each.is_short for each in before), round(sum(each.lacks_cores for each in before), 1)],
        "short_after": [sum(each.is_short for each in after), round(sum(each.lacks_cores for each in after), 1)],
    }


def main() -> None:
    """Measure and print."""
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    asked.add_argument("--size", nargs="*", default=SIZES, help="HOSTSxGUESTS@SECONDS")
    asked.add_argument("--seed", type=int, default=1)
    given = asked.parse_args()
    if not PEERS.is_dir():
        raise SystemExit("Set DRSIM_BENCH_DATA to the folder that holds peers/.")
    warm()
    results = {}
    for size in given.size:
        shape, limit = size.split("@")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "cluster.json"
            command = [sys.executable, PEERS / "gen_cluster.py", *shape.split("x"), str(given.seed), path]
            subprocess.run(command, check=True, capture_output=True)
            inventory = read_inventory(f"neutral:{path}")
        plain = tagged(inventory, 1.0)
        results[size] = {
            "no rules": told(plain, Policy(), float(limit), given.seed),
            "enough": told(plain, tree(), float(limit), given.seed),
            "short": told(scarce(plain), tree(), float(limit), given.seed),
        }
    json.dump(results, sys.stdout, indent=1)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
