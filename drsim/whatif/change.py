"""Changes that one may imagine to an inventory; each is a small value that makes a new inventory."""

from __future__ import annotations

from dataclasses import dataclass, replace

from drsim.errors import DrsimError
from drsim.inventory import Datastore, Host, Inventory, PageClass, Vm


@dataclass(frozen=True, slots=True)
class LoseHost:
    """A host fails.

    Its guests are not migrated: they stop, and have to be started again elsewhere (`drsim.whatif.restart`).

    Parameters
    ----------
    host : str
        Name of the host.
    """

    host: str

    def __str__(self) -> str:
        return f"lose {self.host}"

    def apply(self, inventory: Inventory) -> Inventory:
        """Return the inventory with the host down and every guest that was on it stopped.

        Raises
        ------
        DrsimError
            If there is no such host.
        """
        _host(inventory, self.host, self)
        return replace(
            inventory,
            hosts=tuple(replace(h, state="down") if h.name == self.host else h for h in inventory.hosts),
            vms=tuple(replace(vm, state="stopped") if vm.host == self.host else vm for vm in inventory.vms),
        )


@dataclass(frozen=True, slots=True)
class Drain:
    """A host is emptied for maintenance: it takes no guests, and those on it are migrated away.

    Parameters
    ----------
    host : str
        Name of the host.
    """

    host: str

    def __str__(self) -> str:
        return f"drain {self.host}"

    def apply(self, inventory: Inventory) -> Inventory:
        """Return the inventory with the host in maintenance; its guests are still on it.

        Raises
        ------
        DrsimError
            If there is no such host.
        """
        _host(inventory, self.host, self)
        hosts = tuple(replace(h, state="maintenance") if h.name == self.host else h for h in inventory.hosts)
        return replace(inventory, hosts=hosts)


@dataclass(frozen=True, slots=True)
class EmptyDatastore:
    """A datastore is emptied: the disks on it are moved to others of their hosts, while their guests run on.

    Parameters
    ----------
    datastore : str
        Name of the datastore.
    """

    datastore: str

    def __str__(self) -> str:
        return f"empty {self.datastore}"

    def apply(self, inventory: Inventory) -> Inventory:
        """Return the inventory as it is; the disks are still there.

        Raises
        ------
        DrsimError
            If there is no such datastore.
        """
        if self.datastore not in inventory.datastore_by_name:
            some = ", ".join(list(inventory.datastore_by_name)[:10]) or "none"
            raise DrsimError(
                f"what-if '{self}': there is no datastore '{self.datastore}' in '{inventory.name}'. It has {some}."
            )
        return inventory


@dataclass(frozen=True, slots=True)
class AddHosts:
    """Empty hosts are added.

    Parameters
    ----------
    count : int
        How many, at least one.
    like : str
        Host that they resemble: hardware, site, rack, tags, networks and shared datastores; each of its local
        datastores has a counterpart of the same size, empty.
    """

    count: int
    like: str

    def __str__(self) -> str:
        return f"add {self.count} like {self.like}"

    def apply(self, inventory: Inventory) -> Inventory:
        """Return the inventory with the hosts added, named ``LIKE-new1``, ``LIKE-new2``, ...

        Raises
        ------
        DrsimError
            If there is no host to resemble, or the count is below one.
        """
        if self.count < 1:
            raise DrsimError(f"what-if '{self}': expected to add one host or more.")
        model = _host(inventory, self.like, self)
        taken = {one.name for group in (inventory.hosts, inventory.sites, inventory.switches) for one in group}
        names: list[str] = []
        number = 0
        while len(names) < self.count:
            number += 1
            if (name := f"{self.like}-new{number}") not in taken:
                names.append(name)
        new = tuple(
            replace(model, name=name, state="up", uri=None, peer_uri=None, memory_used_mib=None, cpu_used_cores=None)
            for name in names
        )
        seen = tuple(
            replace(store, hosts=(*store.hosts, *names))
            if self.like in store.hosts and store.kind != "local"
            else store
            for store in inventory.datastores
        )
        own = tuple(
            _twin(store, name)
            for name in names
            for store in inventory.datastores
            if self.like in store.hosts and store.kind == "local"
        )
        networks = tuple(
            replace(network, hosts=(*network.hosts, *names)) if self.like in network.hosts else network
            for network in inventory.networks
        )
        return replace(inventory, hosts=inventory.hosts + new, datastores=seen + own, networks=networks)


