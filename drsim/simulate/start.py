"""The moves of a plan as migrations that are about to begin."""

from __future__ import annotations

from typing import Any

from drsim.disk_lines import HOME
from drsim.errors import PlanError, Problem
from drsim.inventory import Inventory, Vm
from drsim.migration import Course, DiskCopy, Migration, Options, Parameters
from drsim.plan import Move
from drsim.policy import Limits
from drsim.topology import Path, Topology


def start(vm: Vm, path: Path, move: Move, limits: Limits, parameters: Parameters) -> Course:
    """Return the migration of a guest over a path, or the copy of its disks alone, at its beginning.

    Raises
    ------
    PlanError
        If the move copies a disk that the guest does not have.
    """
    if move.storage_only:
        cap = limits.bandwidth_mbit_s if move.bandwidth_mbit_s is None else move.bandwidth_mbit_s
        options = Options.of(move.transfer)
        return DiskCopy(vm, move.copy_disks, bandwidth_mbit_s=cap, parameters=parameters, options=options)
    return Migration(vm, path, **terms(path, move, limits, parameters))


def terms(path: Path, move: Move, limits: Limits, parameters: Parameters) -> dict[str, Any]:
    """Return the named arguments of `Migration`, and of `drsim.migration.numbers`, for a move over a path."""
    cap = limits.bandwidth_mbit_s if move.bandwidth_mbit_s is None else move.bandwidth_mbit_s
    return {
        "max_downtime_ms": move.aim_downtime_ms,
        "bandwidth_mbit_s": cap,
        "copy_disks": move.copy_disks,
        "parameters": parameters,
        "line_mbit_s": path.bandwidth_mbit_s,
        "options": Options.of(move.transfer, bandwidth_mbit_s=cap),
    }


def guest_of(inventory: Inventory, move: Move) -> Vm:
    """Return the guest of a move.

    Raises
    ------
    PlanError
        If the inventory does not have it.
    """
    vm = inventory.vm_by_name.get(move.vm)
    if vm is None:
        raise PlanError(_stray(move, "vm", f"there is no guest '{move.vm}' in the inventory."))
    return vm


def path_of(inventory: Inventory, topology: Topology, move: Move) -> Path:
    """Return the path of a move.

    Raises
    ------
    PlanError
        If the inventory does not have one of its hosts, or nothing joins them.
    """
    for field, host in (("source", move.source), ("target", move.target)):
        if host not in inventory.host_by_name:
            raise PlanError(_stray(move, field, f"there is no host '{host}' in the inventory."))
    if move.storage_only:
        return HOME
    path = topology.path(move.source, move.target)
    if path is None:
        raise PlanError(_stray(move, "target", f"no links join {move.source} and {move.target}."))
    return path


def _stray(move: Move, field: str, expected: str) -> Problem:
    return Problem(
        place=f"plan: moves '{move.id}'",
        field=field,
        expected=expected,
        remedy="Make the plan anew from the inventory it is to be applied to.",
    )
