"""Read one host over libvirt: what it is, what is on it, what its guests do over an interval."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from drsim.errors import DataError
from drsim.inventory import Arrival, PageClass, VmState
from drsim.units import MIB
from executor.hypervisor.libvirt_connect import load_libvirt, open_connection
from executor.hypervisor.libvirt_devices import (
    NodeDevice,
    guest_devices,
    host_devices,
    open_cards,
    parse_node_device,
)
from executor.hypervisor.libvirt_dirty import DirtyMode
from executor.hypervisor.libvirt_dirty import measure_dirty as measure
from executor.hypervisor.libvirt_domain import DomainConfig, parse_domain
from executor.hypervisor.libvirt_host import (
    DiskReading,
    GuestReading,
    HostReading,
    NetworkReading,
    PoolReading,
    parse_capabilities,
    parse_network,
    parse_pool,
)
from executor.hypervisor.libvirt_shares import cpu_shares

DEVICES_S = 5.0
"""Time for a host to describe its devices, seconds: each is a question of its own, and a large host has hundreds."""

T = TypeVar("T")


def read_host(
    uri: str,
    *,
    interval_s: float,
    timeout_s: float,
    measure_dirty: DirtyMode | None = None,
    allow_host_cpu: bool = False,
) -> HostReading:
    """Read one host.

    Parameters
    ----------
    uri : str
        libvirt URI; opened read-only unless dirty rates are measured, which libvirt refuses to a reader.
    interval_s : float
        Seconds between the two looks at counters from which rates are computed.
    timeout_s : float
        Time for the host to let us in, seconds.
    measure_dirty : DirtyMode or None
        How to let QEMU measure the dirty rate of running guests that declare none; None: not at all.
    allow_host_cpu : bool
        See `parse_domain`.

    Raises
    ------
    HypervisorError
        If the host does not let us in.
    """
    connection = open_connection(uri, read_only=not measure_dirty, timeout_s=timeout_s)
    try:
        return _Reader(connection, uri).host(interval_s, measure_dirty, allow_host_cpu)
    finally:
        connection.close()


def host_memory_mib(connection: Any) -> tuple[float, float | None]:
    """Return memory of a host and how much of it is in use without being a cache, MiB.

    ``virNodeGetInfo`` was seen to report a third of the true memory in a container, so the largest figure is taken.
    """
    total = float(connection.getInfo()[1])
    try:
        stats = connection.getMemoryStats(-1)
    except load_libvirt().libvirtError:
        return total, None
    kib_total = float(stats.get("total", 0))
    free = sum(float(stats.get(key, 0)) for key in ("free", "buffers", "cached"))
    return max(total, kib_total / 1024), max(0.0, kib_total - free) / 1024 if kib_total else None


def is_severed(domain: Any) -> bool:
    """Whether a copy is one half of a guest whose post-copy lost its connection."""
    libvirt = load_libvirt()
    return tuple(domain.state()) in (
        (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_POSTCOPY_FAILED),
        (libvirt.VIR_DOMAIN_RUNNING, libvirt.VIR_DOMAIN_RUNNING_POSTCOPY_FAILED),
    )


def is_postcopied(domain: Any) -> bool:
    """Whether a copy runs in the middle of a post-copy.

    On the target as long as memory still comes in, and then its job is active. Without one it is a copy on the source
    that QEMU let run again: that of 10.0 does so when the connection ends after its last page was sent and before the
    target has said that it is there, although the guest has run on the target by then.
    """
    libvirt = load_libvirt()
    return tuple(domain.state()) == (libvirt.VIR_DOMAIN_RUNNING, libvirt.VIR_DOMAIN_RUNNING_POSTCOPY)


def plain_state(domain: Any) -> VmState:
    """Return the state of a domain as its daemon knows it; QEMU is not asked."""
    libvirt = load_libvirt()
    states: dict[int, VmState] = {
        libvirt.VIR_DOMAIN_RUNNING: "running",
        libvirt.VIR_DOMAIN_BLOCKED: "running",
        libvirt.VIR_DOMAIN_PAUSED: "paused",
        libvirt.VIR_DOMAIN_PMSUSPENDED: "paused",
        libvirt.VIR_DOMAIN_SHUTOFF: "stopped",
        libvirt.VIR_DOMAIN_CRASHED: "stopped",
    }
    return states.get(domain.state()[0], "unknown")


def arrival(state: int, reason: int) -> Arrival | None:
    """Return how a running domain came to its host, as far as its daemon knows; it does not tell which way it moved."""
    libvirt = load_libvirt()
    reasons: dict[int, Arrival] = {
        libvirt.VIR_DOMAIN_RUNNING_BOOTED: "boot",
        libvirt.VIR_DOMAIN_RUNNING_MIGRATED: "migration",
    }
    return reasons.get(reason) if state == libvirt.VIR_DOMAIN_RUNNING else None


def domain_state(domain: Any) -> tuple[VmState, bool, bool]:
    """Return the state of a domain, whether this copy is being made by a migration, and whether a job is active."""
    libvirt = load_libvirt()
    state, reason = plain_state(domain), domain.state()[1]
    arriving = leaving = False
    try:
        job = domain.jobStats()
    except libvirt.libvirtError as error:
        # "Migration statistics are available only on the source host": so a job is active, and this is the target.
        # A stopped domain answers with another code, test:/// with a third.
        arriving = error.get_error_code() == libvirt.VIR_ERR_OPERATION_UNSUPPORTED
    else:
        # Of jobs only migrations matter here: a backup or a block commit does not move a guest.
        leaving = (
            job.get("type") in (libvirt.VIR_DOMAIN_JOB_BOUNDED, libvirt.VIR_DOMAIN_JOB_UNBOUNDED)
            and job.get("operation") == libvirt.VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT
        )
    # A copy that waits for memory is paused "starting up", then paused "migration", as is the source while it hands
    # over; which of the two it is, only the job tells.
    incoming = state == "paused" and (arriving or reason == libvirt.VIR_DOMAIN_PAUSED_STARTING_UP)
    return state, incoming, arriving or leaving


class _Reader:
    """One pass over one host; collects remarks on the way."""

    def __init__(self, connection: Any, uri: str) -> None:
        self._libvirt = load_libvirt()
        self._connection = connection
        self._place = uri
        self._remarks: list[str] = []

    def host(self, interval_s: float, measure_dirty: DirtyMode | None, allow_host_cpu: bool) -> HostReading:
        connection = self._connection
        capabilities = parse_capabilities(connection.getCapabilities(), place=self._place)
        memory, used = host_memory_mib(connection)
        cpu_before = self._try(lambda: connection.getCPUStats(-1))
        before, started = self._bulk(), time.monotonic()
        configs = self._configs(allow_host_cpu)
        devices = self._devices()
        dirty: Mapping[str, tuple[PageClass, ...]] = {}
        if measure_dirty:
            dirty = measure(
                connection, configs, measure_dirty, lambda text: self._remarks.append(f"{self._place}: {text}")
            )
        time.sleep(max(0.0, interval_s - (time.monotonic() - started)))
        after, cpu_after = self._bulk(), self._try(lambda: connection.getCPUStats(-1))
        seconds = time.monotonic() - started
        shares = cpu_shares(configs)
        busy = None
        if cpu_before and cpu_after:
            busy = sum(cpu_after.get(key, 0) - cpu_before.get(key, 0) for key in ("kernel", "user")) / 1e9 / seconds
        return HostReading(
            hostname=connection.getHostname(),
            capabilities=capabilities,
            cores=max(1, int(connection.getInfo()[2])),  # those that are switched on
            memory_mib=max(1, int(max(memory, capabilities.numa_memory_mib))),
            memory_used_mib=used,
            cpu_used_cores=None if busy is None else max(0.0, busy),
            bridges=self._bridges(),
            pools=self._pools(),
            networks=self._networks(),
            guests=tuple(
                replace(
                    self._guest(
                        domain, config, before.get(config.uuid, {}), after.get(config.uuid, {}), seconds, dirty, devices
                    ),
                    cpu_shares=shares.get(config.uuid),
                )
                for domain, config in configs
            ),
            devices=host_devices(devices, (each for _, config in configs for each in config.hostdevs)),
            remarks=tuple(self._remarks),
        )

    def _try(self, call: Callable[[], T]) -> T | None:
        """Return what the call returns, or None if this driver or this state of the object does not offer it."""
        try:
            return call()
        except self._libvirt.libvirtError:
            return None

    def _bulk(self) -> dict[str, dict[str, Any]]:
        """Statistics of all domains by UUID, in one call."""
        rows = self._try(lambda: self._connection.getAllDomainStats(0, 0)) or []
        return {domain.UUIDString(): stats for domain, stats in rows}

    def _configs(self, allow_host_cpu: bool) -> list[tuple[Any, DomainConfig]]:
        found = []
        for domain in sorted(self._connection.listAllDomains(0), key=lambda domain: str(domain.name())):
            try:
                config = parse_domain(domain.XMLDesc(0), place=self._place, allow_host_cpu=allow_host_cpu)
            except DataError as error:
                self._remarks.append(f"A guest was left out. {error}")
            except self._libvirt.libvirtError:
                continue  # it went away between the list and the question
            else:
                self._remarks.extend(config.remarks)
                found.append((domain, config))
        return found

    def _guest(
        self,
        domain: Any,
        config: DomainConfig,
        before: dict[str, Any],
        after: dict[str, Any],
        seconds: float,
        dirty: Mapping[str, tuple[PageClass, ...]],
        devices: list[NodeDevice],
    ) -> GuestReading:
        state, incoming, _ = self._try(lambda: domain_state(domain)) or ("unknown", False, False)
        told, cpu = self._try(domain.state), None
        if state == "running" and "cpu.time" in before and "cpu.time" in after:
            cpu = max(0.0, (after["cpu.time"] - before["cpu.time"]) / 1e9 / seconds)
        resident = after.get("balloon.rss")
        return GuestReading(
            config=config,
            state=state,
            incoming=incoming,
            arrived=None if told is None else arrival(*told),
            cpu_cores=cpu,
            resident_mib=resident / 1024 if resident and state != "stopped" else None,
            disks=self._disks(domain, config, before, after, seconds),
            dirty=dirty.get(config.uuid, ()),
            devices=guest_devices(config.hostdevs, devices),
        )

    def _disks(
        self, domain: Any, config: DomainConfig, before: dict[str, Any], after: dict[str, Any], seconds: float
    ) -> dict[str, DiskReading]:
        number = {after.get(f"block.{i}.name"): i for i in range(int(after.get("block.count", 0)))}
        readings = {}
        for disk in config.disks:
            i = number.get(disk.target)
            capacity = after.get(f"block.{i}.capacity")
            # "allocation" is the highest offset written by QEMU, "physical" the size of the file; the space that the
            # disk takes is what blockInfo calls allocation.
            info = self._try(lambda disk=disk: domain.blockInfo(disk.target))  # type: ignore[misc]
            written = None
            if f"block.{i}.wr.bytes" in before and f"block.{i}.wr.bytes" in after:
                written = max(0.0, (after[f"block.{i}.wr.bytes"] - before[f"block.{i}.wr.bytes"]) / MIB / seconds)
            size = info[0] if info else capacity
            readings[disk.target] = DiskReading(
                size_mib=None if size is None else size / MIB,
                used_mib=info[1] / MIB if info else None,
                write_rate_mib_s=written,
            )
        return readings

    def _devices(self) -> list[NodeDevice]:
        """List PCI and mediated devices; none where libvirt has no driver for them, or it takes too long."""
        lv, until, found = self._libvirt, time.monotonic() + DEVICES_S, []
        flags = (
            lv.VIR_CONNECT_LIST_NODE_DEVICES_CAP_PCI_DEV
            | lv.VIR_CONNECT_LIST_NODE_DEVICES_CAP_MDEV
            | lv.VIR_CONNECT_LIST_NODE_DEVICES_CAP_MDEV_TYPES
        )
        for device in self._try(lambda: self._connection.listAllDevices(flags)) or []:
            if time.monotonic() > until:
                self._remarks.append(
                    f"{self._place}: its devices were left out, {DEVICES_S:g} s did not do to read them."
                )
                return []
            text = self._try(lambda device=device: device.XMLDesc(0))  # type: ignore[misc]
            node = None if text is None else parse_node_device(text, place=self._place)
            # A mediated device may be defined and not there; older daemons know only such as are.
            if node is not None and (not node.what.startswith("mdev-") or self._try(device.isActive) != 0):
                found.append(node)
        if cards := open_cards(found):
            self._remarks.append(
                f"{self._place}: {', '.join(cards)}: each type of vGPU is counted as if the whole card were given to "
                "it; they exclude each other."
            )
        return found

    def _bridges(self) -> tuple[str, ...] | None:
        """Bridges of the host by the interface driver or the node-device driver; None if it has neither."""
        lv, connection = self._libvirt, self._connection
        interfaces = self._try(lambda: connection.listAllInterfaces(lv.VIR_CONNECT_LIST_INTERFACES_ACTIVE))
        if interfaces is not None:
            return tuple(sorted(i.name() for i in interfaces if "type='bridge'" in (self._try(i.XMLDesc) or "")))
        return None

    def _pools(self) -> tuple[PoolReading, ...]:
        pools = []
        for pool in self._try(lambda: self._connection.listAllStoragePools(0)) or []:
            text, info = self._try(lambda pool=pool: pool.XMLDesc(0)), self._try(pool.info)  # type: ignore[misc]
            if text is not None:
                active = info is not None and info[0] == self._libvirt.VIR_STORAGE_POOL_RUNNING
                pools.append(
                    parse_pool(
                        text,
                        place=self._place,
                        capacity_mib=info[1] / MIB if info and active else None,
                        used_mib=info[2] / MIB if info and active else None,
                    )
                )
        return tuple(sorted(pools, key=lambda pool: pool.name))

    def _networks(self) -> tuple[NetworkReading, ...]:
        found = []
        for network in self._try(lambda: self._connection.listAllNetworks(0)) or []:
            text = self._try(lambda network=network: network.XMLDesc(0))  # type: ignore[misc]
            if text is not None:
                found.append(parse_network(text, place=self._place))
        return tuple(sorted(found, key=lambda network: network.name))
