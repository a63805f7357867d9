"""Devices of a host that are handed to guests: what they are, how many there are, and who has them; pure."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from drsim.inventory import Device
from executor.hypervisor.libvirt_domain import HostdevConfig, pci_address
from executor.hypervisor.libvirt_host import parse_root

ACCELERATORS = re.compile(r"0x(0302|12..)..")
"""PCI classes of cards that compute, for guests or for nobody: 3D controllers and processing accelerators (PCI Code and
ID Assignment Specification). A VGA controller may be the host's own screen: it counts once it is set aside."""

SET_ASIDE = re.compile(r"vfio|pci-stub")
"""Names of drivers that only hold a device for a guest: ``vfio-pci``, ``mlx5_vfio_pci``, ..."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeDevice:
    """A PCI device or a mediated one.

    Parameters
    ----------
    name, parent : str
        libvirt's names of it and of the device that it is part of.
    key : str
        Address of a PCI device, UUID of a mediated one.
    what : str
        ``pci-VENDOR:PRODUCT`` with the numbers that ``lspci -nn`` shows, or ``mdev-TYPE``.
    countable : bool
        Whether guests may have it, even if none has.
    types : tuple of (str, int)
        Mediated types that it offers, and how many more of each.
    """

    name: str
    parent: str
    key: str
    what: str
    countable: bool = False
    types: tuple[tuple[str, int], ...] = field(default=())


def parse_node_device(text: str, *, place: str) -> NodeDevice | None:
    """Read a device (``virsh nodedev-dumpxml``); None if it is neither a PCI device, a mediated one nor parent of such.

    Raises
    ------
    DataError
        If the text is not a ``<device>`` element.
    """
    root = parse_root(text, "device", place)
    name, parent = root.findtext("name") or "", root.findtext("parent") or ""
    if (mediated := root.find("capability[@type='mdev']")) is not None:
        kind = mediated.find("type")
        uuid = mediated.findtext("uuid") or name.removeprefix("mdev_").replace("_", "-")[:36]
        what = f"mdev-{'' if kind is None else kind.get('id', '')}"
        return NodeDevice(name=name, parent=parent, key=uuid, what=what)
    types = tuple(
        (kind.get("id", ""), int(kind.findtext("availableInstances") or 0))
        for kind in root.iterfind(".//capability[@type='mdev_types']/type")
    )
    pci = root.find("capability[@type='pci']")
    if pci is None:
        return NodeDevice(name=name, parent=parent, key="", what="", types=types) if types else None
    driver, ids = root.findtext("driver/name") or "", (_id(pci, "vendor"), _id(pci, "product"))
    sliced = bool(types) or pci.find("capability[@type='virt_functions']/address") is not None
    handed = (
        pci.find("capability[@type='phys_function']") is not None
        or SET_ASIDE.search(driver) is not None
        or ACCELERATORS.fullmatch(pci.findtext("class") or "") is not None
    )
    return NodeDevice(
        name=name,
        parent=parent,
        key=pci_address({key: pci.findtext(key) or "" for key in ("domain", "bus", "slot", "function")}),
        what=f"pci-{ids[0]}:{ids[1]}",
        countable=handed and not sliced,
        types=types,
    )


def _id(pci: ET.Element, tag: str) -> str:
    """Return the number of a vendor or a product, four hexadecimal digits."""
    element = pci.find(tag)
    return "0000" if element is None else element.get("id", "0x0000").removeprefix("0x").lower()


def host_devices(nodes: Sequence[NodeDevice], held: Iterable[HostdevConfig]) -> tuple[Device, ...]:
    """Count what a host has for guests, with what they have already.

    Of a mediated type there are as many as exist and as many more as can be made. A card that carries none yet is
    counted for each type that it offers, though they exclude each other: see `open_cards`.

    Parameters
    ----------
    nodes : sequence of NodeDevice
        All that the host told.
    held : iterable of HostdevConfig
        Devices of its guests.
    """
    taken = {each.key for each in held if each.kind == "pci"}
    count: Counter[str] = Counter()
    for node in nodes:
        for kind, more in node.types:
            count[f"mdev-{kind}"] += more
        if node.what.startswith("mdev-") or node.countable or (node.key and node.key in taken):
            count[node.what] += 1
    return tuple(Device(name=name, count=number) for name, number in sorted(count.items()) if number)


def open_cards(nodes: Sequence[NodeDevice]) -> tuple[str, ...]:
    """List the cards that were counted for several mediated types of which only one can be."""
    carrying = {node.parent for node in nodes if node.what.startswith("mdev-")}
    return tuple(
        node.name for node in nodes if node.name not in carrying and sum(more > 0 for _, more in node.types) > 1
    )


def guest_devices(hostdevs: Iterable[HostdevConfig], nodes: Sequence[NodeDevice]) -> tuple[Device, ...]:
    """Count the PCI and mediated devices that a guest has, as far as the host told of them."""
    what = {node.key: node.what for node in nodes if node.key}
    count = Counter(what[each.key] for each in hostdevs if each.key in what)
    return tuple(Device(name=name, count=number) for name, number in sorted(count.items()))
