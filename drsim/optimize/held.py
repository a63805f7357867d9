"""What goals have reached, held as rules of a problem: then the next goal is sought by what is made for it alone.

A balance reached is what hosts may hold; an even spread is an `apart` rule; hosts emptied are closed; room made is
taken by the guests that it is for, which have no host yet, load nothing, and may be anywhere.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np

from drsim.optimize.bound import aims
from drsim.optimize.defragment import pieces
from drsim.optimize.mend import please
from drsim.optimize.problem import SPLIT, Bools, Floats, Group, Ints, Problem
from drsim.optimize.state import SLACK, State
from drsim.policy import Goal
from drsim.resources import Resource

MOST = 8
"""Groups of an even spread over hosts that are balanced like a resource, at most: those that are most uneven now."""

LOOSE = 0.03
"""Share of what a rack or site should hold that is let in beside, where all are as full as that: else no guest could go
from one to another. Weighing brings them back."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Held:
    """A state in which what some goals have reached must hold, and what the one sought then needs.

    Parameters
    ----------
    state : State
        Its first units are those of the state that it was made of.
    aim : float
        Highest load that is sought or allowed, 1 = mean; 0 where balance is neither sought nor held.
    need : array of float, shape (R,), or None
        What one more guest of the flavour needs.
    """

    state: State
    aim: float
    need: Floats | None


def held(
    state: State,
    goals: Collection[Goal],
    sought: Goal,
    *,
    peak: float,
    even: Sequence[Group],
    need: Floats | None,
    takes: Bools,
) -> Held:
    """Hold what some goals have reached in a state, so that another can be sought.

    Balance and an even spread over hosts are sought together, whichever comes first: so many guests of a tag on a host
    are one more load on it.

    Parameters
    ----------
    state : State
        Any placement.
    goals : collection of str
        What is held.
    sought : str
        What is sought then.
    peak : float
        Highest load that balance, if it is sought or held, should reach or may have.
    even : sequence of Group
        Groups of an even spread.
    need : array of float, shape (R,), or None
        What one more guest of the flavour needs, where room in one piece is held or sought.
    takes : array of bool, shape (H,)
        Hosts that take guests.
    """
    problem, place, aim = state.problem, state.place, 0.0
    if "consolidate" in goals:
        problem = _closed(problem, place)
    if sought == "balance" or "balance" in goals:
        aim = max(peak, aims(problem, None)[1])
    if need is not None:
        problem, asked = _with_rooms(problem, need)
        # A host without guests is to be left without: those that are awaited would keep it.
        if "defragment" in goals and sought != "consolidate":
            hosts = np.repeat(np.arange(state.hosts), pieces(state, need, takes))
            problem, place = _awaiting(problem, place, asked, hosts, takes)
        need = asked
    if together(goals, sought):
        place = _in_wide_areas(problem, place, even)
        problem, even = _as_loads(problem, even, place, aim)
    if "spread" in goals or together(goals, sought):
        problem = replace(problem, apart=(*problem.apart, *(replace(group, price=0.0) for group in even)))
    if sought == "spread" and not together(goals, sought):
        problem = replace(problem, should_apart=(*problem.should_apart, *even))
    if "balance" in goals and not together(goals, sought):
        most = np.divide(aim, problem.weight, out=np.full_like(problem.weight, np.inf), where=problem.weight > 0.0)
        problem = replace(problem, capacity=np.minimum(problem.capacity, most * (1.0 + SLACK)))
    return Held(state=State(problem, place), aim=aim, need=need)


def together(goals: Collection[Goal], sought: Goal) -> bool:
    """Whether balance and an even spread are sought as one, the one held and the other sought."""
    return (sought == "balance" and "spread" in goals) or (sought == "spread" and "balance" in goals)


def _over_hosts(group: Group) -> bool:
    """Whether a group is spread over hosts, not racks or sites."""
    return np.array_equal(group.cell, np.arange(len(group.cell)))


def _in_wide_areas(problem: Problem, place: Ints, even: Sequence[Group]) -> Ints:
    """Return the places once guests are spread over racks and sites."""
    wide = tuple(group for group in even if not _over_hosts(group))
    state = State(replace(problem, should_apart=wide), place)
    please(state)
    return state.place


