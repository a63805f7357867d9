"""What is said of a plan of disks: what it copies, what stays where it is, and what would help."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from drsim import check
from drsim.inventory import Disk, Inventory, Vm
from drsim.optimize import Item, Shelved, Stock, Store, residual
from drsim.plan import Move
from drsim.policy import Objective, Policy
from drsim.storage import landed
from drsim.storing import LEFTOVERS

TOLD = 12
"""Datastores, or reasons, that are told."""

NAMED = 4
"""Disks named for one reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What can be moved, whose disks these are, and why others cannot be."""

    stock: Stock
    disks: tuple[tuple[Vm, Disk], ...]
    fixed: tuple[tuple[Vm, Disk, str], ...]


def notes(
    inventory: Inventory,
    policy: Policy,
    objective: Objective,
    known: Known,
    found: Shelved,
    moves: Sequence[Move],
    *,
    proven: bool,
) -> Iterator[str]:
    """Yield what a person should know of a plan.

    Parameters
    ----------
    inventory, policy, objective : Inventory, Policy, Objective
        What it was made from.
    known : Known
        What could be moved.
    found : Shelved
        What was chosen.
    moves : sequence of Move
        The moves.
    proven : bool
        Whether nothing can be better.
    """
    if moves:
        gib = sum(disk.data_mib for move in moves for disk in _disks(inventory, move)) / 1024.0
        least = found.least_mib / 1024.0
        at_least = f"at least {least:.3g} are needed" if least > 0.01 else "whether fewer would do is not known"
        fewest = "the fewest that do" if gib <= least + 0.01 else at_least
        yield f"{gib:.3g} GiB of disks are copied; {fewest}. {LEFTOVERS}"
    stuck = [
        (vm, disk, item)
        for (vm, disk), item, where in zip(known.disks, known.stock.items, found.place, strict=True)
        if where == item.at
    ]
    there = residual(known.stock, found.place)
    if objective.datastores:
        yield from _left(inventory, known, stuck, there)
        return
    said = 0
    for name, use in check.datastore_use(landed(inventory, moves)).items():
        over = use.over(objective)
        if over <= 1e-6:
            continue
        said += 1
        if said > TOLD:
            yield "Further datastores stay over their thresholds."
            return
        here = [item for _, disk, item in stuck if disk.datastore == name]
        yield _still_over(inventory, policy, name, use, known, here, there, proven=proven)


def _disks(inventory: Inventory, move: Move) -> Iterator[Disk]:
    return (disk for disk in inventory.vm_by_name[move.vm].disks if disk.name in move.copy_disks)


def _left(
    inventory: Inventory, known: Known, stuck: Sequence[tuple[Vm, Disk, Item]], there: Sequence[Store]
) -> Iterator[str]:
    """Say which disks stay on a datastore that should be empty, and why: those for the same reason together."""
    why: dict[tuple[str, str], list[tuple[Vm, Disk]]] = {}
    near: dict[int, list[Item]] = {}
    for _, _, item in stuck:
        near.setdefault(_nearest(there, item), []).append(item)
    for vm, disk, text in known.fixed:
        why.setdefault((disk.datastore, text), []).append((vm, disk))
    for vm, disk, item in stuck:
        store = _nearest(there, item)
        why.setdefault((disk.datastore, _lacking(inventory, there, store, near[store])), []).append((vm, disk))
    for (name, text), disks in list(why.items())[:TOLD]:
        names = ", ".join(f"'{disk.name}' of '{vm.name}'" for vm, disk in disks[:NAMED])
        names += f" and {len(disks) - NAMED} more" if len(disks) > NAMED else ""
        yield f"On '{name}' {'stays' if len(disks) == 1 else 'stay'} {names}: {text}. {_remedy(text, disks[0][0])}"


def _nearest(stores: Sequence[Store], item: Item) -> int:
    """Return the datastore that lacks the least for a disk."""

    def lack(number: int) -> tuple[float, float]:
        space, writes = _short(stores[number], [item])
        return max(space, 0.0), max(writes, 0.0)

    return min(item.to, key=lack)


def _short(store: Store, items: Sequence[Item]) -> tuple[float, float]:
    """Return what a datastore lacks for disks: space (MiB) and writes (MiB/s)."""
    sizes, writes = sum(item.size_mib for item in items), sum(item.writes_mib_s for item in items)
    return (
        0.0 if store.free_mib is None else sizes - max(0.0, store.free_mib),
        0.0 if store.free_mib_s is None else writes - max(0.0, store.free_mib_s),
    )


def _lacking(inventory: Inventory, stores: Sequence[Store], number: int, items: Sequence[Item]) -> str:
    """Say what a datastore lacks for disks."""
    space, writes = _short(stores[number], items)
    parts = [f"{space / 1024.0:.3g} GiB"] if space > 1e-6 else []
    parts += [f"{writes:.3g} MiB/s of writes"] if writes > 1e-6 else []
    if not parts:
        return "no more may be moved, or another disk would come to its path"
    return f"datastore '{inventory.datastores[number].name}' lacks {' and '.join(parts)}"


def _remedy(why: str, vm: Vm) -> str:
    if "lacks" in why:
        return "Make room there."
    if "mounts no other" in why:
        return f"Mount one there, or move the guests off {vm.host}."
    return "Raise max_moves or max_gib." if "no more may" in why else "Mend that, then make a new plan."


def _still_over(
    inventory: Inventory,
    policy: Policy,
    name: str,
    use: check.Use,
    known: Known,
    stuck: Sequence[Item],
    there: Sequence[Store],
    *,
    proven: bool,
) -> str:
    """Say how far a datastore is over its thresholds in the end, and what stands in the way."""
    shares = [f"{use.full:.1%} full"] if use.full is not None else []
    shares += [f"written to at {use.written:.1%} of what it bears"] if use.written is not None else []
    held = [why for _, disk, why in known.fixed if disk.datastore == name]
    lacks = [
        _lacking(inventory, there, _nearest(there, item), [item]) for item in sorted(stuck, key=lambda i: i.size_mib)
    ]
    if lacks and "lacks" in lacks[0]:
        reason = f"{lacks[0]} for the smallest of its disks"
    elif held and not stuck:
        reason = f"none of its disks can leave: {held[0]}"
    elif not stuck:
        reason = "what lies there beside known disks is not drsim's to move"
    elif policy.limits.max_moves is not None or policy.limits.max_gib is not None:
        reason = "no more may be moved, or others would be no better off"
    else:
        reason = "others would be no better off" if proven else "nothing better was found"
    return f"'{name}' stays over its threshold, {' and '.join(shares)}: {reason}."
