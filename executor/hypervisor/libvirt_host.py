"""What one host told over libvirt, as plain records, and the host's own XML texts; pure."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass, field

from drsim.errors import DataError, Problem
from drsim.inventory import Arrival, Device, PageClass, VmState
from executor.hypervisor.libvirt_cpu import CpuText
from executor.hypervisor.libvirt_domain import DomainConfig

NETWORK_POOLS = frozenset({"netfs", "rbd", "iscsi", "iscsi-direct", "gluster", "sheepdog"})
"""Types of storage pool whose content is not on the host itself."""

SMALLEST_HUGE_KIB = 1024
"""Pages of 2 MiB and 1 GiB are huge on x86, of 1 MiB on s390x; ordinary ones have 4, 16 or 64 KiB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """The part of a host's capabilities that placement needs."""

    host_uuid: str | None
    arch: str
    cpu_model: str | None
    numa_memory_mib: float
    numa_nodes: int | None = None
    huge_pages_mib: int = 0
    cpu: CpuText | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolReading:
    """A storage pool.

    Parameters
    ----------
    name, kind : str
        Name; libvirt's type (``dir``, ``netfs``, ``rbd``, ...).
    path : str or None
        Where its volumes appear on the host.
    source : str or None
        Where its content comes from, e.g. ``nas:/export``; equal on two hosts means the same storage.
    capacity_mib, used_mib : float or None
        Size and space in use, MiB; None while it is inactive.
    """

    name: str
    kind: str
    path: str | None = None
    source: str | None = None
    capacity_mib: float | None = None
    used_mib: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkReading:
    """A libvirt network.

    Parameters
    ----------
    name : str
        Name on this host.
    bridge : str or None
        Its bridge.
    local : bool
        Whether it ends on this host (NAT, routed, isolated), so that a guest that moves away leaves it.
    """

    name: str
    bridge: str | None
    local: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskReading:
    """Sizes of a disk, MiB, and the rate at which its guest wrote to it, MiB/s; None: not known."""

    size_mib: float | None = None
    used_mib: float | None = None
    write_rate_mib_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestReading:
    """A guest: what is configured and what was measured.

    Parameters
    ----------
    config : DomainConfig
        From its XML.
    state : {"running", "paused", "stopped", "unknown"}
        State.
    incoming : bool
        Whether this copy is being made by a migration.
    arrived : {"boot", "migration"} or None
        How it came to its host.
    cpu_cores, resident_mib : float or None
        Measured CPU use, cores; resident size of its process, MiB.
    cpu_shares : float or None
        CPU shares, 1000 by default; None if nobody set any.
    disks : mapping of str to DiskReading
        By target name.
    dirty : tuple of PageClass
        Measured dirty profile; empty if not measured.
    devices : tuple of Device
        Devices of its host that it has.
    """

    config: DomainConfig
    state: VmState
    incoming: bool = False
    arrived: Arrival | None = None
    cpu_cores: float | None = None
    resident_mib: float | None = None
    cpu_shares: float | None = None
    disks: Mapping[str, DiskReading] = field(default_factory=dict)
    dirty: tuple[PageClass, ...] = ()
    devices: tuple[Device, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class HostReading:
    """One host.

    Parameters
    ----------
    hostname : str
        As the host calls itself.
    capabilities : Capabilities
        Arch, CPU model, ...
    cores : int
        Logical CPUs.
    memory_mib : int
        Memory, MiB.
    memory_used_mib, cpu_used_cores : float or None
        Measured use.
    bridges : tuple of str or None
        Bridges of the host; None if libvirt there cannot list them.
    pools, networks, guests, devices : tuple
        Storage pools, libvirt networks, guests, devices that guests may have or have.
    remarks : tuple of str
        What could not be read, and why.
    """

    hostname: str
    capabilities: Capabilities
    cores: int
    memory_mib: int
    memory_used_mib: float | None = None
    cpu_used_cores: float | None = None
    bridges: tuple[str, ...] | None = None
    pools: tuple[PoolReading, ...] = ()
    networks: tuple[NetworkReading, ...] = ()
    guests: tuple[GuestReading, ...] = ()
    devices: tuple[Device, ...] = ()
    remarks: tuple[str, ...] = ()


def parse_root(text: str, tag: str, place: str) -> ET.Element:
    """Read a text of libvirt's.

    Raises
    ------
    DataError
        If it is not XML with that root.
    """
    remedy = "Check libvirt on this host."
    try:
        root = ET.fromstring(text)
    except ET.ParseError as error:
        raise DataError(Problem(place=place, expected=f"The text is not XML ({error}).", remedy=remedy)) from None
    if root.tag != tag:
        raise DataError(Problem(place=place, expected=f"<{root.tag}> stands there, not <{tag}>.", remedy=remedy))
    return root


def parse_capabilities(text: str, *, place: str) -> Capabilities:
    """Read the capabilities of a host (``virsh capabilities``).

    Raises
    ------
    DataError
        If the text is not a ``<capabilities>`` element.
    """
    root = parse_root(text, "capabilities", place)
    cells = root.findall("host/topology/cells/cell/memory")
    return Capabilities(
        host_uuid=root.findtext("host/uuid"),
        arch=root.findtext("host/cpu/arch") or "x86_64",
        cpu_model=root.findtext("host/cpu/model"),
        # libvirt gives the memory of a NUMA cell in KiB.
        numa_memory_mib=sum(int(cell.text or 0) / 1024 for cell in cells if (cell.text or "").isdecimal()),
        numa_nodes=len(cells) or None,
        huge_pages_mib=sum(_huge_mib(pages) for pages in root.iterfind("host/topology/cells/cell/pages")),
        cpu=CpuText.of(root.find("host/cpu")),
    )


def _huge_mib(pages: ET.Element) -> int:
    """Return the memory of a pool of pages if they are huge, MiB; libvirt tells their size in KiB and their number."""
    size, count = pages.get("size", ""), (pages.text or "").strip()
    kib = int(size) if size.isdecimal() else 0
    return kib * int(count) // 1024 if kib >= SMALLEST_HUGE_KIB and count.isdecimal() else 0


def parse_pool(text: str, *, place: str, capacity_mib: float | None, used_mib: float | None) -> PoolReading:
    """Read a storage pool (``virsh pool-dumpxml``); sizes come from the pool's info.

    Raises
    ------
    DataError
        If the text is not a ``<pool>`` element.
    """
    root = parse_root(text, "pool", place)
    parts = [root.find(f"source/{tag}") for tag in ("host", "dir", "name", "device")]
    words = [(part.get("name") or part.get("path") or (part.text or "").strip()) for part in parts if part is not None]
    return PoolReading(
        name=root.findtext("name") or "",
        kind=root.get("type", ""),
        path=root.findtext("target/path"),
        source=":".join(word for word in words if word) or None,
        capacity_mib=capacity_mib,
        used_mib=used_mib,
    )


def parse_network(text: str, *, place: str) -> NetworkReading:
    """Read a libvirt network (``virsh net-dumpxml``).

    Raises
    ------
    DataError
        If the text is not a ``<network>`` element.
    """
    root = parse_root(text, "network", place)
    forward, bridge = root.find("forward"), root.find("bridge")
    mode = "none" if forward is None else forward.get("mode", "nat")
    return NetworkReading(
        name=root.findtext("name") or "",
        bridge=None if bridge is None else bridge.get("name"),
        local=mode in ("none", "nat", "route", "open"),
    )
