"""Resource pools: what a group of guests may have of a host, and what is kept for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Gt, MinLen

from drsim.inventory import Inventory, Name, Vm
from drsim.rules.select import Strength, running, select_hosts
from drsim.units import About

SLACK = 1e-6
"""What sums of floats may be off by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """On each of the hosts the guests have so much at most, and so much is kept free for them. Holds at every instant.

    What is kept is for the guests of the pool alone: the others of a host may have its size less that, whether or not
    the pool uses it now.
    """

    kind: Literal["pool"] = "pool"
    name: Annotated[Name, About("Name of the rule.")]
    vms: Annotated[tuple[str, ...], MinLen(1), About("Guests of the pool: names or tag:LABEL.")]
    hosts: Annotated[tuple[str, ...], About("Hosts: names, tag:, rack: or site:; all by default.")] = ()
    most_memory_mib: Annotated[float | None, Ge(0), About("Memory that they may have on a host.", "MiB")] = None
    most_cores: Annotated[float | None, Ge(0), About("CPU demand that they may have on a host.", "cores")] = None
    kept_memory_mib: Annotated[float, Ge(0), About("Memory of each host that is kept for them.", "MiB")] = 0.0
    kept_cores: Annotated[float, Ge(0), About("CPU of each host that is kept for them.", "cores")] = 0.0
    strength: Annotated[Strength, About("must or should.")] = "must"
    price: Annotated[float, Gt(0), About("What a breach of a 'should' costs, per guest.")] = 1.0

    def where(self, inventory: Inventory) -> set[str]:
        """Return the hosts that it is about."""
        chosen = select_hosts(self.hosts, inventory) if self.hosts else inventory.hosts
        return {host.name for host in chosen}

    def breakers(self, inventory: Inventory, where: Mapping[str, str]) -> list[Vm]:
        """List the guests, in the inventory's order, that are beyond what they may have: its own, and others."""
        mine = {vm.name for vm in running(self.vms, inventory)}
        hosts = self.where(inventory)
        used = {(host, own): [0.0, 0.0] for host in hosts for own in (True, False)}
        beyond = []
        for vm in inventory.vms:
            host = where[vm.name]
            if vm.state == "stopped" or host not in hosts:
                continue
            own = vm.name in mine
            sums, node = used[host, own], inventory.host_by_name[host]
            sums[0] += vm.memory_mib
            sums[1] += vm.cpu_cores
            limits = (
                (self.most_memory_mib, self.most_cores)
                if own
                else (
                    node.guest_memory_mib - self.kept_memory_mib if self.kept_memory_mib else None,
                    node.cores - self.kept_cores if self.kept_cores else None,
                )
            )
            if any(most is not None and have > most + SLACK for have, most in zip(sums, limits, strict=True)):
                beyond.append(vm)
        return beyond

    @property
    def breach(self) -> str:
        """What a guest that breaks it is."""
        return "beyond what its pool may have, or in what is kept for another"
