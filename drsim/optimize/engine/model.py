"""What the engine is given: units, hosts, prices and what must hold, as arrays of integers.

Every placement problem becomes one of these: balancing and evacuating a cluster, Google's machine reassignment, vector
packing. Integers keep sums exact, so that a placement changed a billion times still adds up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


class Model(NamedTuple):
    """A placement problem; U units, H hosts, R resources, B balances, G groups, C classes of units.

    The cost of a placement is the sum of: what hosts hold over their safety capacity, times `load_price`; what a
    balance lacks, times `balance_price`; `move_price` and ``route_price[home, place]`` of each unit that is not at
    home; `group_price` times the most units of one group that are not at home.
    """

    demand: Floats
    """(U + 1, R) what a unit needs; the last row is nobody's and zero."""
    held: Floats
    """(U + 1, R) the part of it that is transient: it counts on the host that a unit left as long as it is away."""
    capacity: Floats
    """(H, R) what a host may hold in the end."""
    bar: Floats
    """(H, R) what no step may make a host hold, at least the capacity; infinite where it may be passed on the way."""
    safety: Floats
    """(H, R) what a host may hold without cost."""
    load_price: Floats
    """(R,) price of a unit of resource over the safety capacity."""
    balance: Ints
    """(B, 4) resources a and b, target t, price p: costs p * max(0, t * free[a] - free[b]) on each host."""
    home: Ints
    """(U + 1,) host of a unit now; nobody's is -1."""
    move_price: Floats
    """(U,) price of moving it anywhere."""
    route_price: Floats
    """(H, H) price by host left and host reached; (0, 0) if there is none."""
    group_price: float
    """Price of the most units moved of one group."""
    groups_from: Ints
    """(U + 2,) unit u is in groups ``groups_of[groups_from[u]:groups_from[u + 1]]``, its service first."""
    groups_of: Ints
    most: Ints
    """(G,) units of a group that one cell may hold."""
    cell: Ints
    """(K, H) cell of a host, by way to divide the hosts: itself, its rack, its site."""
    per: Ints
    """(G,) which of these ways a group means."""
    spread: Ints
    """(G,) locations that the units of a group must be spread over."""
    needs_from: Ints
    """(G + 1,) group g needs a unit of each of ``needs[needs_from[g]:needs_from[g + 1]]`` in each of its areas; no unit
    is in both."""
    needs: Ints
    needed_from: Ints
    """(G + 1,) the groups that need group g, likewise."""
    needed: Ints
    location: Ints
    """(H,) location of a host."""
    area: Ints
    """(H,) neighbourhood of a host."""
    allowed: Bools
    """(C, H) hosts on which a class of units may be."""
    kind: Ints
    """(U,) class of a unit."""


class State(NamedTuple):
    """A placement under change, and the sums that follow from it."""

    place: Ints
    """(U,) host of a unit."""
    use: Floats
    """(H, R) what the units of a host need."""
    full: Floats
    """(H, R) the same, and what units that left home still hold there."""
    in_cell: NDArray[np.int16]
    """(G, H) units of a group in a cell."""
    in_location: NDArray[np.int32]
    """(G, L) units of a group in a location; (G, 1) if no group must be spread."""
    locations: Ints
    """(G,) locations with a unit of the group."""
    in_area: NDArray[np.int32]
    """(G, N) units of a group in a neighbourhood; (G, 1) if no group needs another."""
    moved: Ints
    """(G,) units of a group that are not at home; counted for the first group of a unit."""
    after: Ints
    before: Ints
    """(U,) the units of a host form a ring: the unit after and before each."""
    first: Ints
    """(H,) some unit of a host, or -1; looked at, it goes on to the next."""
    groups_moved: Ints
    """(largest group + 2,) how many groups have so many units moved."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Sizes that the arrays of a model imply."""

    units: int
    hosts: int
    groups: int

    @classmethod
    def of(cls, model: Model) -> Shape:
        """Take the sizes of a model."""
        return cls(units=len(model.kind), hosts=len(model.capacity), groups=len(model.most))


def bare(demand: Floats, capacity: Floats) -> Model:
    """Make a model of needs and capacities alone: every unit may be anywhere, nothing costs anything.

    Parameters
    ----------
    demand : array of float, shape (U, R)
        What each unit needs.
    capacity : array of float, shape (H, R)
        What each host has; more may be held on the way.
    """
    units, hosts, resources = *demand.shape[:1], *capacity.shape
    none, nowhere = np.zeros(0, dtype=np.int64), np.zeros(1, dtype=np.int64)
    return Model(
        demand=np.vstack([demand, np.zeros((1, resources))]),
        held=np.zeros((units + 1, resources)),
        capacity=capacity,
        bar=np.full_like(capacity, np.inf),
        safety=np.full_like(capacity, np.inf),
        load_price=np.zeros(resources),
        balance=np.zeros((0, 4), dtype=np.int64),
        home=np.append(np.zeros(units, dtype=np.int64), -1),
        move_price=np.zeros(units),
        route_price=np.zeros((0, 0)),
        group_price=0.0,
        groups_from=np.zeros(units + 2, dtype=np.int64),
        groups_of=none,
        most=none,
        cell=np.arange(hosts, dtype=np.int64)[None],
        per=none,
        spread=none,
        needs_from=nowhere,
        needs=none,
        needed_from=nowhere,
        needed=none,
        location=np.zeros(hosts, dtype=np.int64),
        area=np.zeros(hosts, dtype=np.int64),
        allowed=np.ones((1, hosts), dtype=np.bool_),
        kind=np.zeros(units, dtype=np.int64),
    )


