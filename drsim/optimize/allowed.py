"""Which guest may be on which host, whatever else is there: masks over hosts, one row per class of guests.

Guests that share source host, networks and rules share one row, so that 20,000 guests on 1,000 hosts cost a few
thousand rows. The truth is `drsim.check.unmovable`; a law in the tests holds the two equal.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from drsim.inventory import Host, Inventory, Vm
from drsim.policy import NotOn, Pin, Policy, Rule, RunOn
from drsim.topology import Topology

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]


class Selection:
    """Selectors of rules resolved through an index; the same answer as `drsim.policy.select_vms` and `select_hosts`."""

    def __init__(self, inventory: Inventory) -> None:
        self._vms: dict[str, list[int]] = {}
        self._hosts: dict[str, list[int]] = {}
        for index, vm in enumerate(inventory.vms):
            for key in ("*", vm.name, *(f"tag:{tag}" for tag in vm.tags)):
                self._vms.setdefault(key, []).append(index)
        for index, host in enumerate(inventory.hosts):
            rack = () if host.rack is None else (f"rack:{host.rack}",)
            for key in (host.name, f"site:{host.site}", *rack, *(f"tag:{tag}" for tag in host.tags)):
                self._hosts.setdefault(key, []).append(index)

    def vms(self, selectors: Iterable[str]) -> list[int]:
        """Return the indices of the guests that the selectors name, ascending."""
        return sorted({index for key in selectors for index in self._vms.get(key, ())})

    def hosts(self, selectors: Iterable[str]) -> list[int]:
        """Return the indices of the hosts that the selectors name, ascending."""
        return sorted({index for key in selectors for index in self._hosts.get(key, ())})


def lawful_rows(rules: Sequence[Rule], selection: Selection, guests: int, hosts: int) -> tuple[Bools, Ints]:
    """Masks of the hosts on which `run_on` and `not_on` rules allow a guest.

    Returns
    -------
    rows : array of bool, shape (classes, hosts)
    of : array of int, shape (guests,)
        Class of each guest.
    """
    concerned: dict[int, list[int]] = {}
    masks: list[Bools] = []
    for rule in rules:
        if isinstance(rule, RunOn | NotOn):
            mask = np.zeros(hosts, dtype=np.bool_)
            mask[selection.hosts(rule.hosts)] = True
            for vm in selection.vms(rule.vms):
                concerned.setdefault(vm, []).append(len(masks))
            masks.append(mask if isinstance(rule, RunOn) else ~mask)
    rows = [np.ones(hosts, dtype=np.bool_)]
    of = np.zeros(guests, dtype=np.int64)
    known: dict[tuple[int, ...], int] = {(): 0}
    for vm, which in concerned.items():
        key = tuple(which)
        if key not in known:
            known[key] = len(rows)
            rows.append(np.logical_and.reduce([masks[index] for index in which]))
        of[vm] = known[key]
    return np.array(rows), of


def pinned(rules: Sequence[Rule], selection: Selection) -> set[int]:
    """Guests that a `pin` holds where they are."""
    return {vm for rule in rules if isinstance(rule, Pin) for vm in selection.vms(rule.vms)}


class Reach:
    """Hosts to which a guest can be migrated at all: state, line, CPU, networks; rules left out.

    Parameters
    ----------
    inventory : Inventory
        Checked.
    policy : Policy
        Its limit of the round-trip time is kept.
    """

    def __init__(self, inventory: Inventory, policy: Policy) -> None:
        self._inventory = inventory
        self._max_rtt_ms = policy.limits.max_rtt_ms
        self._min_rate_mbit_s = policy.limits.min_rate_mbit_s or 0.0
        self._topology = Topology(inventory)
        self._index = {host.name: number for number, host in enumerate(inventory.hosts)}
        self._up = np.array([host.takes_guests for host in inventory.hosts], dtype=np.bool_)
        self._stations: dict[tuple[str, ...], list[int]] = defaultdict(list)
        for number, host in enumerate(inventory.hosts):
            self._stations[self._topology.station(host.name)].append(number)
        self._networks = {net.name: self._mask(net.hosts) for net in inventory.networks}
        self._source_rows: dict[tuple[tuple[str, ...], str, str | None, str, str | None], Bools] = {}
        self._rows: dict[tuple[str, ...], Bools] = {}

    def _mask(self, hosts: Iterable[str]) -> Bools:
        mask = np.zeros(len(self._inventory.hosts), dtype=np.bool_)
        mask[[self._index[name] for name in hosts if name in self._index]] = True
        return mask

    def row(self, vm: Vm) -> Bools:
        """Mask of the hosts that the guest can be migrated to; its own host is not among them.

        A guest that has no host yet can be anywhere where its networks and disks are.
        """
        if not vm.host:
            return self._up & self._sees(vm) & self._mounts(vm) & self._gives(vm) & self._nodes(vm)
        source = self._inventory.host_by_name[vm.host]
        row = self._from(source, vm.cpu_model) & self._sees(vm) & self._nodes(vm)
        if vm.state != "running" or vm.unmovable_reason or source.state in ("down", "unknown"):
            row = np.zeros_like(row)
        row[self._index[vm.host]] = False
        return row

    def _nodes(self, vm: Vm) -> Bools:
        key = ("", str(vm.numa_nodes), *((str(vm.memory_mib), str(vm.vcpus)) if vm.numa_nodes else ()))
        if key not in self._rows:
            self._rows[key] = np.array([host.has_nodes(vm) for host in self._inventory.hosts], dtype=np.bool_)
        return self._rows[key]

    def _gives(self, vm: Vm) -> Bools:
        return np.array([host.gives_cpu(vm.cpu_model, None) for host in self._inventory.hosts], dtype=np.bool_)

    def _from(self, source: Host, model: str | None) -> Bools:
        station = self._topology.station(source.name)
        own = source.name if self._min_rate_mbit_s else ""  # whose card may be the narrowest
        key = (station, source.arch, source.cpu_model, own, model)
        if key not in self._source_rows:
            row = self._up.copy()
            for there, numbers in self._stations.items():
                path = self._topology.path(source.name, self._inventory.hosts[numbers[0]].name)
                if there != station and (path is None or path.rtt_ms > self._max_rtt_ms):
                    row[numbers] = False
            for number, host in enumerate(self._inventory.hosts):
                path = self._topology.path(source.name, host.name) if self._min_rate_mbit_s else None
                carried = math.inf if path is None else min(path.bandwidth_mbit_s, path.connection_mbit_s)
                if carried < self._min_rate_mbit_s:
                    row[number] = False
                if host.arch != source.arch or not host.gives_cpu(model, source):
                    row[number] = False
            self._source_rows[key] = row
        return self._source_rows[key]

    def _mounts(self, vm: Vm) -> Bools:
        row = np.ones(len(self._inventory.hosts), dtype=np.bool_)
        for disk in vm.disks:
            row &= self._mask(self._inventory.datastore_by_name[disk.datastore].hosts)
        return row

    def _sees(self, vm: Vm) -> Bools:
        needs = tuple(sorted({nic.network for nic in vm.nics}))
        if needs not in self._rows:
            row = np.ones(len(self._inventory.hosts), dtype=np.bool_)
            for network in needs:
                row &= self._networks.get(network, np.zeros_like(row))
            self._rows[needs] = row
        return self._rows[needs]
