"""The description of a guest for its target, where that differs from the one on its source."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from executor.hypervisor.libvirt_connect import load_libvirt

_NOWHERE: Mapping[str, str] = MappingProxyType({})


def target_xml(domain: Any, bridges: Mapping[str, str], landings: Mapping[str, str] = _NOWHERE) -> str | None:
    """Return the description with the target's bridges and places of disks; None if nothing differs.

    What a guest sees (cards, addresses, MAC) stays as it is, libvirt would refuse anything else; secrets of the
    description pass through this process and are kept nowhere.

    Parameters
    ----------
    domain : libvirt.virDomain
        The guest on its source.
    bridges : mapping of str to str
        Bridges of the source that are called otherwise on the target.
    landings : mapping of str to str
        Disks that are copied to another path: their path on the target.
    """
    if not bridges and not landings:
        return None
    libvirt = load_libvirt()
    root = ET.fromstring(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_MIGRATABLE | libvirt.VIR_DOMAIN_XML_SECURE))
    changed = False
    for source in root.iterfind("devices/interface[@type='bridge']/source"):
        there = bridges.get(source.get("bridge", ""))
        if there is not None:
            source.set("bridge", there)
            changed = True
    for disk in root.iterfind("devices/disk[@type='file']"):
        target, place = disk.find("target"), disk.find("source")
        path = landings.get("" if target is None else target.get("dev", ""))
        if place is not None and path is not None and place.get("file") != path:
            place.set("file", path)
            changed = True
    return ET.tostring(root, encoding="unicode") if changed else None