def flat(lists: list[list[int]]) -> tuple[Ints, Ints]:
    """Lay lists of integers one behind the other: where each begins and ends, and all of them."""
    starts = np.zeros(len(lists) + 1, dtype=np.int64)
    np.cumsum([len(one) for one in lists], out=starts[1:])
    return starts, np.array([item for one in lists for item in one], dtype=np.int64)


def new_state(model: Model, place: Ints) -> State:
    """Count what follows from a placement."""
    shape = Shape.of(model)
    use = np.zeros_like(model.capacity)
    np.add.at(use, place, model.demand[:-1])
    full = use.copy()
    gone = np.flatnonzero(place != model.home[:-1])
    np.add.at(full, model.home[gone], model.held[gone])
    group = model.groups_of
    unit = np.repeat(np.arange(shape.units), np.diff(model.groups_from[:-1]))
    in_cell = np.zeros((shape.groups, shape.hosts), dtype=np.int16)
    np.add.at(in_cell, (group, model.cell[model.per[group], place[unit]]), 1)
    spread = bool((model.spread > 0).any())
    in_location = np.zeros((shape.groups, int(model.location.max()) + 1 if spread else 1), dtype=np.int32)
    if spread:
        np.add.at(in_location, (group, model.location[place[unit]]), 1)
    in_area = np.zeros((shape.groups, int(model.area.max()) + 1 if len(model.needs) else 1), dtype=np.int32)
    if len(model.needs):
        np.add.at(in_area, (group, model.area[place[unit]]), 1)
    moved = np.zeros(shape.groups, dtype=np.int64)
    grouped = gone[np.diff(model.groups_from[:-1])[gone] > 0]
    np.add.at(moved, group[model.groups_from[grouped]], 1)
    groups_moved = np.bincount(moved, minlength=shape.units + 2).astype(np.int64)
    after, before, first = rings(place, shape.hosts)
    return State(
        place=place.copy(),
        use=use,
        full=full,
        in_cell=in_cell,
        in_location=in_location,
        locations=(in_location > 0).sum(axis=1).astype(np.int64),
        in_area=in_area,
        moved=moved,
        after=after,
        before=before,
        first=first,
        groups_moved=groups_moved,
    )


def rings(place: Ints, hosts: int) -> tuple[Ints, Ints, Ints]:
    """Lay the units of each host in a ring: the unit after and before each, and the first of each host or -1."""
    order = np.argsort(place, kind="stable")
    counts = np.bincount(place, minlength=hosts)
    ends = np.cumsum(counts)
    starts = ends - counts
    first = np.where(counts > 0, order[np.minimum(starts, max(len(order) - 1, 0))], -1) if len(order) else starts - 1
    after, before = np.empty_like(place), np.empty_like(place)
    rank = np.arange(len(order))
    host = place[order]
    after[order] = order[np.where(rank + 1 < ends[host], rank + 1, starts[host])]
    before[after] = np.arange(len(place))
    return after, before, first


def cost(model: Model, state: State) -> float:
    """Count the cost of a placement from scratch."""
    over = np.maximum(state.use - model.safety, 0)
    total = float((over.sum(axis=0) * model.load_price).sum())
    free = model.capacity - state.use
    for a, b, target, price in model.balance.tolist():
        total += price * float(np.maximum(target * free[:, a] - free[:, b], 0).sum())
    gone = np.flatnonzero(state.place != model.home[:-1])
    total += float(model.move_price[gone].sum())
    if model.route_price.size:
        total += float(model.route_price[model.home[gone], state.place[gone]].sum())
    return total + model.group_price * float(state.moved.max(initial=0))


def broken(model: Model, state: State) -> int:
    """Count the rules that a placement breaks; see `broken_delta`."""
    count = int(np.maximum(state.in_cell.astype(np.int64) - model.most[:, None], 0).sum())
    count += int(np.maximum(model.spread - state.locations, 0)[model.spread > 1].sum())
    group = np.repeat(np.arange(len(model.most)), np.diff(model.needs_from))
    count += int(np.where(state.in_area[model.needs] == 0, state.in_area[group], 0).sum())
    return count + int((~model.allowed[model.kind, state.place]).sum())


def overfull(model: Model, state: State) -> float:
    """Add up what hosts hold over their capacity, in hosts' capacities."""
    over = np.maximum(state.full - model.capacity, 0.0)
    return float((over / np.maximum(model.capacity, 1e-9)).sum())
