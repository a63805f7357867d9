"""Where copied disks land: space and write rate of datastores while a plan is carried out."""

from __future__ import annotations

import posixpath
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace

from drsim.inventory import Datastore, Disk, Host, Inventory, Vm
from drsim.plan import Landing, Move
from drsim.policy import Policy

SLACK = 1e-6
"""What sums of floats may be off by."""


def is_file(disk: Disk, inventory: Inventory) -> bool:
    """Whether a disk is a file or device of its host; QEMU reads some over the network by itself."""
    store = inventory.datastore_by_name.get(disk.datastore)
    own = store is None or store.path is not None or store.kind not in ("nfs", "iscsi", "ceph")
    return own and (disk.path or "").startswith("/")


def landing_in(disk: Disk, store: Datastore) -> Landing:
    """Say at which path of a datastore a disk comes to lie."""
    path = posixpath.join(store.path or "", posixpath.basename(disk.path or ""))
    return Landing(disk=disk.name, datastore=store.name, path=path)


def landed(inventory: Inventory, moves: Iterable[Move]) -> Inventory:
    """Return an inventory with disks where moves of disks alone put them, and what they left behind removed."""
    places = {(move.vm, each.disk): each for move in moves if move.storage_only for each in move.landings}
    change: dict[str, float] = defaultdict(float)
    vms = []
    for vm in inventory.vms:
        disks = []
        for disk in vm.disks:
            if (landing := places.get((vm.name, disk.name))) is not None:
                change[disk.datastore] -= disk.data_mib
                change[landing.datastore] += disk.data_mib
                disk = replace(disk, datastore=landing.datastore, path=landing.path)
            disks.append(disk)
        vms.append(replace(vm, disks=tuple(disks)))
    stores = tuple(
        store
        if store.used_mib is None or store.name not in change
        else replace(store, used_mib=max(0.0, store.used_mib + change[store.name]))
        for store in inventory.datastores
    )
    return replace(inventory, vms=tuple(vms), datastores=stores)


