"""Contradictions of a policy, alone and with its inventory."""

from __future__ import annotations

import difflib
import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from zoneinfo import available_timezones

from drsim.check.inventory import problem
from drsim.check.pools import pool_problems
from drsim.errors import Problem
from drsim.inventory import Inventory
from drsim.policy import (
    Apart,
    Licence,
    NotOn,
    Pin,
    Policy,
    Pool,
    Rule,
    RunOn,
    Survive,
    Together,
    select_hosts,
    select_vms,
)
from drsim.quiet import clock
from drsim.terms import FIRST, term_problems
from drsim.transfer import contradictions
from drsim.wires import wire_problems

if TYPE_CHECKING:
    import networkx as nx


MOST_LOSSES = 20_000
"""Losses that a rule may ask to be played."""


def policy_problems(policy: Policy, inventory: Inventory) -> tuple[Problem, ...]:
    """List what a policy names in vain and where its rules contradict each other."""
    found = (
        _selectors(policy, inventory),
        _manners(policy, inventory),
        _storing(policy, inventory),
        _quiet(policy, inventory),
        wire_problems(policy, inventory),
        _objective(policy),
        _contradictions(policy, inventory),
        pool_problems(policy, inventory),
    )
    return tuple(itertools.chain.from_iterable(found))


def _place(rule: Any) -> str:
    return f"rules '{rule.name}'"


def _selectors(policy: Policy, inventory: Inventory) -> Iterator[Problem]:
    for name, times in Counter(rule.name for rule in policy.rules).items():
        if times > 1:
            yield problem(f"rules '{name}'", "name", f"the name is used {times} times.", "Give each rule its own name.")
    tags = _tags(inventory)
    host_words = set(inventory.host_by_name)
    for host in inventory.hosts:
        host_words |= {f"site:{host.site}", f"rack:{host.rack}", *(f"tag:{tag}" for tag in host.tags)}
    for rule in policy.rules:
        yield from _guests(_place(rule), rule.vms, inventory, tags)
        for word in getattr(rule, "hosts", ()):
            if word not in host_words:
                yield problem(_place(rule), "hosts", f"'{word}' selects no host.", "Correct or drop it.")


def _tags(inventory: Inventory) -> set[str]:
    return {f"tag:{tag}" for vm in inventory.vms for tag in vm.tags}


def _guests(place: str, words: Sequence[str], inventory: Inventory, tags: set[str]) -> Iterator[Problem]:
    for word in words:
        if word != "*" and word not in inventory.vm_by_name and word not in tags:
            yield problem(place, "vms", f"'{word}' is no guest and no tag of one.", "Correct it, or use * for all.")


def _manners(policy: Policy, inventory: Inventory) -> Iterator[Problem]:
    tags = _tags(inventory)
    for number, manner in enumerate(policy.manners, 1):
        place = f"manners {number}"
        yield from _guests(place, manner.vms, inventory, tags)
        for text in contradictions(manner.transfer):
            said, _, remedy = text.partition(": ")
            yield problem(place, "transfer", f"{said}.", f"{remedy[:1].upper()}{remedy[1:]}.")
        if "hybrid" in manner.ladder and contradictions(replace(manner.transfer, mode="hybrid")):
            expected = "the settings of its transfer do not go with post-copy."
            yield problem(place, "ladder", expected, "Leave out hybrid, or the settings that exclude it.")


def _storing(policy: Policy, inventory: Inventory) -> Iterator[Problem]:
    tags, stores = _tags(inventory), inventory.datastore_by_name
    for number, wish in enumerate(policy.storing, 1):
        place = f"storing {number}"
        yield from _guests(place, wish.vms, inventory, tags)
        for name in wish.datastores:
            if name not in stores or stores[name].path is None:
                known = ", ".join(store.name for store in inventory.datastores if store.path) or "none"
                yield problem(place, "datastores", f"'{name}' is no datastore with a folder.", f"Name one of: {known}.")


def _quiet(policy: Policy, inventory: Inventory) -> Iterator[Problem]:
    tags = _tags(inventory)
    for number, quiet in enumerate(policy.quiet, 1):
        place = f"quiet {number}"
        yield from _guests(place, quiet.vms, inventory, tags)
        for field in ("begin", "end"):
            try:
                clock(getattr(quiet, field))
            except ValueError:
                expected = f"'{getattr(quiet, field)}' is no time of day."
                yield problem(place, field, expected, 'Write it in quotes, "08:30".')
        if quiet.zone not in available_timezones():
            near = difflib.get_close_matches(quiet.zone, available_timezones(), 1)
            remedy = f"Did you mean {near[0]}?" if near else "Name one, e.g. UTC or Europe/Berlin."
            yield problem(place, "zone", f"'{quiet.zone}' is no time zone.", remedy)


