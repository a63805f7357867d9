"""What happens in the days to come: who is in charge, what fails, and what it would be without."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from drsim.errors import DrsimError
from drsim.inventory import Inventory
from drsim.plan import Plan
from drsim.planner import make_plan
from drsim.policy import NotOn, Objective, Pin, Policy, Rule, RunOn, Shares, Survive, select_hosts
from drsim.sharing import entitled
from drsim.simulate.operate import Call, HostFailure, LinkFailure, Maintenance
from drsim.simulate.operate.happening import Happening, Planner
from drsim.simulate.operate.operate import Restart
from drsim.whatif.restart import restart

SEARCH_S = 0.5
"""Time limit of a search among some hosts, seconds of work."""

SLACK = 0.05
"""How far below the share from which it is hot a host is brought, lest it is hot again at once."""

EVENED = 3
"""How willing balancing is (`Objective.threshold`) where CPU is short and shares divide it."""

UNITS_S = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}

FORM = re.compile(
    r"(?P<verb>fail|cut|maintain):(?P<name>[^@]+)@((?P<day>\d+)d)?(?P<hour>\d{1,2}):(?P<minute>\d{2})"
    r"(\+(?P<count>\d+(\.\d+)?)(?P<unit>[smhd]))?"
)


def balancer(policy: Policy, *, above: float = 0.9, seed: int = 0) -> Planner:
    """Return a planner that brings hosts below a share of their CPU with the fewest moves, rules kept.

    Where CPU is short and shares divide it, it brings hosts near the mean instead.

    Parameters
    ----------
    policy : Policy
        Rules and limits; its CPU headroom holds if it is larger.
    above : float
        Share of its cores from which a host is hot; it is brought a little below.
    seed : int
        Seed of its searches.
    """
    headroom = max(policy.limits.cpu_headroom, min(1.0 - above + SLACK, 0.95))
    cooler = replace(policy, limits=replace(policy.limits, cpu_headroom=headroom))

    def plan(inventory: Inventory) -> Plan:
        rules = _within(cooler, inventory)
        # Where CPU is short and shares divide it no host has too much of it: there is nothing to mend, but to even out.
        mend = Objective(goal="repair")
        wish = Objective(threshold=EVENED) if entitled(inventory, rules, mend).short else mend
        return make_plan(inventory, rules, wish, time_limit_s=SEARCH_S, seed=seed)

    return plan


def drain(policy: Policy, host: str, *, seed: int = 0) -> Planner:
    """Return a planner that empties a host."""

    def plan(inventory: Inventory) -> Plan:
        return make_plan(inventory, policy, Objective(goal="evacuate", hosts=(host,)), time_limit_s=5.0, seed=seed)

    return plan


def restarter(policy: Policy) -> Restart:
    """Return what says where the guests of a dead host are started again (`drsim.whatif.restart`)."""

    def places(before: Inventory, after: Inventory) -> Mapping[str, str]:
        return restart(before, after, policy).placed

    return places


def parse_happening(text: str, policy: Policy) -> tuple[Happening, ...]:
    """Read ``fail:HOST@[DAYd]HH:MM[+3h]``, ``cut:LINK@...`` or ``maintain:HOST@...+3h``.

    Days count from 0. A failure without a duration lasts for good; a host is drained as its maintenance begins.

    Raises
    ------
    DrsimError
        If the text is none of these.
    """
    found = FORM.fullmatch(text)
    if found is None or (found["verb"] == "maintain" and found["count"] is None):
        raise DrsimError(
            f"'{text}': expected fail:HOST@HH:MM, cut:LINK@HH:MM or maintain:HOST@HH:MM+3h; before the time may "
            "stand a day (2d14:00), after it a duration (+30m)."
        )
    at_s = int(found["day"] or 0) * UNITS_S["d"] + int(found["hour"]) * 3600.0 + int(found["minute"]) * 60.0
    lasts_s = float(found["count"]) * UNITS_S[found["unit"]] if found["count"] else float("inf")
    name = found["name"]
    match found["verb"]:
        case "fail":
            return (HostFailure(at_s=at_s, host=name, back_after_s=lasts_s),)
        case "cut":
            return (LinkFailure(at_s=at_s, link=name, back_after_s=lasts_s),)
        case _:
            window = Maintenance(at_s=at_s, host=name, for_s=lasts_s)
            return (window, Call(at_s=at_s, planner=drain(policy, name), why=f"maintenance of {name}"))


def _within(policy: Policy, inventory: Inventory) -> Policy:
    """Return what a policy means for a part of the estate: guests that may be nowhere else in it stay."""
    guests = {word for vm in inventory.vms for word in ("*", vm.name, *(f"tag:{tag}" for tag in vm.tags))}
    rules: list[Rule] = []
    for rule in policy.rules:
        vms = tuple(word for word in rule.vms if word in guests)
        if isinstance(rule, Shares):
            rules.append(replace(rule, vms=vms))
            continue
        if not vms or isinstance(rule, Survive):  # what outlives a loss is a matter of the whole estate
            continue
        if not isinstance(rule, RunOn | NotOn):
            rules.append(replace(rule, vms=vms))
        elif hosts := tuple(word for word in rule.hosts if select_hosts((word,), inventory)):
            rules.append(replace(rule, vms=vms, hosts=hosts))
        elif isinstance(rule, RunOn):
            rules.append(Pin(name=rule.name, vms=vms, strength=rule.strength, price=rule.price))
    return replace(policy, rules=_inhabited(rules))


def _inhabited(rules: Sequence[Rule]) -> tuple[Rule, ...]:
    """Leave out rules `shares` about nobody: pools that no guest and no pool with guests is in."""
    within = {rule.within for rule in rules if isinstance(rule, Shares)}
    left = tuple(rule for rule in rules if not isinstance(rule, Shares) or rule.vms or rule.name in within)
    return left if len(left) == len(rules) else _inhabited(left)
