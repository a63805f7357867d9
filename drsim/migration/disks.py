"""Which disks have to move along with a guest, and how much there is to copy."""

from __future__ import annotations

from collections.abc import Collection

from drsim.errors import PlanError, Problem
from drsim.inventory import Disk, Host, Inventory, Vm


def copied_disks(vm: Vm, target: Host, inventory: Inventory) -> tuple[str, ...]:
    """List the disks of the guest that the target does not see: those on datastores that it does not mount."""
    stores = inventory.datastore_by_name
    return tuple(
        disk.name
        for disk in vm.disks
        if disk.datastore not in stores or target.name not in stores[disk.datastore].hosts
    )


def named_disks(vm: Vm, names: Collection[str]) -> tuple[Disk, ...]:
    """Return the guest's disks of these names, in the guest's order.

    Raises
    ------
    PlanError
        If the guest has no disk of a name.
    """
    known = {disk.name for disk in vm.disks}
    if unknown := sorted(set(names) - known):
        raise PlanError(
            Problem(
                place=f"move of '{vm.name}'",
                field="copy_disks",
                expected=f"{', '.join(unknown)} is not among its disks ({', '.join(sorted(known)) or 'it has none'}).",
                remedy="Name disks of the guest as the inventory lists them, or make the plan anew.",
            )
        )
    return tuple(disk for disk in vm.disks if disk.name in names)