def _objective(policy: Policy) -> Iterator[Problem]:
    yield from term_problems(policy.objective, "objective")
    for term in policy.objective:
        if term.goal in FIRST:
            expected = f"{term.goal} is asked for when it is wanted: for which hosts or guests no policy says."
            remedy = f"Drop it here, and ask for '{term.goal}>...' when you make the plan."
            yield problem("objective", "goal", expected, remedy)


def _joined(must: Sequence[Rule], inventory: Inventory) -> list[tuple[set[str], set[str]]]:
    """Return guests that rules keep together, whole groups of them, and the rules."""
    together = [rule for rule in must if isinstance(rule, Together)]
    if not together:
        return []
    import networkx as nx

    graph: nx.Graph[str] = nx.Graph()
    for rule in together:
        names = [vm.name for vm in select_vms(rule.vms, inventory)]
        graph.add_edges_from(itertools.pairwise(names), rule=rule.name)
    edges: Any = graph.edges(data="rule")
    return [(group, {rule for a, _, rule in edges if a in group}) for group in nx.connected_components(graph)]


def _contradictions(policy: Policy, inventory: Inventory) -> Iterator[Problem]:
    must: list[Rule] = [rule for rule in policy.rules if rule.strength == "must"]
    groups = _joined(must, inventory)
    group_of = {name: group for group, _ in groups for name in group}
    everywhere = set(inventory.host_by_name)
    allowed: dict[str, set[str]] = {}  # of guests that rules keep from some hosts; all others may be everywhere
    said: dict[str, list[str]] = defaultdict(list)
    held: dict[str, str] = {vm.name: "it is unmovable" for vm in inventory.vms if vm.unmovable_reason and vm.host}
    for rule in must:
        names = [vm.name for vm in select_vms(rule.vms, inventory)]
        if isinstance(rule, RunOn | NotOn):
            hosts = {host.name for host in select_hosts(rule.hosts, inventory)}
            for name in names:
                before = allowed.get(name, everywhere)
                allowed[name] = before & hosts if isinstance(rule, RunOn) else before - hosts
                said[name].append(rule.name)
        elif isinstance(rule, Pin):
            settled = [name for name in names if inventory.vm_by_name[name].host]
            held.update(dict.fromkeys(settled, f"rule '{rule.name}' pins it"))
    for name, why in held.items():
        host = inventory.vm_by_name[name].host
        if host not in allowed.get(name, everywhere):
            rules = ", ".join(f"'{one}'" for one in said[name])
            yield problem(
                f"rules {rules}", "hosts", f"'{name}' is on {host} and {why}; this forbids {host}.", "Drop one."
            )
    for rule in must:
        if isinstance(rule, Apart):
            yield from _apart_problems(rule, inventory, group_of, lambda name: allowed.get(name, everywhere), held)
        elif isinstance(rule, Pool):
            yield from _pool_problems(rule, inventory)
        elif isinstance(rule, Survive):
            yield from _survive_problems(rule, inventory)
        elif isinstance(rule, Licence):
            yield from _licence_problems(rule, inventory, held)
    for group, joiners in groups:
        homes = {inventory.vm_by_name[name].host for name in group if name in held}
        common = set.intersection(*(allowed.get(name, everywhere) for name in group))
        rules = ", ".join(sorted(map(repr, joiners)))
        if len(homes) > 1:
            some = ", ".join(f"'{name}' on {inventory.vm_by_name[name].host}" for name in sorted(group) if name in held)
            yield problem(f"rules {rules}", "vms", f"kept together, yet held apart: {some}.", "Free all but one.")
        elif common and not homes <= common:
            others = sorted({rule for name in group for rule in said[name]})
            expected = f"one of them stays on {', '.join(homes)}, which {others} forbid to another of them."
            yield problem(f"rules {rules}", "vms", expected, "Drop one of these.")
        elif not common:
            others = sorted({rule for name in group for rule in said[name]})
            yield problem(
                f"rules {rules}", "vms", f"no host suits all of them because of {others}.", "Drop one of these."
            )
        else:
            need = sum(inventory.vm_by_name[name].memory_mib for name in group)
            room = max(inventory.host_by_name[name].guest_memory_mib for name in common)
            if need > room:
                yield problem(
                    f"rules {rules}",
                    "vms",
                    f"together they have {need} MiB; the largest host that they may use holds {room:.0f} MiB.",
                    "Take guests out of the rule.",
                )
    for name, hosts in allowed.items():
        if not hosts and name not in group_of:
            rules = ", ".join(f"'{one}'" for one in said[name])
            yield problem(f"rules {rules}", "hosts", f"they leave no host for '{name}'.", "Widen or drop one of them.")


