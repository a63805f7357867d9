"""Defragment: make room in one piece for further guests of one kind."""

from __future__ import annotations

import numpy as np

from drsim import check
from drsim.inventory import Inventory, Vm
from drsim.optimize.awaited import make_room
from drsim.optimize.clock import Budget
from drsim.optimize.problem import Bools, Floats, Ints, Problem
from drsim.optimize.state import SLACK, State
from drsim.placement import Placement
from drsim.policy import Objective, Policy
from drsim.resources import needs, resources

SLIVER = 0.01
"""This share of the room that there is in all is not sought by rearranging everything: guests do not fill hosts to the
last part of a core, and the last rooms cost as many moves as all others."""


def flavour(inventory: Inventory, objective: Objective) -> Vm | None:
    """Return the guest that further ones are like: the one named, or the largest by memory; None without guests."""
    if objective.like is not None:
        return inventory.vm_by_name[objective.like]
    running = [vm for vm in inventory.vms if vm.state != "stopped"]
    return max(running, key=lambda vm: (vm.memory_mib, vm.vcpus, vm.name), default=None)


def lost_slots(inventory: Inventory, policy: Policy, objective: Objective, placement: Placement) -> float:
    """Return how many guests of the flavour have no room in one piece though there is as much in all (`slots_in_all`).

    Parameters
    ----------
    inventory, policy, objective, placement : Inventory, Policy, Objective, Placement
        Every guest has a host.
    """
    one = flavour(inventory, objective)
    if one is None:
        return 0.0
    need, free, _ = _room(inventory, policy, one, placement)
    most = slots_in_all(inventory, policy, objective, placement)
    return float(most - min(room_for(free, need).sum(), most))


def slots_in_all(inventory: Inventory, policy: Policy, objective: Objective, placement: Placement) -> float:
    """Return how many guests of the flavour would have room if all that is free were in one piece.

    It is counted resource by resource over all hosts that take guests; it does not change with the placement of what
    they hold. No more than fit on the hosts if they were empty.
    """
    one = flavour(inventory, objective)
    if one is None:
        return 0.0
    need, free, room = _room(inventory, policy, one, placement)
    return float(_most(room, free, need))


def _room(inventory: Inventory, policy: Policy, one: Vm, placement: Placement) -> tuple[Floats, Floats, Floats]:
    """Return what one guest of the flavour needs, and by host that takes guests what is free and what there is."""
    kinds = resources(inventory)
    used = check.loads(inventory, placement)
    hosts = [host for host in inventory.hosts if host.takes_guests]
    room = np.array([check.rooms(host, policy, kinds) for host in hosts]).reshape(-1, len(kinds))
    free = room - np.array([used[host.name] for host in hosts]).reshape(-1, len(kinds))
    return np.array(needs(one, kinds)), free, room


def _most(room: Floats, free: Floats, need: Floats) -> int:
    """Return how many there would be room for if all that is free lay together, or all hosts were empty."""
    whole = room_for(np.maximum(free, 0.0).sum(axis=0)[None], need).sum()
    return int(min(whole, room_for(room, need).sum()))


def room_for(free: Floats, need: Floats) -> Ints:
    """Return how many guests with that need fit on each host with so much free, shape (H,)."""
    asked = need > 0.0
    slots: Ints = np.floor((np.maximum(free[:, asked], 0.0) + SLACK) / need[asked]).min(axis=1, initial=np.inf)
    return slots.astype(np.int64)


def asked(problem: Problem, one: Vm) -> Floats:
    """Return what room on hosts one more guest of a flavour needs, shape (R,): its disks are not there yet."""
    need: Floats = np.where([kind.for_disks for kind in problem.kinds], 0.0, needs(one, problem.kinds))
    return need


