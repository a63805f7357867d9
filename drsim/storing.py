"""Plans that move disks of running guests between datastores of their hosts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from drsim import check
from drsim.copying import foreseen
from drsim.errors import InventoryError, PlanError, PolicyError, Problem
from drsim.inventory import Inventory
from drsim.migration import Calibration
from drsim.optimize import score
from drsim.placement import Placement
from drsim.plan import Move, Plan
from drsim.policy import Limits, Objective, Policy, select_vms
from drsim.storage import is_file, landing_in
from drsim.travel import manner_of
from drsim.version import __version__

LEFTOVERS = "What they leave behind is not removed."
"""Said of every plan that copies disks."""


def in_waves(inventory: Inventory, moves: Sequence[Move], limits: Limits) -> tuple[Move, ...]:
    """Name moves of disks and share them out to waves: one a host at a time, and no more at once than may be.

    A wave lasts as long as its longest move, so those with much to copy come first and meet their like.
    """

    def data_mib(move: Move) -> float:
        return sum(disk.data_mib for disk in inventory.vm_by_name[move.vm].disks if disk.name in move.copy_disks)

    there: list[set[str]] = []
    found = []
    for move in sorted(moves, key=data_mib, reverse=True):
        free = (n for n, hosts in enumerate(there) if move.source not in hosts and len(hosts) < limits.moves_at_once)
        wave = next(free, len(there))
        there.extend([set()] if wave == len(there) else [])
        there[wave].add(move.source)
        found.append(replace(move, wave=wave + 1))
    ordered = sorted(found, key=lambda move: move.wave)
    return tuple(replace(move, id=f"m{number:03d}") for number, move in enumerate(ordered, 1))


def plan_storage(
    inventory: Inventory,
    policy: Policy | None = None,
    *,
    vms: Sequence[str],
    to: str,
    disks: Sequence[str] = (),
    calibration: Calibration | None = None,
) -> Plan:
    """Plan to move disks of running guests to another datastore of the host that each is on; nobody changes hosts.

    Parameters
    ----------
    inventory, policy : Inventory, Policy
        What is where; how guests travel, and limits.
    vms : sequence of str
        Guests: names or ``tag:LABEL``.
    to : str
        Datastore.
    disks : sequence of str
        Their disks, by target name; all by default. Those that lie there already stay.
    calibration : Calibration, optional
        Constants by which copies are predicted, and what is known of their errors; by default those of the model.

    Raises
    ------
    InventoryError, PolicyError, PlanError
        If a name is not known, a disk is no file, the datastore has no room or no path, or not all hosts mount it.
    """
    policy = policy or Policy()
    if problems := check.inventory_problems(inventory):
        raise InventoryError(*problems)
    if problems := check.policy_problems(policy, inventory):
        raise PolicyError(*problems)
    store = inventory.datastore_by_name.get(to)
    if store is None or store.path is None:
        known = ", ".join(each.name for each in inventory.datastores if each.path) or "none"
        raise _refuse("datastore", f"'{to}' is no datastore with a folder of files.", f"Name one of: {known}.")
    if unknown := [word for word in vms if not select_vms([word], inventory)]:
        raise _refuse("vms", f"'{unknown[0]}' is no guest and no tag of one.", "Correct it.")
    moves: list[Move] = []
    needed_mib = 0.0
    for vm in select_vms(vms, inventory):
        wanted = [disk for disk in vm.disks if (not disks or disk.name in disks) and disk.datastore != to]
        if not wanted:
            continue
        if vm.state != "running":
            raise _refuse("vms", f"'{vm.name}' is {vm.state}.", "Only disks of running guests are moved live.")
        if odd := [disk.name for disk in wanted if not is_file(disk, inventory)]:
            raise _refuse("disks", f"disk '{odd[0]}' of '{vm.name}' is not a file.", "Name disks that are files.")
        if vm.host not in store.hosts:
            raise _refuse("datastore", f"'{vm.host}', host of '{vm.name}', does not mount '{to}'.", "Mount it there.")
        needed_mib += sum(disk.size_mib for disk in wanted)
        moves.append(
            Move(
                id="",
                vm=vm.name,
                source=vm.host,
                target=vm.host,
                reason=f"its disks go to {to}",
                transfer=manner_of(vm, policy).transfer,
                bandwidth_mbit_s=policy.limits.bandwidth_mbit_s,
                copy_disks=tuple(disk.name for disk in wanted),
                landings=tuple(landing_in(disk, store) for disk in wanted),
            )
        )
    free_mib = None if store.capacity_mib is None else store.capacity_mib - (store.used_mib or 0.0)
    if free_mib is not None and needed_mib > free_mib:
        raise _refuse("datastore", f"'{to}' has {free_mib:.0f} MiB free of {needed_mib:.0f} MiB needed.", "Make room.")
    paths = [landing.path for move in moves for landing in move.landings]
    if twins := [path for path in paths if paths.count(path) > 1]:
        raise _refuse("disks", f"two disks would become {twins[0]}.", "Move them one by one, renamed.")
    return _plan(inventory, policy, moves, to, calibration or Calibration())


def _plan(inventory: Inventory, policy: Policy, unnamed: Sequence[Move], to: str, calibration: Calibration) -> Plan:
    waves = in_waves(inventory, unnamed, policy.limits)
    moves, makespan_s, told = foreseen(inventory, waves, policy.limits, calibration)
    wish = Objective(goal="repair")
    reached = score(inventory, policy, wish, Placement.of(inventory))
    note = f"Disks move to {to}; every guest stays on its host. {LEFTOVERS}"
    plan = Plan(
        inventory=inventory,
        policy=policy,
        objective=wish,
        moves=moves,
        before=reached,
        after=reached,
        applyable=bool(moves),
        status="feasible" if moves else "nothing to do",
        notes=(note, *told) if moves else (),
        makespan_s=makespan_s,
        tool_version=__version__,
    )
    if broken := check.plan_violations(plan):
        raise PlanError(*(Problem(place="plan", expected=each.text, remedy=each.remedy) for each in broken))
    return plan


def _refuse(field: str, expected: str, remedy: str) -> PlanError:
    return PlanError(Problem(place="moving disks", field=field, expected=expected, remedy=remedy))
