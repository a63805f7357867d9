"""Readings of hosts, and what was declared about them, into one inventory; pure."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from dataclasses import replace

from drsim.errors import InventoryError, Problem
from drsim.inventory import (
    Datastore,
    Disk,
    Host,
    HostNic,
    Inventory,
    Network,
    Site,
    StorageKind,
    Switch,
    Vm,
    VmNic,
)
from executor.cpus import Cpus, Models, find_cpus
from executor.estate import DeclaredHost, Estate
from executor.hypervisor.libvirt_bounded import Failed
from executor.hypervisor.libvirt_connect import message
from executor.hypervisor.libvirt_domain import DiskConfig, NicConfig
from executor.hypervisor.libvirt_host import NETWORK_POOLS, DiskReading, GuestReading, HostReading, PoolReading

QEMU_OWN_MIB = 60.0
"""Resident memory of QEMU itself: program, libraries, heap and video memory, as /proc/PID/smaps showed it for QEMU
10.0.2 with a guest of 256 MiB. Translated code comes on top where a guest is emulated (12 MiB and more): memory that
holds data is then over-estimated."""

_POOL_KIND: dict[str, StorageKind] = {
    "netfs": "nfs",
    "rbd": "ceph",
    "iscsi": "iscsi",
    "iscsi-direct": "iscsi",
    "gluster": "other",
    "sheepdog": "other",
}
_PROTOCOL_KIND: dict[str, StorageKind] = {"rbd": "ceph", "iscsi": "iscsi", "nfs": "nfs"}


def merge(
    estate: Estate,
    answers: Mapping[str, HostReading | Failed[HostReading]],
    *,
    name: str,
    captured_at: str,
    previous: Inventory | None = None,
    models: Models | None = None,
) -> tuple[Inventory, tuple[str, ...], tuple[str, ...]]:
    """Make one inventory of what the hosts answered.

    Parameters
    ----------
    estate : Estate
        Hosts and what was declared.
    answers : mapping of str to HostReading or Failed
        One a host of the estate, in its order.
    name, captured_at : str
        Of the inventory.
    previous : Inventory or None
        Where hosts that did not answer, and their guests, are carried over from.
    models : Models or None
        What named CPU models stand for; without it hosts are compared by the name of their model alone.

    Returns
    -------
    tuple
        The inventory, remarks, and the names of the hosts that did not answer.

    Raises
    ------
    InventoryError
        If two hosts have the same name.
    """
    return _Merge(estate, answers, previous, models).inventory(name, captured_at)


class _Merge:
    def __init__(
        self,
        estate: Estate,
        answers: Mapping[str, HostReading | Failed[HostReading]],
        previous: Inventory | None,
        models: Models | None,
    ) -> None:
        self._estate = estate
        self._previous = previous
        self._remarks: list[str] = []
        self._silent: list[str] = []
        self._stores: dict[str, Datastore] = {}
        self._networks: dict[str, Network] = {}
        self._read: dict[str, HostReading] = {}
        self._hosts: list[Host] = []
        for declared, (key, answer) in zip(estate.hosts, answers.items(), strict=True):
            if isinstance(answer, Failed):
                host = self._unanswered(key, declared)
                self._silent.append(host.name)
                self._remarks.append(
                    f"Host '{host.name}' is in state unknown: {message(answer.error)}.".replace("..", ".")
                )
            else:
                host = _answered(declared, answer)
                if host.name in self._read:
                    raise InventoryError(
                        Problem(
                            place=f"host '{host.name}'",
                            field="name",
                            expected=f"Two URIs lead to a host of this name ({declared.uri} is one).",
                            remedy="Give each host once; if they are two hosts of one name, name them in a hosts file.",
                        )
                    )
                self._read[host.name] = answer
                self._remarks.extend(answer.remarks)
            self._hosts.append(host)
        self._names = tuple(host.name for host in self._hosts)
        self._cpus = Cpus() if models is None else find_cpus(self._read, models)
        self._remarks.extend(self._cpus.remarks)

    def inventory(self, name: str, captured_at: str) -> tuple[Inventory, tuple[str, ...], tuple[str, ...]]:
        self._same_machine()
        for path in self._estate.shared_paths:
            self._store(path, "shared_fs", self._names, path=path)
        for bridge in self._estate.networks:
            self._network(bridge, bridge, None, self._names)
        for network in self._estate.named:
            hosts = network.hosts or self._names
            self._networks[network.name] = replace(network, hosts=tuple(h for h in self._names if h in hosts))
        for host, reading in self._read.items():
            self._own(host, reading)
        vms = self._vms()
        self._hint_shared()
        self._assume_networks()
        switches = self._estate.switches
        ends = [end for link in self._estate.links for end in (link.a, link.b) if end not in switches]
        sites = dict.fromkeys([host.site for host in self._hosts] + ends)
        inventory = Inventory(
            name=name,
            captured_at=captured_at,
            sites=tuple(Site(name=site) for site in sites),
            hosts=tuple(self._with_cpus(host) for host in self._hosts),
            datastores=tuple(self._stores[key] for key in sorted(self._stores)),
            networks=tuple(self._networks[key] for key in sorted(self._networks)),
            vms=tuple(vms),
            links=self._estate.links,
            switches=tuple(Switch(name=name) for name in switches),
        )
        return inventory, tuple(dict.fromkeys(self._remarks)), tuple(self._silent)

    def _unanswered(self, key: str, declared: DeclaredHost) -> Host:
        """Return a host that did not answer: as it was known before, or a stand-in of one core and one MiB."""
        known = self._previous.host_by_name.get(key) if self._previous else None
        if known is not None:
            return replace(known, state="unknown", memory_used_mib=None, cpu_used_cores=None)
        return _host(
            declared,
            Host(
                name=key,
                site=declared.site,
                cores=declared.cores or 1,
                memory_mib=declared.memory_mib or 1,
                state="unknown",
            ),
        )

    def _with_cpus(self, host: Host) -> Host:
        """Add the CPUs that a host can give; those of guests that are carried over are known from before."""
        if host.name not in self._cpus.given:
            return host
        old = self._previous.host_by_name.get(host.name) if self._previous else None
        kept = {vm.cpu_model for vm in self._previous.vms if vm.host in self._silent} if self._previous else set()
        still = (model for model in (old.cpu_models if old else ()) if model in kept)
        return replace(host, cpu_models=tuple(sorted({*self._cpus.given[host.name], *still})))

    def _same_machine(self) -> None:
        by_uuid: dict[str, str] = {}
        for host, reading in self._read.items():
            uuid = reading.capabilities.host_uuid
            if uuid and (other := by_uuid.setdefault(uuid, host)) != host:
                self._remarks.append(
                    f"Hosts '{other}' and '{host}' have the same UUID {uuid}: libvirt refuses to migrate between them. "
                    "If they are two machines, set 'host_uuid' in libvirtd.conf of one."
                )

    def _own(self, host: str, reading: HostReading) -> None:
        """Take in what a host has, used or not: pools and bridges."""
        for pool in reading.pools:
            self._pool(host, pool)
        for bridge in reading.bridges or ():
            if not self._named(host, bridge, None):
                self._network(self._wire(host, bridge), bridge, None, (host,))
        for network in reading.networks:
            if not network.local and network.bridge:
                self._network(self._wire(host, network.bridge), network.bridge, None, (host,))

    def _wire(self, host: str, bridge: str) -> str:
        """Name of the network of a bridge that nobody named: bridges of one name are one wire as far as their site."""
        if bridge in self._estate.networks or len({declared.site for declared in self._estate.hosts}) == 1:
            return bridge
        site = next(each.site for each in self._hosts if each.name == host)
        return f"{bridge}@{site}"

    def _pool(self, host: str, pool: PoolReading) -> str:
        if pool.kind in NETWORK_POOLS:
            key, kind = f"{pool.kind}:{pool.source or pool.name}", _POOL_KIND[pool.kind]
        elif pool.path and (shared := self._shared(pool.path)):
            key, kind = shared, "shared_fs"
        else:
            key, kind = f"{host}:{pool.path or pool.name}", "local"
        path = shared if kind == "shared_fs" else pool.path
        self._store(key, kind, (host,), path=path, capacity=pool.capacity_mib, used=pool.used_mib)
        return key

    def _shared(self, path: str) -> str | None:
        """Return the declared folder that a path lies in; the deepest if several."""
        inside = [top for top in self._estate.shared_paths if path == top or path.startswith(top.rstrip("/") + "/")]
        return max(inside, key=len, default=None)

    def _store(
        self,
        key: str,
        kind: StorageKind,
        hosts: tuple[str, ...],
        *,
        path: str | None = None,
        capacity: float | None = None,
        used: float | None = None,
    ) -> str:
        old = self._stores.get(key) or Datastore(name=key, kind=kind, path=path)
        self._stores[key] = replace(
            old,
            hosts=tuple(h for h in self._names if h in old.hosts or h in hosts),
            capacity_mib=old.capacity_mib or (capacity or None),
            used_mib=old.used_mib if old.used_mib is not None else used,
        )
        return key

    def _network(self, key: str, bridge: str | None, vlan: int | None, hosts: tuple[str, ...]) -> str:
        old = self._networks.get(key) or Network(name=key, bridge=bridge, vlan=vlan)
        self._networks[key] = replace(old, hosts=tuple(h for h in self._names if h in old.hosts or h in hosts))
        return key

    def _keep(self, network: Network) -> str:
        self._networks[network.name] = network
        return network.name

    def _vms(self) -> list[Vm]:
        """List the guests, each once, under names that are unique."""
        seen: dict[str, list[tuple[str, GuestReading]]] = {}
        for host, reading in self._read.items():
            for guest in reading.guests:
                seen.setdefault(guest.config.uuid, []).append((host, guest))
        vms = [self._vm(*self._one(copies)) for copies in seen.values()]
        if self._previous is not None:
            silent = set(self._silent)
            vms += [
                replace(vm, state="unknown")
                for vm in self._previous.vms
                if vm.host in silent and (vm.uuid is None or vm.uuid not in seen)
            ]
            self._carry_over(silent)
        names = [vm.name for vm in vms]
        unique = []
        for vm in vms:
            if names.count(vm.name) > 1:
                longer = f"{vm.name}~{(vm.uuid or vm.host)[:8]}"
                self._remarks.append(
                    f"Several guests are called '{vm.name}'; the one on {vm.host} is listed as '{longer}'."
                )
                unique.append(replace(vm, name=longer))
            else:
                unique.append(vm)
        return sorted(unique, key=lambda vm: vm.name)

    def _carry_over(self, silent: set[str]) -> None:
        """Keep datastores and networks of the hosts that did not answer."""
        assert self._previous is not None
        for store in self._previous.datastores:
            if hosts := tuple(host for host in store.hosts if host in silent):
                self._store(
                    store.name, store.kind, hosts, path=store.path, capacity=store.capacity_mib, used=store.used_mib
                )
        for network in self._previous.networks:
            if hosts := tuple(host for host in network.hosts if host in silent):
                self._network(network.name, network.bridge, network.vlan, hosts)

    def _one(self, copies: list[tuple[str, GuestReading]]) -> tuple[str, GuestReading]:
        """Choose the copy that is the guest: the one that runs, else the one that is alive."""
        live = [copy for copy in copies if copy[1].state == "running"]
        if len(live) > 1:
            where = ", ".join(host for host, _ in live)
            self._remarks.append(
                f"Guest '{live[0][1].config.name}' runs on {where} at once: it is listed as unknown. Unless it is "
                "being migrated at this moment, fence one copy and check its file systems."
            )
            return live[0][0], replace(live[0][1], state="unknown")
        alive = [copy for copy in copies if copy[1].state != "stopped" and not copy[1].incoming]
        return (live or alive or copies)[0]

    def _vm(self, host: str, guest: GuestReading) -> Vm:
        config = guest.config
        pins = list(config.pins)
        disks = []
        for disk in config.disks:
            store = self._disk_store(host, disk)
            if disk.device in ("disk", "lun"):
                size = guest.disks.get(disk.target, DiskReading())
                disks.append(
                    Disk(
                        name=disk.target,
                        datastore=store,
                        size_mib=size.size_mib or 0.0,
                        used_mib=size.used_mib,
                        write_rate_mib_s=size.write_rate_mib_s or 0.0,
                        path=disk.location,
                    )
                )
                if size.size_mib is None:
                    self._remarks.append(
                        f"Guest '{config.name}': the size of disk '{disk.target}' is not known, taken as 0."
                    )
            elif self._stores[store].kind == "local":
                pins.append(f"the medium in drive '{disk.target}' ({disk.location}) is on its host only; eject it")
        resident = guest.resident_mib
        return Vm(
            name=config.name,
            host=host,
            vcpus=config.vcpus,
            memory_mib=config.memory_mib,
            uuid=config.uuid,
            state=guest.state,
            cpu_demand_cores=guest.cpu_cores,
            cpu_shares=guest.cpu_shares,
            # QEMU sends every page that was ever written to, whether or not the guest still uses it: that is what is
            # resident on the host, not what the balloon reports as used. Huge pages are not counted as resident.
            memory_used_mib=None
            if resident is None or config.huge_pages
            else min(max(resident - QEMU_OWN_MIB, 0.0), float(config.memory_mib)),
            huge_pages=config.huge_pages,
            arrived=guest.arrived,
            max_downtime_ms=config.max_downtime_ms,
            cpu_model=self._cpus.seen.get((host, config.uuid)),
            unmovable_reason="; ".join(pins) or None,
            tags=config.tags,
            disks=tuple(disks),
            nics=tuple(VmNic(network=self._nic_network(host, nic), mac=nic.mac) for nic in config.nics),
            dirty=config.dirty or guest.dirty,
            devices=guest.devices,
        )

    def _disk_store(self, host: str, disk: DiskConfig) -> str:
        """Return the datastore that a disk lies in, and make sure that it is listed."""
        if disk.kind == "network":
            # QEMU opens it itself, so any host that reaches the server sees it; libvirt cannot tell which do.
            protocol = disk.protocol or "network"
            key = f"{protocol}:{disk.location.rpartition('/')[0] or disk.location}"
            return self._store(key, _PROTOCOL_KIND.get(protocol, "other"), self._names)
        pools = self._read[host].pools
        if disk.kind == "volume":
            name = disk.location.partition("/")[0]
            pool = next((pool for pool in pools if pool.name == name), PoolReading(name=name, kind="dir"))
            return self._pool(host, pool)
        if shared := self._shared(disk.location):
            return self._store(shared, "shared_fs", self._names, path=shared)
        folder = posixpath.dirname(disk.location)
        over = [pool for pool in pools if pool.path and f"{folder}/".startswith(pool.path.rstrip("/") + "/")]
        if over:  # a pool may lie in the folder of another: what is in it is its own
            return self._pool(host, max(over, key=lambda pool: len(pool.path or "")))
        return self._store(f"{host}:{folder}", "local", (host,), path=folder)

    def _nic_network(self, host: str, nic: NicConfig) -> str:
        """Return the network of a card, and make sure that it is listed."""
        if nic.kind == "network":
            known = {network.name: network for network in self._read[host].networks}.get(nic.source)
            if known is None or known.local or not (known.bridge or nic.bridge):
                return self._network(f"{host}:{nic.source}", nic.bridge, None, (host,))
            bridge: str | None = known.bridge or nic.bridge
        else:
            bridge = nic.bridge
        if not bridge:  # macvtap and the like: the same device name on another host need not be the same wire
            return self._network(f"{host}:{nic.source or nic.kind}", None, None, (host,))
        if named := self._named(host, bridge, nic.vlan):
            return named
        if nic.vlan is None:
            return self._network(self._wire(host, bridge), bridge, None, (host,))
        if base := self._named(host, bridge, None):  # a tag on a switch that was declared
            whole = self._networks[base]
            return self._keep(replace(whole, name=f"{base}.{nic.vlan}", vlan=nic.vlan))
        hosts = tuple(h for h in self._names if bridge in self._estate.networks or h == host)
        return self._network(f"{self._wire(host, bridge)}.{nic.vlan}", bridge, nic.vlan, hosts)

    def _named(self, host: str, bridge: str, vlan: int | None) -> str | None:
        """Return the declared network that this bridge of a host belongs to."""
        for network in self._estate.named:
            here = not network.hosts or host in network.hosts
            if here and network.bridge_on(host) == bridge and network.vlan == vlan:
                return network.name
        return None

    def _hint_shared(self) -> None:
        """Point out folders that several hosts use and nobody declared."""
        by_path: dict[str, list[str]] = {}
        for store in self._stores.values():
            if store.kind == "local" and store.path:
                by_path.setdefault(store.path, []).extend(store.hosts)
        for path, hosts in sorted(by_path.items()):
            if len(hosts) > 1:
                self._remarks.append(
                    f"Folder {path} holds disks on {', '.join(hosts)} and is taken for a local one on each. If it is "
                    f"one shared folder, declare it: --shared {path}"
                )

    def _assume_networks(self) -> None:
        """Where libvirt cannot list bridges and nobody declared any, take neighbours to have the same ones.

        A wrong guess costs a refused migration (libvirt on the target fails before the guest is touched), the opposite
        guess would forbid every move. Sites have borders that guests cannot cross, so the guess ends there.
        """
        site = {host.name: host.site for host in self._hosts}
        blind = [host for host, reading in self._read.items() if reading.bridges is None]
        guessed: dict[str, list[str]] = {}
        for network in list(self._networks.values()):
            if network.bridge and ":" not in network.name and network.bridge not in self._estate.networks:
                near = {site[host] for host in network.hosts}
                if new := tuple(h for h in blind if h not in network.hosts and site[h] in near):
                    guessed[network.name] = list(new)
        if not guessed:
            return
        names = ", ".join(guessed)
        if self._estate.networks:
            self._remarks.append(
                f"Networks {names} are taken to be only where guests use them, as others were declared."
            )
            return
        for name, hosts in guessed.items():
            network = self._networks[name]
            self._network(name, network.bridge, network.vlan, tuple(hosts))
        everybody = ", ".join(dict.fromkeys(host for hosts in guessed.values() for host in hosts))
        self._remarks.append(
            f"libvirt on {everybody} cannot list bridges; they are taken to have those that guests of their site use "
            f"({names}). To be exact, declare in a hosts file what every host has: 'networks: [{names}]'."
        )


def _host(declared: DeclaredHost, found: Host) -> Host:
    """Add to a host what was declared about it."""
    rate = declared.nic_mbit_s
    return replace(
        found,
        reserved_memory_mib=declared.reserved_memory_mib,
        cpu_overcommit=declared.cpu_overcommit,
        memory_overcommit=declared.memory_overcommit,
        rack=declared.rack,
        tags=declared.tags,
        uri=declared.uri,
        peer_uri=declared.peer_uri or declared.uri,
        nics=declared.nics or (() if rate is None else (HostNic(name="migration", rate_mbit_s=rate),)),
    )


def _answered(declared: DeclaredHost, reading: HostReading) -> Host:
    return _host(
        declared,
        Host(
            name=declared.name or reading.hostname,
            site=declared.site,
            cores=declared.cores or reading.cores,
            memory_mib=declared.memory_mib or reading.memory_mib,
            state="maintenance" if declared.maintenance else "up",
            cpu_model=reading.capabilities.cpu_model,
            arch=reading.capabilities.arch,
            numa_nodes=reading.capabilities.numa_nodes,
            huge_pages_mib=reading.capabilities.huge_pages_mib,
            memory_used_mib=reading.memory_used_mib,
            cpu_used_cores=reading.cpu_used_cores,
            devices=reading.devices,
        ),
    )
