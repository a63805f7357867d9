"""Networks that a policy declares to be one wire, whatever their bridges are called."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from drsim.errors import Problem
from drsim.inventory import HostBridge, Inventory, Network
from drsim.policy import Policy, Wire


def wired(inventory: Inventory, policy: Policy) -> Inventory:
    """Return the inventory in which the networks of each wire are one network.

    Guests plugged into any of them can then go to every host that has one, and the bridge of their cards is changed on
    the way where the target calls it otherwise.

    Parameters
    ----------
    inventory, policy : Inventory, Policy
        Free of problems (`wire_problems`).
    """
    for wire in policy.wires:
        inventory = _joined(inventory, wire)
    return inventory


def _members(inventory: Inventory, wire: Wire) -> list[Network]:
    return [network for network in inventory.networks if network.name in wire.networks]


def _bridges(inventory: Inventory, wire: Wire) -> dict[str, tuple[str, ...]]:
    """Return by host the bridges that may be the wire's there: the one named, or those that it has, best used ones."""
    named = {each.host: each.bridge for each in wire.bridges}
    found: dict[str, tuple[str, ...]] = {}
    for network in _members(inventory, wire):
        for host in network.hosts:
            bridge = named.get(host) or network.bridge_on(host)
            if bridge is not None and bridge not in found.get(host, ()):
                found[host] = (*found.get(host, ()), bridge)
    by_name = {network.name: network for network in _members(inventory, wire)}
    for host, several in found.items():
        if len(several) > 1:  # where bridges cannot be listed, neighbours are taken to have each other's
            nets = {nic.network for vm in inventory.vms if vm.host == host for nic in vm.nics}
            used = tuple(b for b in several if any(by_name[n].bridge_on(host) == b for n in nets if n in by_name))
            found[host] = used or several
    return found


def _joined(inventory: Inventory, wire: Wire) -> Inventory:
    members = _members(inventory, wire)
    if not members:  # joined before: the inventory is that of a plan
        return inventory
    bridges = {host: several[0] for host, several in _bridges(inventory, wire).items()}
    first = members[0]
    whole = Network(
        name=wire.name,
        bridge=first.bridge,
        vlan=first.vlan,
        hosts=tuple(host.name for host in inventory.hosts if host.name in bridges),
        exceptions=tuple(
            HostBridge(host=host, bridge=bridge) for host, bridge in bridges.items() if bridge != first.bridge
        ),
    )
    names = {network.name for network in members}
    return replace(
        inventory,
        networks=tuple(
            whole if network is first else network
            for network in inventory.networks
            if network is first or network.name not in names
        ),
        vms=tuple(
            replace(
                vm,
                nics=tuple(replace(nic, network=wire.name) if nic.network in names else nic for nic in vm.nics),
            )
            if any(nic.network in names for nic in vm.nics)
            else vm
            for vm in inventory.vms
        ),
    )


def wire_problems(policy: Policy, inventory: Inventory) -> Iterator[Problem]:
    """Yield what a policy's wires name in vain, and layer-2 borders that they cross without an overlay."""
    known = {network.name: network for network in inventory.networks}
    taken: set[str] = set()
    for wire in policy.wires:
        place = f"wires '{wire.name}'"
        members = _members(inventory, wire)
        if not members and wire.name in known:  # the inventory of a plan, in which they are one already
            continue
        for name in wire.networks:
            if name not in known:
                some = ", ".join(sorted(known)[:5]) or "none"
                yield Problem(
                    place=place,
                    field="networks",
                    expected=f"there is no network '{name}' (there are {some}).",
                    remedy="Name networks as the inventory does.",
                )
        for name in sorted(set(wire.networks) & taken) + [wire.name] * (wire.name in set(known) - set(wire.networks)):
            yield Problem(
                place=place,
                field="networks",
                expected=f"'{name}' is a network, or part of a wire, already.",
                remedy="Name each network in one wire, and the wire like nothing else.",
            )
        taken |= set(wire.networks)
        for host, several in _bridges(inventory, wire).items():
            if len(several) > 1:
                yield Problem(
                    place=place,
                    field="bridges",
                    expected=f"'{host}' has {' and '.join(several)}: which of them is the wire's is not known.",
                    remedy=f"Say so: bridges: [{{host: {host}, bridge: {several[0]}}}].",
                )
        if len({network.vlan for network in members}) > 1:
            yield Problem(
                place=place,
                field="networks",
                expected="they have different VLAN tags.",
                remedy="Join networks of one tag.",
            )
        hosts = inventory.host_by_name
        sites = sorted({hosts[host].site for network in members for host in network.hosts if host in hosts})
        if len(sites) > 1 and wire.overlay == "none":
            yield Problem(
                place=place,
                field="overlay",
                expected=f"its networks lie in {' and '.join(sites)}: a layer-2 border, which a guest's addresses do "
                "not cross.",
                remedy="If tunnels join them, say so: overlay: vxlan. Else leave the networks apart.",
            )
