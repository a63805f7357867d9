"""The steps of the engine, compiled: may a unit go there, what would it cost, do it.

Every check looks only at the two hosts and at the groups concerned. The smallest functions take arrays, not models: a
tuple of arrays that is passed on costs more than the arithmetic.
"""

from __future__ import annotations

from drsim.compiled import compiled, inlined
from drsim.optimize.engine.model import Model, State


@inlined
def rise(amount, change, limit):  # type: ignore[no-untyped-def]
    """Growth of what lies above a limit when an amount changes."""
    return max(amount + change - limit, 0.0) - max(amount - limit, 0.0)


@inlined
def load_delta(demand, held, use, full, safety, limit, load_price, over_price, home, host, comes, goes, enough):  # type: ignore[no-untyped-def]
    """Change of the cost of what a host holds when a unit comes and another goes; stops adding beyond `enough`.

    A unit that comes home takes up nothing transient there, for it never gave that back; one that leaves leaves it.
    """
    back = 1.0 if home[comes] == host else 0.0
    left = 1.0 if home[goes] == host else 0.0
    delta = 0.0
    for r in range(demand.shape[1]):
        change = demand[comes, r] - demand[goes, r]
        delta += load_price[r] * rise(use[host, r], change, safety[host, r])
        change += left * held[goes, r] - back * held[comes, r]
        delta += over_price[host, r] * rise(full[host, r], change, limit[host, r])
        if delta > enough:
            break
    return delta


@inlined
def balance_delta(demand, use, capacity, balance, host, comes, goes):  # type: ignore[no-untyped-def]
    """Change of what a host lacks in balance, priced, when a unit comes and another goes."""
    delta = 0.0
    for b in range(balance.shape[0]):
        x, y = balance[b, 0], balance[b, 1]
        target = float(balance[b, 2])
        lack = target * (capacity[host, x] - use[host, x]) - (capacity[host, y] - use[host, y])
        change = demand[comes, y] - demand[goes, y] - target * (demand[comes, x] - demand[goes, x])
        delta += balance[b, 3] * rise(lack, change, 0.0)
    return delta


@inlined
def room(demand, held, full, bar, home, host, comes, goes):  # type: ignore[no-untyped-def]
    """Whether a host stays below the bar when a unit comes and another goes."""
    back = 1.0 if home[comes] == host else 0.0
    left = 1.0 if home[goes] == host else 0.0
    fits = True
    for r in range(demand.shape[1]):
        need = demand[comes, r] - back * held[comes, r] - demand[goes, r] + left * held[goes, r]
        if need > 0 and full[host, r] + need > bar[host, r]:
            fits = False
            break
    return fits


@inlined
def leaves(here, home, target):  # type: ignore[no-untyped-def]
    """+1 if a step takes a unit away from home, -1 if it brings it home, else 0."""
    return (1 if here == home else 0) - (1 if target == home else 0)


@compiled
def broken_delta(m: Model, s: State, unit: int, target: int) -> int:
    """Change of the number of broken rules when a unit goes to a host.

    One is counted for every unit of a group too many in a cell, for every location that a group lacks, and for every
    unit that lacks in its area a group that its own needs.
    """
    source, delta = s.place[unit], 0
    for i in range(m.groups_from[unit], m.groups_from[unit + 1]):
        g = m.groups_of[i]
        here, there = m.cell[m.per[g], source], m.cell[m.per[g], target]
        if here != there:
            if s.in_cell[g, there] >= m.most[g]:
                delta += 1
            if s.in_cell[g, here] > m.most[g]:
                delta -= 1
        if m.spread[g] > 1:
            a, b = m.location[source], m.location[target]
            if a != b:
                after = s.locations[g]
                if s.in_location[g, a] == 1:
                    after -= 1
                if s.in_location[g, b] == 0:
                    after += 1
                delta += max(0, m.spread[g] - after) - max(0, m.spread[g] - s.locations[g])
        if s.in_area.shape[1] > 1:
            a, b = m.area[source], m.area[target]
            if a != b:
                for k in range(m.needs_from[g], m.needs_from[g + 1]):
                    n = m.needs[k]
                    delta += (1 if s.in_area[n, b] == 0 else 0) - (1 if s.in_area[n, a] == 0 else 0)
                if s.in_area[g, a] == 1:
                    for k in range(m.needed_from[g], m.needed_from[g + 1]):
                        delta += s.in_area[m.needed[k], a]
                if s.in_area[g, b] == 0:
                    for k in range(m.needed_from[g], m.needed_from[g + 1]):
                        delta -= s.in_area[m.needed[k], b]
    return delta


@compiled
def put(m: Model, s: State, unit: int, target: int) -> None:
    """Put a unit on a host."""
    source, home = s.place[unit], m.home[unit]
    change = leaves(source, home, target)
    for r in range(m.demand.shape[1]):
        need = m.demand[unit, r]
        s.use[source, r] -= need
        s.use[target, r] += need
        s.full[source, r] -= need
        s.full[target, r] += need
        if change != 0:
            s.full[home, r] += change * m.held[unit, r]
    after, before = s.after[unit], s.before[unit]
    s.after[before], s.before[after] = after, before
    if s.first[source] == unit:
        s.first[source] = after if after != unit else -1
    if s.first[target] < 0:
        s.first[target] = s.after[unit] = s.before[unit] = unit
    else:
        after = s.first[target]
        before = s.before[after]
        s.after[before] = s.before[after] = unit
        s.after[unit], s.before[unit] = after, before
    for i in range(m.groups_from[unit], m.groups_from[unit + 1]):
        g = m.groups_of[i]
        s.in_cell[g, m.cell[m.per[g], source]] -= 1
        s.in_cell[g, m.cell[m.per[g], target]] += 1
        if s.in_location.shape[1] > 1:
            a, b = m.location[source], m.location[target]
            s.in_location[g, a] -= 1
            if s.in_location[g, a] == 0:
                s.locations[g] -= 1
            if s.in_location[g, b] == 0:
                s.locations[g] += 1
            s.in_location[g, b] += 1
        if s.in_area.shape[1] > 1:
            s.in_area[g, m.area[source]] -= 1
            s.in_area[g, m.area[target]] += 1
    if change != 0 and m.groups_from[unit] < m.groups_from[unit + 1]:
        g = m.groups_of[m.groups_from[unit]]
        s.groups_moved[s.moved[g]] -= 1
        s.moved[g] += change
        s.groups_moved[s.moved[g]] += 1
    s.place[unit] = target
