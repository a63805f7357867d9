"""Why a plan is as it is: what if a guest stayed, where else it could go, what each rule costs, what holds a guest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from drsim import check
from drsim.errors import DrsimError
from drsim.inventory import Vm
from drsim.optimize import score
from drsim.placement import Placement
from drsim.plan import Plan, Score
from drsim.planner import make_plan
from drsim.policy import Rule, Shares
from drsim.resources import Resource, needs, resources
from drsim.space import disk_resources
from drsim.topology import Topology
from drsim.why_disks import elsewhere

ALTERNATIVES = 3
"""Other hosts that are told."""

LOOKED_AT = 12
"""Hosts with most room that are judged as alternatives."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alternative:
    """Another place for a guest, all other moves made.

    Parameters
    ----------
    host : str
        The host; for disks the datastore.
    score : Score
        What the plan would reach.
    """

    host: str
    score: Score


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Why a guest is to be where the plan has it.

    Parameters
    ----------
    vm, source, target : str
        The guest, where it is, and where the plan has it; the same host if the plan leaves it. For disks, datastores.
    reason : str
        What its move mends; empty if it stays.
    refused : Score
        What the plan would reach if this guest stayed and all others moved.
    breaks : tuple of str
        What would be broken then and is not with the plan.
    alternatives : tuple of Alternative
        Other hosts that would take it, the best first.
    closed : mapping of str to int
        Why other hosts would not, with their number.
    """

    vm: str
    source: str
    target: str
    reason: str
    refused: Score
    breaks: tuple[str, ...]
    alternatives: tuple[Alternative, ...]
    closed: Mapping[str, int]


def explain(plan: Plan, vm: str) -> Explanation:
    """Explain where a plan has a guest.

    Everything is judged by the checker that judges plans, with all other moves made.

    Parameters
    ----------
    plan : Plan
        The plan.
    vm : str
        Name of a guest of its inventory.

    Raises
    ------
    DrsimError
        If there is no such guest.
    """
    guest = plan.inventory.vm_by_name.get(vm)
    if guest is None:
        raise DrsimError(f"There is no guest '{vm}' in the plan's inventory '{plan.inventory.name}'.")
    if plan.objective.of_disks:
        return _of_disks(plan, guest)
    inventory, policy = check.counted(plan.inventory, plan.policy, plan.objective)
    plan = replace(plan, inventory=inventory, policy=policy)
    goal = plan.target
    stays = Placement({**goal, vm: guest.host})
    kept = {violation.text for violation in _violations(plan, goal)}
    broken = tuple(found.text for found in _violations(plan, stays) if found.text not in kept)
    moves = [move for move in plan.moves if move.vm == vm]
    alternatives, closed = _elsewhere(plan, guest, goal)
    return Explanation(
        vm=vm,
        source=guest.host,
        target=goal[vm],
        reason=moves[-1].reason if moves else "",
        refused=_score(plan, stays),
        breaks=broken,
        alternatives=alternatives,
        closed=closed,
    )


def _of_disks(plan: Plan, guest: Vm) -> Explanation:
    """Explain where a plan of disks has those of a guest: hosts are datastores here."""
    found = elsewhere(plan, guest)
    moves = [move for move in plan.moves if move.vm == guest.name]
    return Explanation(
        vm=guest.name,
        source=found.source,
        target=found.target,
        reason=moves[0].reason if moves else "",
        refused=found.refused,
        breaks=(),
        alternatives=tuple(Alternative(host=name, score=then) for name, then in found.others[:ALTERNATIVES]),
        closed={why: found.closed.count(why) for why in dict.fromkeys(found.closed)},
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What a rule costs: the same plan without it.

    Parameters
    ----------
    rule : str
        Name of the rule.
    score : Score
        What is reached without it.
    moves : int
        Moves that takes.
    """

    rule: str
    score: Score
    moves: int


def rule_prices(plan: Plan, *, time_limit_s: float = 10.0) -> tuple[Price, ...]:
    """Make the plan again without each rule in turn; in the order of the policy.

    Parameters
    ----------
    plan : Plan
        The plan.
    time_limit_s : float
        Time for all searches together, seconds.
    """
    rules = plan.policy.rules
    prices = []
    for number, rule in enumerate(rules):
        without = replace(plan.policy, rules=_without(rules, number))
        other = make_plan(
            plan.inventory, without, plan.objective, time_limit_s=time_limit_s / len(rules), seed=plan.seed
        )
        prices.append(Price(rule=rule.name, score=other.after, moves=len(other.moves)))
    return tuple(prices)


def _without(rules: tuple[Rule, ...], number: int) -> tuple[Rule, ...]:
    """Leave a rule out; what is in its pool is in the one around it then."""
    gone = rules[number]

    def then(rule: Rule) -> Rule:
        if not (isinstance(rule, Shares) and isinstance(gone, Shares) and gone.per == "pool"):
            return rule
        if rule.name == gone.within:
            return replace(rule, vms=(*rule.vms, *gone.vms))
        return replace(rule, within=gone.within) if rule.within == gone.name else rule

    return tuple(map(then, rules[:number] + rules[number + 1 :]))


def _score(plan: Plan, placement: Placement) -> Score:
    return score(plan.inventory, plan.policy, plan.objective, placement)


def _violations(plan: Plan, placement: Placement) -> tuple[check.Violation, ...]:
    return check.violations(plan.inventory, plan.policy, placement)


def _elsewhere(plan: Plan, guest: Vm, goal: Placement) -> tuple[tuple[Alternative, ...], dict[str, int]]:
    estate, topology = plan.inventory, Topology(plan.inventory)
    kinds = (*resources(estate, plan.policy.rules), *disk_resources(estate, plan.policy))
    free = _free(plan, goal, kinds)
    closed: dict[str, int] = {}

    def shut(why: str) -> None:
        closed[why] = closed.get(why, 0) + 1

    roomy: list[tuple[float, str]] = []
    for host in estate.hosts:
        if host.name in (guest.host, goal[guest.name]):
            continue
        if check.unmovable(estate, plan.policy, guest, host, topology) is not None:
            shut("cannot be reached: state, CPU, network, line or a rule")
        elif plan.objective.goal == "evacuate" and host.name in plan.objective.hosts:
            shut("are to be evacuated")
        elif any(need > room + check.SLACK for need, room in zip(needs(guest, kinds), free[host.name], strict=True)):
            shut("too full")
        else:
            roomy.append((-free[host.name][0], host.name))
    standing = len(_violations(plan, goal))
    found = []
    for _, name in sorted(roomy)[:LOOKED_AT]:
        other = Placement({**goal, guest.name: name})
        if len(_violations(plan, other)) > standing:
            shut("a rule among guests keeps it off")
        else:
            found.append(Alternative(host=name, score=_score(plan, other)))
    found.sort(key=lambda each: (each.score.penalty, each.score.objective, each.host))
    return tuple(found[:ALTERNATIVES]), closed


def _free(plan: Plan, placement: Placement, kinds: Sequence[Resource]) -> dict[str, tuple[float, ...]]:
    used = check.loads(plan.inventory, placement, kinds)
    return {
        host.name: tuple(
            room - use for room, use in zip(check.rooms(host, plan.policy, kinds), used[host.name], strict=True)
        )
        for host in plan.inventory.hosts
    }
