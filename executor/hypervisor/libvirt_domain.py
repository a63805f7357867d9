"""Domain XML into a plain record; pure, so every text that a hypervisor may send can be tried without one."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from drsim.errors import DataError, Problem
from drsim.inventory import PageClass
from drsim.units import MIB
from executor.hypervisor.libvirt_cpu import CpuText

METADATA_NAMESPACE = "urn:drsim"
"""Namespace of the ``<guest>`` element in a domain's ``<metadata>`` by which an owner tells drsim about a guest."""

# libvirt's spelling of units, docs/formatdomain.html#memory-allocation; without a unit it means KiB.
_UNIT_BYTES = {
    **dict.fromkeys(("b", "bytes"), 1),
    **dict.fromkeys(("k", "KiB"), 1 << 10),
    **dict.fromkeys(("M", "MiB"), 1 << 20),
    **dict.fromkeys(("G", "GiB"), 1 << 30),
    **dict.fromkeys(("T", "TiB"), 1 << 40),
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
}
_SOURCE_ATTRIBUTES = ("file", "dev", "dir", "name")


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskConfig:
    """A disk as the domain describes it.

    Parameters
    ----------
    target : str
        Name in the guest, e.g. ``vda``.
    device : str
        ``disk``, ``cdrom``, ``floppy`` or ``lun``.
    kind : str
        ``file``, ``block``, ``dir``, ``network``, ``volume``, ``nvme`` or ``vhostuser``.
    location : str
        Path, network name or ``pool/volume``.
    protocol : str or None
        Of a network disk: ``rbd``, ``iscsi``, ``nfs``, ...
    image_format : str
        ``raw``, ``qcow2``, ...
    base, base_format : str or None
        File that it is laid over, and what that is; None where there is none or it is no file.
    """

    target: str
    device: str
    kind: str
    location: str
    protocol: str | None = None
    image_format: str = "raw"
    base: str | None = None
    base_format: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NicConfig:
    """A network card as the domain describes it.

    Parameters
    ----------
    kind : str
        ``bridge``, ``network``, ``direct``, ``ethernet``, ``user``, ...
    source : str
        Bridge, libvirt network or host device; empty if there is none.
    bridge : str or None
        Bridge that the card is plugged into, if the text names one.
    vlan : int or None
        VLAN tag, if there is exactly one.
    mac : str or None
        MAC address.
    """

    kind: str
    source: str
    bridge: str | None = None
    vlan: int | None = None
    mac: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HostdevConfig:
    """A device of the host that the domain has.

    Parameters
    ----------
    kind : str
        ``pci``, ``mdev``, ``usb``, ``scsi``, ...
    key : str
        Of a PCI device its address, ``0000:3b:00.0``, of a mediated one its UUID; else empty.
    """

    kind: str
    key: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainConfig:
    """What the domain XML says of a guest.

    Parameters
    ----------
    uuid, name, kind : str
        UUID; name; ``kvm``, ``qemu``, ...
    memory_mib, vcpus : int
        Configured memory, MiB, rounded up; virtual CPUs that are switched on.
    dirty_ring : bool
        Whether KVM notes each page that it writes in a ring.
    huge_pages : bool
        Whether its memory stands in huge pages, which the resident size of its process does not count.
    cpu : CpuText or None
        The CPU that it sees; None if the text names no model.
    cpu_shares : int or None
        Weight of its control group, as libvirt's ``<shares>`` spells it; None if nobody set one.
    disks, nics, hostdevs, tags : tuple
        Disks with a medium; cards; devices of its host; labels from the metadata.
    dirty : tuple of PageClass
        Declared dirty profile; empty if none is declared.
    max_downtime_ms : float or None
        Declared limit, ms.
    pins : tuple of str
        Why it must stay, one reason each.
    remarks : tuple of str
        What could not be used.
    """

    uuid: str
    name: str
    kind: str
    memory_mib: int
    vcpus: int
    huge_pages: bool = False
    dirty_ring: bool = False
    cpu: CpuText | None = None
    cpu_shares: int | None = None
    disks: tuple[DiskConfig, ...] = ()
    nics: tuple[NicConfig, ...] = ()
    hostdevs: tuple[HostdevConfig, ...] = ()
    tags: tuple[str, ...] = ()
    dirty: tuple[PageClass, ...] = ()
    max_downtime_ms: float | None = None
    pins: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


