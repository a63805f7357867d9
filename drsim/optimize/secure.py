"""Room to start again: placements whose guests outlive the hosts that may fail, found with the checker as judge."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from drsim import check
from drsim.inventory import Inventory, Vm
from drsim.optimize.clock import Budget
from drsim.optimize.state import State
from drsim.optimize.verdict import Relaxation, Verdict, roomier
from drsim.placement import Placement
from drsim.policy import Policy, Survive
from drsim.resources import Resource, needs, resources, sizes
from drsim.rules.restart import Ruins

HOSTS_TRIED, GUESTS_TRIED = 4, 4
"""Hosts next to having room that are looked at, and guests of each that could make it."""

ROOMS_GIVEN = 12
"""Times that a host is thought larger, to say what would help."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Loss:
    """A guest that finds no host when some are lost."""

    rule: Survive
    hosts: tuple[str, ...]
    vm: Vm


def without_survival(policy: Policy) -> Policy:
    """Return the policy without the rules that `secured` cares for."""
    return replace(policy, rules=tuple(rule for rule in policy.rules if not isinstance(rule, Survive)))


def secured(
    state: State, inventory: Inventory, policy: Policy, placement: Callable[[State], Placement], budget: Budget
) -> tuple[State, Verdict]:
    """Move guests until every loss that a rule names can be outlived.

    One guest at a time is moved out of a host that nearly had room, or to a host whose loss it would outlive; a step is
    taken if fewer guests are left without a host, or less room is lacking.

    Parameters
    ----------
    state : State
        Where the search has come to.
    inventory, policy : Inventory, Policy
        Free of problems.
    placement : callable
        Returns the placement of a state.
    budget : Budget
        Asked before each step.

    Returns
    -------
    State
        The best found.
    Verdict
        Empty if every rule holds. What would help otherwise; proven if sums alone say that nothing does.
    """
    rules = [rule for rule in policy.rules if isinstance(rule, Survive) and rule.strength == "must"]
    if not rules:
        return state, Verdict()
    losses, value = _judged(rules, inventory, policy, placement(state))
    while losses and not budget.out():
        for trial in _steps(state, losses, inventory, policy, placement):
            if budget.out():
                break
            then, better = _judged(rules, inventory, policy, placement(trial))
            if better < value:
                state, losses, value = trial, then, better
                break
        else:
            break
    if not losses:
        return state, Verdict()
    proven = any(_impossible(rule, inventory, policy, placement(state)) for rule in rules)
    return state, Verdict(proven=proven, relaxations=_relaxations(rules, losses, inventory, policy, placement(state)))


def _judged(
    rules: Sequence[Survive], inventory: Inventory, policy: Policy, placement: Placement
) -> tuple[list[_Loss], tuple[int, float]]:
    """List the guests left without a host, the heaviest first, with their number and the share of a host they lack."""
    ruins = Ruins(inventory, placement, policy.rules)
    size = np.maximum(np.array([sizes(host, resources(inventory)) for host in inventory.hosts]).max(axis=0), 1e-9)
    losses, lack = [], 0.0
    for rule in rules:
        named = {vm.name for vm in check.guests_of(rule, inventory)}
        for hosts in rule.losses(inventory, placement):
            for vm in ruins.homeless(hosts, named):
                losses.append(_Loss(rule=rule, hosts=hosts, vm=vm))
                short = float((ruins.room_for(hosts, vm) / size).max(axis=1).min())
                lack += min(short, 1.0)
    losses.sort(key=lambda loss: (-loss.vm.memory_mib, loss.vm.name, loss.hosts))
    return losses, (len(losses), lack)


def _steps(
    state: State,
    losses: Sequence[_Loss],
    inventory: Inventory,
    policy: Policy,
    placement: Callable[[State], Placement],
) -> Iterator[State]:
    """Propose moves that may help the guests without a host, one move each."""
    problem = state.problem
    number = {vm.name: index for index, vm in enumerate(inventory.vms)}
    unit_of = {vm: unit for unit, members in enumerate(problem.members) for vm in members}
    ruins = Ruins(inventory, placement(state), policy.rules)
    for loss in losses[:GUESTS_TRIED]:
        lack = ruins.room_for(loss.hosts, loss.vm)
        kinds = lack.shape[1]  # pools and disks make no difference to guests that start again
        near = np.argsort((lack / np.maximum(problem.size[:, :kinds], 1e-9)).max(axis=1), kind="stable")[:HOSTS_TRIED]
        gone = [problem.hosts.index(host) for host in loss.hosts]
        for host in near.tolist():
            if np.isinf(lack[host]).any():
                continue
            units = state.on(host)
            helps = (problem.demand[units, :kinds] >= lack[host] - 1e-6)[:, lack[host] > 0.0]
            units = units[helps.all(axis=1)] if helps.size else units
            for unit in units[np.argsort(problem.data_mib[units], kind="stable")][:GUESTS_TRIED].tolist():
                yield from _moved(state, unit, gone)
        yield from _moved(state, unit_of[number[loss.vm.name]], [])


