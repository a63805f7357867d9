"""What has changed between the inventory that a plan was made from and the estate as it is now."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from drsim.inventory import Host, Inventory, Vm

MEMORY_TOLERANCE = 0.01
"""Host memory as a kernel reports it differs a little from boot to boot; up to this share that is only a remark."""

MEASURED_TOLERANCE = 0.5
"""Measured figures that differ by more than this share (and by more than `_FLOORS`) are remarked on."""

_FLOORS = {"cpu_demand_cores": 0.5, "memory_used_mib": 256.0, "dirty_rate_mib_s": 8.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One difference.

    Parameters
    ----------
    subject : str
        Host, guest, datastore, network or link.
    text : str
        What was, and what is.
    refuses : bool
        Whether a plan made before it must not be applied; False for a mere remark, e.g. on a measured figure.
    """

    subject: str
    text: str
    refuses: bool = True


def differences(planned: Inventory, now: Inventory) -> tuple[Change, ...]:
    """List what has changed, first what forbids to apply the plan, then remarks.

    What is configured counts: hosts and their state, guests, their place, state, size, disks and networks, what is
    mounted and plugged in where. What was measured and what only planning reads (labels, overcommit, lines between
    sites) is a remark at most.
    """
    changes = [
        *_hosts(planned, now),
        *_places(planned, now),
        *_guests(planned, now),
        *_links(planned, now),
    ]
    return tuple(sorted(changes, key=lambda change: not change.refuses))


def _hosts(planned: Inventory, now: Inventory) -> Iterator[Change]:
    for host in planned.hosts:
        name = f"host '{host.name}'"
        other = now.host_by_name.get(host.name)
        if other is None:
            yield Change(subject=host.name, text=f"{name} is gone.")
            continue
        for field, what in (
            ("state", "state"),
            ("cores", "cores"),
            ("cpu_model", "CPU model"),
            ("arch", "architecture"),
        ):
            was, is_ = getattr(host, field), getattr(other, field)
            if was != is_ and None not in (was, is_):
                yield Change(subject=host.name, text=f"{name}: {what} was {was}, is {is_}.")
        if host.memory_mib != other.memory_mib:
            little = abs(other.memory_mib - host.memory_mib) <= MEMORY_TOLERANCE * host.memory_mib
            text = f"{name}: memory was {host.memory_mib} MiB, is {other.memory_mib} MiB."
            yield Change(subject=host.name, text=text, refuses=not little)
        if _planning_only(host) != _planning_only(other):
            text = f"{name}: its site, rack, labels, reserve or overcommit were edited."
            yield Change(subject=host.name, text=text, refuses=False)
    for host in now.hosts:
        if host.name not in planned.host_by_name:
            yield Change(subject=host.name, text=f"host '{host.name}' is new.", refuses=False)


def _planning_only(host: Host) -> tuple[object, ...]:
    return (
        host.site,
        host.rack,
        host.tags,
        host.reserved_memory_mib,
        host.cpu_overcommit,
        host.memory_overcommit,
    )


def _places(planned: Inventory, now: Inventory) -> Iterator[Change]:
    """Compare which host mounts which datastore and has which network."""
    for what, before, after in (
        ("datastore", planned.datastores, now.datastores),
        ("network", planned.networks, now.networks),
    ):
        present = {place.name: set(place.hosts) for place in after}
        for place in before:
            lost = [host for host in place.hosts if host not in present.get(place.name, ())]
            if lost:
                text = f"{what} '{place.name}' is no longer on {', '.join(lost)}."
                yield Change(subject=place.name, text=text)


def _guests(planned: Inventory, now: Inventory) -> Iterator[Change]:
    for vm in planned.vms:
        other = now.vm_by_name.get(vm.name)
        if other is None:
            yield Change(subject=vm.name, text=f"guest '{vm.name}' is gone.")
        elif vm.uuid is not None and other.uuid is not None and vm.uuid != other.uuid:
            text = f"guest '{vm.name}' is another one now: its UUID was {vm.uuid}, is {other.uuid}."
            yield Change(subject=vm.name, text=text)
        else:
            yield from _guest(vm, other)
    for vm in now.vms:
        if vm.name not in planned.vm_by_name:
            yield Change(subject=vm.name, text=f"guest '{vm.name}' is new, on {vm.host}.")


def _guest(vm: Vm, other: Vm) -> Iterator[Change]:
    name = f"guest '{vm.name}'"
    if vm.host != other.host:
        yield Change(subject=vm.name, text=f"{name} moved from {vm.host} to {other.host}.")
    for field, what in (("state", "state"), ("vcpus", "vCPUs"), ("memory_mib", "memory in MiB")):
        was, is_ = getattr(vm, field), getattr(other, field)
        if was != is_:
            yield Change(subject=vm.name, text=f"{name}: {what} was {was}, is {is_}.")
    if other.unmovable_reason and not vm.unmovable_reason:
        yield Change(subject=vm.name, text=f"{name} cannot be moved any more: {other.unmovable_reason}.")
    disks_were, disks_are = _disks(vm), _disks(other)
    if disks_were != disks_are:
        yield Change(subject=vm.name, text=f"{name}: its disks were {_list(disks_were)}, are {_list(disks_are)}.")
    nets_were, nets_are = sorted(n.network for n in vm.nics), sorted(n.network for n in other.nics)
    if nets_were != nets_are:
        yield Change(subject=vm.name, text=f"{name}: its networks were {_list(nets_were)}, are {_list(nets_are)}.")
    if vm.tags != other.tags:
        yield Change(subject=vm.name, text=f"{name}: its labels were edited.", refuses=False)
    if vm.cpu_shares != other.cpu_shares:
        yield Change(subject=vm.name, text=f"{name}: its CPU shares were edited.", refuses=False)
    yield from _measured(vm, other)


def _disks(vm: Vm) -> list[str]:
    return sorted(f"{disk.name} ({disk.size_mib:.0f} MiB on {disk.datastore})" for disk in vm.disks)


def _list(items: Iterable[str]) -> str:
    return ", ".join(items) or "none"


def _measured(vm: Vm, other: Vm) -> Iterator[Change]:
    pairs = (
        ("cpu_demand_cores", vm.cpu_demand_cores, other.cpu_demand_cores),
        ("memory_used_mib", vm.memory_used_mib, other.memory_used_mib),
        ("dirty_rate_mib_s", _dirty_rate(vm), _dirty_rate(other)),
    )
    for field, was, is_ in pairs:
        if was is None or is_ is None:
            continue
        if abs(is_ - was) > max(_FLOORS[field], MEASURED_TOLERANCE * was):
            text = f"guest '{vm.name}': {field} was {was:.1f}, is {is_:.1f}; predictions may be off."
            yield Change(subject=vm.name, text=text, refuses=False)


def _dirty_rate(vm: Vm) -> float | None:
    return sum(part.dirty_rate_mib_s for part in vm.dirty) if vm.dirty else None


def _links(planned: Inventory, now: Inventory) -> Iterator[Change]:
    present = {frozenset((link.a, link.b)): link for link in now.links}
    for link in planned.links:
        other = present.get(frozenset((link.a, link.b)))
        if other is None or replace(link, a=other.a, b=other.b) != other:
            is_ = "is gone" if other is None else f"is {other.bandwidth_mbit_s:g} Mbit/s, {other.rtt_ms:g} ms now"
            text = f"link {link.name}: was {link.bandwidth_mbit_s:g} Mbit/s, {link.rtt_ms:g} ms, {is_}."
            yield Change(subject=link.name, text=text, refuses=False)
