"""Whether disks that move along with their guests find room where a placement has them."""

from __future__ import annotations

import math
from collections import defaultdict

from drsim.check.violation import SLACK, Violation
from drsim.inventory import Inventory
from drsim.placement import Placement
from drsim.policy import Policy
from drsim.storage import Stores


def disk_violations(inventory: Inventory, policy: Policy, placement: Placement) -> tuple[Violation, ...]:
    """List the datastores that lack room for the disks that a placement brings to them, when all others have left.

    Parameters
    ----------
    inventory, policy : Inventory, Policy
        Free of problems.
    placement : Placement
        Where every guest is to be; new guests and guests that stay bring nothing.
    """
    stores, hosts = Stores(inventory, policy), inventory.host_by_name
    known = inventory.datastore_by_name
    free = {name: [stores.free_mib(store), stores.free_mib_s(store)] for name, store in known.items()}
    coming = []
    for vm in inventory.vms:
        if not vm.host or placement[vm.name] in (vm.host, ""):
            continue
        for disk in stores.travelling(vm, hosts[placement[vm.name]]):
            free[disk.datastore][0] += disk.size_mib
            free[disk.datastore][1] += disk.write_rate_mib_s
            coming.append((vm, disk, hosts[placement[vm.name]]))
    lacks: dict[tuple[str, str], list[float]] = defaultdict(lambda: [0.0, 0.0])
    for vm, disk, host in sorted(coming, key=lambda each: -each[1].size_mib):
        need = (disk.size_mib, disk.write_rate_mib_s)
        choice = [store.name for store in stores.ranked(vm, disk, host)]
        if not choice:
            continue
        fits = (name for name in choice if all(n <= f + SLACK for n, f in zip(need, free[name], strict=True)))
        chosen = next(fits, choice[0])
        for index, amount in enumerate(need):
            before = free[chosen][index]
            free[chosen][index] -= amount
            if amount > before + SLACK and math.isfinite(before):
                lacks[chosen, host.name][index] += min(amount, amount - before)
    return tuple(
        Violation(
            kind="disk",
            subject=store,
            text=f"datastore '{store}' of {host} lacks {_amounts(*lack)} for the disks that come.",
            remedy="Make room there, or bring other guests.",
        )
        for (store, host), lack in lacks.items()
    )


def _amounts(mib: float, mib_s: float) -> str:
    parts = [f"{mib / 1024.0:.3g} GiB"] if mib else []
    return " and ".join([*parts, *([f"{mib_s:.3g} MiB/s of writes"] if mib_s else [])])
