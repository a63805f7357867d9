"""A small estate, a plan that has every kind of dependency, and the invariants that hold whatever goes wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from drsim.inventory import Datastore, Disk, Host, HostNic, Inventory, Link, Network, PageClass, Site, Vm, VmNic
from drsim.plan import Move, Plan, Score
from drsim.policy import Limits, Policy, Rule
from drsim.simulate import simulate
from executor.audit import verify
from executor.hypervisor.base import Hypervisor
from executor.lifecycle import MoveState, RunState
from executor.result import RunReport
from executor.store import Store

HOST_MIB = 8192


def host(name: str, site: str = "paris") -> Host:
    return Host(
        name=name,
        site=site,
        cores=8,
        memory_mib=HOST_MIB,
        cpu_model="EPYC-Rome",
        nics=(HostNic(name="eno1", rate_mbit_s=10_000.0),),
    )


def guest(name: str, on: str, memory_mib: int) -> Vm:
    return Vm(
        name=name,
        host=on,
        vcpus=2,
        memory_mib=memory_mib,
        uuid=f"00000000-0000-0000-0000-{ord(name[0]):012d}",
        cpu_demand_cores=0.5,
        memory_used_mib=memory_mib * 0.5,
        disks=(Disk(name="vda", datastore="ceph", size_mib=10_240.0),),
        nics=(VmNic(network="br0"),),
        dirty=(PageClass(size_mib=memory_mib * 0.125, dirty_rate_mib_s=20.0),),
    )


def estate() -> Inventory:
    names = ("h1", "h2", "h3", "h4")
    return Inventory(
        name="small",
        sites=(Site(name="paris"), Site(name="lyon")),
        hosts=(host("h1"), host("h2"), host("h3"), host("h4", "lyon")),
        datastores=(Datastore(name="ceph", kind="ceph", capacity_mib=1e6, hosts=names),),
        networks=(Network(name="br0", hosts=names),),
        vms=(guest("a", "h1", 2048), guest("c", "h2", 6144), guest("d", "h3", 2048), guest("e", "h3", 4096)),
        links=(Link(a="paris", b="lyon", bandwidth_mbit_s=1000.0, rtt_ms=10.0),),
    )


def moves() -> tuple[Move, ...]:
    """c makes room for e on h2; a stops over on h3 and follows to h2."""
    return (
        Move(id="m001", vm="c", source="h2", target="h4", wave=1, reason="makes room"),
        Move(id="m002", vm="a", source="h1", target="h3", wave=1, reason="leaves h1", stop_over=True),
        Move(id="m003", vm="e", source="h3", target="h2", wave=2, reason="takes the room"),
        Move(id="m004", vm="a", source="h3", target="h2", wave=3, reason="goes on"),
    )


def plan(inventory: Inventory | None = None, of: Sequence[Move] | None = None, rules: tuple[Rule, ...] = ()) -> Plan:
    inventory = inventory or estate()
    wanted = tuple(moves() if of is None else of)
    played = simulate(inventory, wanted, Limits())
    score = Score(violations=0, penalty=0.0, objective=1.0)
    return Plan(
        inventory=inventory,
        policy=Policy(rules=rules, limits=Limits(moves_per_host=8)),
        moves=tuple(replace(move, prediction=played.predictions[move.id]) for move in wanted),
        before=score,
        after=score,
        makespan_s=played.makespan_s,
    )


def started_moves(store: Store) -> list[str | None]:
    return [record.move_id for record in store.audit() if record.event == "move_started"]


def assert_invariants(the_plan: Plan, hypervisor: Hypervisor, store: Store, report: RunReport | None) -> None:
    """I1 one running copy or hands off, I3 the audit trail is whole, I5 no host overfull, I6 the report is true."""
    now = hypervisor.inventory()
    states = {} if report is None else {move.move.id: move.state for move in report.moves}
    unclear = {move.vm for move in the_plan.moves if states.get(move.id) is MoveState.UNKNOWN}
    for vm in the_plan.inventory.vms:
        if vm.name in unclear or vm.name not in now.vm_by_name:
            continue
        running = [s.host for s in hypervisor.locate(vm).sightings if s.state == "running"]
        assert running == [now.vm_by_name[vm.name].host], f"{vm.name} runs on {running}"
    for record in now.hosts:
        held = sum(vm.memory_mib for vm in now.vms if vm.host == record.name)
        assert held <= record.guest_memory_mib, f"{record.name} is overfull"
    assert verify(store.audit(), store.head()) == ()
    if report is None:
        return
    last: dict[str, tuple[MoveState, str]] = {}
    for move in the_plan.moves:
        if states[move.id] is MoveState.DONE:
            last[move.vm] = (MoveState.DONE, move.target)
    for vm_name, (_, target) in last.items():
        if vm_name not in unclear and vm_name in now.vm_by_name:
            assert now.vm_by_name[vm_name].host == target
    assert (report.state in (RunState.DONE, RunState.NOTHING)) == (set(states.values()) <= {MoveState.DONE})
    assert (report.exit_code == 0) == (report.state in (RunState.DONE, RunState.NOTHING))