@dataclass(frozen=True, slots=True)
class Grow:
    """Every guest asks for more.

    Measured demand grows: CPU (up to the guest's vCPUs), memory that holds data (up to its memory) and the rate and the
    extent of what it dirties. What is configured stays, unless asked otherwise. A demand that nobody measured is
    already planned for in full and does not grow.

    Parameters
    ----------
    percent : float
        By how much, in percent; negative to shrink, above -100.
    configured : bool
        Whether vCPUs and memory of the guests grow too, rounded up.
    """

    percent: float
    configured: bool = False

    def __str__(self) -> str:
        return f"grow {self.percent:g} %" + (" with what is configured" if self.configured else "")

    def apply(self, inventory: Inventory) -> Inventory:
        """Return the inventory with every guest grown.

        Raises
        ------
        DrsimError
            If nothing would be left of the guests.
        """
        if not self.percent > -100:
            raise DrsimError(f"what-if '{self}': expected more than -100 %.")
        factor = 1 + self.percent / 100
        return replace(inventory, vms=tuple(self._grown(vm, factor) for vm in inventory.vms))

    def _grown(self, vm: Vm, factor: float) -> Vm:
        vcpus, memory_mib = vm.vcpus, vm.memory_mib
        if self.configured:
            vcpus, memory_mib = _up(vcpus * factor), _up(memory_mib * factor)
        cpu, used = vm.cpu_demand_cores, vm.memory_used_mib
        return replace(
            vm,
            vcpus=vcpus,
            memory_mib=memory_mib,
            cpu_demand_cores=None if cpu is None else min(cpu * factor, vcpus),
            memory_used_mib=None if used is None else min(used * factor, memory_mib),
            dirty=_dirtier(vm.dirty, factor, memory_mib),
        )


Change = LoseHost | AddHosts | Drain | EmptyDatastore | Grow


def apply_all(changes: tuple[Change, ...], inventory: Inventory) -> Inventory:
    """Apply changes one after the other."""
    for change in changes:
        inventory = change.apply(inventory)
    return inventory


def _up(value: float) -> int:
    # 1.1 * 100 is a hair above 110: what is a whole number but for rounding stays one.
    return max(1, int(-(-round(value, 6) // 1)))


def _dirtier(classes: tuple[PageClass, ...], factor: float, memory_mib: int) -> tuple[PageClass, ...]:
    """Grow rates and sizes; sizes together never beyond the memory that there is."""
    total = sum(c.size_mib for c in classes)
    size_factor = min(factor, memory_mib / total) if total > memory_mib / factor else factor
    return tuple(
        replace(c, size_mib=c.size_mib * size_factor, dirty_rate_mib_s=c.dirty_rate_mib_s * factor) for c in classes
    )


def _twin(store: Datastore, host: str) -> Datastore:
    used = None if store.used_mib is None else 0.0
    return replace(store, name=f"{store.name}@{host}", hosts=(host,), used_mib=used)


def _host(inventory: Inventory, name: str, change: object) -> Host:
    if (host := inventory.host_by_name.get(name)) is not None:
        return host
    known = [h.name for h in inventory.hosts]
    some = ", ".join(known[:10]) + (f" and {len(known) - 10} more" if len(known) > 10 else "")
    raise DrsimError(f"what-if '{change}': there is no host '{name}' in '{inventory.name}'. It has {some or 'none'}.")
