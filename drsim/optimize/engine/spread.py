"""The evenest loads that few moves reach, compiled: an annealing over which units leave home and where they go."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from drsim.compiled import compiled, inlined
from drsim.optimize.engine.anneal import draw
from drsim.optimize.engine.model import Floats
from drsim.optimize.engine.seats import Seats, level, may, put

SUM, SQUARES, POWER = range(3)
"""Rows of the sums over hosts: of utilisations, of their squares, and of the 32nd powers of loads."""

ANEW, ON, TURN, INSTEAD = 256, 512, 640, 832
"""Of 1,024 proposals: units moved anywhere up to the first, as long as there are moves left; then a moved one sent
elsewhere; then two moved ones exchanged; then one goes home and another anywhere instead. The rest: to its place."""


class Few(NamedTuple):
    """What may be moved and what counts; H hosts, R resources."""

    seats: Seats
    """Who is where; each guest of a unit is a move."""
    share: Floats
    """(H, R) utilisation by a unit of resource; 0 where none is counted."""
    counted: Floats
    """(R,) hosts of which it is counted."""
    price: Floats
    """(R,) price of the variance of utilisation."""
    peak_price: float
    """Price of the highest load."""
    memory_price: float
    """Price of memory moved."""


@inlined
def add_up(use, share, load, sums, host, sign):  # type: ignore[no-untyped-def]
    """Add a host to the sums over hosts, or take it away."""
    for r in range(use.shape[1]):
        if load[host, r] == 0.0:
            continue
        part = use[host, r] * share[host, r]
        power = use[host, r] * load[host, r]
        for _ in range(5):
            power *= power
        sums[0, r] += sign * part
        sums[1, r] += sign * part * part
        sums[2, r] += sign * power


@inlined
def cooler(m, random):  # type: ignore[no-untyped-def]
    """Draw a host: the less loaded one of two."""
    s = m.seats
    a, b = draw(random, s.use.shape[0]), draw(random, s.use.shape[0])
    return a if level(s.use, s.load, a) <= level(s.use, s.load, b) else b


@inlined
def hotter(m, free, random):  # type: ignore[no-untyped-def]
    """Draw a unit: the one of two whose host is more loaded."""
    s = m.seats
    a, b = free[draw(random, free.size)], free[draw(random, free.size)]
    return a if level(s.use, s.load, s.place[a]) >= level(s.use, s.load, s.place[b]) else b


@inlined
def uneven(sums, counted, price, peak_price):  # type: ignore[no-untyped-def]
    """Price of the variances of utilisation and of about the highest load."""
    total, power = 0.0, 0.0
    for r in range(counted.size):
        if counted[r] > 0.0:
            mean = sums[0, r] / counted[r]
            total += price[r] * max(sums[1, r] / counted[r] - mean * mean, 0.0)
            power += sums[2, r]
    return total + peak_price * max(power, 0.0) ** 0.03125


@compiled
def spread(
    m: Few,
    free: np.ndarray,
    most: int,
    most_memory: float,
    patience: np.ndarray,
    random: np.ndarray,
    steps: int,
    hot: float,
    cold: float,
) -> np.ndarray:
    """Look for the placement that is evenest with so many moves, while the temperature falls geometrically.

    Parameters
    ----------
    m : Few
        Changed.
    free : array of int
        Units that may be moved.
    most, most_memory : int, float
        Moves, and memory moved, at most.
    patience : array of float
        `anneal.PATIENCE`.
    random : array of uint64, shape (1,)
        State of the random numbers; changed.
    steps : int
        How many steps to propose.
    hot, cold : float
        First and last temperature, in the unit of prices.

    Returns
    -------
    array of int, shape (U,)
        Host of each unit in the best placement seen, the first among them.
    """
    s = m.seats
    home, place, guests, memory = s.home, s.place, s.guests, s.memory
    hosts, resources = s.use.shape
    sums, before = np.zeros((3, resources)), np.zeros((3, resources))
    for host in range(hosts):
        add_up(s.use, m.share, s.load, sums, host, 1.0)
    away = np.zeros(place.size, dtype=np.int64)
    rank = np.zeros(place.size, dtype=np.int64)
    count, moves, moved = 0, 0, 0.0
    for u in range(place.size):
        if place[u] != home[u]:
            moves += guests[u]
            moved += memory[u]
    for u in free:
        if place[u] != home[u]:
            away[count], rank[u] = u, count
            count += 1
    now = uneven(sums, m.counted, m.price, m.peak_price) + m.memory_price * moved
    best, found = now, place.copy()
    unit = np.empty(2, dtype=np.int64)
    goal = np.empty(2, dtype=np.int64)
    back = np.empty(2, dtype=np.int64)
    rounds = max(1, steps // 1000)
    factor = (cold / hot) ** (1.0 / rounds)
    t = hot
    for _ in range(rounds):
        t *= factor
        for _ in range(1000):
            luck = draw(random, 1024)
            size = 1
            if luck < ANEW or count == 0:
                unit[0], goal[0] = hotter(m, free, random), cooler(m, random)
            elif luck < ON:
                unit[0], goal[0] = away[draw(random, count)], cooler(m, random)
            elif luck < TURN:
                unit[0], unit[1], size = away[draw(random, count)], away[draw(random, count)], 2
                goal[0], goal[1] = place[unit[1]], place[unit[0]]
            else:
                unit[0], unit[1], size = away[draw(random, count)], hotter(m, free, random), 2
                goal[0], goal[1] = home[unit[0]], place[unit[0]]
                if luck < INSTEAD:
                    goal[1] = cooler(m, random)
            change, memory_change, ok = 0, 0.0, size == 1 or unit[0] != unit[1]
            for i in range(size):
                u, target = unit[i], goal[i]
                ok = ok and target >= 0 and place[u] != target
                if ok:
                    turn = (1 if place[u] == home[u] else 0) - (1 if target == home[u] else 0)
                    change += turn * guests[u]
                    memory_change += turn * memory[u]
            # A placement with too many moves is never made worse.
            if not ok or (change > 0 and moves + change > most):
                continue
            if memory_change > 0.0 and moved + memory_change > most_memory:
                continue
            enough = t * patience[draw(random, patience.size)]
            done = 0
            before[:] = sums  # taken back as they were: most proposals are
            for i in range(size):
                u, target = unit[i], goal[i]
                if place[u] == target or not may(s, u, target, -1):
                    break
                source = back[i] = place[u]
                add_up(s.use, m.share, s.load, sums, source, -1.0)
                add_up(s.use, m.share, s.load, sums, target, -1.0)
                put(s, u, target)
                add_up(s.use, m.share, s.load, sums, source, 1.0)
                add_up(s.use, m.share, s.load, sums, target, 1.0)
                done += 1
            then = now
            if done == size:
                then = uneven(sums, m.counted, m.price, m.peak_price) + m.memory_price * (moved + memory_change)
            if done < size or then - now > enough:
                sums[:] = before
                for i in range(done - 1, -1, -1):
                    put(s, unit[i], back[i])
                continue
            now, moves, moved = then, moves + change, moved + memory_change
            for i in range(size):
                u = unit[i]
                if back[i] == home[u]:
                    away[count], rank[u] = u, count
                    count += 1
                elif goal[i] == home[u]:
                    count -= 1
                    other = away[count]
                    away[rank[u]], rank[other] = other, rank[u]
            if now < best:
                best = now
                found[:] = place
        # What was added and taken away a thousand times is added up anew.
        sums[:] = 0.0
        for host in range(hosts):
            add_up(s.use, m.share, s.load, sums, host, 1.0)
        now = uneven(sums, m.counted, m.price, m.peak_price) + m.memory_price * moved
    return found
