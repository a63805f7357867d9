"""CPU of a run on a simulated estate kept in a file: ``python -m tests.benchmarks.apply``; JSON.

Invented guests on shared storage, each move to an empty host, eight at once: what `executor.run.apply` takes, the
record of the run and the state file after each move included. CPU seconds of the call alone.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from drsim.formats import write_inventory
from drsim.inventory import Datastore, Disk, Host, HostNic, Inventory, PageClass, Site, Vm
from drsim.plan import Move, Plan, Score
from drsim.policy import Limits, Policy
from drsim.simulate import simulate
from executor.hypervisor.simulated import SimulatedHypervisor
from executor.run import apply
from executor.store import Store

AT_ONCE, HALF = 8, 100


def made(guests: int, count: int) -> Plan:
    """Invent guests on the first half of the hosts, and moves of some of them to the other half."""
    names = [f"h{number:03d}" for number in range(2 * HALF)]
    nic = HostNic(name="eno1", rate_mbit_s=25_000.0)
    estate = Inventory(
        sites=(Site(name="s"),),
        hosts=tuple(Host(name=name, site="s", cores=128, memory_mib=1 << 20, nics=(nic,)) for name in names),
        datastores=(Datastore(name="ceph", kind="ceph", hosts=tuple(names)),),
        vms=tuple(
            Vm(
                name=f"v{number:05d}",
                host=names[number % HALF],
                vcpus=2,
                memory_mib=2048,
                memory_used_mib=1500.0,
                cpu_demand_cores=0.5,
                disks=(Disk(name="vda", datastore="ceph", size_mib=10_240.0, path=f"/c/{number}"),),
                dirty=(PageClass(size_mib=200.0, dirty_rate_mib_s=10.0),),
            )
            for number in range(guests)
        ),
    )
    limits = Limits(moves_at_once=AT_ONCE)
    moves = tuple(
        Move(
            id=f"m{number:03d}",
            vm=vm.name,
            source=vm.host,
            target=names[HALF + number % HALF],
            reason="benchmark",
            wave=1 + number // AT_ONCE,
        )
        for number, vm in enumerate(estate.vms[:count])
    )
    played = simulate(estate, moves, limits)
    score = Score(violations=0, penalty=0.0, objective=1.0)
    return Plan(
        inventory=estate,
        policy=Policy(limits=limits),
        moves=tuple(replace(move, prediction=played.predictions[move.id]) for move in moves),
        before=score,
        after=score,
        makespan_s=played.makespan_s,
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--guests", type=int, default=6000)
    parser.add_argument("--moves", type=int, default=632)
    options = parser.parse_args()
    plan = made(options.guests, options.moves)
    with TemporaryDirectory() as folder:
        file = Path(folder) / "estate.json"
        write_inventory(plan.inventory, file)
        store = Store(f"sqlite:///{folder}/runs.sqlite")
        hypervisor = SimulatedHypervisor(file)
        begin = time.process_time()
        result = apply(plan, hypervisor, store, actor="benchmark")
        cpu_s = time.process_time() - begin
    row = {"guests": options.guests, "moves": options.moves, "state": str(result.state), "cpu_s": round(cpu_s, 2)}
    print(json.dumps(row))  # noqa: T201


if __name__ == "__main__":
    main()
