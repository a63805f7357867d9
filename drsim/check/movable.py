"""Where a guest can go at all."""

from __future__ import annotations

from drsim.inventory import Host, Inventory, Network, Vm
from drsim.plan import Move
from drsim.policy import NotOn, Pin, Policy, RunOn
from drsim.topology import Topology


def unmovable(inventory: Inventory, policy: Policy, vm: Vm, target: Host, topology: Topology) -> str | None:
    """Say why a guest cannot go to a host at all, whatever else is there; None if it can.

    Parameters
    ----------
    inventory, policy : Inventory, Policy
        Free of problems.
    vm, target : Vm, Host
        The guest, on the host that the inventory records, and the host in question.
    topology : Topology
        Of the inventory.
    """
    source = inventory.host_by_name[vm.host]
    if vm.unmovable_reason:
        return f"'{vm.name}' cannot be moved: {vm.unmovable_reason}"
    if vm.state != "running":
        return f"'{vm.name}' is {vm.state}; only running guests are migrated live"
    if source.state in ("down", "unknown"):
        return f"its host '{source.name}' is {source.state}"
    if not target.takes_guests:
        return f"'{target.name}' is in state {target.state}"
    if source.arch != target.arch:
        return f"'{target.name}' is {target.arch}, '{source.name}' is {source.arch}"
    if not target.gives_cpu(vm.cpu_model, source):
        return _other_cpu(vm, source, target)
    if not target.has_nodes(vm):
        return f"'{target.name}' has no NUMA nodes of that size"
    for network in inventory.networks:
        if any(nic.network == network.name for nic in vm.nics) and target.name not in network.hosts:
            return f"'{target.name}' has no network '{network.name}'{_border(inventory, network, target)}"
    path = topology.path(source.name, target.name)
    if path is None:
        if source.site == target.site:
            return f"no line joins '{source.name}' to '{target.name}'"
        return f"no link joins site '{source.site}' to site '{target.site}'"
    if path.rtt_ms > policy.limits.max_rtt_ms:
        return (
            f"the round-trip time to '{target.name}' is {path.rtt_ms:g} ms, the limit {policy.limits.max_rtt_ms:g} ms"
        )
    least, carried = policy.limits.min_rate_mbit_s, min(path.bandwidth_mbit_s, path.connection_mbit_s)
    if least is not None and carried < least:
        return f"the line to '{target.name}' carries {carried:.0f} Mbit/s, the policy wants {least:g}"
    return _forbidden(inventory, policy, vm, target)


def _other_cpu(vm: Vm, source: Host, target: Host) -> str:
    if vm.cpu_model and target.cpu_models:
        return f"'{target.name}' cannot give CPU {vm.cpu_model}"
    return f"'{target.name}' has CPU {target.cpu_model}, '{source.name}' has {source.cpu_model}"


def unstartable(inventory: Inventory, policy: Policy, vm: Vm, host: Host) -> str | None:
    """Say why a new guest cannot be on a host at all, whatever else is there; None if it can."""
    if not host.takes_guests:
        return f"'{host.name}' is in state {host.state}"
    if not host.gives_cpu(vm.cpu_model, None):
        return f"'{host.name}' cannot give CPU {vm.cpu_model}"
    if not host.has_nodes(vm):
        return f"'{host.name}' has no NUMA nodes of that size"
    for network in inventory.networks:
        if any(nic.network == network.name for nic in vm.nics) and host.name not in network.hosts:
            return f"'{host.name}' has no network '{network.name}'"
    for disk in vm.disks:
        if host.name not in inventory.datastore_by_name[disk.datastore].hosts:
            return f"'{host.name}' does not mount '{disk.datastore}'"
    return _forbidden(inventory, policy, vm, host)


def _forbidden(inventory: Inventory, policy: Policy, vm: Vm, target: Host) -> str | None:
    names = {"*", vm.name, *(f"tag:{tag}" for tag in vm.tags)}
    words = {
        target.name,
        f"site:{target.site}",
        *((f"rack:{target.rack}",) if target.rack else ()),
        *(f"tag:{tag}" for tag in target.tags),
    }
    for rule in policy.placing:
        if names.isdisjoint(rule.vms):
            continue
        match rule:
            case Pin():
                return f"rule '{rule.name}' pins it"
            case RunOn() if words.isdisjoint(rule.hosts):
                return f"rule '{rule.name}' keeps it on {', '.join(rule.hosts)}"
            case NotOn() if not words.isdisjoint(rule.hosts):
                return f"rule '{rule.name}' keeps it off {', '.join(rule.hosts)}"
    return None


def _border(inventory: Inventory, network: Network, target: Host) -> str:
    """Say that a bridge of the same name in another site is another wire, if the target has one."""
    sites = {inventory.host_by_name[name].site for name in network.hosts}
    twins = (
        other.name
        for other in inventory.networks
        if target.name in other.hosts and network.bridge and other.bridge_on(target.name) == network.bridge
    )
    twin = next(twins, None)
    if twin is None or target.site in sites:
        return ""
    return (
        f": its bridge {network.bridge} ('{twin}') lies in another site, beyond a layer-2 border, where the guest's "
        f"addresses would lead nowhere. If an overlay joins the two, declare it in the policy: wires: [{{name: "
        f"{network.bridge}, networks: ['{network.name}', '{twin}'], overlay: vxlan}}]"
    )


def unlandable(inventory: Inventory, vm: Vm, move: Move) -> str | None:
    """Say why disks cannot land where a move puts them; None if they can.

    Parameters
    ----------
    inventory : Inventory
        Free of problems.
    vm : Vm
        The guest.
    move : Move
        Its move.
    """
    disks = {disk.name: disk for disk in vm.disks}
    for landing in move.landings:
        store, disk = inventory.datastore_by_name.get(landing.datastore), disks.get(landing.disk)
        if disk is None or landing.disk not in move.copy_disks:
            return f"'{vm.name}' has no disk '{landing.disk}' that is copied"
        if store is None or move.target not in store.hosts:
            return f"'{move.target}' does not mount datastore '{landing.datastore}'"
        if move.storage_only and landing.path == disk.path:
            return f"disk '{landing.disk}' of '{vm.name}' lies at {landing.path} already"
    return None
