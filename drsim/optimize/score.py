"""The score of a placement: counted by the independent checker, not by the search."""

from __future__ import annotations

from drsim import check
from drsim.inventory import Inventory
from drsim.optimize.defragment import lost_slots
from drsim.optimize.spread import uneven
from drsim.placement import Placement
from drsim.plan import Score
from drsim.policy import Objective, Policy
from drsim.resources import resources, sizes

UNITS = {
    "balance": "highest load over mean load",
    "evacuate": "MiB of guests left on the hosts",
    "consolidate": "hosts in use",
    "repair": "broken rules and overfull hosts",
    "place": "new guests without a host",
    "spread": "guests beyond an even spread of their tag",
    "defragment": "further guests that have room in all, not in one piece",
    "storage": "per cent that a datastore is used over its threshold",
}


def score(inventory: Inventory, policy: Policy, objective: Objective, placement: Placement) -> Score:
    """Judge a placement.

    Parameters
    ----------
    inventory, policy : Inventory, Policy
        Free of problems.
    objective : Objective
        What to count.
    placement : Placement
        What to judge.
    """
    everybody, inventory = inventory, placement.seated(inventory)
    violations = len(check.violations(inventory, policy, placement))
    penalty = check.penalty(inventory, policy, placement)
    running = [vm for vm in inventory.vms if vm.state != "stopped"]
    match objective.goal:
        case "balance":
            value = imbalance(inventory, placement)
        case "evacuate" if objective.datastores:
            value = check.left_mib(inventory, objective)
        case "storage":
            value = check.overuse(inventory, objective)
        case "evacuate":
            value = float(sum(vm.memory_mib for vm in running if placement[vm.name] in objective.hosts))
        case "consolidate":
            value = float(len({placement[vm.name] for vm in running}))
        case "place":
            value = float(len(everybody.vms) - len(inventory.vms))
        case "spread":
            value = uneven(inventory, policy, placement)
        case "defragment":
            value = lost_slots(inventory, policy, objective, placement)
        case _:
            value = violations + penalty
    unit = "MiB of disks left on the datastores" if objective.datastores else UNITS[objective.goal]
    return Score(violations=violations, penalty=penalty, objective=value, unit=unit)


def imbalance(inventory: Inventory, placement: Placement) -> float:
    """Highest load of a host that takes guests over the mean of all of them, of CPU demand, now or ahead, or
    configured memory.

    The mean is that of the placement that the inventory records, so that scores of two placements compare.
    """
    now = check.loads(inventory, Placement.of(inventory))
    then = check.loads(inventory, placement)
    kinds = resources(inventory)
    hosts = {host.name: sizes(host, kinds) for host in inventory.hosts if host.takes_guests}
    worst = 0.0
    for column, kind in enumerate(kinds):
        if not kind.balanced:
            continue
        total, room = sum(now[name][column] for name in hosts), sum(size[column] for size in hosts.values())
        if total > 0.0 and room > 0.0:
            mean = total / room
            peaks = [then[name][column] / size[column] for name, size in hosts.items() if size[column] > 0.0]
            worst = max(worst, max(peaks, default=0.0) / mean)
    return worst
