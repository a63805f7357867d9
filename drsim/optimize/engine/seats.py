"""Units on hosts, compiled: what every search needs to know to put one elsewhere."""

from __future__ import annotations

from typing import NamedTuple

from drsim.compiled import compiled, inlined
from drsim.optimize.engine.model import Bools, Floats, Ints


class Seats(NamedTuple):
    """Who is where, and who may be; U units, H hosts, R resources, G groups."""

    needs: Floats
    """(U, R) what a unit needs."""
    guests: Ints
    """(U,) guests of a unit."""
    memory: Floats
    """(U,) memory that its moves carry."""
    home: Ints
    """(U,) host of a unit now; -1 if it has none or several."""
    place: Ints
    """(U,) host of a unit; changes."""
    use: Floats
    """(H, R) what a host holds; changes."""
    bar: Floats
    """(H, R) what no step may make it hold."""
    load: Floats
    """(H, R) load by a unit of resource, 1 = mean; 0 where none is counted."""
    allowed: Bools
    """(C, H) hosts on which a class of units may be."""
    kind: Ints
    """(U,) class of a unit."""
    groups_from: Ints
    groups_of: Ints
    """(U + 1,) unit u is in groups ``groups_of[groups_from[u]:groups_from[u + 1]]``, of which no area may hold many."""
    most: Ints
    """(G,) units of a group that an area may hold."""
    cells: Ints
    """(G, H) area of a host, by group."""
    inside: Ints
    """(G, areas) units of a group in an area; changes."""


@compiled
def put(s: Seats, unit: int, target: int) -> None:
    """Put a unit on a host."""
    source = s.place[unit]
    for r in range(s.needs.shape[1]):
        s.use[source, r] -= s.needs[unit, r]
        s.use[target, r] += s.needs[unit, r]
    for i in range(s.groups_from[unit], s.groups_from[unit + 1]):
        g = s.groups_of[i]
        s.inside[g, s.cells[g, source]] -= 1
        s.inside[g, s.cells[g, target]] += 1
    s.place[unit] = target


@compiled
def may(s: Seats, unit: int, target: int, leaver: int) -> bool:
    """Whether a unit may go to a host that another leaves; nobody does if that is below 0."""
    if not s.allowed[s.kind[unit], target]:
        return False
    for r in range(s.needs.shape[1]):
        more = s.needs[unit, r]
        if leaver >= 0:
            more -= s.needs[leaver, r]
        if more > 0.0 and s.use[target, r] + more > s.bar[target, r]:
            return False
    for i in range(s.groups_from[unit], s.groups_from[unit + 1]):
        g = s.groups_of[i]
        there = s.cells[g, target]
        if there == s.cells[g, s.place[unit]]:
            continue
        room = s.most[g] - s.inside[g, there]
        if leaver >= 0:
            for k in range(s.groups_from[leaver], s.groups_from[leaver + 1]):
                if s.groups_of[k] == g:
                    room += 1
        if room < 1:
            return False
    return True


@inlined
def level(use, load, host):  # type: ignore[no-untyped-def]
    """Return the load of a host, of the resource that it has most of."""
    most = 0.0
    for r in range(use.shape[1]):
        most = max(most, use[host, r] * load[host, r])
    return most
