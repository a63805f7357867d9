"""Where a guest can go at all."""

from __future__ import annotations

from drsim.inventory import Host, Inventory, Vm
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
    if source.cpu_model and target.cpu_model and source.cpu_model != target.cpu_model:
        return f"'{target.name}' has CPU {target.cpu_model}, '{source.name}' has {source.cpu_model}"
    for network in inventory.networks:
        if any(nic.network == network.name for nic in vm.nics) and target.name not in network.hosts:
            return f"'{target.name}' has no network '{network.name}'"
    path = topology.path(source.name, target.name)
    if path is None:
        if source.site == target.site:
            return f"no line joins '{source.name}' to '{target.name}'"
        return f"no link joins site '{source.site}' to site '{target.site}'"
    if path.rtt_ms > policy.limits.max_rtt_ms:
        return (
            f"the round-trip time to '{target.name}' is {path.rtt_ms:g} ms, the limit {policy.limits.max_rtt_ms:g} ms"
        )
    return _forbidden(inventory, policy, vm, target)


def _forbidden(inventory: Inventory, policy: Policy, vm: Vm, target: Host) -> str | None:
    names = {vm.name, *(f"tag:{tag}" for tag in vm.tags)}
    words = {
        target.name,
        f"site:{target.site}",
        *((f"rack:{target.rack}",) if target.rack else ()),
        *(f"tag:{tag}" for tag in target.tags),
    }
    for rule in policy.rules:
        if rule.strength != "must" or names.isdisjoint(rule.vms):
            continue
        match rule:
            case Pin():
                return f"rule '{rule.name}' pins it"
            case RunOn() if words.isdisjoint(rule.hosts):
                return f"rule '{rule.name}' keeps it on {', '.join(rule.hosts)}"
            case NotOn() if not words.isdisjoint(rule.hosts):
                return f"rule '{rule.name}' keeps it off {', '.join(rule.hosts)}"
            case _:
                continue
    return None
