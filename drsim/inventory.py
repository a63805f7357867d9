"""What is where: the frozen nouns that everything else is computed from.

Every noun is a flat record (numbers, names, lists of names) or holds a tuple of such records, so that one
inventory is the same thing as a JSON file, as a folder of CSV files and as a set of DataFrames.
What was configured and what was measured are two fields, never one; ``None`` means "not known".
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, MinLen

from drsim.canonical import OMITTED, fingerprint
from drsim.units import About

FORMAT_VERSION = 1
"""Version of the inventory format that this code reads and writes."""

Name = Annotated[str, MinLen(1)]
HostState = Literal["up", "maintenance", "down", "unknown"]
VmState = Literal["running", "paused", "stopped", "unknown"]
Arrival = Literal["boot", "migration", "postcopy"]
StorageKind = Literal["local", "shared_fs", "nfs", "iscsi", "ceph", "other"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A place: a data centre, a room, a cluster; hosts of one site share a non-blocking switch if none is named."""

    name: Annotated[Name, About("Name of the site, unique among sites, switches and hosts.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Switch:
    """A switch inside or between sites, non-blocking itself: a leaf, a spine, that of a network for migrations only."""

    name: Annotated[Name, About("Name of the switch, unique among sites, switches and hosts.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class HostNic:
    """A network card of a host."""

    name: Annotated[Name, About("Name of the card on its host, e.g. eno1.")]
    rate_mbit_s: Annotated[float, Gt(0), About("Line rate, each direction.", "Mbit/s")]
    carries_migration: Annotated[
        bool,
        About(
            "Whether migration traffic uses this card. The fastest ones of a host on one switch are bonded: one "
            "connection gets one card, several share them all."
        ),
    ] = True
    switch: Annotated[Name | None, About("The switch that it is plugged in; by default that of the host's site.")] = (
        None
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """So many of something that is counted: GPUs or their slices, network functions, dongles."""

    name: Annotated[Name, About("What it is, e.g. vgpu-a100-10c; guests and hosts spell it alike.")]
    count: Annotated[int, Ge(1), About("How many.")] = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A KVM host."""

    name: Annotated[Name, About("Name of the host, unique among hosts and sites.")]
    site: Annotated[Name, About("The site that it stands in.")]
    cores: Annotated[int, Ge(1), About("Logical CPUs that guests may use.", "cores")]
    memory_mib: Annotated[int, Ge(1), About("Memory of the host, as its kernel reports it.", "MiB")]
    reserved_memory_mib: Annotated[int, Ge(0), About("Memory kept for the host itself.", "MiB")] = 0
    cpu_overcommit: Annotated[float, Gt(0), About("Configured vCPUs allowed per core.")] = 8.0
    memory_overcommit: Annotated[float, Gt(0), About("Configured guest memory allowed per MiB of memory.")] = 1.0
    state: Annotated[HostState, About("up, maintenance (takes no guests), down, or unknown.")] = "up"
    cpu_model: Annotated[str | None, About("CPU model as libvirt names it.")] = None
    cpu_models: Annotated[tuple[str, ...], About("CPU models that it can give to guests; empty if not known.")] = ()
    arch: Annotated[str, About("Architecture.")] = "x86_64"
    numa_nodes: Annotated[int | None, Ge(1), About("NUMA nodes that its cores and its memory are shared out to.")] = (
        None
    )
    rack: Annotated[str | None, About("Rack, for rules about failure domains.")] = None
    tags: Annotated[tuple[str, ...], About("Free labels; rules may select by them.")] = ()
    uri: Annotated[str | None, About("libvirt URI by which the executor reaches the host; no secrets.")] = None
    peer_uri: Annotated[str | None, About("libvirt URI by which the other hosts reach it.")] = None
    memory_used_mib: Annotated[float | None, Ge(0), About("Measured memory in use on the host.", "MiB")] = None
    cpu_used_cores: Annotated[float | None, Ge(0), About("Measured CPU use of the host.", "cores")] = None
    huge_pages_mib: Annotated[int, Ge(0), About("Memory set aside as huge pages, for guests on such.", "MiB")] = 0
    nics: Annotated[tuple[HostNic, ...], About("Network cards.")] = ()
    devices: Annotated[tuple[Device, ...], About("Devices that guests may have.")] = ()

    @property
    def guest_memory_mib(self) -> float:
        """Configured guest memory that the host may hold, MiB."""
        return (self.memory_mib - self.reserved_memory_mib) * self.memory_overcommit

    @property
    def guest_vcpus(self) -> float:
        """Configured vCPUs that the host may hold."""
        return self.cores * self.cpu_overcommit

    def gives_cpu(self, model: str | None, source: Host | None) -> bool:
        """Whether a guest that sees a CPU model, or else that of its host `source`, can run here as far as is known."""
        if model is not None and self.cpu_models:
            return model in self.cpu_models
        return source is None or not source.cpu_model or not self.cpu_model or source.cpu_model == self.cpu_model

    @property
    def nodes(self) -> int:
        """NUMA nodes to plan with: as many as are known, or one."""
        return self.numa_nodes or 1

    def has_nodes(self, vm: Vm) -> bool:
        """Whether a guest would lie within as many NUMA nodes as it asks for, were it alone here."""
        count = vm.numa_nodes
        return count is None or (
            count <= self.nodes
            and vm.memory_mib / count <= self.guest_memory_mib / self.nodes
            and vm.vcpus / count <= self.guest_vcpus / self.nodes
        )

    @property
    def takes_guests(self) -> bool:
        """Whether new guests may be placed here."""
        return self.state == "up"


@dataclass(frozen=True, slots=True, kw_only=True)
class Datastore:
    """A place for disks, and the hosts that mount it."""

    name: Annotated[Name, About("Name of the datastore.")]
    kind: Annotated[StorageKind, About("What it is; 'local' exists on one host only.")]
    capacity_mib: Annotated[float | None, Gt(0), About("Size.", "MiB")] = None
    used_mib: Annotated[float | None, Ge(0), About("Measured space in use.", "MiB")] = None
    write_rate_mib_s: Annotated[float | None, Gt(0), About("What it can be written to at once.", "MiB/s")] = None
    path: Annotated[str | None, About("Where its hosts find it.")] = None
    hosts: Annotated[tuple[str, ...], About("Hosts that mount it.")] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class HostBridge:
    """What a host calls its bridge of a network, where that differs from what the others call it."""

    host: Annotated[Name, About("The host.")]
    bridge: Annotated[Name, About("Bridge on that host.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A network that guests are plugged into (a bridge, an OVS switch), and the hosts that have it."""

    name: Annotated[Name, About("Name of the network; by default that of its bridge.")]
    bridge: Annotated[str | None, About("Bridge on the hosts.")] = None
    vlan: Annotated[int | None, Ge(1), Le(4094), About("VLAN tag.")] = None
    hosts: Annotated[tuple[str, ...], About("Hosts that have it.")] = ()
    exceptions: Annotated[tuple[HostBridge, ...], About("Hosts on which its bridge has another name.")] = ()

    def bridge_on(self, host: str) -> str | None:
        """Name of its bridge on a host; None if it has none."""
        return next((each.bridge for each in self.exceptions if each.host == host), self.bridge)


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """A disk of a guest."""

    name: Annotated[Name, About("Target name in the guest, e.g. vda.")]
    datastore: Annotated[Name, About("Datastore that holds it.")]
    size_mib: Annotated[float, Ge(0), About("Virtual size.", "MiB")]
    used_mib: Annotated[float | None, Ge(0), About("Measured space that it takes.", "MiB")] = None
    write_rate_mib_s: Annotated[float, Ge(0), About("Measured write rate of the guest.", "MiB/s")] = 0.0
    path: Annotated[str | None, About("File or volume.")] = None

    @property
    def data_mib(self) -> float:
        """Data that a copy has to carry and that takes space: measured, or all of it when nobody measured."""
        return self.size_mib if self.used_mib is None else min(self.used_mib, self.size_mib)


@dataclass(frozen=True, slots=True, kw_only=True)
class VmNic:
    """A network card of a guest."""

    network: Annotated[Name, About("Network that it is plugged into.")]
    mac: Annotated[str | None, About("MAC address.")] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PageClass:
    """Memory that a guest writes to in one manner: ``size * (1 - exp(-rate * t / size))`` unique MiB in t s.

    Where the guest writes in order, as a log or a sweep does, it is ``min(size, rate * t)``.
    """

    size_mib: Annotated[float, Gt(0), About("Memory that belongs to the class.", "MiB")]
    dirty_rate_mib_s: Annotated[float, Ge(0), About("Rate at which clean pages of it become dirty.", "MiB/s")]
    in_order: Annotated[bool, About("Whether it is written to from end to end, not here and there.")] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Vm:
    """A guest."""

    name: Annotated[Name, About("Name of the guest.")]
    host: Annotated[str, About("Host that it is on; empty for a new guest that is to be placed.")]
    vcpus: Annotated[int, Ge(1), About("Virtual CPUs.", "cores")]
    memory_mib: Annotated[int, Ge(1), About("Configured memory.", "MiB")]
    uuid: Annotated[str | None, About("UUID.")] = None
    state: Annotated[VmState, About("running, paused, stopped or unknown.")] = "running"
    cpu_demand_cores: Annotated[float | None, Ge(0), About("Measured CPU demand.", "cores")] = None
    memory_used_mib: Annotated[float | None, Ge(0), About("Measured memory that holds data.", "MiB")] = None
    arrived: Annotated[
        Arrival | None, About("How it came to its host: boot, migration, postcopy; what is resident depends on it.")
    ] = None
    max_downtime_ms: Annotated[float | None, Gt(0), About("Longest standstill that the guest allows.", "ms")] = None
    unmovable_reason: Annotated[str | None, About("Why it must stay where it is; empty if it may move.")] = None
    cpu_model: Annotated[str | None, About("CPU model that it sees; empty if that of its host.")] = None
    numa_nodes: Annotated[
        int | None, Ge(1), About("NUMA nodes of its host that it must lie within, evenly; empty if anywhere.")
    ] = None
    huge_pages: Annotated[bool, About("Whether its memory lies on huge pages of its host.")] = False
    cpu_ahead_cores: Annotated[
        tuple[Annotated[float, Ge(0)], ...],
        About("CPU demand in each part of the time ahead; empty if nobody forecast it.", "cores"),
    ] = ()
    cpu_shares: Annotated[
        float | None,
        Gt(0),
        About(
            "CPU shares that its hypervisor gives it, where 1000 is what it has by default; empty if nobody set any."
        ),
    ] = field(default=None, metadata=OMITTED)
    tags: Annotated[tuple[str, ...], About("Free labels; rules may select by them.")] = ()
    disks: Annotated[tuple[Disk, ...], About("Disks.")] = ()
    nics: Annotated[tuple[VmNic, ...], About("Network cards.")] = ()
    dirty: Annotated[tuple[PageClass, ...], About("How it dirties its memory; empty if not known.")] = ()
    devices: Annotated[tuple[Device, ...], About("Devices of its host that it has.")] = ()

    @property
    def cpu_cores(self) -> float:
        """CPU demand to plan with: measured, or all its vCPUs when nobody measured."""
        return float(self.vcpus) if self.cpu_demand_cores is None else self.cpu_demand_cores

    @property
    def data_mib(self) -> float:
        """Memory that a migration has to carry: measured, or all of it when nobody measured."""
        return float(self.memory_mib) if self.memory_used_mib is None else min(self.memory_used_mib, self.memory_mib)


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A line between two sites or switches, both directions alike; migrations that cross it share it."""

    a: Annotated[Name, About("One end: a site or a switch.")]
    b: Annotated[Name, About("The other end: a site or a switch.")]
    bandwidth_mbit_s: Annotated[float, Gt(0), About("Rate of the line, each direction.", "Mbit/s")]
    rtt_ms: Annotated[float, Ge(0), About("Round-trip time.", "ms")] = 0.0
    loss: Annotated[float, Ge(0), Le(1), About("Packets lost, as a fraction.")] = 0.0
    other_mbit_s: Annotated[
        float, Ge(0), About("Traffic of others, in the busier direction; migrations get what it leaves.", "Mbit/s")
    ] = 0.0
    measured_mbit_s: Annotated[float | None, Gt(0), About("Measured: what one connection carries.", "Mbit/s")] = None
    measured_rtt_ms: Annotated[float | None, Ge(0), About("Measured round-trip time.", "ms")] = None

    @property
    def name(self) -> str:
        """Name of the link: its ends."""
        return f"{self.a}--{self.b}"

    @property
    def way_ms(self) -> float:
        """Round-trip time to plan with: measured, or what was declared."""
        return self.rtt_ms if self.measured_rtt_ms is None else self.measured_rtt_ms


@dataclass(frozen=True, kw_only=True)
class Inventory:
    """Everything that is known about the estate at one instant."""

    name: Annotated[Name, About("Name of the estate.")] = "inventory"
    captured_at: Annotated[str | None, About("When it was read, ISO 8601 in UTC.")] = None
    sites: Annotated[tuple[Site, ...], About("Sites.")] = ()
    hosts: Annotated[tuple[Host, ...], About("Hosts.")] = ()
    datastores: Annotated[tuple[Datastore, ...], About("Datastores.")] = ()
    networks: Annotated[tuple[Network, ...], About("Networks.")] = ()
    vms: Annotated[tuple[Vm, ...], About("Guests.")] = ()
    links: Annotated[tuple[Link, ...], About("Lines between sites and switches.")] = ()
    switches: Annotated[tuple[Switch, ...], About("Switches; none if hosts of a site share a non-blocking one.")] = ()

    @cached_property
    def host_by_name(self) -> dict[str, Host]:
        """Hosts by name."""
        return {host.name: host for host in self.hosts}

    @cached_property
    def vm_by_name(self) -> dict[str, Vm]:
        """Guests by name."""
        return {vm.name: vm for vm in self.vms}

    @cached_property
    def vm_numbers(self) -> dict[str, tuple[int, ...]]:
        """Places of the guests in `vms`, by name, ``tag:LABEL`` and ``*`` for all: what rules select by."""
        numbers: dict[str, list[int]] = {}
        for number, vm in enumerate(self.vms):
            for key in ("*", vm.name, *(f"tag:{tag}" for tag in vm.tags)):
                numbers.setdefault(key, []).append(number)
        return {key: tuple(found) for key, found in numbers.items()}

    @cached_property
    def device_names(self) -> tuple[str, ...]:
        """Names of all devices that hosts or guests have, sorted."""
        lists = (*(host.devices for host in self.hosts), *(vm.devices for vm in self.vms))
        return tuple(sorted({device.name for devices in lists for device in devices}))

    @cached_property
    def has_huge_pages(self) -> bool:
        """Whether memory is set aside as huge pages anywhere, or a guest lies on such."""
        return any(host.huge_pages_mib for host in self.hosts) or any(vm.huge_pages for vm in self.vms)

    @cached_property
    def has_cpu_shares(self) -> bool:
        """Whether somebody set CPU shares of a guest."""
        return any(vm.cpu_shares is not None for vm in self.vms)

    @cached_property
    def has_numa(self) -> bool:
        """Whether a guest must lie within NUMA nodes."""
        return any(vm.numa_nodes is not None for vm in self.vms)

    @cached_property
    def parts_ahead(self) -> int:
        """Parts of the time ahead for which demand is known."""
        return max((len(vm.cpu_ahead_cores) for vm in self.vms), default=0)

    @cached_property
    def datastore_by_name(self) -> dict[str, Datastore]:
        """Datastores by name."""
        return {datastore.name: datastore for datastore in self.datastores}

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the canonical form: two inventories are equal exactly if their fingerprints are."""
        return fingerprint(self)
