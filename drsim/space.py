"""Room for disks that move along with their guests, as resources of the hosts that they go to.

A datastore that one host alone mounts is a resource of that host: guests whose disks have to come along use it up, on
every host but those that see their disks already. Disks that land alike everywhere form a class, and all classes that
land in one datastore of a host share its room.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from drsim.inventory import Datastore, Disk, Host, Inventory, Vm
from drsim.policy import Policy
from drsim.resources import PLENTY, Resource
from drsim.storage import Stores


@dataclass(slots=True)
class _Class:
    """Disks that land alike: the first of them, the hosts that see them all, and what guests have of them."""

    vm: Vm
    disk: Disk
    seen_by: frozenset[str]
    space_mib: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    writes_mib_s: dict[str, float] = field(default_factory=lambda: defaultdict(float))


def disk_resources(inventory: Inventory, policy: Policy) -> tuple[Resource, ...]:
    """List what datastores limit: space, and what can be written at once, for guests that bring their disks.

    Parameters
    ----------
    inventory, policy : Inventory, Policy
        Free of problems.

    Returns
    -------
    tuple of Resource
        None if nothing is limited, or if all there is would fit. What a host has is what is free there and what its own
        guests have, so that nothing is too full as it is now. A host where a class has the choice of several datastores
        has what is free in all of them, though one disk may not fit into any: then the schedule finds it.
    """
    if all(store.capacity_mib is None and store.write_rate_mib_s is None for store in inventory.datastores):
        return ()
    stores = Stores(inventory, policy)
    classes = _classes(inventory, policy)
    there: dict[frozenset[int], dict[str, tuple[Datastore, ...]]] = defaultdict(dict)
    for host in inventory.hosts:
        if host.takes_guests:
            for which, where in _landings(stores, classes, host):
                there[which].setdefault(host.name, where)
    found: list[Resource] = []
    for which in sorted(there, key=sorted):
        mine = [classes[number] for number in sorted(which)]
        found.extend(_resources(inventory, stores, mine, there[which]))
    return tuple(found)


def _classes(inventory: Inventory, policy: Policy) -> list[_Class]:
    known: dict[tuple[object, ...], _Class] = {}
    stores = inventory.datastore_by_name
    for vm in inventory.vms:
        if not vm.host or vm.state == "stopped" or not vm.disks:
            continue
        names = {"*", vm.name, *(f"tag:{tag}" for tag in vm.tags)} if policy.storing else set()
        wish = next((n for n, wish in enumerate(policy.storing) if not names.isdisjoint(wish.vms)), None)
        for disk in vm.disks:
            store = stores[disk.datastore]
            seen_by = frozenset(store.hosts) if len(store.hosts) > 1 else frozenset[str]()
            key = (wish, store.kind, store.path, seen_by)
            one = known.setdefault(key, _Class(vm=vm, disk=disk, seen_by=seen_by))
            one.space_mib[vm.name] += disk.size_mib
            one.writes_mib_s[vm.name] += disk.write_rate_mib_s
    return list(known.values())


def _landings(
    stores: Stores, classes: Sequence[_Class], host: Host
) -> Iterator[tuple[frozenset[int], tuple[Datastore, ...]]]:
    """Yield which classes share which datastores of a host."""
    groups: list[tuple[set[int], dict[str, Datastore]]] = []
    for number, one in enumerate(classes):
        if host.name in one.seen_by:
            continue
        where = {store.name: store for store in stores.ranked(one.vm, one.disk, host)}
        if not where:
            continue
        mine: tuple[set[int], dict[str, Datastore]] = ({number}, where)
        for group in [group for group in groups if not group[1].keys().isdisjoint(where)]:
            groups.remove(group)
            mine = (mine[0] | group[0], mine[1] | group[1])
        groups.append(mine)
    for which, where in groups:
        yield frozenset(which), tuple(where.values())


def _resources(
    inventory: Inventory, stores: Stores, classes: Sequence[_Class], there: Mapping[str, tuple[Datastore, ...]]
) -> Iterator[Resource]:
    """Yield space and writes of some classes, where they are limited and not all there is would fit."""
    for kind, step, of_class, free in (
        ("disk_space", 1.0, [one.space_mib for one in classes], stores.free_mib),
        ("disk_writes", 0.001, [one.writes_mib_s for one in classes], stores.free_mib_s),
    ):
        amounts = _added(of_class)
        total = sum(amounts.values())
        home: dict[str, float] = defaultdict(float)
        for name, amount in amounts.items():
            home[inventory.vm_by_name[name].host] += amount
        rooms = {host: sum(max(0.0, free(store)) for store in where) for host, where in there.items()}
        limits = {host: room + home[host] for host, room in rooms.items() if room < total - home[host]}
        limits = {host: limit for host, limit in limits.items() if limit < PLENTY}
        if not limits:
            continue
        what = "disk space" if kind == "disk_space" else "writes to disks"
        unit = "MiB of disk space" if kind == "disk_space" else "MiB/s of writes to disks"
        yield Resource(
            kind=kind,
            name=what,
            unit=unit,
            what=unit,
            step=step,
            amounts=amounts,
            limits=limits,
            stores={host: tuple(store.name for store in there[host]) for host in limits},
            narrow=any(len(store.hosts) > 1 for host in limits for store in there[host]),
        )


def _added(amounts: Iterable[Mapping[str, float]]) -> dict[str, float]:
    total: dict[str, float] = defaultdict(float)
    for one in amounts:
        for name, amount in one.items():
            total[name] += amount
    return dict(total)
