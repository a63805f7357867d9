"""A week of a cluster with a balancer in charge: ``python -m tests.benchmarks.week [--hosts N] [--vms N] [--days D]``;
JSON, CPU seconds of one process.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time

from drsim.optimize.trade import load
from drsim.policy import Policy
from drsim.simulate.operate import Watch, operate
from drsim.synthetic import cluster
from drsim.whatif import balancer
from drsim.workload import Demand

STEP_S = 300.0


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hosts", type=int, default=1000)
    parser.add_argument("--vms", type=int, default=20_000)
    parser.add_argument("--days", type=float, default=7.0)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    load()
    estate = cluster(asked.hosts, asked.vms, asked.seed)
    begun = time.process_time()
    demand = Demand.daily(estate, days=asked.days, step_s=STEP_S, seed=asked.seed)
    invented = time.process_time()
    alone = operate(estate, demand)
    lived = time.process_time()
    led = operate(estate, demand, balancer(Policy()), every_s=STEP_S, watch=Watch())
    ended = time.process_time()
    report = {
        "hosts": asked.hosts,
        "vms": asked.vms,
        "days": asked.days,
        "demand_s": round(invented - begun, 2),
        "nobody_in_charge_s": round(lived - invented, 2),
        "balancer_s": round(ended - lived, 2),
        "plans": sum(one.kind == "planned" for one in led.incidents),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "nobody_in_charge": alone.summary(),
        "balancer": led.summary(),
    }
    sys.stdout.write(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