def defragment(state: State, need: Floats, budget: Budget, takes: Bools, seed: int, *, freely: bool = True) -> None:
    """Make room for as many guests of the flavour as can be found, in place.

    Hosts are opened in turn by single guests that leave: few moves. Where that ends far from what there is in all, the
    engine rearranges everything.

    Parameters
    ----------
    state : State
        Starting point; keeps every rule that it keeps.
    need : array of float, shape (R,)
        What one of them needs (`asked`).
    budget : Budget
        Asked before each host.
    takes : array of bool, shape (H,)
        Hosts that take guests.
    seed : int
        Seed of the engine's search.
    freely : bool
        Whether as much may be moved as helps; else hosts are opened in turn only.
    """
    problem = state.problem

    def slots(of: State) -> Ints:
        return pieces(of, need, takes)

    most = _most(problem.capacity[takes], (problem.capacity - state.use)[takes], need) if takes.any() else 0
    start, before, wanted = state.copy(), slots(state), int((1.0 - SLIVER) * most)
    _open_in_turn(state, need, budget, takes)
    if not freely or slots(state).sum() >= wanted or budget.out():
        return
    other = make_room(start, need, before, wanted, budget, seed, takes)
    if slots(other).sum() < wanted:
        _open_in_turn(other, need, budget, takes)
    if slots(other).sum() > slots(state).sum():
        state.take(other)


def pieces(state: State, need: Floats, takes: Bools) -> Ints:
    """Return how many guests with that need have room on each host, shape (H,)."""
    found: Ints = np.where(takes, room_for(state.problem.capacity - state.use, need), 0)
    return found


def _open_in_turn(state: State, need: Floats, budget: Budget, takes: Bools) -> None:
    """Make room for one more, again and again, in place.

    Each time the host that lacks the least for one more is helped: guests leave it for hosts where they take no room
    for one away, those first that free enough alone, then the largest. A host that could not be helped is not tried
    again: what the others leave is less each time.
    """
    stuck = ~takes
    while not budget.out():
        free = state.problem.capacity - state.use
        lack = np.maximum((room_for(free, need) + 1)[:, None] * need - free, 0.0)
        share = np.where(stuck, np.inf, (lack / np.maximum(state.problem.size, 1e-9)).max(axis=1))
        for host in np.argsort(share, kind="stable").tolist():
            if stuck[host] or budget.out():
                return
            if _opened(state, host, lack[host], need):
                break
            stuck[host] = True
        else:
            return


def _opened(state: State, host: int, lack: Floats, need: Floats) -> bool:
    """Move guests off a host until what is lacking is free; nothing is done where that does not succeed."""
    trial, problem = state.copy(), state.problem
    gone: set[int] = set()
    while (lack > SLACK).any():
        units = np.array([unit for unit in trial.on(host).tolist() if unit not in gone], dtype=np.int64)
        helps = np.minimum(problem.demand[units], lack)[:, lack > SLACK] / lack[lack > SLACK]
        helps = helps.min(axis=1) if units.size else np.zeros(0)
        if not units.size or not (helps > 0.0).any():
            return False
        enough = helps >= 1.0 - 1e-9
        order = np.where(enough, problem.data_mib[units], np.where(helps > 0.0, 1e12 / np.maximum(helps, 1e-9), np.inf))
        unit = int(units[order.argmin()])
        gone.add(unit)
        rooms = trial.rooms([unit])[0]
        free = problem.capacity - trial.use
        rooms &= room_for(free - problem.demand[unit], need) == room_for(free, need)
        if not rooms.any():
            continue
        rest = ((free - problem.demand[unit]) / np.maximum(problem.size, 1e-9)).min(axis=1)
        prices = trial.price_row(unit)
        rooms &= prices <= prices[host] + 1e-9
        if rooms.any():
            trial.shift(unit, int(np.where(rooms, rest, np.inf).argmin()))
            lack = np.maximum(lack - problem.demand[unit], 0.0)
    for unit in np.flatnonzero(trial.place != state.place).tolist():
        state.shift(unit, int(trial.place[unit]))
    return True
