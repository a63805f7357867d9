"""Demand foreseen: ``python -m tests.benchmarks.ahead [--guests 100] [--quantile 0.95]`` prints JSON.

Four invented days in steps of 30 minutes are known, the fifth is looked at: how often demand was above what had been
foreseen for its hour, how much was set aside for it, and CPU seconds a guest.
"""

from __future__ import annotations

import argparse
import json
import sys
import time

import numpy as np

from drsim.synthetic import cluster
from drsim.workload import Demand, foresee

STEP_S, DAY_STEPS, KNOWN_DAYS, PARTS = 1800.0, 48, 4, 24


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(prog="ahead", description=__doc__)
    parser.add_argument("--guests", type=int, default=100)
    parser.add_argument("--quantile", type=float, default=0.95)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    inventory = cluster(max(1, arguments.guests // 20), arguments.guests, arguments.seed)
    whole = Demand.daily(inventory, days=KNOWN_DAYS + 1, step_s=STEP_S, seed=arguments.seed)
    past = Demand(vms=whole.vms, step_s=STEP_S, cpu_cores=whole.cpu_cores[: KNOWN_DAYS * DAY_STEPS])
    later = whole.cpu_cores[KNOWN_DAYS * DAY_STEPS : (KNOWN_DAYS + 1) * DAY_STEPS].astype(np.float64)
    rows = {}
    for method in ("profile", "ets"):
        began = time.process_time()
        made = foresee(inventory, past, quantile=arguments.quantile, parts=PARTS, method=method)  # type: ignore[arg-type]
        spent = time.process_time() - began
        place = {vm.name: vm.cpu_ahead_cores for vm in made.vms}
        said = np.repeat(np.array([place[name] for name in whole.vms]).T, DAY_STEPS // PARTS, axis=0)
        rows[method] = {
            "above": round(float((later > said + 1e-9).mean()), 4),
            "over_mean_demand": round(float(said.mean() / later.mean()), 3),
            "cpu_s_a_guest": round(spent / len(whole.vms), 4),
        }
    sys.stdout.write(json.dumps({"guests": arguments.guests, "quantile": arguments.quantile, **rows}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
