"""The hosts file of a lab: what libvirt cannot tell of it, for ``drsim collect --hosts-file``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from executor.lab.topology import LabHost, LabTopology
from executor.lab.wire import Line

UNLIMITED_MBIT_S = 10000.0
"""What a line without a limit is declared as; the emulator carries some 6 Gbit/s."""


def hosts_file(
    topology: LabTopology,
    *,
    uris: Mapping[str, str],
    peer_uris: Mapping[str, str],
    shells: Mapping[str, str],
    shared_path: str,
    cluster: str | None = None,
) -> str:
    """Return the text of a hosts file.

    Parameters
    ----------
    topology : LabTopology
        The lab as it is now.
    uris, peer_uris : mapping of str to str
        By host its URI for a controller and for the other hosts.
    shells : mapping of str to str
        By host the words that run a script there.
    shared_path : str
        Folder that every host sees.
    cluster : str, optional
        Only hosts of this one.
    """
    members = [member for member in topology.hosts if cluster in (None, member.cluster)]
    hosts: list[dict[str, Any]] = [
        {
            "name": member.name,
            "uri": uris[member.name],
            "peer_uri": peer_uris[member.name],
            "site": member.site,
            **_cards(member),
            "shell": shells[member.name],
        }
        for member in members
    ]
    far = [member for member in members if _is_far(member)]
    links = [_link(_switch(member), member.site, member.line, rtt_ms=member.line.rtt_ms / 2) for member in far]
    sites = {member.site for member in members}
    links += [
        _link(link.a, link.b, link.line, rtt_ms=link.rtt_ms) for link in topology.links if {link.a, link.b} <= sites
    ]
    content = {"hosts": hosts, "shared_paths": [shared_path], "networks": _networks(topology, members)}
    if far:
        content["switches"] = [_switch(member) for member in far]
    return yaml.safe_dump({**content, "links": links} if links else content, sort_keys=False)


def _is_far(member: LabHost) -> bool:
    """Whether more lies between a host and its site than the rate of a card tells."""
    return member.line.rtt_ms > 0 or member.line.loss > 0


def _switch(member: LabHost) -> str:
    """Name of the far end of a host's line: a switch for it alone, since distance is told of links."""
    return f"{member.name}-line"


def _rate(mbit_s: float) -> float:
    return mbit_s or UNLIMITED_MBIT_S


def _cards(member: LabHost) -> dict[str, object]:
    rate = _rate(member.line.rate_mbit_s)
    if _is_far(member):
        return {"nics": [{"name": "mig0", "rate_mbit_s": rate, "switch": _switch(member)}]}
    return {"nic_mbit_s": rate}


def _link(a: str, b: str, line: Line, *, rtt_ms: float) -> dict[str, object]:
    return {"a": a, "b": b, "bandwidth_mbit_s": _rate(line.rate_mbit_s), "rtt_ms": rtt_ms, "loss": line.loss}


def _networks(topology: LabTopology, members: list[LabHost]) -> list[object]:
    """Bridges that all hosts have under one name, and what there is to say of the other networks."""
    names = [member.name for member in members]
    networks: list[object] = []
    for network in topology.networks:
        has = {name: bridge for name in names if (bridge := network.bridge_on(name)) is not None}
        other = {name: bridge for name, bridge in has.items() if bridge != network.bridge}
        if len(has) == len(names) and not other:
            networks.append(network.bridge)
        elif has:
            record = {"name": network.name, "bridge": network.bridge, "hosts": list(has)}
            networks.append({**record, "bridges": other} if other else record)
    return networks