def _moved(state: State, unit: int, closed: Sequence[int]) -> Iterator[State]:
    """Return the state with a unit on each of the hosts that have most room for it."""
    rooms = state.rooms([unit])[0]
    rooms[list(closed)] = False
    free = ((state.problem.capacity - state.use) / np.maximum(state.problem.size, 1e-9)).min(axis=1)
    for host in np.argsort(np.where(rooms, -free, np.inf), kind="stable")[:HOSTS_TRIED].tolist():
        if rooms[host]:
            trial = state.copy()
            trial.shift(unit, host)
            yield trial


def _impossible(rule: Survive, inventory: Inventory, policy: Policy, placement: Placement) -> bool:
    """Whether no placement can keep a rule.

    That is so if its guests are more than the hosts hold that are left when the largest are lost, or if one of them may
    be in one place only, for then it is lost with that.
    """
    ruins = Ruins(inventory, placement, policy.rules)
    for vm in check.guests_of(rule, inventory):
        if len({rule.area(inventory.hosts[n]) for n in np.flatnonzero(ruins.open_to(vm)).tolist()}) == 1:
            return True
    kinds = resources(inventory)
    areas: dict[tuple[str, ...], list[float]] = {}
    for host in inventory.hosts:
        total = areas.setdefault(rule.area(host), [0.0] * len(kinds))
        if host.takes_guests:
            for column, size in enumerate(sizes(host, kinds)):
                total[column] += size
    need = np.sum([needs(vm, kinds) for vm in check.guests_of(rule, inventory)], axis=0)
    rooms = np.sort(np.array(list(areas.values())), axis=0)
    left = rooms[: max(0, len(rooms) - rule.lost)].sum(axis=0)
    return bool((need > left + 1e-6).any())


def _relaxations(
    rules: Sequence[Survive],
    losses: Sequence[_Loss],
    inventory: Inventory,
    policy: Policy,
    placement: Placement,
) -> tuple[Relaxation, ...]:
    """Say what would do: dropping the rules, or room where the least is lacking; each replayed by the checker."""
    names = tuple(sorted({loss.rule.name for loss in losses}))
    found = []
    without = replace(policy, rules=tuple(rule for rule in policy.rules if rule.name not in names))
    if not check.violations(inventory, without, placement):
        found.append(Relaxation(drop=names, placement=placement))
    room: list[tuple[str, Resource, float]] = []
    for _ in range(ROOMS_GIVEN):
        hosts = tuple(roomier(host, policy, room) for host in inventory.hosts)
        larger = replace(inventory, hosts=hosts)
        left = _judged(rules, larger, policy, placement)[0]
        if not left:
            if not check.violations(larger, policy, placement):
                found.append(Relaxation(room=tuple(room), placement=placement))
            break
        lack = Ruins(larger, placement, policy.rules).room_for(left[0].hosts, left[0].vm)
        kinds = resources(inventory)
        size = np.maximum(np.array([sizes(host, kinds) for host in larger.hosts]).max(axis=0), 1e-9)
        host = int((lack / size).max(axis=1).argmin())
        if np.isinf(lack[host]).any() or not (lack[host] > 0.0).any():
            break
        room = _added(room, larger.hosts[host].name, [(kinds[c], lack[host, c]) for c in np.flatnonzero(lack[host])])
    return tuple(found)


def _added(
    room: Sequence[tuple[str, Resource, float]], host: str, more: Sequence[tuple[Resource, float]]
) -> list[tuple[str, Resource, float]]:
    total = {(name, kind): amount for name, kind, amount in room}
    for kind, amount in more:
        total[host, kind] = total.get((host, kind), 0.0) + float(amount)
    return [(name, kind, amount) for (name, kind), amount in total.items()]
