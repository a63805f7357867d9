"""What a host has and guests use up: memory, vCPUs, CPU; huge pages, devices and CPU in hours to come where there are.

Every list of amounts in drsim has these columns in this order. Where an inventory knows no huge pages, no devices and
no demand ahead, there are the three of `BASE` alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from drsim.inventory import Host, Inventory, Vm


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """One kind of what hosts have.

    Parameters
    ----------
    kind : str
        ``memory``, ``vcpus``, ``cpu``, ``huge_pages``, ``small_pages``, ``device``, ``numa``, ``cpu_ahead``, ``pool``,
        ``disk_space``, ``disk_writes``.
    name : str
        What a sentence calls it: "memory".
    unit : str
        What an amount of it is: "MiB of memory".
    what : str
        The same for what guests ask for: "MiB of configured memory".
    balanced : bool
        Whether its load is evened out over hosts.
    step : float
        Amounts are whole multiples of it, or are rounded up to one.
    index : int
        Which part of the time ahead, for ``cpu_ahead``; for ``pool``, which of the columns of `BASE` it is a part of.
    guests : frozenset of str
        For ``pool``: who uses it up.
    rooms : tuple of (str, float)
        For ``pool``: how much there is on hosts where it is limited.
    node : (float, float)
        For ``numa``: memory (MiB) and vCPUs of the smallest node, in which need and size are counted.
    amounts : mapping of str to float
        For disks: what each guest needs where its disks have to move along (`drsim.space`).
    limits : mapping of str to float
        For disks: what there is on each host, its own guests' share included; without limit elsewhere.
    stores : mapping of str to tuple of str
        For disks: the datastores of each host that are meant.
    narrow : bool
        For disks: whether hosts share a datastore, so that one may leave room that another does not see.
    """

    kind: str
    name: str
    unit: str
    what: str
    balanced: bool = False
    step: float = 1.0
    index: int = 0
    guests: frozenset[str] = frozenset()
    rooms: tuple[tuple[str, float], ...] = ()
    node: tuple[float, float] = (0.0, 0.0)
    amounts: Mapping[str, float] = field(default_factory=dict, compare=False)
    limits: Mapping[str, float] = field(default_factory=dict, compare=False)
    stores: Mapping[str, tuple[str, ...]] = field(default_factory=dict, compare=False)
    narrow: bool = False

    @property
    def for_disks(self) -> bool:
        """Whether it is of datastores."""
        return self.kind in ("disk_space", "disk_writes")

    def more(self, amount: float, host: str) -> str:
        """Say how much more of it would do: ``2048 MiB of memory more on h3``."""
        if self.for_disks:
            much = f"{amount / 1024.0:.3g} GiB" if self.kind == "disk_space" else f"{amount:.5g} MiB/s of writes"
            return f"{much} more on datastore {' or '.join(map(repr, self.stores[host]))} of {host}"
        return f"{amount:.5g} {self.unit} more on {host}"


PIECES = 64
"""The least share of a NUMA node is one over so many."""

PLENTY = 1e12
"""More than any host has of anything."""

BASE = (
    Resource(kind="memory", name="memory", unit="MiB of memory", what="MiB of configured memory", balanced=True),
    Resource(kind="vcpus", name="vCPUs", unit="vCPUs", what="vCPUs", step=0.001),
    Resource(kind="cpu", name="CPU", unit="cores of CPU", what="cores of CPU demand", balanced=True, step=0.001),
)
"""What every host has."""

PAGES = (
    Resource(kind="huge_pages", name="huge pages", unit="MiB of huge pages", what="MiB of huge pages"),
    Resource(
        kind="small_pages",
        name="memory beside huge pages",
        unit="MiB of memory beside its huge pages",
        what="MiB of memory beside its huge pages",
    ),
)
"""What a host has where memory is set aside as huge pages: guests on them use the one, all others the other."""


def resources(inventory: Inventory, rules: Iterable[Any] = ()) -> tuple[Resource, ...]:
    """List what the hosts of an inventory have, in the order of all columns.

    Parameters
    ----------
    inventory : Inventory
        Free of problems.
    rules : iterable of rules
        Pools among them that must hold divide memory and CPU further.
    """
    found = list(BASE)
    if inventory.has_huge_pages:
        found.extend(PAGES)
    found.extend(
        Resource(kind="device", name=name, unit=f"x {name}", what=f"x {name}") for name in inventory.device_names
    )
    if inventory.has_numa:
        found.append(_numa(inventory))
    parts = inventory.parts_ahead
    found.extend(
        Resource(
            kind="cpu_ahead",
            name=f"CPU in part {part + 1} of {parts} ahead",
            unit=f"cores of CPU in part {part + 1} of {parts} ahead",
            what=f"cores of CPU demand in part {part + 1} of {parts} ahead",
            balanced=True,
            step=0.001,
            index=part,
        )
        for part in range(parts)
    )
    for rule in rules:
        if rule.kind == "pool" and rule.strength == "must":
            found.extend(_pooled(inventory, rule))
    return tuple(found)


def present(inventory: Inventory, rules: Iterable[Any] = ()) -> tuple[Resource, ...]:
    """List what counts while guests are under way: all but CPU in the time ahead, when they have long arrived."""
    return tuple(kind for kind in resources(inventory, rules) if kind.kind != "cpu_ahead")


def _numa(inventory: Inventory) -> Resource:
    """Return the column of NUMA nodes.

    A guest's share of the smallest node is rounded up to 1, 1/2, 1/4, ...: such shares can always be packed if their
    sum is no more than the nodes there are. Whether guests that are together more than that can be packed all the same,
    `drsim.check` finds out.
    """
    hosts = [host for host in inventory.hosts if host.takes_guests] or list(inventory.hosts)
    node = (
        min(host.guest_memory_mib / host.nodes for host in hosts),
        min(host.guest_vcpus / host.nodes for host in hosts),
    )
    return Resource(kind="numa", name="NUMA nodes", unit="NUMA nodes", what="NUMA nodes", step=1.0 / PIECES, node=node)


def _pooled(inventory: Inventory, rule: Any) -> Iterable[Resource]:
    """Return the columns of a pool: what its guests may have, and what the others may."""
    mine = frozenset(inventory.vms[n].name for word in rule.vms for n in inventory.vm_numbers.get(word, ()))
    others = frozenset(vm.name for vm in inventory.vms) - mine
    hosts = [host for host in inventory.hosts if host.name in rule.where(inventory)]
    for index, most, kept in ((0, rule.most_memory_mib, rule.kept_memory_mib), (2, rule.most_cores, rule.kept_cores)):
        base = BASE[index]
        if most is not None:
            what = f"{base.unit} for pool '{rule.name}'"
            rooms = tuple((host.name, most) for host in hosts)
            yield Resource(
                kind="pool", name=what, unit=what, what=what, step=base.step, index=index, guests=mine, rooms=rooms
            )
        if kept:
            what = f"{base.unit} beside pool '{rule.name}'"
            full = ((host, (host.guest_memory_mib, 0.0, float(host.cores))[index]) for host in hosts)
            rooms = tuple((host.name, max(0.0, size - kept)) for host, size in full)
            yield Resource(
                kind="pool", name=what, unit=what, what=what, step=base.step, index=index, guests=others, rooms=rooms
            )


def needs(vm: Vm, kinds: Sequence[Resource]) -> tuple[float, ...]:
    """Return what a guest needs of each resource."""
    base = (float(vm.memory_mib), float(vm.vcpus), vm.cpu_cores)
    return base if len(kinds) == len(BASE) else (*base, *(need(vm, kind) for kind in kinds[len(BASE) :]))


def need(vm: Vm, kind: Resource) -> float:
    """Return what a guest needs of one resource beyond `BASE`."""
    match kind.kind:
        case "huge_pages":
            return float(vm.memory_mib) if vm.huge_pages else 0.0
        case "small_pages":
            return 0.0 if vm.huge_pages else float(vm.memory_mib)
        case "cpu_ahead":
            return vm.cpu_ahead_cores[kind.index] if vm.cpu_ahead_cores else vm.cpu_cores
        case "numa":
            if vm.numa_nodes is None:
                return 0.0
            share = max(vm.memory_mib / vm.numa_nodes / kind.node[0], vm.vcpus / vm.numa_nodes / kind.node[1])
            piece = 1.0 / PIECES
            while piece < min(share, 1.0):
                piece *= 2.0
            return vm.numa_nodes * (piece if share <= 1.0 else math.ceil(share))
        case "disk_space" | "disk_writes":
            return kind.amounts.get(vm.name, 0.0)
        case "pool":
            return (float(vm.memory_mib), 0.0, vm.cpu_cores)[kind.index] if vm.name in kind.guests else 0.0
        case _:
            return float(sum(device.count for device in vm.devices if device.name == kind.name))


def sizes(host: Host, kinds: Sequence[Resource]) -> tuple[float, ...]:
    """Return how much of each resource guests of a host may use up, no headroom left."""
    base = (host.guest_memory_mib, host.guest_vcpus, float(host.cores))
    return base if len(kinds) == len(BASE) else (*base, *(_size(host, kind) for kind in kinds[len(BASE) :]))


def _size(host: Host, kind: Resource) -> float:
    match kind.kind:
        case "huge_pages":
            return float(host.huge_pages_mib)
        case "small_pages":
            return max(0.0, host.guest_memory_mib - host.huge_pages_mib * host.memory_overcommit)
        case "cpu_ahead":
            return float(host.cores)
        case "numa":
            memory, vcpus = host.guest_memory_mib / host.nodes, host.guest_vcpus / host.nodes
            return float(host.nodes * math.floor(min(memory / kind.node[0], vcpus / kind.node[1]) + 1e-9))
        case "disk_space" | "disk_writes":
            return kind.limits.get(host.name, PLENTY)
        case "pool":
            return dict(kind.rooms).get(host.name, PLENTY)
        case _:
            return float(sum(device.count for device in host.devices if device.name == kind.name))


def headroom(kinds: Sequence[Resource], *, memory: float, cpu: float) -> tuple[float, ...]:
    """Return the share of each resource that is left free: that of memory for memory, that of CPU for CPU."""
    shares = {"memory": memory, "small_pages": memory, "cpu": cpu, "cpu_ahead": cpu}
    return tuple(shares.get(kind.kind, 0.0) for kind in kinds)
