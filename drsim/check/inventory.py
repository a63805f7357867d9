"""Contradictions of an inventory."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from typing import Any
from urllib.parse import urlsplit

from drsim.check.violation import SLACK
from drsim.errors import Problem
from drsim.inventory import Inventory, Vm


def problem(place: str, field: str | None, expected: str, remedy: str) -> Problem:
    """Compose a problem."""
    return Problem(place=place, field=field, expected=expected, remedy=remedy)


def inventory_problems(inventory: Inventory) -> tuple[Problem, ...]:
    """List the contradictions of an inventory; an overfull host is a violation, not a contradiction."""
    return tuple(
        itertools.chain(
            _names(inventory),
            _references(inventory),
            _exceptions(inventory),
            _amounts(inventory),
            _links(inventory),
            _secrets(inventory),
        )
    )


def newcomer_problems(inventory: Inventory, newcomers: Sequence[Vm]) -> tuple[Problem, ...]:
    """List what new guests that have no host yet contradict in an inventory, or in each other."""
    found = []
    known = {network.name for network in inventory.networks}
    for name, times in Counter(vm.name for vm in (*inventory.vms, *newcomers)).items():
        if times > 1 and any(vm.name == name for vm in newcomers):
            found.append(problem(f"newcomers '{name}'", "name", "a guest has this name already.", "Rename it."))
    for vm in newcomers:
        place = f"newcomers '{vm.name}'"
        if vm.host:
            expected = f"it is on '{vm.host}'; a new guest has no host yet."
            found.append(problem(place, "host", expected, "Leave it empty."))
        if vm.state != "running":
            found.append(problem(place, "state", f"it is {vm.state}.", "Say running: it is to be started."))
        found.extend(
            problem(place, "network", f"there is no network '{nic.network}'.", "Name a known one.")
            for nic in vm.nics
            if nic.network not in known
        )
        found.extend(
            problem(place, "datastore", f"there is no datastore '{disk.datastore}'.", "Name a known one.")
            for disk in vm.disks
            if disk.datastore not in inventory.datastore_by_name
        )
    return tuple(found)


def _names(inventory: Inventory) -> Iterator[Problem]:
    tables: dict[str, Sequence[Any]] = {
        "sites": inventory.sites,
        "hosts": inventory.hosts,
        "datastores": inventory.datastores,
        "networks": inventory.networks,
        "vms": inventory.vms,
        "switches": inventory.switches,
    }
    for table, records in tables.items():
        for name, times in Counter(record.name for record in records).items():
            if times > 1:
                yield problem(
                    f"{table} {name!r}", "name", f"the name is used {times} times.", "Give each its own name."
                )
            if any(not character.isprintable() for character in name):
                yield problem(f"{table} {name!r}", "name", "it holds control characters.", "Rename it.")
    for field in ("uuid",):
        for value, times in Counter(vm.uuid for vm in inventory.vms if vm.uuid).items():
            if times > 1:
                names = ", ".join(repr(vm.name) for vm in inventory.vms if vm.uuid == value)
                yield problem(
                    f"vms {names}", field, f"{value} is used {times} times.", "A UUID belongs to one guest only."
                )
    for mac, times in Counter(nic.mac.lower() for vm in inventory.vms for nic in vm.nics if nic.mac).items():
        if times > 1:
            names = ", ".join(
                repr(vm.name) for vm in inventory.vms if any((n.mac or "").lower() == mac for n in vm.nics)
            )
            yield problem(
                f"vms {names}", "mac", f"{mac} is used {times} times.", "A MAC address belongs to one card only."
            )
    hosts = {host.name for host in inventory.hosts}
    sites = {site.name for site in inventory.sites}
    for site in inventory.sites:
        if site.name in hosts:
            yield problem(f"sites {site.name!r}", "name", "a host has the same name.", "Rename the site.")
    for switch in inventory.switches:
        if switch.name in hosts | sites:
            other = "host" if switch.name in hosts else "site"
            place, said = f"switches {switch.name!r}", f"a {other} has the same name."
            yield problem(place, "name", said, "Rename the switch.")


def _references(inventory: Inventory) -> Iterator[Problem]:
    hosts, sites = set(inventory.host_by_name), {site.name for site in inventory.sites}
    nodes = sites | {switch.name for switch in inventory.switches}
    stores = inventory.datastore_by_name
    networks = {network.name: set(network.hosts) for network in inventory.networks}

    def unknown(place: str, field: str, kind: str, name: str, known: Iterable[str]) -> Problem:
        some = ", ".join(sorted(known)[:5]) or "none"
        return problem(
            place, field, f"there is no {kind} '{name}' (there are {some}, ...).", f"Add it or name a known {kind}."
        )

    for host in inventory.hosts:
        if host.site not in sites:
            yield unknown(f"hosts '{host.name}'", "site", "site", host.site, sites)
        for card in host.nics:
            if card.switch is not None and card.switch not in nodes:
                yield unknown(f"hosts '{host.name}', card '{card.name}'", "switch", "switch", card.switch, nodes)
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
                yield problem(
                    f"{place}, disk '{disk.name}'",
                    "datastore",
                    f"'{disk.datastore}' is not mounted on its host '{vm.host}'.",
                    f"Add '{vm.host}' to the hosts of the datastore, or correct the disk.",
                )
        for nic in vm.nics:
            if nic.network not in networks:
                yield unknown(place, "network", "network", nic.network, networks)
            elif vm.host not in networks[nic.network]:
                yield problem(
                    place,
                    "network",
                    f"'{nic.network}' is not present on its host '{vm.host}'.",
                    f"Add '{vm.host}' to the hosts of the network, or correct the card.",
                )


def _exceptions(inventory: Inventory) -> Iterator[Problem]:
    for network in inventory.networks:
        place, has = f"networks '{network.name}'", set(network.hosts)
        for host, times in Counter(each.host for each in network.exceptions).items():
            if host not in has:
                expected = f"'{host}' is not among the hosts of the network."
                yield problem(place, "exceptions", expected, "Add it to its hosts, or drop the exception.")
            if times > 1:
                yield problem(place, "exceptions", f"'{host}' is listed {times} times.", "Keep one.")


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
                    yield problem(f"{table} '{record.name}'", name, f"found {value}; expected a number.", "Correct it.")
    for host in inventory.hosts:
        if host.reserved_memory_mib >= host.memory_mib:
            yield problem(
                f"hosts '{host.name}'",
                "reserved_memory_mib",
                f"{host.reserved_memory_mib} MiB leave nothing of its {host.memory_mib} MiB.",
                "Lower it.",
            )
        for name, times in Counter(nic.name for nic in host.nics).items():
            if times > 1:
                yield problem(f"hosts '{host.name}'", "nics", f"card '{name}' is listed {times} times.", "Rename one.")
        if host.huge_pages_mib > host.memory_mib - host.reserved_memory_mib:
            yield problem(
                f"hosts '{host.name}'",
                "huge_pages_mib",
                f"{host.huge_pages_mib} MiB are more than its guests may have.",
                "Lower it.",
            )
    for store in inventory.datastores:
        if store.kind == "local" and len(store.hosts) > 1:
            yield problem(
                f"datastores '{store.name}'",
                "hosts",
                f"it is local and yet mounted on {len(store.hosts)} hosts.",
                "Set kind to shared_fs if they see the same files, else make it one datastore a host.",
            )
    for vm in inventory.vms:
        if vm.memory_used_mib is not None and vm.memory_used_mib > vm.memory_mib:
            yield problem(
                f"vms '{vm.name}'",
                "memory_used_mib",
                f"{vm.memory_used_mib:g} MiB in use are more than the {vm.memory_mib} MiB configured.",
                "Correct the measurement or memory_mib.",
            )
        dirty = sum(part.size_mib for part in vm.dirty)
        if dirty > vm.memory_mib * (1 + SLACK):
            yield problem(
                f"vms '{vm.name}'",
                "dirty",
                f"its page classes hold {dirty:g} MiB, it has {vm.memory_mib} MiB.",
                "Make them smaller.",
            )
        if vm.cpu_shares is not None and vm.cpu_shares <= 0.0:
            yield problem(
                f"vms '{vm.name}'", "cpu_shares", f"found {vm.cpu_shares:g}; expected more than 0.", "Correct it."
            )
        if vm.cpu_ahead_cores and len(vm.cpu_ahead_cores) != inventory.parts_ahead:
            yield problem(
                f"vms '{vm.name}'",
                "cpu_ahead_cores",
                f"it has {len(vm.cpu_ahead_cores)} parts, others {inventory.parts_ahead}.",
                "Forecast the same time for all guests, or none for some.",
            )
        for name, times in Counter(disk.name for disk in vm.disks).items():
            if times > 1:
                yield problem(f"vms '{vm.name}'", "disks", f"disk '{name}' is listed {times} times.", "Rename one.")


def _links(inventory: Inventory) -> Iterator[Problem]:
    nodes = {site.name for site in inventory.sites} | {switch.name for switch in inventory.switches}
    joined: set[frozenset[str]] = set()
    for link in inventory.links:
        place, ends = f"links '{link.name}'", frozenset((link.a, link.b))
        for field, end in (("a", link.a), ("b", link.b)):
            if end not in nodes:
                remedy = "Links join sites and switches: add it to one of them."
                yield problem(place, field, f"there is no site or switch '{end}'.", remedy)
        if link.a == link.b:
            yield problem(place, "b", "both ends are the same.", "Hosts of one switch need no link: drop it.")
        elif ends in joined:
            yield problem(place, "b", "the two are joined twice.", "Keep one link, with the sum of the rates.")
        joined.add(ends)
        if link.other_mbit_s > link.bandwidth_mbit_s:
            said = f"{link.other_mbit_s:g} Mbit/s of others are more than the {link.bandwidth_mbit_s:g} of the line."
            yield problem(place, "other_mbit_s", said, "Correct the measurement or bandwidth_mbit_s.")


def _secrets(inventory: Inventory) -> Iterator[Problem]:
    for host in inventory.hosts:
        for field in ("uri", "peer_uri"):
            uri = getattr(host, field)
            try:
                password = urlsplit(uri or "").password
            except ValueError as error:
                yield problem(f"hosts '{host.name}'", field, f"it is no URI: {error}.", "Correct it.")
                continue
            if password is not None:
                yield problem(
                    f"hosts '{host.name}'", field, "it holds a password.", "Take it out: use SSH keys or certificates."
                )
