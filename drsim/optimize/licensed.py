"""Which hosts keep a licence: decided before the search, as a `run_on` in its place.

What the search finds keeps the licence; that another choice would have been better is not ruled out, so that nothing is
proven by it. Where the choice leaves no placement, CP-SAT is asked about all of them (`drsim.optimize.relax`).
"""

from __future__ import annotations

from dataclasses import replace

from drsim.inventory import Inventory, Vm
from drsim.policy import Licence, NotOn, Objective, Policy, Rule, RunOn, select_hosts, select_vms


def settled(inventory: Inventory, policy: Policy, objective: Objective) -> Policy:
    """Return the policy with a `run_on` on chosen hosts for every licence.

    Parameters
    ----------
    inventory, policy : Inventory, Policy
        Free of problems.
    objective : Objective
        Hosts to evacuate keep no licence if others can.
    """
    if not any(isinstance(rule, Licence) for rule in policy.rules):
        return policy
    rules = tuple(
        _choice(rule, inventory, policy, objective) if isinstance(rule, Licence) else rule for rule in policy.rules
    )
    return replace(policy, rules=rules)


def _choice(rule: Licence, inventory: Inventory, policy: Policy, objective: Objective) -> RunOn:
    """Choose the areas where most of the guests are and may be, or, if they cannot hold them all, the largest."""
    guests = [vm for vm in select_vms(rule.vms, inventory) if vm.state != "stopped"]
    lawful = {vm.name: _lawful(vm, inventory, policy) for vm in guests}
    here: dict[tuple[str, ...], int] = {}
    welcome: dict[tuple[str, ...], int] = {}
    room: dict[tuple[str, ...], float] = {}
    for host in inventory.hosts:
        if host.name in objective.hosts and objective.goal == "evacuate":
            continue
        area = rule.area(host)
        here[area] = here.get(area, 0) + sum(vm.host == host.name for vm in guests)
        welcome[area] = max(welcome.get(area, 0), sum(host.name in lawful[vm.name] for vm in guests))
        room[area] = room.get(area, 0.0) + (host.guest_memory_mib if host.takes_guests else 0.0)
    by_guests = sorted(room, key=lambda area: (-welcome[area], -here[area], -room[area], area))[: rule.most]
    by_room = sorted(room, key=lambda area: (-welcome[area], -room[area], -here[area], area))[: rule.most]
    need = sum(vm.memory_mib for vm in guests)
    chosen = set(by_guests if sum(room[area] for area in by_guests) >= need else by_room)
    return RunOn(
        name=rule.name,
        vms=rule.vms,
        hosts=tuple(host.name for host in inventory.hosts if rule.area(host) in chosen),
        strength=rule.strength,
        price=rule.price,
    )


def _lawful(vm: Vm, inventory: Inventory, policy: Policy) -> set[str]:
    """Return the hosts that other rules allow to a guest."""
    names = {"*", vm.name, *(f"tag:{tag}" for tag in vm.tags)}
    allowed = {host.name for host in inventory.hosts}
    for rule in policy.rules:
        if _concerns(rule, names) and isinstance(rule, RunOn | NotOn):
            hosts = {host.name for host in select_hosts(rule.hosts, inventory)}
            allowed = allowed & hosts if isinstance(rule, RunOn) else allowed - hosts
    return allowed


def _concerns(rule: Rule, names: set[str]) -> bool:
    return rule.strength == "must" and not names.isdisjoint(rule.vms)
