"""Violations of a placement: capacity and rules."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from drsim.check.numa import fits_nodes
from drsim.check.shares import counted
from drsim.check.violation import SLACK, Violation
from drsim.inventory import Host, Inventory, Vm
from drsim.placement import Placement
from drsim.policy import Policy, Rule, Survive, select_vms
from drsim.resources import BASE, Resource, headroom, need, resources, sizes


def violations(inventory: Inventory, policy: Policy, placement: Placement | None = None) -> tuple[Violation, ...]:
    """List what must hold and does not: capacity of every host, and every rule that must hold.

    Parameters
    ----------
    inventory, policy : Inventory, Policy
        Free of problems.
    placement : Placement, optional
        Judged instead of where the guests are.

    Where there are shares, what guests are entitled to counts as their CPU demand (`drsim.check.shares`).
    """
    placement = placement or Placement.of(inventory)
    inventory, policy = counted(inventory, policy)
    found = list(_overfull(inventory, policy, placement))
    for rule in policy.rules:
        if rule.strength == "must":
            found.extend(_broken(rule, inventory, placement, policy))
    return tuple(found)


def penalty(inventory: Inventory, policy: Policy, placement: Placement) -> float:
    """Add up the prices of the rules that should hold and do not, for each guest that breaks one."""
    return sum(
        rule.price * len(breakers(rule, inventory, placement, policy))
        for rule in policy.rules
        if rule.strength == "should"
    )


def loads(
    inventory: Inventory, placement: Placement, kinds: Sequence[Resource] | None = None
) -> dict[str, tuple[float, ...]]:
    """Sum up, by host, what its guests that are not stopped need of each resource, by default of all it knows."""
    kinds = resources(inventory) if kinds is None else kinds
    totals = {host.name: [0.0] * len(kinds) for host in inventory.hosts}
    where = placement.hosts
    for vm in inventory.vms:
        if vm.state != "stopped":
            total = totals[where[vm.name]]
            total[0] += vm.memory_mib
            total[1] += vm.vcpus
            total[2] += vm.cpu_cores
            for column in range(len(BASE), len(kinds)):
                total[column] += need(vm, kinds[column])
    return {name: tuple(total) for name, total in totals.items()}


def rooms(host: Host, policy: Policy, kinds: Sequence[Resource] = BASE) -> tuple[float, ...]:
    """Return what a host may hold of each resource, headroom left out."""
    limits = policy.limits
    free = headroom(kinds, memory=limits.memory_headroom, cpu=limits.cpu_headroom)
    return tuple(size * (1.0 - share) for size, share in zip(sizes(host, kinds), free, strict=True))


def _overfull(inventory: Inventory, policy: Policy, placement: Placement) -> Iterator[Violation]:
    totals, kinds = loads(inventory, placement), resources(inventory)
    yield from _split_nodes(inventory, placement)
    for host in inventory.hosts:
        room = rooms(host, policy, kinds)
        for kind, used, limit in zip(kinds, totals[host.name], room, strict=True):
            if kind.kind != "numa" and used > limit * (1 + SLACK) + SLACK:
                yield Violation(
                    kind=kind.kind,
                    subject=host.name,
                    text=f"'{host.name}' holds {used:.5g} {kind.what}; its limit is {limit:.5g}.",
                    remedy=f"Move guests off '{host.name}': drsim plan ... --objective repair",
                )


def _split_nodes(inventory: Inventory, placement: Placement) -> Iterator[Violation]:
    if not inventory.has_numa:
        return
    there: dict[str, list[Vm]] = {}
    for vm in inventory.vms:
        if vm.numa_nodes is not None and vm.state != "stopped":
            there.setdefault(placement[vm.name], []).append(vm)
    for name, vms in there.items():
        host = inventory.host_by_name[name]
        if not fits_nodes(host, vms):
            yield Violation(
                kind="numa",
                subject=name,
                text=f"{len(vms)} guests of '{name}' do not fit into its {host.nodes} NUMA nodes.",
                remedy=f"Move guests off '{name}': drsim plan ... --objective repair",
            )


def guests_of(rule: Rule, inventory: Inventory) -> list[Vm]:
    """List the guests that a rule is about; stopped ones are in nobody's way."""
    return [vm for vm in select_vms(rule.vms, inventory) if vm.state != "stopped"]


def breakers(rule: Rule, inventory: Inventory, placement: Placement, policy: Policy) -> list[Vm]:
    """List the guests that break a rule; of guests that should be apart or together all but those that set the tone.

    Stopped guests break no rule and are in nobody's way: they use nothing, and are not migrated.
    """
    if isinstance(rule, Survive):
        return rule.breakers(inventory, placement, policy.rules)
    return rule.breakers(inventory, placement)


def _broken(rule: Rule, inventory: Inventory, placement: Placement, policy: Policy) -> Iterator[Violation]:
    guests = breakers(rule, inventory, placement, policy)
    if not guests:
        return
    where = ", ".join(f"'{vm.name}' on {placement[vm.name]}" for vm in guests[:4])
    more = f" and {len(guests) - 4} more" if len(guests) > 4 else ""
    yield Violation(
        kind=rule.kind,
        subject=rule.name,
        text=f"Rule '{rule.name}' ({rule.kind}) is broken: {where}{more}: {rule.breach}.",
        remedy="Move them: drsim plan ... --objective repair; or relax the rule to strength 'should'.",
    )
