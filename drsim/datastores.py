"""Plans that even out datastores, or empty them, while every guest stays on its host."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from drsim import check
from drsim.copying import foreseen
from drsim.datastore_notes import Known, notes
from drsim.inventory import Datastore, Disk, Inventory, Vm
from drsim.migration import Calibration
from drsim.optimize import Item, Shelved, Stock, Store, score, shelve
from drsim.placement import Placement
from drsim.plan import Move, Plan
from drsim.policy import Objective, Policy, wished_stores
from drsim.storage import Stores, is_file, landed, landing_in
from drsim.storing import in_waves
from drsim.travel import manner_of
from drsim.version import __version__


def plan_datastores(
    inventory: Inventory,
    policy: Policy,
    objective: Objective,
    *,
    time_limit_s: float = 10.0,
    seed: int = 0,
    calibration: Calibration | None = None,
) -> Plan:
    """Decide which disks to move to which datastores; nobody changes hosts.

    Disks of running guests go to datastores that their host mounts, with a folder, that the policy names for them if it
    names any there. `storage` relieves the datastores that are used over the thresholds of the objective, for the
    fewest GiB; `evacuate` empties those that it names.

    Parameters
    ----------
    inventory, policy, objective : Inventory, Policy, Objective
        Free of problems.
    time_limit_s : float
        Time for the search, seconds.
    seed : int
        Same input and seed: same plan.
    calibration : Calibration, optional
        Constants by which copies are predicted, and what is known of their errors; by default those of the model.
    """
    known = _stock(inventory, policy, objective)
    found = shelve(known.stock, time_limit_s, seed)
    moves, makespan_s, told = foreseen(
        inventory, _moves(inventory, policy, objective, known, found), policy.limits, calibration or Calibration()
    )
    there = landed(inventory, moves)
    before = score(inventory, policy, objective, Placement.of(inventory))
    after = score(there, policy, objective, Placement.of(inventory))
    if objective.datastores:
        bound = found.left_mib + sum(disk.size_mib for _, disk, _ in known.fixed)
    else:
        bound = 100.0 * found.over
    reached = after.objective <= bound + 0.02 + 1e-6 * bound  # rounding of shares
    bound = min(bound, after.objective)
    plan = Plan(
        inventory=inventory,
        policy=policy,
        objective=objective,
        moves=moves,
        before=before,
        after=after,
        lower_bound=bound,
        status="nothing to do" if not moves else "optimal" if reached else "feasible",
        complete=after.objective <= 1e-6,
        applyable=bool(moves),
        notes=(*notes(inventory, policy, objective, known, found, moves, proven=reached), *told),
        makespan_s=makespan_s,
        seed=seed,
        tool_version=__version__,
    )
    return check.judged(plan)


def _stock(inventory: Inventory, policy: Policy, objective: Objective) -> Known:
    """List what the search decides about."""
    stores, index = Stores(inventory, policy), {store.name: n for n, store in enumerate(inventory.datastores)}
    taken = {(disk.datastore, disk.path) for vm in inventory.vms for disk in vm.disks if disk.path}
    items, disks, fixed = [], [], []
    for number, vm in enumerate(inventory.vms):
        for disk in vm.disks:
            if objective.datastores and disk.datastore not in objective.datastores:
                continue
            choice, why = _choice(inventory, policy, objective, vm, disk)
            landings = {store.name: landing_in(disk, store).path for store in choice}
            free = [store for store in choice if (store.name, landings[store.name]) not in taken]
            if why or not free:
                fixed.append((vm, disk, why or f"a disk lies at {landings[choice[0].name]} on '{choice[0].name}'"))
                continue
            disks.append((vm, disk))
            items.append(
                Item(
                    guest=number,
                    at=index[disk.datastore],
                    to=tuple(index[store.name] for store in free),
                    paths=tuple(landings[store.name] for store in free),
                    size_mib=disk.size_mib,
                    data_mib=disk.data_mib,
                    writes_mib_s=disk.write_rate_mib_s,
                )
            )
    limits = policy.limits
    stock = Stock(
        stores=_stores(inventory, stores, objective),
        items=tuple(items),
        most_full=objective.most_full,
        most_written=objective.most_written,
        max_moves=limits.max_moves,
        max_mib=None if limits.max_gib is None else limits.max_gib * 1024.0,
    )
    return Known(stock=stock, disks=tuple(disks), fixed=tuple(fixed))


def _stores(inventory: Inventory, stores: Stores, objective: Objective) -> tuple[Store, ...]:
    use = check.datastore_use(inventory)
    return tuple(
        Store(
            used_mib=(use[store.name].full or 0.0) * (store.capacity_mib or 0.0),
            size_mib=store.capacity_mib,
            free_mib=None if store.capacity_mib is None else stores.free_mib(store),
            written_mib_s=(use[store.name].written or 0.0) * (store.write_rate_mib_s or 0.0),
            rate_mib_s=store.write_rate_mib_s,
            free_mib_s=None if store.write_rate_mib_s is None else stores.free_mib_s(store),
            leave=store.name in objective.datastores,
        )
        for store in inventory.datastores
    )


def _choice(
    inventory: Inventory, policy: Policy, objective: Objective, vm: Vm, disk: Disk
) -> tuple[list[Datastore], str]:
    """Return the datastores where a disk may go instead, or why it cannot go anywhere."""
    host = inventory.host_by_name[vm.host]
    if vm.state != "running":
        return [], f"its guest is {vm.state}; only disks of running guests are moved live"
    if host.state != "up":
        return [], f"its host '{host.name}' is in state {host.state}"
    if not is_file(disk, inventory):
        return [], "it is not a file"
    mounted = [
        store
        for store in inventory.datastores
        if vm.host in store.hosts
        and store.path
        and store.name != disk.datastore
        and store.name not in objective.datastores
        and landing_in(disk, store).path != disk.path
    ]
    if not objective.datastores:  # how full a datastore is whose size nobody knows, nobody can say
        mounted = [store for store in mounted if store.capacity_mib is not None]
    if not mounted:
        return [], f"'{host.name}' mounts no other datastore that would do"
    wished = wished_stores(policy, vm, vm.host, inventory)
    named = [store for store in mounted if store.name in wished] if wished else mounted
    return named, "" if named else f"the policy wants it on {' or '.join(wished)}"


def _moves(
    inventory: Inventory, policy: Policy, objective: Objective, known: Known, found: Shelved
) -> tuple[Move, ...]:
    going: dict[str, list[tuple[Disk, Datastore]]] = {}
    for (vm, disk), item, where in zip(known.disks, known.stock.items, found.place, strict=True):
        if where != item.at:
            going.setdefault(vm.name, []).append((disk, inventory.datastores[where]))
    moves = []
    for name, disks in going.items():
        vm = inventory.vm_by_name[name]
        moves.append(
            Move(
                id="",
                vm=name,
                source=vm.host,
                target=vm.host,
                reason="",
                transfer=manner_of(vm, policy).transfer,
                bandwidth_mbit_s=policy.limits.bandwidth_mbit_s,
                copy_disks=tuple(disk.name for disk, _ in disks),
                landings=tuple(landing_in(disk, store) for disk, store in disks),
            )
        )
    ordered = in_waves(inventory, moves, policy.limits)
    before, after = check.datastore_use(inventory), check.datastore_use(landed(inventory, ordered))
    return tuple(replace(move, reason=_reason(move, going[move.vm], objective, before, after)) for move in ordered)


def _reason(
    move: Move,
    disks: Sequence[tuple[Disk, Datastore]],
    objective: Objective,
    before: dict[str, check.Use],
    after: dict[str, check.Use],
) -> str:
    """Say why disks leave where they are, and what becomes of where they go."""
    parts = []
    for source in dict.fromkeys(disk.datastore for disk, _ in disks):
        use = before[source]
        written = (
            use.written is not None and use.written - objective.most_written > (use.full or 0.0) - objective.most_full
        )
        if source in objective.datastores:
            parts.append(f"{source} is to be evacuated")
        elif use.over(objective) <= 0.0:
            parts.append(f"makes room on {source} for other disks")
        elif written:
            parts.append(f"{source} is written to at {_change(use.written, after[source].written)} of what it bears")
        else:
            parts.append(f"{source} is {_change(use.full, after[source].full)} full")
    for target in dict.fromkeys(store.name for _, store in disks):
        names = ", ".join(disk.name for disk, store in disks if store.name == target)
        full = "" if before[target].full is None else f", {_change(before[target].full, after[target].full)} full"
        parts.append(f"{names} to {target}{full}")
    return "; ".join(parts)


def _change(before: float | None, after: float | None) -> str:
    return f"{before or 0.0:.0%} -> {after or 0.0:.0%}"