def _as_loads(problem: Problem, even: Sequence[Group], place: Ints, aim: float) -> tuple[Problem, tuple[Group, ...]]:
    """Make loads of an even spread over hosts: one guest too many is above the aim. Returned, too, are other groups."""
    hosts = np.arange(len(problem.hosts))
    over = {
        number: int(np.maximum(np.bincount(places[places != SPLIT], minlength=len(hosts)) - group.most, 0).sum())
        for number, group in enumerate(even)
        if _over_hosts(group)
        for places in (np.repeat(place[group.units], group.weight),)
    }
    chosen = sorted(over, key=lambda number: (-over[number], number))[:MOST]
    loads = np.zeros((problem.units, len(chosen)))
    for column, number in enumerate(chosen):
        loads[even[number].units, column] = even[number].weight
    most = np.array([even[number].most for number in chosen], dtype=np.float64)
    member = np.zeros((len(problem.member_demand), len(chosen)))
    for unit in np.flatnonzero(problem.home == SPLIT).tolist():
        member[list(problem.members[unit])] = loads[unit] / max(len(problem.members[unit]), 1)
    kinds = [
        Resource(kind="spread", name=even[number].name, unit="guests", what="guests", balanced=True)
        for number in chosen
    ]
    all_of_them = np.tile(loads.sum(axis=0), (len(hosts), 1))
    wider = _wider(
        problem, kinds, loads, all_of_them, all_of_them, member, np.tile(aim / (most + 0.5), (len(hosts), 1))
    )
    wider = replace(wider, balanced=np.append(problem.balanced, problem.demand.shape[1] + np.arange(len(chosen))))
    return wider, tuple(
        replace(group, most=group.most + (0 if _over_hosts(group) else math.ceil(LOOSE * group.most)))
        for number, group in enumerate(even)
        if number not in chosen
    )


def _closed(problem: Problem, place: Ints) -> Problem:
    """Close the hosts that no unit is on."""
    used = np.zeros(len(problem.hosts), dtype=np.bool_)
    used[place[place != SPLIT]] = True
    used[[host for unit in np.flatnonzero(place == SPLIT) for host in problem.homes[unit] if host != SPLIT]] = True
    return replace(problem, allowed_rows=problem.allowed_rows & used)


def _with_rooms(problem: Problem, need: Floats) -> tuple[Problem, Floats]:
    """Add columns of what one more guest asks for, beside those that say how loaded a host is, and return its need.

    So a host can be kept from being loaded further and have room all the same.
    """
    columns = np.flatnonzero(need > 0.0)
    return _wider(
        problem,
        [problem.kinds[column] for column in columns.tolist()],
        problem.demand[:, columns],
        problem.capacity[:, columns],
        problem.size[:, columns],
        problem.member_demand[:, columns],
        np.zeros((len(problem.hosts), len(columns))),
    ), np.append(np.zeros(len(need)), need[columns])


def _wider(
    problem: Problem,
    kinds: Sequence[Resource],
    demand: Floats,
    capacity: Floats,
    size: Floats,
    member: Floats,
    weight: Floats,
) -> Problem:
    """Add columns of resources."""
    return replace(
        problem,
        kinds=(*problem.kinds, *kinds),
        demand=np.hstack([problem.demand, demand]),
        capacity=np.hstack([problem.capacity, capacity]),
        size=np.hstack([problem.size, size]),
        member_demand=np.hstack([problem.member_demand, member]),
        weight=np.hstack([problem.weight, weight]),
    )


def _awaiting(problem: Problem, place: Ints, need: Floats, hosts: Ints, takes: Bools) -> tuple[Problem, Ints]:
    """Add guests that have no host yet, one on each of these."""
    count = len(hosts)
    none = np.zeros(count, dtype=np.int64)
    return replace(
        problem,
        members=problem.members + ((),) * count,
        homes=problem.homes + ((),) * count,
        demand=np.vstack([problem.demand, np.tile(need, (count, 1))]),
        data_mib=np.append(problem.data_mib, np.zeros(count)),
        home=np.append(problem.home, none + SPLIT),
        allowed_rows=np.vstack([problem.allowed_rows, takes]),
        allowed_of=np.append(problem.allowed_of, none + len(problem.allowed_rows)),
        soft_of=np.append(problem.soft_of, none),
        pin_price=np.append(problem.pin_price, np.zeros(count)),
    ), np.append(place, hosts)
