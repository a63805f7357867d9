"""What would help where no placement holds everything, and whether that is proven."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from drsim.inventory import Datastore, Device, Host, Inventory
from drsim.placement import Placement
from drsim.policy import Policy
from drsim.resources import Resource


@dataclass(frozen=True, slots=True, kw_only=True)
class Relaxation:
    """Something to give up, and a placement that holds everything else.

    Parameters
    ----------
    drop : tuple of str
        Rules.
    room : tuple of (str, Resource, float)
        Host, resource and how much more of it the host would need.
    stay : tuple of str
        Guests that stay on a host that should be evacuated.
    out : tuple of str
        New guests that are not placed.
    placement : Placement
        The witness.
    """

    drop: tuple[str, ...] = ()
    room: tuple[tuple[str, Resource, float], ...] = ()
    stay: tuple[str, ...] = ()
    out: tuple[str, ...] = ()
    placement: Placement

    def __str__(self) -> str:
        parts = [f"drop rule '{name}'" for name in self.drop]
        parts += [resource.more(amount, host) for host, resource, amount in self.room]
        parts += [f"leave '{name}' where it is" for name in self.stay]
        parts += [f"leave out '{name}'" for name in self.out]
        return " and ".join(parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What is known of a placement that holds everything.

    Parameters
    ----------
    placement : Placement or None
        One, if there is one.
    proven : bool
        Whether CP-SAT has shown that there is none.
    relaxations : tuple of Relaxation
        Each alone would do; each replayed by the checker.
    """

    placement: Placement | None = None
    proven: bool = False
    relaxations: tuple[Relaxation, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know."""
        if self.placement is not None or not (self.proven or self.relaxations):
            return ()
        said = "No placement holds everything that must hold" if self.proven else "No placement that does was found"
        if not self.relaxations:
            return (f"{said}, and no relaxation of rules or room alone would help: guests cannot reach other hosts.",)
        return (f"{said}. Any one of these would do: {'; or '.join(map(str, self.relaxations))}.",)


def roomier(host: Host, policy: Policy, room: Sequence[tuple[str, Resource, float]]) -> Host:
    """Return a host with so much more of what it lacks, headroom on top."""
    limits = policy.limits
    for name, resource, amount in room:
        if name != host.name or resource.for_disks:
            continue
        match resource.kind:
            case "memory" | "small_pages":
                more = amount / host.memory_overcommit / (1.0 - limits.memory_headroom)
                host = replace(host, memory_mib=host.memory_mib + int(np.ceil(more)))
            case "huge_pages":
                more = int(np.ceil(amount))
                host = replace(host, memory_mib=host.memory_mib + more, huge_pages_mib=host.huge_pages_mib + more)
            case "numa":
                nodes = host.nodes + int(np.ceil(amount))
                share = nodes / host.nodes
                host = replace(
                    host,
                    numa_nodes=nodes,
                    memory_mib=host.reserved_memory_mib
                    + int(np.ceil((host.memory_mib - host.reserved_memory_mib) * share)),
                    cores=int(np.ceil(host.cores * share)),
                )
            case "vcpus":
                host = replace(host, cpu_overcommit=(host.guest_vcpus + amount) / host.cores)
            case "device":
                added = Device(name=resource.name, count=int(np.ceil(amount)))
                host = replace(host, devices=(*host.devices, added))
            case _:
                host = replace(host, cores=host.cores + int(np.ceil(amount / (1.0 - limits.cpu_headroom))))
    return host


def roomier_stores(inventory: Inventory, room: Sequence[tuple[str, Resource, float]]) -> tuple[Datastore, ...]:
    """Return the datastores with so much more of what they lack; of several that a host may choose from the first."""
    stores = dict(inventory.datastore_by_name)
    for host, resource, amount in room:
        if not resource.for_disks:
            continue
        name = resource.stores[host][0]
        store = stores[name]
        if resource.kind == "disk_space" and store.capacity_mib is not None:
            stores[name] = replace(store, capacity_mib=store.capacity_mib + amount)
        elif store.write_rate_mib_s is not None:
            stores[name] = replace(store, write_rate_mib_s=store.write_rate_mib_s + amount)
    return tuple(stores.values())
