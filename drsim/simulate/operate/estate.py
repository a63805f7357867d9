"""Where every guest is and what every host carries, added up over time."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from drsim.inventory import Datastore, Disk, Host, HostState, Inventory, Network, Vm
from drsim.sharing import Tree
from drsim.workload import Demand, dirty_classes

NOWHERE = -1

PAGES_PER_MIB = 256

SWAP_IN_S = 1e-4
"""Time to read one page of 4 KiB back from swap, seconds: data sheets of data-centre NVMe drives say 70 to 100 us for a
random read; a turning disk takes 5 ms."""


def swapping(out: NDArray[np.float64], touched_pages_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return which part of the time guests wait for pages of theirs to be swapped in.

    A balloon takes what guests do not use and swapping what they do not touch (Waldspurger, "Memory resource management
    in VMware ESX server", OSDI 2002), so nobody waits until pages that are in use do not fit. Then each touch of a page
    that is out waits for the swap device: with ``x = out * touched * SWAP_IN_S`` seconds of waiting for one of work
    (effective access time), the part is ``x / (1 + x)``.

    Parameters
    ----------
    out : array of float, shape (guests,)
        Share of the pages in use that are out on the host of each guest.
    touched_pages_s : array of float, shape (guests,)
        Pages that each touches in a second of work: those that it is known to write.
    """
    waiting = out * touched_pages_s * SWAP_IN_S
    return waiting / (1.0 + waiting)


