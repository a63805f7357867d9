"""Small clusters, demand and plans for tests of days that a cluster lives through."""

from __future__ import annotations

from collections import Counter

import numpy as np

from drsim.inventory import Datastore, Disk, Host, HostNic, Inventory, Link, Network, PageClass, Site, Vm, VmNic
from drsim.plan import Move, Plan, Score
from drsim.simulate.operate import Call, Operation
from drsim.transfer import Transfer
from drsim.workload import Demand

STEP_S = 60.0


def two_sites(guests: int = 2, *, memory_mib: int = 4096, hosts: int = 4, cores: int = 8) -> Inventory:
    """h1, h2, ... by turns at two sites joined by one line; every guest on h1."""
    names = tuple(f"h{number}" for number in range(1, hosts + 1))
    return Inventory(
        sites=(Site(name="a"), Site(name="b")),
        hosts=tuple(
            Host(
                name=name,
                site="ab"[number % 2],
                cores=cores,
                memory_mib=65536,
                nics=(HostNic(name="e", rate_mbit_s=1000.0),),
            )
            for number, name in enumerate(names)
        ),
        datastores=(Datastore(name="nfs", kind="nfs", hosts=names),),
        networks=(Network(name="n", hosts=names),),
        links=(Link(a="a", b="b", bandwidth_mbit_s=1000.0, rtt_ms=5.0),),
        vms=tuple(
            Vm(
                name=f"v{number}",
                host="h1",
                vcpus=4,
                memory_mib=memory_mib,
                cpu_demand_cores=1.0,
                disks=(Disk(name="vda", datastore="nfs", size_mib=1024.0),),
                nics=(VmNic(network="n"),),
                dirty=(PageClass(size_mib=256.0, dirty_rate_mib_s=10.0),),
            )
            for number in range(1, guests + 1)
        ),
    )


def steady(inventory: Inventory, cores: float = 1.0, minutes: int = 20) -> Demand:
    """The same demand of every guest all the time."""
    count = len(inventory.vms)
    return Demand(
        vms=tuple(vm.name for vm in inventory.vms),
        step_s=STEP_S,
        cpu_cores=np.full((minutes, count), cores, dtype=np.float32),
    )


def moving(inventory: Inventory, *moves: tuple[str, str, str], mode: str = "precopy") -> Plan:
    """A plan of (guest, source, target), all in one wave."""
    nothing = Score(violations=0, penalty=0.0, objective=0.0)
    return Plan(
        inventory=inventory,
        before=nothing,
        after=nothing,
        moves=tuple(
            Move(
                id=f"m{number}",
                vm=vm,
                source=source,
                target=target,
                reason="test",
                transfer=Transfer(mode=mode),  # type: ignore[arg-type]
            )
            for number, (vm, source, target) in enumerate(moves, 1)
        ),
    )


def at(time_s: float, plan: Plan) -> Call:
    return Call(at_s=time_s, planner=lambda _: plan, why="test")


def where(operation: Operation, vm: str) -> str | None:
    place = int(operation.place[operation.vms.index(vm)])
    return operation.hosts[place] if place >= 0 else None


def kinds(operation: Operation) -> Counter[str]:
    return Counter(one.kind for one in operation.incidents)
