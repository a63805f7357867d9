"""Several goals at once, compiled: an annealing whose cost is the weighted sum of what each goal counts."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from drsim.compiled import compiled, inlined
from drsim.optimize.engine.anneal import draw
from drsim.optimize.engine.model import Bools, Floats, Ints
from drsim.optimize.engine.seats import Seats, level, may, put

PEAK, BEYOND, HOSTS, LOST, ROOMS = range(5)
"""What is counted: the highest load, 1 = mean; guests beyond an even spread; hosts in use; further guests of a flavour
that have room in all and not in one piece. And, without a price, those that have room in one piece."""

MOVE, SWAP = 512, 832
"""Of 1,024 proposals: a unit goes anywhere up to the first; then two units are exchanged. The rest go home."""

HINT = 0.1
"""What leads the search where the sums say nothing, as a share of their prices: loads on every host above the one from
which on evening out is worth something, and hosts with few guests."""

DEAR = 4.0
"""Price of what a rank before is above what it must not rise above: such placements are only passed through."""

FEW = 3.0
"""A host in use with so many guests is half way to one that will not be emptied."""


class Weighed(NamedTuple):
    """What may be moved and what counts; U units, H hosts, R resources, S steps of rank, E groups."""

    seats: Seats
    """Who is where."""
    moves: Ints
    """(U,) migrations that it takes to move a unit: those of its guests that have a host."""
    cost: Floats
    """(U,) price of moving it."""
    even_from: Ints
    even_of: Ints
    """(U + 1,) as `Seats.groups_from`, for groups of which every one too many in an area is counted."""
    even_weight: Ints
    """Guests of the group in the unit, beside ``even_of``."""
    even_most: Ints
    even_cells: Ints
    even_inside: Ints
    """(E,), (E, H), (E, areas), in guests; the last changes."""
    present: Ints
    """(H,) guests on a host; changes."""
    flavour: Floats
    """(R,) what one more guest of the flavour needs."""
    takes: Bools
    """(H,) hosts that take guests: the room of others does not count."""
    slots: float
    """Guests of the flavour that there is room for in all."""
    floor: float
    """Highest load below which evening out further is worth nothing."""
    price: Floats
    """(S, 4) prices of what is counted: the last row is made least, the others must not rise above `cap`."""
    cap: Floats
    """(S,) infinite for the last."""


@inlined
def pieces(use, bar, flavour, takes, host):  # type: ignore[no-untyped-def]
    """Return how many guests of the flavour have room on a host."""
    found = np.inf
    if not takes[host]:
        found = 0.0
    for r in range(flavour.size):
        if flavour[r] > 0.0:
            found = min(found, max(0.0, np.floor((bar[host, r] - use[host, r]) / flavour[r])))
    return found if found < np.inf else 0.0


@inlined
def hint(above, floor, price, hosts, present):  # type: ignore[no-untyped-def]
    """Return what leads the search on one host."""
    return HINT * (price[0] * max(above - floor, 0.0) / hosts + price[2] * present / (present + FEW))


@compiled
def go(m: Weighed, counted: np.ndarray, levels: np.ndarray, fitting: np.ndarray, unit: int, target: int) -> float:
    """Put a unit on a host, keep what is counted up to date, and return the change of the hints."""
    s = m.seats
    source, hosts, price = s.place[unit], s.use.shape[0], m.price[-1]
    led = 0.0
    for host in (source, target):
        led -= hint(levels[host], m.floor, price, hosts, m.present[host])
    put(s, unit, target)
    was = levels[source]
    levels[source], levels[target] = level(s.use, s.load, source), level(s.use, s.load, target)
    if levels[target] >= counted[PEAK]:
        counted[PEAK] = levels[target]
    elif was >= counted[PEAK]:
        counted[PEAK] = max(levels.max(), m.floor)
    for i in range(m.even_from[unit], m.even_from[unit + 1]):
        g, weight = m.even_of[i], m.even_weight[i]
        here, there = m.even_cells[g, source], m.even_cells[g, target]
        if here != there:
            counted[BEYOND] -= max(0, m.even_inside[g, here] - m.even_most[g])
            counted[BEYOND] -= max(0, m.even_inside[g, there] - m.even_most[g])
            m.even_inside[g, here] -= weight
            m.even_inside[g, there] += weight
            counted[BEYOND] += max(0, m.even_inside[g, here] - m.even_most[g])
            counted[BEYOND] += max(0, m.even_inside[g, there] - m.even_most[g])
    if m.present[target] == 0:
        counted[HOSTS] += 1.0
    m.present[source] -= s.guests[unit]
    m.present[target] += s.guests[unit]
    if m.present[source] == 0:
        counted[HOSTS] -= 1.0
    if m.flavour.size:
        for host in (source, target):
            rooms = pieces(s.use, s.bar, m.flavour, m.takes, host)
            counted[ROOMS] += rooms - fitting[host]
            fitting[host] = rooms
        counted[LOST] = m.slots - min(counted[ROOMS], m.slots)
    for host in (source, target):
        led += hint(levels[host], m.floor, price, hosts, m.present[host])
    return led


@inlined
def priced(price, counted):  # type: ignore[no-untyped-def]
    """Return the price of what is counted."""
    return price[0] * counted[0] + price[1] * counted[1] + price[2] * counted[2] + price[3] * counted[3]


@inlined
def beyond(price, cap, counted):  # type: ignore[no-untyped-def]
    """Return by how much the ranks before are above what they must not rise above."""
    total = 0.0
    for s in range(cap.size - 1):
        total += max(0.0, priced(price[s], counted) - cap[s])
    return total


@compiled
def count(m: Weighed) -> np.ndarray:
    """Count everything from scratch, in the order `PEAK`, `BEYOND`, `HOSTS`, `LOST`, `ROOMS`."""
    s = m.seats
    counted = np.zeros(5)
    counted[PEAK] = m.floor
    for host in range(s.use.shape[0]):
        counted[PEAK] = max(counted[PEAK], level(s.use, s.load, host))
        if m.present[host] > 0:
            counted[HOSTS] += 1.0
        if m.flavour.size:
            counted[ROOMS] += pieces(s.use, s.bar, m.flavour, m.takes, host)
    for g in range(m.even_most.size):
        for area in range(m.even_inside.shape[1]):
            counted[BEYOND] += max(0, m.even_inside[g, area] - m.even_most[g])
    if m.flavour.size:
        counted[LOST] = m.slots - min(counted[ROOMS], m.slots)
    return counted


@compiled
def weigh(
    m: Weighed,
    free: np.ndarray,
    most: float,
    most_memory: float,
    patience: np.ndarray,
    random: np.ndarray,
    steps: int,
    hot: float,
    cold: float,
) -> None:
    """Look for the placement of the least weighted sum, while the temperature falls geometrically.

    Parameters
    ----------
    m : Weighed
        Changed: it is left at the best placement seen that keeps the ranks before, the first among them, or where the
        search ends if there was none.
    free : array of int
        Units that may be moved.
    most, most_memory : float
        Moves, and memory moved, at most.
    patience : array of float
        `anneal.PATIENCE`.
    random : array of uint64, shape (1,)
        State of the random numbers; changed.
    steps : int
        How many steps to propose.
    hot, cold : float
        First and last temperature, in the unit of prices.
    """
    s = m.seats
    hosts, place, home, price = s.use.shape[0], s.place, s.home, m.price[-1]
    counted = count(m)
    levels, fitting = np.zeros(hosts), np.zeros(hosts)
    for host in range(hosts):
        levels[host] = level(s.use, s.load, host)
        if m.flavour.size:
            fitting[host] = pieces(s.use, s.bar, m.flavour, m.takes, host)
    moves, moved, paid = 0, 0.0, 0.0
    for u in range(place.size):
        if place[u] != home[u]:
            moves += m.moves[u]
            moved += s.memory[u]
            paid += m.cost[u]
    best, found = priced(price, counted) + paid, place.copy()
    if beyond(m.price, m.cap, counted) > 0.0:
        best = np.inf
    unit, goal, back = np.empty(2, dtype=np.int64), np.empty(2, dtype=np.int64), np.empty(2, dtype=np.int64)
    before = np.empty(5)
    rounds = max(1, steps // 1000)
    factor = (cold / hot) ** (1.0 / rounds)
    t = hot
    for _ in range(rounds):
        t *= factor
        for _ in range(1000):
            luck = draw(random, 1024)
            u = free[draw(random, free.size)]
            if luck & 1:  # of two the one on the more loaded host
                other = free[draw(random, free.size)]
                if levels[place[other]] > levels[place[u]]:
                    u = other
            unit[0], size = u, 1
            if luck < MOVE:
                a, b = draw(random, hosts), draw(random, hosts)
                if luck & 2:
                    goal[0] = a if levels[a] <= levels[b] else b
                elif luck & 4:
                    goal[0] = place[free[draw(random, free.size)]]
                else:
                    goal[0] = a
            elif luck < SWAP:
                v = free[draw(random, free.size)]
                unit[1], goal[0], goal[1], size = v, place[v], place[u], 2
            else:
                goal[0] = home[u]
            if goal[0] < 0 or goal[0] == place[u]:
                continue
            change, more, dearer, ok = 0, 0.0, 0.0, True
            for i in range(size):
                v = unit[i]
                turn = (1 if place[v] == home[v] else 0) - (1 if goal[i] == home[v] else 0)
                change += turn * m.moves[v]
                more += turn * s.memory[v]
                dearer += turn * m.cost[v]
                ok = ok and may(s, v, goal[i], unit[1 - i] if size == 2 else -1)
            # A placement with too many moves is never made worse.
            if not ok or (change > 0 and moves + change > most) or (more > 0.0 and moved + more > most_memory):
                continue
            before[:] = counted
            led = dearer
            for i in range(size):
                back[i] = place[unit[i]]
                led += go(m, counted, levels, fitting, unit[i], goal[i])
            rise = priced(price, counted) - priced(price, before) + led
            over, was = beyond(m.price, m.cap, counted), beyond(m.price, m.cap, before)
            if rise + DEAR * (over - was) > t * patience[draw(random, patience.size)]:
                for i in range(size - 1, -1, -1):
                    go(m, counted, levels, fitting, unit[i], back[i])
                counted[:] = before
                continue
            moves, moved, paid = moves + change, moved + more, paid + dearer
            now = priced(price, counted) + paid
            if now < best and over <= 0.0:
                best = now
                found[:] = place
    if best == np.inf:  # still above what the ranks before must not rise above
        return
    for u in free:
        if place[u] != found[u]:
            go(m, counted, levels, fitting, u, found[u])


@compiled
def without(m: Weighed, unit: int) -> np.ndarray:
    """Count everything as it would be with one unit at home; nothing is changed."""
    hosts, target = m.seats.use.shape[0], m.seats.place[unit]
    levels, fitting = np.zeros(hosts), np.zeros(hosts)
    counted = count(m)
    go(m, counted, levels, fitting, unit, m.seats.home[unit])
    counted = count(m)
    go(m, counted.copy(), levels, fitting, unit, target)
    return counted
