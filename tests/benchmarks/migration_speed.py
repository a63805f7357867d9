"""How many migrations each level of the model predicts a second: ``python -m tests.benchmarks.migration_speed``.

CPU time of one process, JSON on standard output; guests with two page classes, lines of 1 to 25 Gbit/s.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable

import numpy as np

from drsim.inventory import PageClass, Vm
from drsim.migration import Guests, estimate, predict, quick
from drsim.migration.compiled import PAYS_FROM
from drsim.topology import Path

ROWS = 200_000
KINDS = 2_000
ALONE = 1_000


def guests(count: int) -> list[Vm]:
    """Return random guests, the same each time."""
    draw = np.random.default_rng(0)
    found = []
    for _ in range(count):
        memory = int(draw.choice([1024, 2048, 4096, 8192, 32_768]))
        used = memory * float(draw.uniform(0.3, 1.0))
        hot = used * 10 ** float(draw.uniform(-3.0, -0.7))
        dirty = (
            PageClass(size_mib=hot, dirty_rate_mib_s=hot * 10 ** float(draw.uniform(-1.5, 1.0))),
            PageClass(size_mib=used - hot, dirty_rate_mib_s=float(draw.lognormal(0.0, 0.8))),
        )
        found.append(Vm(name="vm", host="h", vcpus=2, memory_mib=memory, memory_used_mib=used, dirty=dirty))
    return found


def a_second(work: Callable[[], object], count: int) -> int:
    """Return how many it does in a second of CPU time, best of three."""
    spent = []
    for _ in range(3):
        began = time.process_time()
        work()
        spent.append(time.process_time() - began)
    return round(count / min(spent))


def main() -> None:
    """Measure and print."""
    vms = guests(KINDS)
    many = Guests.of(vms).take(np.arange(ROWS) % KINDS)
    draw = np.random.default_rng(1)
    line, rtt = draw.choice([1000.0, 10_000.0, 25_000.0], ROWS), draw.choice([0.0, 0.5, 10.0], ROWS)
    a = quick(many, line_mbit_s=line, rtt_ms=rtt, max_downtime_ms=300.0)
    b = estimate(many, line_mbit_s=line, rtt_ms=rtt, max_downtime_ms=300.0)
    both = a.converges & b.converges
    off = np.abs(a.total_time_s / b.total_time_s - 1.0)[both]
    path = Path(edges=(), bandwidth_mbit_s=1000.0, rtt_ms=0.0, loss=0.0)

    def one_by_one() -> None:
        for vm in vms[:ALONE]:
            predict(vm, path, max_downtime_ms=300.0, bandwidth_mbit_s=None)

    first = a_second(one_by_one, ALONE)
    for _ in range(PAYS_FROM // ALONE):
        one_by_one()  # from here on it is compiled

    report = {
        "closed form, a second": a_second(
            lambda: quick(many, line_mbit_s=line, rtt_ms=rtt, max_downtime_ms=300.0), ROWS
        ),
        "event loop on arrays, a second": a_second(
            lambda: estimate(many, line_mbit_s=line, rtt_ms=rtt, max_downtime_ms=300.0), ROWS
        ),
        "event loop one by one, a second": a_second(one_by_one, ALONE),
        f"event loop one by one, the first {PAYS_FROM}, a second": first,
        "closed form against event loop, total time": {
            "n": int(both.sum()),
            "99.9 % within": round(float(np.quantile(off, 0.999)), 4),
            "largest": round(float(off.max()), 4),
            "same verdict": round(float((a.converges == b.converges).mean()), 4),
        },
    }
    sys.stdout.write(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