def parse_domain(text: str, *, place: str, allow_host_cpu: bool = False) -> DomainConfig:
    """Read a domain XML.

    Parameters
    ----------
    text : str
        As ``virsh dumpxml`` prints it.
    place : str
        Where it comes from, for error texts.
    allow_host_cpu : bool
        Whether KVM guests with the host's own CPU (``host-passthrough``, ``maximum``) may move.

    Raises
    ------
    DataError
        If it is not a domain, or name, UUID, memory or vCPUs cannot be read.
    """
    try:
        root = ET.fromstring(text)
    except ET.ParseError as error:
        raise _refusal(place, None, f"The text is not XML ({error}).") from None
    if root.tag != "domain":
        raise _refusal(place, None, f"The root element is <{root.tag}>, a <domain> was expected.")
    name = _text(root, "name", place)
    place = f"{place}: domain '{name}'"
    declared = _Declared.of(root, place)
    return DomainConfig(
        uuid=_text(root, "uuid", place),
        name=name,
        kind=root.get("type", ""),
        memory_mib=_memory_mib(root, place),
        vcpus=_vcpus(root, place),
        huge_pages=root.find("memoryBacking/hugepages") is not None,
        dirty_ring=root.find("features/kvm/dirty-ring[@state='on']") is not None,
        cpu=CpuText.of(root.find("cpu")),
        cpu_shares=_shares(root),
        disks=tuple(_disks(root)),
        nics=tuple(_nic(element) for element in root.iterfind("devices/interface")),
        hostdevs=tuple(_hostdevs(root)),
        tags=declared.tags,
        dirty=declared.dirty,
        max_downtime_ms=declared.max_downtime_ms,
        pins=(*declared.pins, *_pins(root, allow_host_cpu)),
        remarks=declared.remarks,
    )


def _refusal(place: str, field: str | None, expected: str) -> DataError:
    remedy = "Look at the guest with 'virsh dumpxml'; report the text if it is libvirt's own."
    return DataError(Problem(place=place, field=field, expected=expected, remedy=remedy))


def _text(root: ET.Element, tag: str, place: str) -> str:
    text = (root.findtext(tag) or "").strip()
    if not text:
        raise _refusal(place, tag, f"There is no <{tag}>.")
    return text


