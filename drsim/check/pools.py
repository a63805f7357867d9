"""Contradictions of a tree of pools."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Mapping

from drsim.check.inventory import problem
from drsim.check.violation import SLACK
from drsim.errors import Problem
from drsim.inventory import Inventory
from drsim.policy import Policy, Shares, select_vms

NO_MEMORY_SHARES = (
    "KVM has no weights for memory: a control group can only be limited, and then its guests swap or are killed."
)


def pool_problems(policy: Policy, inventory: Inventory) -> Iterator[Problem]:
    """List what rules `shares` say in vain, or against each other.

    Parameters
    ----------
    policy : Policy
        With a name for each rule.
    inventory : Inventory
        The guests that they name.
    """
    rules = [rule for rule in policy.rules if isinstance(rule, Shares)]
    pools = {rule.name: rule for rule in rules if rule.per == "pool"}
    for rule in rules:
        yield from _alone(rule)
        yield from _within(rule, pools)
    if all(rule.within is None or rule.within in pools for rule in rules):
        loops = [name for name in pools if name in _above(name, pools)]
        for name in loops[:1]:
            expected = f"it lies within itself: {' within '.join(_chain(name, pools))}."
            yield problem(_place(name), "within", expected, "Let one of them be within none.")
        if not loops:
            home: dict[str, str] = {}
            yield from _members(pools, home, inventory)
            yield from _kept(rules, pools, home, inventory)


def _place(name: str) -> str:
    return f"rules '{name}'"


def _alone(rule: Shares) -> Iterator[Problem]:
    place = _place(rule.name)
    if rule.memory_shares is not None:
        remedy = "Drop it; limit and keep memory by a rule 'pool' (most_memory_mib, kept_memory_mib)."
        yield problem(place, "memory_shares", NO_MEMORY_SHARES, remedy)
    for field, least in (("shares", "above 0"), ("kept_cores", "from 0"), ("most_cores", "from 0")):
        value = getattr(rule, field)
        wrong = value is not None and (not math.isfinite(value) or value < 0.0 or (field == "shares" and value <= 0.0))
        if wrong:
            yield problem(place, field, f"found {value}; expected a finite number {least}.", "Correct it.")
    if rule.most_cores is not None and rule.kept_cores > rule.most_cores:
        expected = f"{rule.kept_cores:g} cores are kept for it, and its limit is {rule.most_cores:g}."
        yield problem(place, "kept_cores", expected, "Keep less, or raise most_cores.")
    if rule.per != "pool" and rule.shares is None and not rule.kept_cores and rule.most_cores is None:
        expected = f"it names no shares, keeps nothing and limits nothing for each {rule.per}."
        yield problem(place, "shares", expected, "Name shares, kept_cores or most_cores, or drop the rule.")
    if rule.per != "pool" and not rule.vms:
        yield problem(place, "vms", "it names no guests.", "Name guests, tag:LABEL, or * for all.")


def _within(rule: Shares, pools: Mapping[str, Shares]) -> Iterator[Problem]:
    if rule.within is None:
        return
    if rule.per != "pool":
        expected = f"it is about each {rule.per}; guests are in the pool that names them."
        yield problem(_place(rule.name), "within", expected, "Drop it, or let per be 'pool'.")
    elif rule.within not in pools:
        near = difflib.get_close_matches(rule.within, pools, 1)
        remedy = f"Did you mean '{near[0]}'?" if near else "Name a rule 'shares' with per: pool, or drop it."
        yield problem(_place(rule.name), "within", f"there is no pool '{rule.within}'.", remedy)


def _above(name: str, pools: Mapping[str, Shares]) -> list[str]:
    """Return the pools that a pool is in, the nearest first; itself among them if it goes round in a circle."""
    found: list[str] = []
    above = pools[name].within
    while above is not None and above not in found:
        found.append(above)
        above = pools[above].within
    return found


def _chain(name: str, pools: Mapping[str, Shares]) -> list[str]:
    above = _above(name, pools)
    return [f"'{each}'" for each in (name, *above[: above.index(name) + 1])]


def _members(pools: Mapping[str, Shares], home: dict[str, str], inventory: Inventory) -> Iterator[Problem]:
    """List pools that hold nothing, and guests of two pools of which neither is in the other; note where guests are."""
    inner = {rule.within for rule in pools.values()}
    told: set[tuple[str, str]] = set()
    for rule in pools.values():
        if not rule.vms and rule.name not in inner:
            yield problem(_place(rule.name), "vms", "no guest and no pool is in it.", "Name guests, or drop the pool.")
        for vm in select_vms(rule.vms, inventory):
            other = home.get(vm.name)
            if other is None or other in _above(rule.name, pools):
                home[vm.name] = rule.name
            elif rule.name not in _above(other, pools) and (other, rule.name) not in told:
                told.add((other, rule.name))
                expected = f"'{vm.name}' is in it and in pool '{other}', and neither is within the other."
                yield problem(_place(rule.name), "vms", expected, "Name each guest in one of them, or use within.")


def _kept(
    rules: list[Shares], pools: Mapping[str, Shares], home: Mapping[str, str], inventory: Inventory
) -> Iterator[Problem]:
    """List pools in which more is kept than they may have."""
    first: dict[str, Shares] = {}
    for rule in rules:
        if rule.per != "pool":
            for vm in select_vms(rule.vms, inventory):
                first.setdefault(vm.name, rule)
    inside = dict.fromkeys(pools, 0.0)
    for name, rule in first.items():
        if name in home:
            inside[home[name]] += rule.kept_cores * (inventory.vm_by_name[name].vcpus if rule.per == "vcpu" else 1)
    for pool in sorted(pools.values(), key=lambda each: -len(_above(each.name, pools))):  # the innermost first
        kept = inside[pool.name]
        if pool.most_cores is not None and kept > pool.most_cores * (1.0 + SLACK):
            expected = f"{kept:g} cores are kept for what is in it, and its limit is {pool.most_cores:g}."
            yield problem(_place(pool.name), "most_cores", expected, "Raise it, or keep less in it.")
        if pool.within is not None:
            inside[pool.within] += max(kept, pool.kept_cores)
