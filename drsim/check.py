"""What is wrong: with an inventory, with a policy, with a placement, at every instant of a plan.

Plain Python and never the solver: whatever an optimiser or a schedule proposes is judged here before anybody sees it.
A *problem* is a contradiction in the input; a *violation* is a fact that breaks a rule or a capacity.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any
from urllib.parse import urlsplit

import networkx as nx

from drsim.errors import Problem
from drsim.inventory import Host, Inventory, Vm
from drsim.placement import Placement
from drsim.plan import Move, Plan
from drsim.policy import Apart, NotOn, Pin, Policy, Rule, RunOn, Together, select_hosts, select_vms
from drsim.topology import Topology

SLACK = 1e-6
"""Rounding allowed when sums of floats are compared with a capacity."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """One thing that must hold and does not.

    Parameters
    ----------
    kind : str
        ``memory``, ``vcpus``, ``cpu``, a kind of rule, ``order``, ``limit`` or ``target``.
    subject : str
        Host, guest, rule or move that it is about.
    text : str
        What is wrong, with figures.
    remedy : str
        What to do about it.
    when : str
        ``now``, or the wave of the plan.
    """

    kind: str
    subject: str
    text: str
    remedy: str
    when: str = "now"


# Inventories


def inventory_problems(inventory: Inventory) -> tuple[Problem, ...]:
    """List the contradictions of an inventory; an overfull host is a violation, not a contradiction."""
    return tuple(
        itertools.chain(
            _names(inventory), _references(inventory), _amounts(inventory), _links(inventory), _secrets(inventory)
        )
    )


def _problem(place: str, field: str | None, expected: str, remedy: str) -> Problem:
    return Problem(place=place, field=field, expected=expected, remedy=remedy)


def _names(inventory: Inventory) -> Iterator[Problem]:
    tables: dict[str, Sequence[Any]] = {
        "sites": inventory.sites,
        "hosts": inventory.hosts,
        "datastores": inventory.datastores,
        "networks": inventory.networks,
        "vms": inventory.vms,
    }
    for table, records in tables.items():
        for name, times in Counter(record.name for record in records).items():
            if times > 1:
                yield _problem(
                    f"{table} {name!r}", "name", f"the name is used {times} times.", "Give each its own name."
                )
            if any(not character.isprintable() for character in name):
                yield _problem(f"{table} {name!r}", "name", "it holds control characters.", "Rename it.")
    for field in ("uuid",):
        for value, times in Counter(vm.uuid for vm in inventory.vms if vm.uuid).items():
            if times > 1:
                names = ", ".join(repr(vm.name) for vm in inventory.vms if vm.uuid == value)
                yield _problem(
                    f"vms {names}", field, f"{value} is used {times} times.", "A UUID belongs to one guest only."
                )
    for mac, times in Counter(nic.mac.lower() for vm in inventory.vms for nic in vm.nics if nic.mac).items():
        if times > 1:
            names = ", ".join(
                repr(vm.name) for vm in inventory.vms if any((n.mac or "").lower() == mac for n in vm.nics)
            )
            yield _problem(
                f"vms {names}", "mac", f"{mac} is used {times} times.", "A MAC address belongs to one card only."
            )
    hosts = {host.name for host in inventory.hosts}
    for site in inventory.sites:
        if site.name in hosts:
            yield _problem(f"sites {site.name!r}", "name", "a host has the same name.", "Rename the site.")


def _references(inventory: Inventory) -> Iterator[Problem]:
    hosts, sites = set(inventory.host_by_name), {site.name for site in inventory.sites}
    stores = inventory.datastore_by_name
    networks = {network.name: set(network.hosts) for network in inventory.networks}

    def unknown(place: str, field: str, kind: str, name: str, known: Iterable[str]) -> Problem:
        some = ", ".join(sorted(known)[:5]) or "none"
        return _problem(
            place, field, f"there is no {kind} '{name}' (there are {some}, ...).", f"Add it or name a known {kind}."
        )

    for host in inventory.hosts:
        if host.site not in sites:
            yield unknown(f"hosts '{host.name}'", "site", "site", host.site, sites)
    for table, records in (("datastores", inventory.datastores), ("networks", inventory.networks)):
        for record in records:
            for name in record.hosts:
                if name not in hosts:
                    yield unknown(f"{table} '{record.name}'", "hosts", "host", name, hosts)
    mounts = {store.name: set(store.hosts) for store in inventory.datastores}
    for vm in inventory.vms:
        place = f"vms '{vm.name}'"
        if vm.host not in hosts:
            yield unknown(place, "host", "host", vm.host, hosts)
            continue
        for disk in vm.disks:
            if disk.datastore not in stores:
                yield unknown(f"{place}, disk '{disk.name}'", "datastore", "datastore", disk.datastore, stores)
            elif vm.host not in mounts[disk.datastore]:
                yield _problem(
                    f"{place}, disk '{disk.name}'",
                    "datastore",
                    f"'{disk.datastore}' is not mounted on its host '{vm.host}'.",
                    f"Add '{vm.host}' to the hosts of the datastore, or correct the disk.",
                )
        for nic in vm.nics:
            if nic.network not in networks:
                yield unknown(place, "network", "network", nic.network, networks)
            elif vm.host not in networks[nic.network]:
                yield _problem(
                    place,
                    "network",
                    f"'{nic.network}' is not present on its host '{vm.host}'.",
                    f"Add '{vm.host}' to the hosts of the network, or correct the card.",
                )


def _amounts(inventory: Inventory) -> Iterator[Problem]:
    tables: tuple[tuple[str, Sequence[Any]], ...] = (
        ("hosts", inventory.hosts),
        ("datastores", inventory.datastores),
        ("vms", inventory.vms),
        ("links", inventory.links),
    )
    for table, records in tables:
        names = [field.name for field in fields(records[0])] if records else []
        for record in records:
            for name in names:
                value = getattr(record, name)
                if isinstance(value, float) and not math.isfinite(value):
                    yield _problem(
                        f"{table} '{record.name}'", name, f"found {value}; expected a number.", "Correct it."
                    )
    for host in inventory.hosts:
        if host.reserved_memory_mib >= host.memory_mib:
            yield _problem(
                f"hosts '{host.name}'",
                "reserved_memory_mib",
                f"{host.reserved_memory_mib} MiB leave nothing of its {host.memory_mib} MiB.",
                "Lower it.",
            )
        for name, times in Counter(nic.name for nic in host.nics).items():
            if times > 1:
                yield _problem(f"hosts '{host.name}'", "nics", f"card '{name}' is listed {times} times.", "Rename one.")
    for store in inventory.datastores:
        if store.kind == "local" and len(store.hosts) > 1:
            yield _problem(
                f"datastores '{store.name}'",
                "hosts",
                f"it is local and yet mounted on {len(store.hosts)} hosts.",
                "Set kind to shared_fs if they see the same files, else make it one datastore a host.",
            )
    for vm in inventory.vms:
        if vm.memory_used_mib is not None and vm.memory_used_mib > vm.memory_mib:
            yield _problem(
                f"vms '{vm.name}'",
                "memory_used_mib",
                f"{vm.memory_used_mib:g} MiB in use are more than the {vm.memory_mib} MiB configured.",
                "Correct the measurement or memory_mib.",
            )
        dirty = sum(part.size_mib for part in vm.dirty)
        if dirty > vm.memory_mib * (1 + SLACK):
            yield _problem(
                f"vms '{vm.name}'",
                "dirty",
                f"its page classes hold {dirty:g} MiB, it has {vm.memory_mib} MiB.",
                "Make them smaller.",
            )
        for name, times in Counter(disk.name for disk in vm.disks).items():
            if times > 1:
                yield _problem(f"vms '{vm.name}'", "disks", f"disk '{name}' is listed {times} times.", "Rename one.")


def _links(inventory: Inventory) -> Iterator[Problem]:
    sites = {site.name for site in inventory.sites}
    graph: nx.Graph[str] = nx.Graph()
    for link in inventory.links:
        place = f"links '{link.name}'"
        for field, end in (("a", link.a), ("b", link.b)):
            if end not in sites:
                yield _problem(place, field, f"there is no site '{end}'.", "Links join sites: add it to sites.")
        if link.a == link.b:
            yield _problem(place, "b", "both ends are the same site.", "Hosts of a site need no link: drop it.")
        elif graph.has_edge(link.a, link.b):
            yield _problem(place, "b", "the two sites are joined twice.", "Keep one link, with the sum of the rates.")
        else:
            graph.add_edge(link.a, link.b)
    for cycle in nx.cycle_basis(graph):
        way = " -- ".join([*cycle, cycle[0]])
        yield _problem(
            "links",
            None,
            f"cyclic links: {way}; the way of a migration is ambiguous.",
            "Drop the link that is not used.",
        )


def _secrets(inventory: Inventory) -> Iterator[Problem]:
    for host in inventory.hosts:
        for field in ("uri", "peer_uri"):
            uri = getattr(host, field)
            if uri and urlsplit(uri).password is not None:
                yield _problem(
                    f"hosts '{host.name}'", field, "it holds a password.", "Take it out: use SSH keys or certificates."
                )


# Policies


def policy_problems(policy: Policy, inventory: Inventory) -> tuple[Problem, ...]:
    """List what a policy names in vain and where its rules contradict each other."""
    return tuple(itertools.chain(_selectors(policy, inventory), _contradictions(policy, inventory)))


def _place(rule: Any) -> str:
    return f"rules '{rule.name}'"


def _selectors(policy: Policy, inventory: Inventory) -> Iterator[Problem]:
    for name, times in Counter(rule.name for rule in policy.rules).items():
        if times > 1:
            yield _problem(
                f"rules '{name}'", "name", f"the name is used {times} times.", "Give each rule its own name."
            )
    tags = {f"tag:{tag}" for vm in inventory.vms for tag in vm.tags}
    host_words = set(inventory.host_by_name)
    for host in inventory.hosts:
        host_words |= {f"site:{host.site}", f"rack:{host.rack}", *(f"tag:{tag}" for tag in host.tags)}
    for rule in policy.rules:
        for word in rule.vms:
            if word not in inventory.vm_by_name and word not in tags:
                yield _problem(_place(rule), "vms", f"'{word}' is no guest and no tag of one.", "Correct or drop it.")
        for word in getattr(rule, "hosts", ()):
            if word not in host_words:
                yield _problem(_place(rule), "hosts", f"'{word}' selects no host.", "Correct or drop it.")


def _contradictions(policy: Policy, inventory: Inventory) -> Iterator[Problem]:
    must: list[Rule] = [rule for rule in policy.rules if rule.strength == "must"]
    graph: nx.Graph[str] = nx.Graph()
    graph.add_nodes_from(vm.name for vm in inventory.vms)
    for rule in must:
        if isinstance(rule, Together):
            names = [vm.name for vm in select_vms(rule.vms, inventory)]
            graph.add_edges_from(itertools.pairwise(names), rule=rule.name)
    group_of = {name: group for group in nx.connected_components(graph) if len(group) > 1 for name in group}
    everywhere = set(inventory.host_by_name)
    allowed: dict[str, set[str]] = defaultdict(lambda: set(everywhere))
    said: dict[str, list[str]] = defaultdict(list)
    held: dict[str, str] = {vm.name: "it is unmovable" for vm in inventory.vms if vm.unmovable_reason}
    for rule in must:
        names = [vm.name for vm in select_vms(rule.vms, inventory)]
        if isinstance(rule, RunOn | NotOn):
            hosts = {host.name for host in select_hosts(rule.hosts, inventory)}
            for name in names:
                allowed[name] &= hosts if isinstance(rule, RunOn) else everywhere - hosts
                said[name].append(rule.name)
        elif isinstance(rule, Pin):
            held.update(dict.fromkeys(names, f"rule '{rule.name}' pins it"))
    for name, why in held.items():
        host = inventory.vm_by_name[name].host
        if host not in allowed[name]:
            rules = ", ".join(f"'{one}'" for one in said[name])
            yield _problem(
                f"rules {rules}", "hosts", f"'{name}' is on {host} and {why}; this forbids {host}.", "Drop one."
            )
    for rule in must:
        if isinstance(rule, Apart):
            yield from _apart_problems(rule, inventory, group_of, allowed, held)
    for group in {id(group): group for group in group_of.values()}.values():
        homes = {inventory.vm_by_name[name].host for name in group if name in held}
        common = set.intersection(*(allowed[name] for name in group))
        edges: Any = graph.subgraph(group).edges(data="rule")
        rules = ", ".join(sorted({repr(name) for _, _, name in edges}))
        if len(homes) > 1:
            some = ", ".join(f"'{name}' on {inventory.vm_by_name[name].host}" for name in sorted(group) if name in held)
            yield _problem(f"rules {rules}", "vms", f"kept together, yet held apart: {some}.", "Free all but one.")
        elif not common:
            others = sorted({rule for name in group for rule in said[name]})
            yield _problem(
                f"rules {rules}", "vms", f"no host suits all of them because of {others}.", "Drop one of these."
            )
        else:
            need = sum(inventory.vm_by_name[name].memory_mib for name in group)
            room = max(inventory.host_by_name[name].guest_memory_mib for name in common)
            if need > room:
                yield _problem(
                    f"rules {rules}",
                    "vms",
                    f"together they have {need} MiB; the largest host that they may use holds {room:.0f} MiB.",
                    "Take guests out of the rule.",
                )
    for name, hosts in list(allowed.items()):
        if not hosts and name not in group_of:
            rules = ", ".join(f"'{one}'" for one in said[name])
            yield _problem(f"rules {rules}", "hosts", f"they leave no host for '{name}'.", "Widen or drop one of them.")


def _apart_problems(
    rule: Apart,
    inventory: Inventory,
    group_of: Mapping[str, set[str]],
    allowed: Mapping[str, set[str]],
    held: Mapping[str, str],
) -> Iterator[Problem]:
    names = [vm.name for vm in select_vms(rule.vms, inventory)]
    homes: dict[str, str] = {}
    groups: dict[int, str] = {}
    for name in names:
        group = group_of.get(name)
        if group is not None:
            other = groups.setdefault(id(group), name)
            if other != name:
                expected = f"'{other}' and '{name}' must be apart, and other rules keep them together."
                yield _problem(_place(rule), "vms", expected, "Drop one of the rules.")
        host = inventory.vm_by_name[name].host
        if name in held and homes.setdefault(host, name) != name:
            expected = f"'{homes[host]}' and '{name}' must be apart, are both on {host} and cannot leave it."
            yield _problem(_place(rule), "vms", expected, "Free one of them.")
    hosts = set().union(*(allowed[name] for name in names)) if names else set()
    if len(hosts) < len(names):
        expected = f"{len(names)} guests must be apart and only {len(hosts)} hosts are allowed to them."
        yield _problem(_place(rule), "vms", expected, "Allow more hosts or take guests out.")


# Placements


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


_RESOURCES = (("memory", "MiB of configured memory"), ("vcpus", "vCPUs"), ("cpu", "cores of CPU demand"))


def _overfull(inventory: Inventory, policy: Policy, placement: Placement) -> Iterator[Violation]:
    totals = loads(inventory, placement)
    for host in inventory.hosts:
        room = rooms(host, policy)
        for (kind, what), used, limit in zip(_RESOURCES, totals[host.name], room, strict=True):
            if used > limit * (1 + SLACK) + SLACK:
                yield Violation(
                    kind=kind,
                    subject=host.name,
                    text=f"'{host.name}' holds {used:.5g} {what}; its limit is {limit:.5g}.",
                    remedy=f"Move guests off '{host.name}': drsim plan ... --objective repair",
                )


def _breakers(rule: Any, inventory: Inventory, placement: Placement) -> list[Vm]:
    """List the guests that break a rule; of guests that should be apart or together all but those that set the tone."""
    guests = select_vms(rule.vms, inventory)
    match rule:
        case RunOn() | NotOn():
            hosts = {host.name for host in select_hosts(rule.hosts, inventory)}
            return [vm for vm in guests if (placement[vm.name] in hosts) is isinstance(rule, NotOn)]
        case Pin():
            return [vm for vm in guests if placement[vm.name] != vm.host]
        case Apart():
            seen: set[str] = set()
            second = []
            for vm in guests:
                if placement[vm.name] in seen:
                    second.append(vm)
                seen.add(placement[vm.name])
            return second
        case _:
            count = Counter(placement[vm.name] for vm in guests)
            most = max(count, key=lambda host: (count[host], host), default=None)
            return [vm for vm in guests if placement[vm.name] != most]


def _breaches(rule: Any, inventory: Inventory, placement: Placement) -> int:
    return len(_breakers(rule, inventory, placement))


def _broken(rule: Any, inventory: Inventory, placement: Placement) -> Iterator[Violation]:
    breakers = _breakers(rule, inventory, placement)
    if not breakers:
        return
    where = ", ".join(f"'{vm.name}' on {placement[vm.name]}" for vm in breakers[:4])
    more = f" and {len(breakers) - 4} more" if len(breakers) > 4 else ""
    says = {
        "together": "not with the others",
        "apart": "not alone among them",
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


# Moves


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
        return f"no link joins site '{source.site}' to site '{target.site}'"
    if path.rtt_ms > policy.limits.max_rtt_ms:
        return (
            f"the round-trip time to '{target.name}' is {path.rtt_ms:g} ms, the limit {policy.limits.max_rtt_ms:g} ms"
        )
    return _forbidden(inventory, policy, vm, target)


def _forbidden(inventory: Inventory, policy: Policy, vm: Vm, target: Host) -> str | None:
    names = {vm.name, *(f"tag:{tag}" for tag in vm.tags)}
    words = {target.name, f"site:{target.site}", f"rack:{target.rack}", *(f"tag:{tag}" for tag in target.tags)}
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


# Plans


def plan_violations(plan: Plan) -> tuple[Violation, ...]:
    """Replay a plan and list what it would break at any instant, whatever the order and speed of the moves of a wave.

    What was broken before the plan and is made no worse is not the plan's doing and is left out.
    """
    return tuple(_Replay(plan).run())


class _Replay:
    """Loads and places of all guests as the waves go by."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._inventory, self._policy = plan.inventory, plan.policy
        self._topology = Topology(plan.inventory)
        self._place = {vm.name: vm.host for vm in plan.inventory.vms}
        self._loads = {name: list(load) for name, load in loads(plan.inventory, Placement.of(plan.inventory)).items()}
        self._rooms = {host.name: rooms(host, plan.policy) for host in plan.inventory.hosts}
        self._apart: dict[str, list[tuple[str, tuple[str, ...]]]] = defaultdict(list)
        for rule in plan.policy.rules:
            if rule.strength == "must" and isinstance(rule, Apart):
                names = tuple(vm.name for vm in select_vms(rule.vms, plan.inventory))
                for name in names:
                    self._apart[name].append((rule.name, names))

    def run(self) -> Iterator[Violation]:
        limits = self._policy.limits
        real = [move for move in self._plan.moves if not move.stop_over]
        if limits.max_moves is not None and len(self._plan.moves) > limits.max_moves:
            yield self._say(
                "limit", "plan", f"{len(real)} moves are more than max_moves={limits.max_moves}.", "Move less.", 0
            )
        for number, wave in enumerate(self._plan.waves, 1):
            sound = []
            for move in wave:
                refusals = list(self._refusals(move, wave, number))
                yield from refusals
                if not refusals:
                    sound.append(move)
            yield from self._limits(wave, number)
            yield from self._play(sound, number)
        final = {(v.kind, v.subject): v for v in violations(self._inventory, self._policy, Placement(self._place))}
        before = {(v.kind, v.subject) for v in violations(self._inventory, self._policy)}
        for key, violation in final.items():
            if key not in before:
                yield violation

    @staticmethod
    def _say(kind: str, subject: str, text: str, remedy: str, wave: int) -> Violation:
        return Violation(kind=kind, subject=subject, text=text, remedy=remedy, when=f"wave {wave}" if wave else "plan")

    def _refusals(self, move: Move, wave: Sequence[Move], number: int) -> Iterator[Violation]:
        vm = self._inventory.vm_by_name.get(move.vm)
        target = self._inventory.host_by_name.get(move.target)
        remedy = "Make a new plan."
        if vm is None or target is None:
            missing = move.vm if vm is None else move.target
            yield self._say("order", move.id, f"Move {move.id} names '{missing}', which is not known.", remedy, number)
            return
        if self._place[move.vm] != move.source or move.source == move.target:
            text = f"Move {move.id} starts on {move.source}; '{move.vm}' is on {self._place[move.vm]} then."
            yield self._say("order", move.id, text, remedy, number)
        if sum(other.vm == move.vm for other in wave) > 1:
            yield self._say("order", move.id, f"'{move.vm}' is moved twice in wave {number}.", remedy, number)
        if why := unmovable(self._inventory, self._policy, vm, target, self._topology):
            yield self._say("target", move.id, f"Move {move.id} to {move.target}: {why}.", remedy, number)

    def _limits(self, wave: Sequence[Move], number: int) -> Iterator[Violation]:
        limits = self._policy.limits
        ends = Counter(end for move in wave for end in (move.source, move.target))
        for host, times in ends.items():
            if times > limits.moves_per_host:
                text = f"{times} migrations at once on '{host}'; the limit is {limits.moves_per_host}."
                yield self._say("limit", host, text, "Spread them over more waves.", number)
        if len(wave) > limits.moves_at_once:
            text = f"{len(wave)} migrations at once; the limit is {limits.moves_at_once}."
            yield self._say("limit", "plan", text, "Spread them over more waves.", number)
        lines: Counter[frozenset[str]] = Counter()
        for move in wave:
            path = self._topology.path(move.source, move.target)
            for edge in path.edges[1:-1] if path else ():
                lines[frozenset(edge.split("->"))] += 1
        for line, times in lines.items():
            if times > limits.moves_per_link:
                name = "--".join(sorted(line))
                text = f"{times} migrations at once on link {name}; the limit is {limits.moves_per_link}."
                yield self._say("limit", name, text, "Spread them over more waves.", number)

    def _play(self, wave: Sequence[Move], number: int) -> Iterator[Violation]:
        """Let the targets hold all that comes, then let the sources go."""
        vms = self._inventory.vm_by_name
        present = {vm: {host} for vm, host in self._place.items() if vm in {move.vm for move in wave}}
        for move in wave:
            vm = vms[move.vm]
            for index, amount in enumerate((vm.memory_mib, vm.vcpus, vm.cpu_cores)):
                self._loads[move.target][index] += amount
            present.setdefault(move.vm, {move.source}).add(move.target)
        for host in dict.fromkeys(move.target for move in wave):
            for (kind, what), used, room in zip(_RESOURCES, self._loads[host], self._rooms[host], strict=True):
                if used > room * (1 + SLACK) + SLACK:
                    text = f"During wave {number} '{host}' would hold {used:.5g} {what}; its limit is {room:.5g}."
                    yield self._say(kind, host, text, "Make a new plan.", number)
        for move in wave:
            for rule, names in self._apart[move.vm]:
                for other in names:
                    if other == move.vm or vms[other].host == vms[move.vm].host:
                        continue
                    if move.target in present.get(other, {self._place[other]}):
                        pair = f"'{move.vm}' and '{other}'"
                        text = f"During wave {number} {pair} meet on {move.target}; rule '{rule}' forbids it."
                        yield self._say("apart", rule, text, "Make a new plan.", number)
        for move in wave:
            vm = vms[move.vm]
            for index, amount in enumerate((vm.memory_mib, vm.vcpus, vm.cpu_cores)):
                self._loads[move.source][index] -= amount
            self._place[move.vm] = move.target