def _memory_mib(root: ET.Element, place: str) -> int:
    text = _text(root, "memory", place)
    unit = root.find("memory").get("unit", "KiB")  # type: ignore[union-attr]  # _text has found it
    if not text.isdecimal() or unit not in _UNIT_BYTES:
        raise _refusal(place, "memory", f"'{text} {unit}' is not an amount of memory.")
    return max(1, -(-int(text) * _UNIT_BYTES[unit] // MIB))


def _vcpus(root: ET.Element, place: str) -> int:
    text = _text(root, "vcpu", place)
    current = root.find("vcpu").get("current", text)  # type: ignore[union-attr]  # _text has found it
    if not current.isdecimal() or int(current) < 1:
        raise _refusal(place, "vcpu", f"'{current}' is not a number of virtual CPUs.")
    return int(current)


def _shares(root: ET.Element) -> int | None:
    text = (root.findtext("cputune/shares") or "").strip()
    return int(text) if text.isdecimal() and int(text) > 0 else None


def _disks(root: ET.Element) -> list[DiskConfig]:
    found = []
    for element in root.iterfind("devices/disk"):
        kind, source, target = element.get("type", "file"), element.find("source"), element.find("target")
        if source is None or target is None:
            continue  # an empty drive
        if kind == "volume":
            location = f"{source.get('pool', '')}/{source.get('volume', '')}"
        else:
            location = next((source.get(key, "") for key in _SOURCE_ATTRIBUTES if source.get(key)), "")
        if location:
            driver = element.find("driver")
            base = element.find("backingStore/source[@file]")
            base_format = element.find("backingStore/format")
            found.append(
                DiskConfig(
                    target=target.get("dev", ""),
                    device=element.get("device", "disk"),
                    kind=kind,
                    location=location,
                    protocol=source.get("protocol"),
                    image_format="raw" if driver is None else driver.get("type", "raw"),
                    base=None if base is None else base.get("file"),
                    base_format=None if base is None or base_format is None else base_format.get("type"),
                )
            )
    return found


def _nic(element: ET.Element) -> NicConfig:
    source, mac = element.find("source"), element.find("mac")
    at = {} if source is None else source.attrib
    tags = [tag.get("id", "") for tag in element.iterfind("vlan/tag")]
    return NicConfig(
        kind=element.get("type", ""),
        source=at.get("network") or at.get("bridge") or at.get("dev") or "",
        bridge=at.get("bridge"),
        vlan=int(tags[0]) if len(tags) == 1 and tags[0].isdecimal() and 1 <= int(tags[0]) <= 4094 else None,
        mac=None if mac is None else mac.get("address"),
    )


def pci_address(parts: Mapping[str, str]) -> str:
    """Spell a PCI address as ``lspci -D`` does, whichever base libvirt writes its parts in; empty if wanting."""
    try:
        domain, bus, slot, function = (int(parts[key], 0) for key in ("domain", "bus", "slot", "function"))
    except (KeyError, ValueError):
        return ""
    return f"{domain:04x}:{bus:02x}:{slot:02x}.{function:x}"


def _hostdevs(root: ET.Element) -> Iterator[HostdevConfig]:
    for element in root.iterfind("devices/hostdev"):
        address, kind = element.find("source/address"), element.get("type", "")
        at = {} if address is None else address.attrib
        yield HostdevConfig(kind=kind, key=at.get("uuid", "") if kind == "mdev" else pci_address(at))
    for element in root.iterfind("devices/interface[@type='hostdev']/source/address"):
        yield HostdevConfig(kind="pci", key=pci_address(element.attrib))


def _pins(root: ET.Element, allow_host_cpu: bool) -> list[str]:
    """List what ties a guest to its host, whatever the target is."""
    reasons = []
    for element in root.iterfind("devices/hostdev"):
        what = "a mediated device (vGPU)" if element.get("type") == "mdev" else f"a {element.get('type', '')} device"
        reasons.append(f"{what} of the host is handed to it; detach it first")
    if root.find("devices/interface[@type='hostdev']") is not None:
        reasons.append("a network card of the host (SR-IOV) is handed to it; use a bridge or a failover pair")
    reasons += [
        f"its network card is of type '{kind}', whose connections end with the process; use a bridge"
        for kind in ("user", "vhostuser")
        if root.find(f"devices/interface[@type='{kind}']") is not None
    ]
    if root.find("devices/filesystem") is not None:
        reasons.append("a folder of the host is mounted in it; unmount and remove the <filesystem> first")
    if root.find("devices/shmem") is not None:
        reasons.append("it shares memory with other processes of the host (<shmem>)")
    if root.find("launchSecurity") is not None:
        reasons.append("its memory is encrypted by the host's CPU (<launchSecurity>)")
    cpu = root.find("cpu")
    mode = "" if cpu is None else cpu.get("mode", "")
    if root.get("type") == "kvm" and mode in ("host-passthrough", "maximum") and not allow_host_cpu:
        reasons.append(
            f"CPU mode '{mode}' shows it the very CPU of its host; use 'host-model' or a named model, or allow it when "
            "CPUs, microcode and kernels of the hosts are alike"
        )
    return reasons


@dataclass(frozen=True, slots=True, kw_only=True)
class _Declared:
    """What the owner declared in ``<metadata>``."""

    tags: tuple[str, ...] = ()
    dirty: tuple[PageClass, ...] = ()
    max_downtime_ms: float | None = None
    pins: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    @classmethod
    def of(cls, root: ET.Element, place: str) -> _Declared:
        element = root.find(f"metadata/{{{METADATA_NAMESPACE}}}guest")
        if element is None:
            return cls()
        remarks: list[str] = []

        def number(key: str) -> float | None:
            text = element.get(key)
            if text is None:
                return None
            try:
                value = float(text)
            except ValueError:
                value = math.nan
            if math.isfinite(value) and value >= 0:
                return value
            remarks.append(
                f"{place}, field '{key}' of its drsim metadata: '{text}' was ignored, a number from 0 was expected."
            )
            return None

        size, rate = number("working_set_mib"), number("dirty_rate_mib_s")
        pinned = element.get("pinned", "").strip()
        return cls(
            tags=tuple(dict.fromkeys(re.findall(r"[^\s,]+", element.get("tags", "")))),
            dirty=(PageClass(size_mib=size, dirty_rate_mib_s=rate or 0.0),) if size else (),
            max_downtime_ms=number("max_downtime_ms") or None,
            pins=(pinned,) if pinned else (),
            remarks=tuple(remarks),
        )