class Stores:
    """What every datastore holds, and on which one every disk is.

    Space counts by the size that a disk may grow to; what is in use on a datastore beside the disks known counts, too.
    A datastore of unknown size, or of unknown write rate, is not limited in it.

    Parameters
    ----------
    inventory, policy : Inventory, Policy
        Free of problems.
    """

    def __init__(self, inventory: Inventory, policy: Policy) -> None:
        self._stores, self._wishes = inventory.datastore_by_name, policy.storing
        self._by_host: dict[str, list[Datastore]] = defaultdict(list)
        for store in inventory.datastores:
            for host in store.hosts:
                self._by_host[host].append(store)
        self._mounted = {host: {store.name for store in stores} for host, stores in self._by_host.items()}
        self._place = {(vm.name, disk.name): disk.datastore for vm in inventory.vms for disk in vm.disks}
        self._taken: dict[str, float] = defaultdict(float)
        self._written: dict[str, float] = defaultdict(float)
        held: dict[str, float] = defaultdict(float)
        for vm in inventory.vms:
            for disk in vm.disks:
                self._taken[disk.datastore] += disk.size_mib
                self._written[disk.datastore] += disk.write_rate_mib_s
                held[disk.datastore] += disk.size_mib if disk.used_mib is None else disk.used_mib
        for store in inventory.datastores:
            self._taken[store.name] += max(0.0, (store.used_mib or 0.0) - held[store.name])

    def travelling(self, vm: Vm, host: Host) -> tuple[Disk, ...]:
        """List the disks of a guest that a host does not see from where they are now: they move along."""
        if not vm.disks:
            return ()
        mounted = self._mounted.get(host.name, set())
        return tuple(disk for disk in vm.disks if self._place[vm.name, disk.name] not in mounted)

    def landing(self, vm: Vm, host: Host, *, roomy: bool = True) -> tuple[str, ...] | None:
        """Choose a datastore of a host for each disk that moves along; None if there is no room.

        Of the datastores that the policy names for the guest the first with room is taken. Without a wish the disk
        keeps its path, for that is where a hypervisor puts it: the datastore at that path comes first, then one of the
        same kind, then the one with most space. Of a host whose datastores nobody knows, nothing is chosen and nothing
        is asked: the names are empty.

        Parameters
        ----------
        vm, host : Vm, Host
            The guest and where it goes.
        roomy : bool
            Whether there must be room.
        """
        chosen: list[str] = []
        extra: dict[str, tuple[float, float]] = {}
        for disk in self.travelling(vm, host):
            known = self._by_host.get(host.name, [])
            if not known:
                chosen.append("")
                continue
            fitting = [
                store
                for store in self.ranked(vm, disk, host)
                if not roomy or self._fits(store, disk, extra.get(store.name, (0.0, 0.0)))
            ]
            if not fitting:
                return None
            best = fitting[0]
            mib, rate = extra.get(best.name, (0.0, 0.0))
            extra[best.name] = (mib + disk.size_mib, rate + disk.write_rate_mib_s)
            chosen.append(best.name)
        return tuple(chosen)

    def shortage(self, vm: Vm, host: Host) -> str:
        """Say what the datastores of a host lack for the disks of a guest that move along."""
        lacks: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
        for disk in self.travelling(vm, host):
            store = max(self.ranked(vm, disk, host), key=self.free_mib)
            lacks[store.name][0] += disk.size_mib
            lacks[store.name][1] += disk.write_rate_mib_s
        said = []
        for name, (mib, mib_s) in lacks.items():
            store = self._stores[name]
            space, writes = mib - self.free_mib(store), mib_s - self.free_mib_s(store)
            parts = [f"{space / 1024.0:.3g} GiB"] if space > SLACK else []
            parts += [f"{writes:.3g} MiB/s of writes"] if writes > SLACK else []
            if parts:
                said.append(f"datastore '{name}' lacks {' and '.join(parts)}")
        return f"no datastore of {host.name} has room for its disks: {'; '.join(said) or 'none takes all of them'}"

    def ranked(self, vm: Vm, disk: Disk, host: Host) -> list[Datastore]:
        """List the datastores of a host where a disk may land, the first choice first, room or not."""
        known = self._by_host.get(host.name, [])
        wished = [store for store in self._wished(vm) if store in known]
        if wished:
            return wished
        source = self._stores[self._place[vm.name, disk.name]]
        ranked = sorted(known, key=lambda store: (store.kind != source.kind, -self.free_mib(store), store.name))
        same = [store for store in ranked if source.path is not None and store.path == source.path]
        return same or ranked

    def _wished(self, vm: Vm) -> list[Datastore]:
        names = {"*", vm.name, *(f"tag:{tag}" for tag in vm.tags)}
        wish = next((wish for wish in self._wishes if not names.isdisjoint(wish.vms)), None)
        return [] if wish is None else [self._stores[name] for name in wish.datastores if self._stores[name].path]

    def free_mib(self, store: Datastore) -> float:
        """Return the space of a datastore that is left, MiB; infinite if its size is not known."""
        return float("inf") if store.capacity_mib is None else store.capacity_mib - self._taken[store.name]

    def free_mib_s(self, store: Datastore) -> float:
        """Return the write rate of a datastore that is left, MiB/s; infinite if what it bears is not known."""
        rate = store.write_rate_mib_s
        return float("inf") if rate is None else rate - self._written[store.name]

    def _fits(self, store: Datastore, disk: Disk, extra: tuple[float, float]) -> bool:
        mib, rate = extra
        roomy = disk.size_mib + mib <= self.free_mib(store) + SLACK
        return roomy and disk.write_rate_mib_s + rate <= self.free_mib_s(store) + SLACK

    def landings(self, vm: Vm, disks: Iterable[Disk], where: Sequence[str]) -> tuple[Landing, ...]:
        """Say of disks that do not keep their path, because the policy wishes so, where they come to lie."""
        wished = {store.name for store in self._wished(vm)}
        landings = (
            landing_in(disk, self._stores[store])
            for disk, store in zip(disks, where, strict=False)
            if store in wished and disk.path
        )
        paths = {disk.name: disk.path for disk in vm.disks}
        return tuple(landing for landing in landings if landing.path != paths[landing.disk])

    def of_move(self, vm: Vm, host: Host, move: Move) -> tuple[tuple[Disk, ...], tuple[str, ...]]:
        """Return the disks that a move copies, and the datastore that takes each; an empty name where none is known."""
        disks = tuple(disk for disk in vm.disks if disk.name in move.copy_disks)
        said = {landing.disk: landing.datastore for landing in move.landings}
        usual = zip(self.travelling(vm, host), self.landing(vm, host, roomy=False) or (), strict=False)
        likely = {disk.name: store for disk, store in usual}
        return disks, tuple(said.get(disk.name, likely.get(disk.name, "")) for disk in disks)

    def enter(self, disks: Iterable[Disk], where: Sequence[str], sign: int = 1) -> None:
        """Let disks arrive, or not arrive after all; they still count where they come from."""
        for disk, store in zip(disks, where, strict=False):
            if store:
                self._taken[store] += sign * disk.size_mib
                self._written[store] += sign * disk.write_rate_mib_s

    def leave(self, vm: Vm, disks: Iterable[Disk], where: Sequence[str]) -> None:
        """Let disks be gone from where they were."""
        for disk, store in zip(disks, where, strict=False):
            if store:
                gone = self._place[vm.name, disk.name]
                self._taken[gone] -= disk.size_mib
                self._written[gone] -= disk.write_rate_mib_s
                self._place[vm.name, disk.name] = store

    def over(self, store: str) -> list[tuple[str, float, float]]:
        """Say of what a datastore holds more than it can: what, how much, its limit."""
        known = self._stores.get(store)
        if known is None:
            return [("disks, and is not known", 1.0, 0.0)]
        pairs = (
            ("MiB of disks", self._taken[store], known.capacity_mib),
            ("MiB/s of writes", self._written[store], known.write_rate_mib_s),
        )
        return [(kind, used, limit) for kind, used, limit in pairs if limit is not None and used > limit + SLACK]
