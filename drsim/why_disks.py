"""Why a plan has disks of a guest where it has them: what if they stayed, and where else they could go."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from drsim import check
from drsim.inventory import Datastore, Vm
from drsim.optimize import score
from drsim.placement import Placement
from drsim.plan import Move, Plan, Score
from drsim.storage import landed, landing_in


@dataclass(frozen=True, slots=True, kw_only=True)
class Elsewhere:
    """Disks of a guest, where they are and where else they could be; all other moves made.

    Parameters
    ----------
    source, target : str
        Datastores that they are on, and are to be on.
    refused : Score
        What is reached if they stay.
    others : tuple of (str, Score)
        Other datastores that take all of them, the best first.
    closed : tuple of str
        Why each of the rest does not.
    """

    source: str
    target: str
    refused: Score
    others: tuple[tuple[str, Score], ...]
    closed: tuple[str, ...]


def elsewhere(plan: Plan, vm: Vm) -> Elsewhere:
    """Weigh where disks of a guest could be.

    Everything is judged by the checker that judges plans.

    Parameters
    ----------
    plan : Plan
        A plan of disks.
    vm : Vm
        A guest of its inventory; all its disks are weighed if the plan moves none of them.
    """
    mine = [move for move in plan.moves if move.vm == vm.name]
    rest = tuple(move for move in plan.moves if move.vm != vm.name)
    names = mine[0].copy_disks if mine else tuple(disk.name for disk in vm.disks)
    disks = [disk for disk in vm.disks if disk.name in names]
    there = [landing.datastore for move in mine for landing in move.landings] or [disk.datastore for disk in disks]
    standing = {violation.text for violation in check.plan_violations(plan)}
    found, closed = [], []
    for store in plan.inventory.datastores:
        if store.name in there or store.name in {disk.datastore for disk in disks}:
            continue
        why = next(_against(plan, vm, store, rest, _move(vm, names, store), standing), None)
        if why is None:
            found.append((store.name, _score(plan, (*rest, _move(vm, names, store)))))
        else:
            closed.append(why)
    found.sort(key=lambda each: (each[1].objective, each[0]))
    return Elsewhere(
        source=", ".join(dict.fromkeys(disk.datastore for disk in disks)),
        target=", ".join(dict.fromkeys(there)),
        refused=_score(plan, rest),
        others=tuple(found),
        closed=tuple(closed),
    )


def _move(vm: Vm, names: tuple[str, ...], store: Datastore) -> Move:
    landings = tuple(landing_in(disk, store) for disk in vm.disks if disk.name in names)
    return Move(
        id="", vm=vm.name, source=vm.host, target=vm.host, reason="", copy_disks=names, landings=landings, wave=1
    )


def _against(
    plan: Plan, vm: Vm, store: Datastore, rest: tuple[Move, ...], move: Move, standing: set[str]
) -> Iterator[str]:
    if vm.host not in store.hosts:
        yield "are not mounted by its host"
    elif not store.path:
        yield "have no folder"
    elif store.name in plan.objective.datastores:
        yield "are to be evacuated"
    elif vm.state != "running" or not vm.disks:
        yield "take no disks of a guest that does not run, or has none"
    else:
        last = max((other.wave for other in rest), default=0) + 1
        moved = replace(plan, moves=(*rest, replace(move, id="other", wave=last)))
        new = [found for found in check.plan_violations(moved) if found.text not in standing]
        if any(found.kind == "disk" and found.subject == store.name for found in new):
            yield "have too little room"
        elif new:
            yield "are kept off by the policy, or by a disk at its path"


def _score(plan: Plan, moves: tuple[Move, ...]) -> Score:
    return score(landed(plan.inventory, moves), plan.policy, plan.objective, Placement.of(plan.inventory))
