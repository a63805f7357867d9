"""Where guests of lost hosts can start again: played by packing them, one by one, never by sums alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drsim.inventory import Inventory, Vm
from drsim.resources import needs, resources, sizes
from drsim.rules.apart import Apart
from drsim.rules.licence import Licence
from drsim.rules.not_on import NotOn
from drsim.rules.run_on import RunOn
from drsim.rules.select import running, select_hosts
from drsim.rules.together import Together

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

SLACK = 1e-6
"""What sums of floats may be off by."""

TRIED_WHOLE, STEPS = 9, 4000
"""Guests up to which every way is tried where the quick ways fail, and steps of that."""


class Ruins:
    """An estate of which hosts can be lost.

    Parameters
    ----------
    inventory : Inventory
        Free of problems.
    where : mapping of str to str
        Host of each guest.
    beside : sequence of rules
        Of these the ones that must hold are kept when guests start again.
    """

    def __init__(self, inventory: Inventory, where: Mapping[str, str], beside: Sequence[Any] = ()) -> None:
        self._inventory, self._where = inventory, where
        self._kinds = resources(inventory)
        self._index = {host.name: number for number, host in enumerate(inventory.hosts)}
        self._size = np.array([sizes(host, self._kinds) for host in inventory.hosts], dtype=np.float64)
        self._up = np.array([host.takes_guests for host in inventory.hosts], dtype=np.bool_)
        self._guests = [vm for vm in inventory.vms if vm.state != "stopped"]
        self._need = {vm.name: np.array(needs(vm, self._kinds)) for vm in self._guests}
        self._on: dict[str, list[Vm]] = {}
        for vm in self._guests:
            self._on.setdefault(where[vm.name], []).append(vm)
        self._used = np.zeros_like(self._size)
        for name, vms in self._on.items():
            self._used[self._index[name]] = sum(self._need[vm.name] for vm in vms)
        self._must = [rule for rule in beside if rule.strength == "must"]
        self._members = {
            rule.name: [vm.name for vm in running(rule.vms, inventory)]
            for rule in self._must
            if isinstance(rule, Apart | Licence | Together)
        }
        self._counted: dict[str, list[Any]] = {}
        for rule in self._must:
            if isinstance(rule, Apart | Licence):
                for name in self._members[rule.name]:
                    self._counted.setdefault(name, []).append(rule)
        self._rows: dict[tuple[Any, ...], Bools] = {}

    def homeless(self, lost: Collection[str], named: Collection[str]) -> list[Vm]:
        """List the guests named that find no host when these are lost; none if all do.

        The heaviest go first, once each to the fullest and the emptiest host that takes them, by memory and by whatever
        they need most of; where that fails and they are few, every way is tried.
        """
        gone = [vm for host in lost for vm in self._on.get(host, ()) if vm.name in named]
        if not gone:
            return []
        free = self._size - self._used
        free[[self._index[name] for name in lost]] = -np.inf
        free[~self._up] = -np.inf
        best: list[Vm] = gone
        units = self._units(gone)
        scale = np.maximum(self._size.max(axis=0), 1e-9)
        for by_memory in (True, False):
            weight = [float(need[0]) if by_memory else float((need / scale).max()) for _, need, _ in units]
            order = [units[i] for i in sorted(range(len(units)), key=lambda i: -weight[i])]
            for fullest in (True, False):
                left = self._fill(order, free.copy(), set(lost), scale, fullest=fullest)
                if len(left) < len(best):
                    best = left
                if not best:
                    return []
        if len(units) <= TRIED_WHOLE and self._every_way(units, free, set(lost)):
            return []
        return best

    def open_to(self, vm: Vm) -> Bools:
        """Return the hosts where a guest may start, whatever else is there, shape (H,)."""
        row: Bools = self._row(vm) & self._up
        return row

    def room_for(self, lost: Collection[str], vm: Vm) -> Floats:
        """Return how much of each resource each host lacks for one guest when others are lost, shape (H, R)."""
        lack: Floats = np.maximum(self._need[vm.name] - (self._size - self._used), 0.0)
        lack[[self._index[name] for name in lost]] = np.inf
        lack[~self.open_to(vm)] = np.inf
        return lack

    def _units(self, gone: Sequence[Vm]) -> list[tuple[list[Vm], Floats, Bools]]:
        """Return what starts as one, what it needs, and where it may: guests that must be together, and single ones."""
        unit_of = {vm.name: number for number, vm in enumerate(gone)}
        for rule in self._must:
            if isinstance(rule, Together):
                numbers = {unit_of[name] for name in self._members[rule.name] if name in unit_of}
                joined = min(numbers, default=0)
                unit_of = {name: joined if number in numbers else number for name, number in unit_of.items()}
        units: dict[int, list[Vm]] = {}
        for vm in gone:
            units.setdefault(unit_of[vm.name], []).append(vm)
        return [
            (
                vms,
                np.sum([self._need[vm.name] for vm in vms], axis=0),
                np.logical_and.reduce([self._row(vm) for vm in vms]),
            )
            for vms in units.values()
        ]

    def _row(self, vm: Vm) -> Bools:
        """Return where a guest may start: architecture, CPU, networks, disks and rules about it alone."""
        source = self._inventory.host_by_name[self._where[vm.name]]
        networks = tuple(sorted({nic.network for nic in vm.nics}))
        stores = tuple(sorted({disk.datastore for disk in vm.disks}))
        words = {"*", vm.name, *(f"tag:{tag}" for tag in vm.tags)}
        rules = tuple(rule for rule in self._must if isinstance(rule, RunOn | NotOn) and not words.isdisjoint(rule.vms))
        key = (
            source.arch,
            source.cpu_model,
            vm.cpu_model,
            vm.numa_nodes and (vm.numa_nodes, vm.memory_mib, vm.vcpus),
            networks,
            stores,
            tuple(rule.name for rule in rules),
        )
        if key not in self._rows:
            row = np.array(
                [
                    host.arch == source.arch and host.gives_cpu(vm.cpu_model, source) and host.has_nodes(vm)
                    for host in self._inventory.hosts
                ],
                dtype=np.bool_,
            )
            for network in self._inventory.networks:
                if network.name in networks:
                    row &= self._mask(network.hosts)
            for store in stores:
                row &= self._mask(self._inventory.datastore_by_name[store].hosts)
            for rule in rules:
                named = self._mask(host.name for host in select_hosts(rule.hosts, self._inventory))
                row &= named if isinstance(rule, RunOn) else ~named
            self._rows[key] = row
        return self._rows[key]

    def _mask(self, names: Any) -> Bools:
        mask = np.zeros(len(self._index), dtype=np.bool_)
        mask[[self._index[name] for name in names if name in self._index]] = True
        return mask

    def _counts(self, lost: set[str]) -> dict[str, Counter[tuple[str, ...]]]:
        """Count the guests of each rule that are left, by area."""
        hosts = self._inventory.host_by_name
        return {
            rule.name: Counter(
                rule.area(hosts[self._where[name]])
                for name in self._members[rule.name]
                if self._where[name] not in lost
            )
            for rule in self._must
            if isinstance(rule, Apart | Licence)
        }

    def _barred(self, vms: Sequence[Vm], number: int, counts: Mapping[str, Counter[tuple[str, ...]]]) -> bool:
        """Whether a rule that counts guests keeps these off a host."""
        host = self._inventory.hosts[number]
        for vm in vms:
            for rule in self._counted.get(vm.name, ()):
                count, area = counts[rule.name], rule.area(host)
                mine = sum(1 for other in vms if rule in self._counted.get(other.name, ()))
                if isinstance(rule, Apart) and count[area] + mine > rule.most:
                    return True
                if isinstance(rule, Licence) and not count[area] and len(+count) >= rule.most:
                    return True
        return False

    def _seat(
        self, vms: Sequence[Vm], number: int, counts: Mapping[str, Counter[tuple[str, ...]]], sign: int = 1
    ) -> None:
        for vm in vms:
            for rule in self._counted.get(vm.name, ()):
                counts[rule.name][rule.area(self._inventory.hosts[number])] += sign

    def _fill(
        self,
        order: Sequence[tuple[list[Vm], Floats, Bools]],
        free: Floats,
        lost: set[str],
        scale: Floats,
        *,
        fullest: bool,
    ) -> list[Vm]:
        counts = self._counts(lost)
        left: list[Vm] = []
        for vms, need, row in order:
            fits = np.flatnonzero(row & (free >= need - SLACK).all(axis=1))
            if not fits.size:
                left.extend(vms)
                continue
            rest = ((free[fits] - need) / scale)[:, need > 0.0].min(axis=1)
            rest = rest if fullest else -rest
            first = int(fits[rest.argmin()])
            host: int | None = first
            if self._barred(vms, first, counts):
                ranked = fits[np.argsort(rest, kind="stable")].tolist()
                host = next((number for number in ranked if not self._barred(vms, number, counts)), None)
            if host is None:
                left.extend(vms)
                continue
            free[host] -= need
            self._seat(vms, host, counts)
        return left

    def _every_way(self, units: Sequence[tuple[list[Vm], Floats, Bools]], free: Floats, lost: set[str]) -> bool:
        """Whether some way to start them all exists; gives up after `STEPS`."""
        counts, free, steps = self._counts(lost), free.copy(), 0
        order = sorted(units, key=lambda unit: -float(unit[1][0]))

        def go(depth: int) -> bool:
            nonlocal steps
            if depth == len(order):
                return True
            vms, need, row = order[depth]
            for number in np.flatnonzero(row & (free >= need - SLACK).all(axis=1)).tolist():
                steps += 1
                if steps > STEPS:
                    return False
                if self._barred(vms, number, counts):
                    continue
                free[number] -= need
                self._seat(vms, number, counts)
                if go(depth + 1):
                    return True
                free[number] += need
                self._seat(vms, number, counts, -1)
            return False

        return go(0)
