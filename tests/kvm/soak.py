"""One guest to and fro, many times: ``python -m tests.kvm.soak [--count 100] [--working-set 96] [--rate 80]``.

Prints JSON: how often, what the guest found in its memory and on its disk, and the median and worst total time (s) and
gap that its TCP client saw (ms).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Sequence

from drsim.inventory import Vm
from drsim.plan import Move
from executor.hypervisor.base import Progress
from executor.hypervisor.libvirt_kvm import LibvirtKvm
from executor.lab.lab import Lab, take_down
from executor.lab.state import lab_names, labs_root
from executor.lab.topology import LabGuest, LabHost, LabTopology
from tests.kvm.matrix import read

NAME = "soak"
QUIET_S = 0.3
"""Time for the client to hear of the guest again, seconds."""


def _ignore(progress: Progress) -> None:
    pass


def soak(lab: Lab, count: int, *, aim_ms: float, cap_mbit_s: float | None = None) -> dict[str, object]:
    """Move the guest `count` times and return what was seen."""
    inventory = read(lab)
    door, vm = LibvirtKvm(inventory), inventory.vm_by_name["g"]
    totals: list[float] = []
    gaps: list[float] = []
    stood: list[float] = []
    stayed: list[str] = []
    harm = {"broken": 0, "lost": 0, "repeated": 0, "bad_pages": 0, "bad_blocks": 0, "not_moved": 0}
    here, there = "h1", "h2"
    with lab.probe(["g"]) as probe:
        for number in range(count):
            move = Move(
                id=f"s{number}", vm="g", source=here, target=there, reason="soak", first_downtime_ms=aim_ms,
                bandwidth_mbit_s=cap_mbit_s,
            )  # fmt: skip
            probe.reset()
            outcome = door.migrate(move, Vm(name="g", host=here, vcpus=1, memory_mib=256, uuid=vm.uuid), _ignore)
            time.sleep(QUIET_S)
            view = probe.report()["g"]
            totals.append(outcome.total_time_s or 0.0)
            gaps.append(view.tcp_gap_ms)
            stood.append(outcome.downtime_ms or 0.0)
            harm["not_moved"] += outcome.status != "moved"
            harm["broken"] += view.broken
            harm["lost"] += view.lost
            harm["repeated"] += view.repeated
            if number % 10 == 9 or number == count - 1:
                with lab.control("g") as control:
                    verdict = control.verify()
                harm["bad_pages"] += verdict.bad_pages
                harm["bad_blocks"] += verdict.bad_blocks
            if outcome.status != "moved":
                stayed.append(f"{number}, {view.tcp_gap_ms:.0f} ms: {outcome.status}, {outcome.reason}")
            else:
                here, there = there, here
    door.close()
    return {
        "migrations": count,
        **harm,
        "stayed": stayed,
        "total_s": {"median": round(statistics.median(totals), 3), "worst": round(max(totals), 3)},
        "tcp_gap_ms": {"median": round(statistics.median(gaps), 1), "worst": round(max(gaps), 1)},
        "downtime_ms": {"median": round(statistics.median(stood), 1), "worst": round(max(stood), 1)},
        "load_average": round(os.getloadavg()[0], 2),
        "cores": os.cpu_count(),
    }


def main(words: Sequence[str]) -> int:
    """Run it; 0 if nothing was harmed."""
    parser = argparse.ArgumentParser(prog="soak", description=__doc__)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--working-set", type=int, default=96, help="MiB")
    parser.add_argument("--rate", type=int, default=80, help="MiB/s made dirty")
    parser.add_argument("--rtt", type=float, default=0.0, help="ms")
    parser.add_argument("--aim", type=float, default=240.0, help="downtime limit given to QEMU, ms")
    parser.add_argument("--cap", type=float, help="bandwidth given to QEMU, Mbit/s")
    parser.add_argument("--name", default=NAME, help="of the lab; several may run side by side")
    parser.add_argument("--tuned", action="store_true", help="TCP of the hosts set for long lines")
    arguments = parser.parse_args(words)
    if arguments.name in lab_names():
        take_down(labs_root() / arguments.name)
    guest = LabGuest(
        name="g",
        host="h1",
        memory_mib=256,
        working_set_mib=arguments.working_set,
        dirty_rate_mib_s=arguments.rate,
    )
    hosts = (LabHost(name="h1"), LabHost(name="h2"))
    lab = Lab.up(LabTopology(name=arguments.name, hosts=hosts, guests=(guest,), tuned=arguments.tuned))
    try:
        for host in lab.state.hosts:
            lab.line(host, rtt_ms=arguments.rtt)
        result = soak(lab, arguments.count, aim_ms=arguments.aim, cap_mbit_s=arguments.cap)
    finally:
        lab.down()
    sys.stdout.write(json.dumps(result) + "\n")
    return (
        1 if any(result[key] for key in ("broken", "lost", "repeated", "bad_pages", "bad_blocks", "not_moved")) else 0
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
