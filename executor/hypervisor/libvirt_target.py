"""The description of a guest for its target, where that differs from the one on its source."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Mapping
from typing import Any

from executor.hypervisor.libvirt_connect import load_libvirt


def target_xml(domain: Any, bridges: Mapping[str, str]) -> str | None:
    """Return the description with the target's bridges; None if nothing differs.

    What a guest sees (cards, addresses, MAC) stays as it is, libvirt would refuse anything else; secrets of the
    description pass through this process and are kept nowhere.

    Parameters
    ----------
    domain : libvirt.virDomain
        The guest on its source.
    bridges : mapping of str to str
        Bridges of the source that are called otherwise on the target.
    """
    if not bridges:
        return None
    libvirt = load_libvirt()
    root = ET.fromstring(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_MIGRATABLE | libvirt.VIR_DOMAIN_XML_SECURE))
    changed = False
    for source in root.iterfind("devices/interface[@type='bridge']/source"):
        there = bridges.get(source.get("bridge", ""))
        if there is not None:
            source.set("bridge", there)
            changed = True
    return ET.tostring(root, encoding="unicode") if changed else None
