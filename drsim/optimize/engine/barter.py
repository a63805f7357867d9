"""Barter between hosts that have prices, compiled: shifts, exchanges, swaps, one for two.

Hosts charge for what they hold: a price for all of it, and a further one for what is above their limit. Units charge
for leaving home. A simulated annealing over these prices looks at few units and few hosts each, so that it stays in the
processor's cache. It is `anneal` for the one case that has to be quick: no transient resources, no services, no
locations.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from drsim.compiled import compiled, inlined
from drsim.optimize.engine.anneal import draw
from drsim.optimize.engine.model import Bools, Floats, Ints

Small = NDArray[np.int32]

USE, LIMIT, BAR, PRICE, OVER = range(5)
"""Blocks of a host's row: what it holds, what it should hold at most, what no step may make it hold, the price of what
it holds, and what is added to that above the limit."""

SHIFTS, EXCHANGES, KINS, SWAPS = 250, 500, 620, 800
"""Of 1,024 proposals: shifts up to the first; then units that go home, every other in exchange for one from there; then
swaps with a unit alike; then with any unit of a host that suits. The rest puts one in the place of two."""


class Market(NamedTuple):
    """What is bartered; U units, H hosts, R resources."""

    hosts: Floats
    """(H, 5 R) the blocks; the first one changes."""
    needs: Floats
    """(U, R) what a unit needs."""
    price: Floats
    """(U,) what it costs that a unit is not at home."""
    home: Small
    """(U,) host of a unit now; -1 if that is none of these."""
    place: Small
    """(U,) host of a unit; changes."""
    allowed: Bools
    """(C, H) hosts on which a class of units may be."""
    kind: Small
    """(U,) class of a unit."""
    groups_from: Ints
    groups_of: Ints
    """(U + 1,) unit u is in groups ``groups_of[groups_from[u]:groups_from[u + 1]]``."""
    most: Ints
    """(G,) units of a group that an area may hold."""
    cells: Ints
    """(G, H) area of a host, by group."""
    inside: Ints
    """(G, areas) units of a group in an area; changes."""
    after: Small
    before: Small
    """(U,) the units of a host form a ring: the unit after and before each."""
    first: Small
    """(H,) some unit of a host, or -1; looked at, it goes on to the next."""
    alike: Small
    """(U, K) units that need about the same."""
    suits: Small
    """(U, L) hosts that suit a unit."""


@inlined
def charge(hosts, host, needs, a, b, c, sign):  # type: ignore[no-untyped-def]
    """Change of what a host charges when unit a comes and units b and c, if there are any, go; or the reverse."""
    resources = needs.shape[1]
    total = 0.0
    for r in range(resources):
        change = needs[a, r]
        if b >= 0:
            change -= needs[b, r]
        if c >= 0:
            change -= needs[c, r]
        change *= sign
        use, limit = hosts[host, r], hosts[host, resources + r]
        then = use + change
        total += hosts[host, 3 * resources + r] * change
        total += hosts[host, 4 * resources + r] * (max(then - limit, 0.0) - max(use - limit, 0.0))
        if change > 0.0 and then > hosts[host, 2 * resources + r]:
            total = np.inf
            break
    return total


@inlined
def leaving(price, home, unit, source, target):  # type: ignore[no-untyped-def]
    """Change of what a unit charges when it goes from one host to another."""
    return price[unit] * ((1.0 if source == home[unit] else 0.0) - (1.0 if target == home[unit] else 0.0))


@inlined
def barred(m, unit, source, target, leaver):  # type: ignore[no-untyped-def]
    """Whether a unit may not be on a host that another leaves, or its groups keep it out; nobody leaves if below 0."""
    kept_out = not m.allowed[m.kind[unit], target]
    for i in range(m.groups_from[unit], m.groups_from[unit + 1]):
        g = m.groups_of[i]
        there = m.cells[g, target]
        if there != m.cells[g, source] and m.inside[g, there] >= m.most[g]:
            room = m.most[g] - m.inside[g, there]
            if leaver >= 0:
                for k in range(m.groups_from[leaver], m.groups_from[leaver + 1]):
                    if m.groups_of[k] == g:
                        room += 1
            if room < 1:
                kept_out = True
    return kept_out


@compiled
def bring(m: Market, unit: int, target: int) -> None:
    """Put a unit on a host."""
    source = m.place[unit]
    for r in range(m.needs.shape[1]):
        m.hosts[source, r] -= m.needs[unit, r]
        m.hosts[target, r] += m.needs[unit, r]
    for i in range(m.groups_from[unit], m.groups_from[unit + 1]):
        g = m.groups_of[i]
        m.inside[g, m.cells[g, source]] -= 1
        m.inside[g, m.cells[g, target]] += 1
    after, before = m.after[unit], m.before[unit]
    m.after[before], m.before[after] = after, before
    if m.first[source] == unit:
        m.first[source] = after if after != unit else -1
    if m.first[target] < 0:
        m.first[target] = m.after[unit] = m.before[unit] = unit
    else:
        after = m.first[target]
        before = m.before[after]
        m.after[before] = m.before[after] = unit
        m.after[unit], m.before[unit] = after, before
    m.place[unit] = target


@inlined
def next_on(first, after, host):  # type: ignore[no-untyped-def]
    """Look at the next unit of a host; -1 if it has none."""
    unit = first[host]
    if unit >= 0:
        first[host] = after[unit]
    return unit


@compiled
def filler(m: Market, unit: int, one: int) -> int:
    """Find the unit beside `one` on its host with which the two need most nearly what `unit` needs; -1 if none."""
    best, found = np.inf, -1
    other = m.after[one]
    while other != one:
        off = 0.0
        for r in range(m.needs.shape[1]):
            need = m.needs[unit, r]
            if need > 0.0:
                off += abs(need - m.needs[one, r] - m.needs[other, r]) / need
        if off < best:
            best, found = off, other
        other = m.after[other]
    return found


@compiled
def barter(m: Market, patience: np.ndarray, random: np.ndarray, steps: int, heat: float) -> int:
    """Propose so many steps at a temperature.

    Parameters
    ----------
    m : Market
        Changed.
    patience : array of float
        `anneal.PATIENCE`.
    random : array of uint64, shape (1,)
        State of the random numbers; changed.
    steps : int
        How many.
    heat : float
        Temperature, in the unit of prices.

    Returns
    -------
    int
        How many were taken.
    """
    hosts, needs, price, home, place = m.hosts, m.needs, m.price, m.home, m.place
    first, after, alike, suits = m.first, m.after, m.alike, m.suits
    units, taken = price.size, 0
    for _ in range(steps):
        u = draw(random, units)
        source = place[u]
        luck = draw(random, 1024)
        v = w = -1
        if luck < SHIFTS:
            target = suits[u, draw(random, suits.shape[1])]
        elif luck < EXCHANGES:
            target = home[u]
            if target < 0:
                continue
            if luck & 1 and target != source:
                v = next_on(first, after, target)
        elif luck < KINS:
            v = alike[u, draw(random, alike.shape[1])]
            target = place[v]
        else:
            target = suits[u, draw(random, suits.shape[1])]
            if target == source:
                continue
            v = next_on(first, after, target)
            if luck >= SWAPS:
                if v < 0:
                    continue
                w = filler(m, u, v)
        if target == source:
            continue
        enough = heat * patience[draw(random, patience.size)]
        delta = leaving(price, home, u, source, target)
        if v >= 0:
            delta += leaving(price, home, v, target, source)
        if w >= 0:
            delta += leaving(price, home, w, target, source)
        delta += charge(hosts, target, needs, u, v, w, 1.0)
        if delta == np.inf:
            continue
        delta += charge(hosts, source, needs, u, v, w, -1.0)
        if delta > enough or barred(m, u, source, target, v):
            continue
        if v >= 0 and barred(m, v, target, source, u):
            continue
        bring(m, u, target)
        if v >= 0:
            bring(m, v, source)
        if w >= 0:
            if barred(m, w, target, source, -1):  # perhaps by the one before it
                bring(m, v, target)
                bring(m, u, source)
                continue
            bring(m, w, source)
        taken += 1
    return taken