class Estate:
    """Hosts and guests at an instant, and sums up to it; every change first settles the time before it.

    Parameters
    ----------
    inventory : Inventory
        What is where at the start.
    demand : Demand
        Of its guests, in their order.
    now : callable
        The time, seconds.
    changed : callable
        Told whenever the demand on a host may have changed.
    tree : Tree, optional
        Shares by which guests of a host that is short divide its CPU, limits left out; by default all wait for the same
        part of what they ask for.

    Attributes
    ----------
    place : array of int, shape (guests,)
        Host that each guest runs on; `NOWHERE` if it does not run.
    last : array of int, shape (guests,)
        Host that it ran on last.
    wanted : array of bool, shape (guests,)
        Whether it ran at the start and should run.
    halted : array of bool, shape (guests,)
        Whether it is there but stands still.
    taken_mib : array of float, shape (hosts,)
        Configured memory of guests, those under way to it included.
    held_mib : array of float, shape (hosts,)
        Memory of the guests on it that holds data.
    extra_cores : array of float, shape (hosts,)
        What starting guests take beside the guests' demand.
    sending_cores, threads : array of float, shape (hosts,)
        What migrations take at the rates that they have, and how many threads of theirs there are.
    up, open : array of bool, shape (hosts,)
        Whether a host has power; whether it takes guests.
    ready_s, swap_s, down_s : array of float, shape (guests,)
        Core-seconds that each guest waited for CPU; seconds that it waited for memory; seconds that it did not run.
    used_cores, ready_cores, short_mib : array of float, shape (samples, hosts)
        CPU used, CPU waited for, and memory that data has not: means over each step.
    memory_mib, memory_held_mib, guests : array of float, shape (samples, hosts)
        Memory configured and memory that holds data, and guests, at the end of each step.
    """

    def __init__(
        self,
        inventory: Inventory,
        demand: Demand,
        now: Callable[[], float],
        changed: Callable[[], None],
        tree: Tree | None = None,
    ) -> None:
        self._tree = None if tree is None else tree.unlimited()
        self.base, self._now, self._step_s, self._changed = inventory, now, demand.step_s, changed
        self._cpu, self._data = demand.cpu_cores, demand.memory_mib
        self.hosts = {host.name: number for number, host in enumerate(inventory.hosts)}
        self.vms = {vm.name: number for number, vm in enumerate(inventory.vms)}
        sites = {site.name: number for number, site in enumerate(inventory.sites)}
        self.site = np.array([sites[host.site] for host in inventory.hosts], dtype=np.int64)
        self.cores = np.array([float(host.cores) for host in inventory.hosts])
        self.room_mib = np.array([host.guest_memory_mib for host in inventory.hosts])
        self.ram_mib = np.array([float(host.memory_mib - host.reserved_memory_mib) for host in inventory.hosts])
        self.memory = np.array([float(vm.memory_mib) for vm in inventory.vms])
        self._held: NDArray[np.float64] = np.array([vm.data_mib for vm in inventory.vms])
        self.wanted = np.array([vm.state == "running" for vm in inventory.vms], dtype=np.bool_)
        there = np.array([vm.state != "stopped" for vm in inventory.vms], dtype=np.bool_)
        self.last = np.array([self.hosts[vm.host] for vm in inventory.vms], dtype=np.int64)
        self.place = np.where(there, self.last, NOWHERE)
        self.halted = there & ~self.wanted
        count = len(self.hosts)
        self.taken_mib = np.bincount(self.last[there], self.memory[there], count)
        self.extra_cores, self.sending_cores, self.threads = (np.zeros(count) for _ in range(3))
        self.up = np.array([host.state in ("up", "maintenance") for host in inventory.hosts])
        self.open = np.array([host.takes_guests for host in inventory.hosts])
        self.ready_s, self.swap_s, self.down_s = (np.zeros(len(self.vms)) for _ in range(3))
        classes_of = [dirty_classes(vm) for vm in inventory.vms]
        self._active = np.array([sum(c.size_mib for c in classes) for classes in classes_of], dtype=np.float64)
        self._touched = np.array([sum(c.dirty_rate_mib_s for c in classes) for classes in classes_of]) * PAGES_PER_MIB
        steps = len(self._cpu)
        self.used_cores, self.ready_cores, self.short_mib, self.memory_mib, self.memory_held_mib, self.guests = (
            np.zeros((steps, count), dtype=np.float32) for _ in range(6)
        )
        self.held_mib: NDArray[np.float64] = np.zeros(count)
        self._disks: dict[int, tuple[Disk, ...]] = {}
        self._stores: dict[str, Datastore] = {}
        self._step, self._since, self._row = 0, 0.0, self._cpu[0]

    def begin(self, step: int) -> None:
        """Begin a step: what was measured at its start holds until the next."""
        self.settle()
        if step:
            self.memory_mib[step - 1] = self.taken_mib
            self.memory_held_mib[step - 1] = self.held_mib
            self.guests[step - 1] = np.bincount(self.place[self.place >= 0], minlength=len(self.hosts))
        if step < len(self._cpu):
            self._step, self._row = step, self._cpu[step]
            if self._data is not None:
                self._held = np.minimum(self._data[step].astype(np.float64), self.memory)
            there = self.place >= 0
            self.held_mib = np.bincount(self.place[there], self._held[there], len(self.hosts)).astype(np.float64)
            self._changed()

    def demand(self) -> NDArray[np.float64]:
        """Return the CPU demand on each host now, cores."""
        return self._guests() + self.extra_cores + self.sending_cores

    def _guests(self) -> NDArray[np.float64]:
        works = (self.place >= 0) & ~self.halted
        return np.bincount(self.place[works], self._row[works], len(self.hosts)).astype(np.float64)

    def shares(self) -> NDArray[np.float64]:
        """Return what part of a core a thread that never rests gets on each host, if no migration's rests."""
        return np.minimum(1.0, self.cores / np.maximum(self._guests() + self.extra_cores + self.threads, 1e-12))

    def settle(self) -> None:
        """Add up what happened since the last change."""
        time_s = self._now() - self._since
        self._since = self._now()
        if time_s <= 0.0:
            return
        demand = self.demand()
        wait = np.maximum(demand - self.cores, 0.0)
        part = time_s / self._step_s
        self.used_cores[self._step] += (demand - wait) * part
        self.ready_cores[self._step] += wait * part
        self.short_mib[self._step] += np.maximum(self.held_mib - self.ram_mib, 0.0) * part
        if wait.any():
            share = wait / np.maximum(demand, 1e-12)
            slow = np.flatnonzero((self.place >= 0) & ~self.halted & (share[self.place] > 0.0))
            self.ready_s[slow] += self._waits(slow, share) * time_s
        if (self.held_mib > self.ram_mib).any():
            self._swap(time_s)
        self.down_s[self.wanted & ((self.place < 0) | self.halted)] += time_s

    def _waits(self, slow: NDArray[np.int64], share: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return what each of the guests of hosts that are short waits for, cores; in all as much as without shares."""
        alike: NDArray[np.float64] = self._row[slow] * share[self.place[slow]]
        if self._tree is None:
            return alike
        works = np.where((self.place >= 0) & ~self.halted, self._row, 0.0).astype(np.float64)
        given, _ = self._tree.divide(float(self.cores[self.up].sum()), works)
        waits = alike.copy()
        for host in np.unique(self.place[slow]).tolist():
            there = np.flatnonzero(self.place[slow] == host)
            guests = slow[there]
            room = float(works[guests].sum() - alike[there].sum())
            got, _ = self._tree.only(guests).divide(room, works[guests], self._tree.parts(guests, given))
            waits[there] = works[guests] - got
        return waits

    def _swap(self, time_s: float) -> None:
        """Let guests wait for pages of theirs that their host had to put out, as `swapping` describes."""
        works = (self.place >= 0) & ~self.halted
        active = np.minimum(self._active, self._held)
        active_mib = np.bincount(self.place[works], active[works], len(self.hosts))
        out = 1.0 - np.minimum(1.0, self.ram_mib / np.maximum(active_mib, 1e-12))
        self.swap_s[works] += time_s * swapping(out[self.place[works]], self._touched[works])

    def reserve(self, vm: int, host: int) -> None:
        """Take memory for a guest that is to come."""
        self.taken_mib[host] += self.memory[vm]

    def free(self, vm: int, host: int) -> None:
        """Give memory of a guest back."""
        self.taken_mib[host] -= self.memory[vm]

    def load(self, host: int, cores: float) -> None:
        """Add CPU that is no guest's."""
        self.settle()
        self.extra_cores[host] += cores
        self._changed()

    def thread(self, host: int, count: int) -> None:
        """Add threads of migrations, or take them away."""
        self.threads[host] += count
        self._changed()

    def send(self, cores: NDArray[np.float64]) -> None:
        """Say what migrations take from now on, shape (hosts,)."""
        if not np.array_equal(cores, self.sending_cores):
            self.settle()
            self.sending_cores = cores

    def run(self, vm: int, host: int) -> None:
        """Let a guest run on a host from now on; its memory has been reserved there."""
        self.settle()
        self._hold(vm, -1.0)
        self.place[vm] = self.last[vm] = host
        self._hold(vm, 1.0)
        self.halted[vm] = False
        self._changed()

    def stop(self, vm: int) -> None:
        """Let a guest not run any more; the memory that it had is free."""
        self.settle()
        if self.place[vm] != NOWHERE:
            self.free(vm, int(self.place[vm]))
        self._hold(vm, -1.0)
        self.place[vm] = NOWHERE
        self.halted[vm] = False
        self._changed()

    def _hold(self, vm: int, sign: float) -> None:
        if self.place[vm] != NOWHERE:
            self.held_mib[self.place[vm]] += sign * self._held[vm]

    def halt(self, vm: int, still: bool) -> None:
        """Let a guest stand still where it is, or go on."""
        self.settle()
        self.halted[vm] = still
        self._changed()

    def fits(self, vm: int, host: int) -> bool:
        """Whether a host has the memory for one more guest."""
        return bool(self.taken_mib[host] + self.memory[vm] <= self.room_mib[host] + 1e-6)

    def bring(self, vm: int, host: int, disks: Collection[str]) -> None:
        """Let disks of a guest be where its new host sees them: on a store of its, or else on the host's own."""
        if not disks:
            return
        name = self.base.hosts[host].name
        own = f"disks of {name}"
        store = next((d.name for d in self.base.datastores if name in d.hosts), own)
        if store == own:
            self._stores[own] = Datastore(name=own, kind="local", hosts=(name,))
        now = self._disks.get(vm, self.base.vms[vm].disks)
        self._disks[vm] = tuple(replace(disk, datastore=store) if disk.name in disks else disk for disk in now)

    def inventory(self, hosts: NDArray[np.int64] | None = None) -> Inventory:
        """Return what an operator would collect now, of all hosts or of some."""
        base = self.base
        chosen = np.ones(len(self.hosts), dtype=np.bool_)
        if hosts is not None:
            chosen[:] = False
            chosen[hosts] = True
        names = {base.hosts[number].name for number in np.flatnonzero(chosen).tolist()}
        guests = np.flatnonzero(chosen[self.last]).tolist()
        datastores = (*base.datastores, *self._stores.values())
        changes = {
            "hosts": tuple(self._host(number) for number in np.flatnonzero(chosen).tolist()),
            "vms": tuple(self.guest(number) for number in guests),
        }
        if hosts is None:
            return replace(base, datastores=datastores, **changes)  # type: ignore[arg-type]
        stores = tuple(replace(d, hosts=tuple(h for h in d.hosts if h in names)) for d in datastores)
        return replace(base, datastores=stores, networks=_networks(base, names), **changes)  # type: ignore[arg-type]

    def _host(self, number: int) -> Host:
        host = self.base.hosts[number]
        state: HostState = "down" if not self.up[number] else "up" if self.open[number] else "maintenance"
        return host if host.state == state else replace(host, state=state)

    def guest(self, number: int) -> Vm:
        """Return a guest as an operator would collect it now."""
        vm, place = self.base.vms[number], int(self.place[number])
        state = vm.state
        if self.wanted[number]:
            state = "stopped" if place < 0 else "unknown" if self.halted[number] else "running"
        host = self.base.hosts[int(self.last[number])].name
        disks = self._disks.get(number, vm.disks)
        now = replace(vm, host=host, state=state, cpu_demand_cores=float(self._row[number]), disks=disks)
        return now if self._data is None else replace(now, memory_used_mib=float(self._held[number]))


def _networks(base: Inventory, names: set[str]) -> tuple[Network, ...]:
    return tuple(
        replace(
            network,
            hosts=tuple(host for host in network.hosts if host in names),
            exceptions=tuple(each for each in network.exceptions if each.host in names),
        )
        for network in base.networks
    )
