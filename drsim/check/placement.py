"""Violations of a placement: capacity and rules."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from drsim.check.violation import SLACK, Violation
from drsim.inventory import Host, Inventory, Vm
from drsim.placement import Placement
from drsim.policy import Apart, NotOn, Pin, Policy, RunOn, select_hosts, select_vms


def violations(inventory: Inventory, policy: Policy, placement: Placement | None = None) -> tuple[Violation, ...]:
    """List what must hold and does not: capacity of every host, and every rule that must hold.

    Parameters
    ----------
    inventory, policy : Inventory, Policy
        Free of problems.
    placement : Placement, optional
        Judged instead of where the guests are.
    """
    placement = placement or Placement.of(inventory)
    found = list(_overfull(inventory, policy, placement))
    for rule in policy.rules:
        if rule.strength == "must":
            found.extend(_broken(rule, inventory, placement))
    return tuple(found)


def penalty(inventory: Inventory, policy: Policy, placement: Placement) -> float:
    """Add up the prices of the rules that should hold and do not, for each guest that breaks one."""
    return sum(rule.price * _breaches(rule, inventory, placement) for rule in policy.rules if rule.strength == "should")


def loads(inventory: Inventory, placement: Placement) -> dict[str, tuple[float, float, float]]:
    """Sum up, by host, configured memory (MiB), vCPUs and CPU demand (cores) of the guests that are not stopped."""
    totals = {host.name: [0.0, 0.0, 0.0] for host in inventory.hosts}
    for vm in inventory.vms:
        if vm.state != "stopped":
            total = totals[placement[vm.name]]
            total[0] += vm.memory_mib
            total[1] += vm.vcpus
            total[2] += vm.cpu_cores
    return {name: (total[0], total[1], total[2]) for name, total in totals.items()}


def rooms(host: Host, policy: Policy) -> tuple[float, float, float]:
    """Return what a host may hold: memory (MiB), vCPUs, CPU demand (cores), headroom left out."""
    limits = policy.limits
    return (
        host.guest_memory_mib * (1.0 - limits.memory_headroom),
        host.guest_vcpus,
        host.cores * (1.0 - limits.cpu_headroom),
    )


RESOURCES = (("memory", "MiB of configured memory"), ("vcpus", "vCPUs"), ("cpu", "cores of CPU demand"))


def _overfull(inventory: Inventory, policy: Policy, placement: Placement) -> Iterator[Violation]:
    totals = loads(inventory, placement)
    for host in inventory.hosts:
        room = rooms(host, policy)
        for (kind, what), used, limit in zip(RESOURCES, totals[host.name], room, strict=True):
            if used > limit * (1 + SLACK) + SLACK:
                yield Violation(
                    kind=kind,
                    subject=host.name,
                    text=f"'{host.name}' holds {used:.5g} {what}; its limit is {limit:.5g}.",
                    remedy=f"Move guests off '{host.name}': drsim plan ... --objective repair",
                )


def breakers(rule: Any, inventory: Inventory, placement: Placement) -> list[Vm]:
    """List the guests that break a rule; of guests that should be apart or together all but those that set the tone.

    Stopped guests break no rule and are in nobody's way: they use nothing, and are not migrated.
    """
    guests = [vm for vm in select_vms(rule.vms, inventory) if vm.state != "stopped"]
    match rule:
        case RunOn() | NotOn():
            hosts = {host.name for host in select_hosts(rule.hosts, inventory)}
            return [vm for vm in guests if (placement[vm.name] in hosts) is isinstance(rule, NotOn)]
        case Pin():
            return [vm for vm in guests if placement[vm.name] != vm.host]
        case Apart():
            seen: Counter[tuple[str, ...]] = Counter()
            beyond = []
            for vm in guests:
                area = rule.area(inventory.host_by_name[placement[vm.name]])
                seen[area] += 1
                if seen[area] > rule.most:
                    beyond.append(vm)
            return beyond
        case _:
            count = Counter(placement[vm.name] for vm in guests)
            most = max(count, key=lambda host: (count[host], host), default=None)
            return [vm for vm in guests if placement[vm.name] != most]


def _breaches(rule: Any, inventory: Inventory, placement: Placement) -> int:
    return len(breakers(rule, inventory, placement))


def _broken(rule: Any, inventory: Inventory, placement: Placement) -> Iterator[Violation]:
    guests = breakers(rule, inventory, placement)
    if not guests:
        return
    where = ", ".join(f"'{vm.name}' on {placement[vm.name]}" for vm in guests[:4])
    more = f" and {len(guests) - 4} more" if len(guests) > 4 else ""
    says = {
        "together": "not with the others",
        "apart": f"more than {getattr(rule, 'most', 1)} of them on one {getattr(rule, 'per', 'host')}",
        "run_on": f"outside {', '.join(getattr(rule, 'hosts', ()))}",
        "not_on": f"on {', '.join(getattr(rule, 'hosts', ()))}",
        "pin": "moved although pinned",
    }[rule.kind]
    yield Violation(
        kind=rule.kind,
        subject=rule.name,
        text=f"Rule '{rule.name}' ({rule.kind}) is broken: {where}{more}: {says}.",
        remedy="Move them: drsim plan ... --objective repair; or relax the rule to strength 'should'.",
    )
