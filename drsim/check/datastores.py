"""How full datastores are and how hard they are written to, and whether the landings of a plan may be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from drsim.check.violation import Violation
from drsim.inventory import Inventory
from drsim.plan import Plan
from drsim.policy import Objective, wished_stores


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """What of a datastore is used.

    Parameters
    ----------
    full, written : float or None
        Space in use, of its size; what is written to it, of what it can take at once. None if one of them is not known.
    """

    full: float | None
    written: float | None

    def over(self, wish: Objective) -> float:
        """Return by how much it is used over the thresholds, as a share of its size or its write rate."""
        pairs = ((self.full, wish.most_full), (self.written, wish.most_written))
        return max([0.0, *(share - most for share, most in pairs if share is not None)])


def datastore_use(inventory: Inventory) -> dict[str, Use]:
    """Say of every datastore what is used: what was measured in all, or the disks that are known if they are more."""
    held, written = dict.fromkeys(inventory.datastore_by_name, 0.0), dict.fromkeys(inventory.datastore_by_name, 0.0)
    for vm in inventory.vms:
        for disk in vm.disks:
            held[disk.datastore] += disk.data_mib
            written[disk.datastore] += disk.write_rate_mib_s
    return {
        store.name: Use(
            full=None
            if store.capacity_mib is None
            else max(held[store.name], store.used_mib or 0.0) / store.capacity_mib,
            written=None if store.write_rate_mib_s is None else written[store.name] / store.write_rate_mib_s,
        )
        for store in inventory.datastores
    }


def overuse(inventory: Inventory, wish: Objective) -> float:
    """Return by how much the datastore that is worst is used over its threshold, in per cent of what it has."""
    return 100.0 * max((use.over(wish) for use in datastore_use(inventory).values()), default=0.0)


def left_mib(inventory: Inventory, wish: Objective) -> float:
    """Return the size of the disks on the datastores that are to be evacuated, MiB."""
    return sum(disk.size_mib for vm in inventory.vms for disk in vm.disks if disk.datastore in wish.datastores)


def landing_violations(plan: Plan) -> Iterator[Violation]:
    """Yield what is wrong with where disks land: a path that is taken, or a datastore that the policy does not name."""
    taken = Counter((disk.datastore, disk.path) for vm in plan.inventory.vms for disk in vm.disks if disk.path)
    moves = [move for move in plan.moves if move.storage_only]
    coming = Counter((landing.datastore, landing.path) for move in moves for landing in move.landings)
    stores, vms = plan.inventory.datastore_by_name, plan.inventory.vm_by_name
    chosen = plan.objective.of_disks
    for move in moves:
        for landing in move.landings:
            where = (landing.datastore, landing.path)
            if coming[where] > 1 or taken[where]:
                text = (
                    f"Move {move.id}: another disk lies, or comes to lie, at {landing.path} on '{landing.datastore}'."
                )
                yield _say("disk", move.id, text, move.wave)
            if not chosen or move.vm not in vms or landing.datastore not in stores:
                continue
            wished = wished_stores(plan.policy, vms[move.vm], move.target, plan.inventory)
            if wished and landing.datastore not in wished:
                text = f"Move {move.id}: the policy wants disks of '{move.vm}' on {' or '.join(wished)}."
                yield _say("disk", move.id, text, move.wave)
            if landing.datastore in plan.objective.datastores:
                text = f"Move {move.id}: '{landing.datastore}' is to be evacuated; a disk would land there."
                yield _say("disk", move.id, text, move.wave)
    if chosen:
        for move in plan.moves:
            if not move.storage_only:
                text = f"Move {move.id} moves '{move.vm}' itself; only disks were to move."
                yield _say("disk", move.id, text, move.wave)


def _say(kind: str, subject: str, text: str, wave: int) -> Violation:
    return Violation(kind=kind, subject=subject, text=text, remedy="Make a new plan.", when=f"wave {wave}")
