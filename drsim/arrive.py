"""New guests: where they should be started, and what has to make room for them first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from drsim import check
from drsim.errors import PolicyError
from drsim.inventory import Inventory
from drsim.placement import Placement
from drsim.plan import Start
from drsim.policy import Objective, Policy


def awaiting(inventory: Inventory, policy: Policy, objective: Objective) -> Inventory:
    """Return the inventory with the new guests of an objective, that have no host yet.

    Raises
    ------
    PolicyError
        If one of them contradicts the inventory.
    """
    if not objective.newcomers:
        return inventory
    if problems := check.newcomer_problems(inventory, objective.newcomers):
        raise PolicyError(*problems)
    return replace(inventory, vms=inventory.vms + objective.newcomers)


def starts(
    inventory: Inventory, policy: Policy, reached: Placement, wanted: Placement, reasons: Mapping[str, str]
) -> tuple[tuple[Start, ...], tuple[str, ...]]:
    """Say which new guests can be started where, once the moves of a plan are made.

    Parameters
    ----------
    inventory : Inventory
        With the new guests.
    policy : Policy
        What must hold.
    reached : Placement
        Where the moves lead; new guests have no host.
    wanted : Placement
        Where the search has put the new guests; empty for those that found no host.
    reasons : mapping of str to str
        Why there.

    Returns
    -------
    tuple of Start
        Each fits when all before it have been started.
    tuple of str
        What keeps others from their hosts: moves that should have made room could not be made.
    """
    there = Placement({name: reached.get(name, "") for name in wanted})
    standing = _texts(inventory, policy, there)
    made: list[Start] = []
    notes: list[str] = []
    for vm in inventory.vms:
        host = wanted[vm.name]
        if vm.host or not host:
            continue
        then = there.moved(vm.name, host)
        texts = _texts(inventory, policy, then)
        if texts - standing:
            notes.append(f"'{vm.name}' cannot be started on {host}: {min(texts - standing)}")
            continue
        there, standing = then, texts
        made.append(Start(vm=vm.name, host=host, reason=reasons.get(vm.name, "")))
    return tuple(made), tuple(notes)


def _texts(inventory: Inventory, policy: Policy, placement: Placement) -> set[str]:
    return {violation.text for violation in check.violations(placement.seated(inventory), policy, placement)}