def _apart_problems(
    rule: Apart,
    inventory: Inventory,
    group_of: Mapping[str, set[str]],
    allowed: Callable[[str], set[str]],
    held: Mapping[str, str],
) -> Iterator[Problem]:
    names = [vm.name for vm in select_vms(rule.vms, inventory)]
    homes: dict[tuple[str, ...], list[str]] = defaultdict(list)
    groups: dict[int, list[str]] = defaultdict(list)
    for name in names:
        group = group_of.get(name)
        if group is not None:
            joined = groups[id(group)]
            joined.append(name)
            if len(joined) == rule.most + 1:
                expected = f"{_and(joined)} must be apart, and other rules keep them together."
                yield problem(_place(rule), "vms", expected, "Drop one of the rules.")
        host = inventory.vm_by_name[name].host
        if name in held:
            there = homes[rule.area(inventory.host_by_name[host])]
            there.append(name)
            if len(there) == rule.most + 1:
                where = host if rule.per == "host" else f"the {rule.per} of {host}"
                expected = f"{_and(there)} must be apart, are all on {where} and cannot leave it."
                yield problem(_place(rule), "vms", expected, "Free one of them.")
    areas: set[tuple[str, ...]] = set()
    for host in itertools.chain.from_iterable({id(hosts): hosts for hosts in map(allowed, names)}.values()):
        if len(areas) * rule.most >= len(names):
            break
        areas.add(rule.area(inventory.host_by_name[host]))
    if len(areas) * rule.most < len(names):
        each = "" if rule.most == 1 else f", {rule.most} on each"
        expected = f"{len(names)} guests must be apart{each} and only {len(areas)} {rule.per}s are allowed to them."
        yield problem(_place(rule), "vms", expected, f"Allow more {rule.per}s or take guests out.")


def _licence_problems(rule: Licence, inventory: Inventory, held: Mapping[str, str]) -> Iterator[Problem]:
    stay = {
        rule.area(inventory.host_by_name[vm.host]): vm.name
        for vm in select_vms(rule.vms, inventory)
        if vm.name in held and vm.state != "stopped"
    }
    if len(stay) > rule.most:
        some = _and(list(stay.values())[: rule.most + 1])
        expected = f"{some} cannot leave {len(stay)} {rule.per}s; {rule.most} are licensed."
        yield problem(_place(rule), "vms", expected, "Free one of them, or license more.")


def _pool_problems(rule: Pool, inventory: Inventory) -> Iterator[Problem]:
    if rule.most_memory_mib is None and rule.most_cores is None and not rule.kept_memory_mib and not rule.kept_cores:
        yield problem(_place(rule), "kind", "it neither limits nor keeps anything.", "Limit or keep some.")
    for host in inventory.hosts:
        short = rule.kept_memory_mib > host.guest_memory_mib or rule.kept_cores > host.cores
        if short and host.name in rule.where(inventory):
            expected = f"'{host.name}' has {host.guest_memory_mib:g} MiB and {host.cores} cores; more is kept."
            yield problem(_place(rule), "kept_memory_mib", expected, "Keep less, or name the hosts.")


def _survive_problems(rule: Survive, inventory: Inventory) -> Iterator[Problem]:
    areas = len({rule.area(host) for host in inventory.hosts})
    if rule.lost >= areas:
        expected = f"when {rule.lost} {rule.per}s fail, of {areas} none is left."
        yield problem(_place(rule), "lost", expected, "Let fewer fail.")
    elif math.comb(areas, rule.lost) > MOST_LOSSES:
        expected = f"{areas} {rule.per}s can fail in {math.comb(areas, rule.lost)} ways; {MOST_LOSSES} can be proven."
        yield problem(_place(rule), "lost", expected, "Let fewer fail, or racks instead of hosts.")


def _and(names: Sequence[str]) -> str:
    return " and ".join(f"'{name}'" for name in names)
