"""The score of a placement: counted by the independent checker, not by the search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from drsim import check
from drsim.inventory import Inventory
from drsim.optimize.defragment import lost_slots, slots_in_all
from drsim.optimize.spread import uneven
from drsim.placement import Placement
from drsim.plan import Part, Score
from drsim.policy import Goal, Objective, Policy, Term
from drsim.resources import resources, sizes
from drsim.terms import ranked

UNITS: dict[Goal, str] = {
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
    inventory, policy = check.counted(inventory, policy, objective)
    everybody, inventory = inventory, placement.seated(inventory)
    violations = len(check.violations(inventory, policy, placement))
    penalty = check.penalty(inventory, policy, placement)

    def value(goal: Goal) -> float:
        if goal == "repair":
            return violations + penalty
        if goal == "place":
            return float(len(everybody.vms) - len(inventory.vms))
        return _value(goal, inventory, policy, objective, placement)

    if not objective.terms:
        goal = objective.goal
        unit = "MiB of disks left on the datastores" if objective.datastores else UNITS[goal]
        return Score(violations=violations, penalty=penalty, objective=value(goal), unit=unit)
    parts = tuple(
        _part(term, value(term.goal), everybody, policy, objective) for rank in ranked(objective.terms) for term in rank
    )
    first = ranked(objective.terms)[0]
    return Score(
        violations=violations,
        penalty=penalty,
        objective=total(parts[: len(first)]),
        unit=UNITS[first[0].goal] if len(first) == 1 else f"shares: {' + '.join(map(str, first))}",
        parts=parts,
    )


def total(parts: Sequence[Part]) -> float:
    """Return what the goals of one rank come to: the value of a single one, the weighted sum of shares of several."""
    return parts[0].value if len(parts) == 1 else sum(part.weight * part.share for part in parts)


def bounded(score: Score, like: Score) -> Score:
    """Return a score whose parts have the lower bounds of those of another."""
    parts = zip(score.parts, like.parts, strict=True)
    return replace(score, parts=tuple(replace(part, lower_bound=other.lower_bound) for part, other in parts))


def _value(goal: Goal, inventory: Inventory, policy: Policy, objective: Objective, placement: Placement) -> float:
    running = [vm for vm in inventory.vms if vm.state != "stopped"]
    match goal:
        case "balance":
            return imbalance(inventory, placement)
        case "evacuate" if objective.datastores:
            return check.left_mib(inventory, objective)
        case "storage":
            return check.overuse(inventory, objective)
        case "evacuate":
            return float(sum(vm.memory_mib for vm in running if placement[vm.name] in objective.hosts))
        case "consolidate":
            return float(len({placement[vm.name] for vm in running}))
        case "spread":
            return uneven(inventory, policy, placement)
        case _:
            return lost_slots(inventory, policy, objective, placement)


def _part(term: Term, value: float, inventory: Inventory, policy: Policy, objective: Objective) -> Part:
    least, one = share_of(term.goal, inventory, policy, objective)
    return Part(
        goal=term.goal,
        rank=term.rank,
        weight=term.weight,
        value=value,
        unit=UNITS[term.goal],
        share=(value - least) / one,
    )


def share_of(goal: Goal, inventory: Inventory, policy: Policy, objective: Objective) -> tuple[float, float]:
    """Return the value of a goal that is a share of 0, and how much of it is a share of 1; no placement changes them.

    Parameters
    ----------
    goal : Goal
        Any but `repair`.
    inventory, policy, objective : Inventory, Policy, Objective
        As for `score`.
    """
    running = [vm for vm in inventory.vms if vm.state != "stopped"]
    match goal:
        case "balance":
            return 1.0, 1.0
        case "evacuate":
            return 0.0, float(sum(vm.memory_mib for vm in running if vm.host in objective.hosts)) or 1.0
        case "consolidate":
            return 0.0, float(sum(host.takes_guests for host in inventory.hosts)) or 1.0
        case "place":
            return 0.0, float(len(objective.newcomers)) or 1.0
        case "spread":
            return 0.0, float(len(running)) or 1.0
        case _:
            now = Placement.of(inventory)
            return 0.0, slots_in_all(now.seated(inventory), policy, objective, now) or 1.0


def imbalance(inventory: Inventory, placement: Placement) -> float:
    """Highest load of a host that takes guests over the mean of all of them, of CPU demand, now or ahead, or
    configured memory.

    The mean is that of the placement that the inventory records, so that scores of two placements compare.
    """
    before = Placement.of(inventory)
    now = check.loads(before.seated(inventory), before)
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
