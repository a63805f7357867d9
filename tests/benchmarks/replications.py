"""A plan played a thousand times: ``python -m tests.benchmarks.replications [--moves N] [--replications N]``; JSON."""

from __future__ import annotations

import argparse
import json
import sys
import time

from drsim.migration import Calibration
from drsim.planner import make_plan
from drsim.policy import Objective
from drsim.simulate import Replications, replicate
from drsim.synthetic import cluster


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--moves", type=int, default=100)
    parser.add_argument("--replications", type=int, default=1000)
    asked = parser.parse_args()
    plan = make_plan(cluster(40, 800, 1), objective=Objective(goal="balance"), seed=1)
    moves = plan.moves[: asked.moves]

    def drawn(processes: int) -> Replications:
        return replicate(
            plan.inventory,
            moves,
            plan.policy.limits,
            Calibration(),
            replications=asked.replications,
            processes=processes,
        )

    begun = time.perf_counter()
    many = drawn(-1)
    walled, worked = time.perf_counter(), time.process_time()
    alone = drawn(1)
    report = {
        "moves": len(moves),
        "replications": asked.replications,
        "wall_s_all_cores": round(walled - begun, 2),
        "cpu_s_one_process": round(time.process_time() - worked, 2),
        "same": bool((many.makespan_s == alone.makespan_s).all()),
        "makespan_p50_s": many.makespan_percentile_s(50),
    }
    sys.stdout.write(json.dumps(report) + "\n")


if __name__ == "__main__":
    main()
