"""VM -> host, and what changes between two placements."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from drsim.inventory import Inventory


@dataclass(frozen=True)
class Placement(Mapping[str, str]):
    """Where every guest is; a read-only mapping from guest name to host name, in the inventory's order.

    Parameters
    ----------
    hosts : dict of str to str
        Guest name to host name. Taken over, not copied: do not change it afterwards.
    """

    hosts: Mapping[str, str]

    @classmethod
    def of(cls, inventory: Inventory) -> Placement:
        """Take the placement that an inventory records."""
        return cls({vm.name: vm.host for vm in inventory.vms})

    def __getitem__(self, vm: str) -> str:
        return self.hosts[vm]

    def __iter__(self) -> Iterator[str]:
        return iter(self.hosts)

    def __len__(self) -> int:
        return len(self.hosts)

    def moved(self, vm: str, host: str) -> Placement:
        """Return the placement with one guest elsewhere."""
        return Placement({**self.hosts, vm: host})

    def changes(self, target: Placement) -> tuple[tuple[str, str, str], ...]:
        """List (guest, from, to) for each guest that is elsewhere in `target`, in this placement's order."""
        return tuple((vm, host, target[vm]) for vm, host in self.hosts.items() if target[vm] != host)

    def seated(self, inventory: Inventory) -> Inventory:
        """Return the inventory without the guests that have no host here: new ones that are not placed yet."""
        if all(self.hosts.values()):
            return inventory
        return replace(inventory, vms=tuple(vm for vm in inventory.vms if self[vm.name]))

    def applied_to(self, inventory: Inventory) -> Inventory:
        """Return the inventory as it would be with its guests placed like this."""
        return replace(inventory, vms=tuple(replace(vm, host=self[vm.name]) for vm in inventory.vms))
