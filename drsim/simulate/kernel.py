"""Flows on lines, kept in tables: exact max-min fair shares, settled anew only where something changes.

Plain functions over arrays, without objects, so that `drsim.simulate.compiled` can compile them as they are; both ways
give the same bits. Who reads a table by its columns finds their names below.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from drsim.migration.leg import LEFT, net_rate, wait_s
from drsim.simulate.network import NOBODY, Floats, Ints, fill

# Columns of a flow: the numbers of its leg come first.
LIMIT, RATE, REAL, SINCE, SPENT, SENT, NET, LEAST, LAST, ROSE = range(11, 21)
FLOW_COLUMNS = 21

NEAR = 1e-9
"""Relative change of a rate that is none, and slack of a line that is full."""

FULL = 0.95
"""A line used beyond this share has a queue in front of it."""

SOON_S = 1e-9
"""Two instants closer than this are one."""

SNAP_MIB = 1e-6
"""Less than this is nothing (a page is 4096 times as much): rounding of the clock."""


class Tables(NamedTuple):
    """All flows and lines.

    Parameters
    ----------
    flow : array of float, shape (flows, FLOW_COLUMNS)
        A row a flow; data rates in MiB/s.
    due : array of float, shape (flows,)
        When the leg of a flow is over; infinite if it sends nothing.
    ways : array of int, shape (flows, longest)
        Lines crossed, padded with `NOBODY`.
    after, before : array of int, shape (flows * longest,)
        The chain of crossings of each line; crossing k of flow f is number ``f * longest + k``.
    on : array of int, shape (flows,)
        Whether a flow is in the chains.
    back : array of int, shape (flows,)
        Uplink of the host that a flow goes to; `NOBODY` if there is none.
    capacity, used : array of float, shape (lines,)
        Of each line, MiB/s.
    first : array of int, shape (lines,)
        First crossing of each line.
    """

    flow: Floats
    due: Floats
    ways: Ints
    after: Ints
    before: Ints
    on: Ints
    back: Ints
    capacity: Floats
    used: Floats
    first: Ints


def settle(
    tables: Tables, changed: Ints, limits: Floats, now_s: float, return_share: float
) -> tuple[Ints, Floats, float]:
    """Give every flow its share after some of them changed what they could use.

    Parameters
    ----------
    tables : Tables
        Brought up to date.
    changed : array of int, shape (n,)
        Flows, each once.
    limits : array of float, shape (n,)
        What they could use from now on, MiB/s; 0 for those that end.
    now_s : float
        The time.
    return_share : float
        What a flow keeps of its share while the uplink of the host that it goes to is full.

    Returns
    -------
    lines : array of int
        Lines whose use changed.
    used : array of float
        Their use, MiB/s.
    next_s : float
        When the next leg is over; infinite if nobody sends.

    Notes
    -----
    A rate is fair if its flow has its limit or is among the fastest on a full line; shares are unique. So only flows
    near the change are shared out anew, the others as they are; and wherever that would leave a full line on which
    somebody else had more, or less, than is fair, all flows of that line join in.
    """
    flow, ways, longest = tables.flow, tables.ways, tables.ways.shape[1]
    lines = tables.capacity.size
    whole = np.zeros(lines, dtype=np.bool_)  # lines all of whose flows take part
    local = np.full(lines, NOBODY)
    members = np.empty(flow.shape[0], dtype=np.int64)
    inside = np.zeros(flow.shape[0], dtype=np.bool_)
    count = 0
    touched = np.empty(lines, dtype=np.int64)
    seen = 0
    fresh = np.empty(lines, dtype=np.int64)  # lines to be made whole
    wanted = 0
    used = tables.used.copy()

    for place in range(changed.size):
        number, limit = changed[place], limits[place]
        had, old = flow[number, RATE], flow[number, LIMIT]
        flow[number, LIMIT] = limit
        if tables.on[number] and had < old and had < limit:
            continue  # a line holds it, before and after
        if limit > 0.0:
            if not tables.on[number]:
                _join(tables, number)
            if not inside[number]:
                inside[number] = True
                members[count] = number
                count += 1
        else:
            _part(tables, number)
        for k in range(longest):
            line = ways[number, k]
            if line == NOBODY:
                break
            if local[line] == NOBODY:
                local[line] = seen
                touched[seen] = line
                seen += 1
            if not whole[line] and used[line] >= tables.capacity[line] * (1.0 - NEAR):
                whole[line] = True
                fresh[wanted] = line
                wanted += 1
            if limit == 0.0:
                tables.used[line] -= had
        if limit == 0.0:
            flow[number, RATE] = 0.0
            flow[number, REAL] = 0.0

    rate = np.empty(0)
    while True:
        for place in range(wanted):
            crossing = tables.first[fresh[place]]
            while crossing != NOBODY:
                number = crossing // longest
                if not inside[number]:
                    inside[number] = True
                    members[count] = number
                    count += 1
                crossing = tables.after[crossing]
        wanted = 0
        start = np.empty(count + 1, dtype=np.int64)
        crossed = np.empty(count * longest, dtype=np.int64)
        limit_of = np.empty(count)
        start[0] = 0
        for place in range(count):
            number, at = members[place], start[place]
            limit_of[place] = flow[number, LIMIT]
            for k in range(longest):
                line = ways[number, k]
                if line == NOBODY:
                    break
                if local[line] == NOBODY:
                    local[line] = seen
                    touched[seen] = line
                    seen += 1
                crossed[at] = local[line]
                at += 1
            start[place + 1] = at
        crossed = crossed[: start[count]]
        ours = np.zeros(seen)  # rates that those who take part have had
        for place in range(count):
            for at in range(start[place], start[place + 1]):
                ours[crossed[at]] += flow[members[place], RATE]
        room = np.empty(seen)
        for number in range(seen):
            line = touched[number]
            others = 0.0 if whole[line] else max(0.0, tables.used[line] - ours[number])
            room[number] = max(0.0, tables.capacity[line] - others)
        rate = np.empty(count)
        held = np.empty(count, dtype=np.int64)
        theirs = np.zeros(seen)
        moved = np.zeros(seen, dtype=np.bool_)
        level = np.full(seen, np.inf)  # the slowest that is held there
        fill(room, start, crossed, limit_of, rate, held)
        for place in range(count):
            before = flow[members[place], RATE]
            if abs(rate[place] - before) <= NEAR * before and rate[place] <= limit_of[place]:
                rate[place] = before
            for at in range(start[place], start[place + 1]):
                theirs[crossed[at]] += rate[place]
                if rate[place] != before:
                    moved[crossed[at]] = True
            if held[place] != NOBODY:
                level[held[place]] = min(level[held[place]], rate[place])
        for number in range(seen):
            line = touched[number]
            if whole[line]:
                continue
            full = tables.capacity[line] * (1.0 - NEAR)
            now = tables.used[line] - ours[number] + theirs[number]
            unfair = moved[number] and (used[line] >= full or now >= full)
            if not unfair and level[number] < np.inf:
                crossing = tables.first[line]
                while crossing != NOBODY and not unfair:
                    other = crossing // longest
                    unfair = not inside[other] and flow[other, RATE] > level[number] * (1.0 + NEAR)
                    crossing = tables.after[crossing]
            if unfair:
                whole[line] = True
                fresh[wanted] = line
                wanted += 1
        if wanted == 0:
            break

    for place in range(count):
        number = members[place]
        change = rate[place] - flow[number, RATE]
        flow[number, RATE] = rate[place]
        if change != 0.0:
            for k in range(longest):
                line = ways[number, k]
                if line == NOBODY:
                    break
                tables.used[line] += change
    for place in range(seen):
        line = touched[place]
        if whole[line]:  # all of it is known: rounding does not add up
            total = 0.0
            crossing = tables.first[line]
            while crossing != NOBODY:
                total += flow[crossing // longest, RATE]
                crossing = tables.after[crossing]
            tables.used[line] = total
        elif tables.first[line] == NOBODY:
            tables.used[line] = 0.0
    if return_share < 1.0:
        for number in range(flow.shape[0]):
            if tables.on[number]:
                real = flow[number, RATE]
                back = tables.back[number]
                if back != NOBODY and tables.used[back] >= FULL * tables.capacity[back]:
                    real *= return_share
                _change(tables, number, real, now_s)
    else:
        for place in range(count):
            _change(tables, members[place], flow[members[place], RATE], now_s)

    noted = 0
    for place in range(seen):
        line = touched[place]
        if abs(tables.used[line] - used[line]) > NEAR * tables.capacity[line]:
            touched[noted] = line
            noted += 1
    return touched[:noted].copy(), tables.used[touched[:noted]], tables.due.min()


def to_date(tables: Tables, number: int, now_s: float) -> None:
    """Count what a flow has sent up to now."""
    flow = tables.flow[number]
    time_s, rate = now_s - flow[SINCE], flow[REAL]
    flow[SINCE] = now_s
    if time_s <= 0.0 or rate == 0.0:
        return
    net = net_rate(flow, rate)
    flow[SPENT] += time_s
    flow[SENT] += rate * time_s
    flow[NET] += net * time_s
    flow[LEAST] = min(flow[LEAST], rate)
    if net > flow[LAST]:
        flow[ROSE] = 1.0
    flow[LAST] = net


def begin(tables: Tables, number: int, leg: Any, last_mib_s: float, now_s: float) -> float:
    """Let a flow go on with another leg at the rate that it has; return when that is over."""
    flow = tables.flow[number]
    for column in range(len(leg)):
        flow[column] = leg[column]
    flow[SINCE] = now_s
    flow[SPENT] = flow[SENT] = flow[NET] = flow[ROSE] = 0.0
    flow[LEAST] = np.inf
    flow[LAST] = last_mib_s
    tables.due[number] = np.inf
    if flow[REAL] > 0.0:
        tables.due[number] = now_s + wait_s(flow, 0.0, 0.0, flow[REAL])
    return float(tables.due[number])


def end(tables: Tables, number: int, now_s: float) -> None:
    """Count what a flow has sent; if its leg is over, to the last bit of it."""
    due_s = tables.due[number]
    to_date(tables, number, due_s if due_s <= now_s + SOON_S else now_s)
    flow = tables.flow[number]
    if abs(flow[LEFT] - flow[NET]) < SNAP_MIB:
        flow[NET] = flow[LEFT]
    tables.due[number] = np.inf


def _change(tables: Tables, number: int, real: float, now_s: float) -> None:
    flow = tables.flow[number]
    if flow[REAL] != real:
        to_date(tables, number, now_s)
        flow[REAL] = real
        flow[SINCE] = now_s
        tables.due[number] = now_s + wait_s(flow, flow[NET], flow[SPENT], real) if real > 0.0 else np.inf


def _join(tables: Tables, number: int) -> None:
    longest = tables.ways.shape[1]
    tables.on[number] = 1
    for k in range(longest):
        line = tables.ways[number, k]
        if line == NOBODY:
            break
        crossing, then = number * longest + k, tables.first[line]
        tables.before[crossing] = NOBODY
        tables.after[crossing] = then
        if then != NOBODY:
            tables.before[then] = crossing
        tables.first[line] = crossing


def _part(tables: Tables, number: int) -> None:
    longest = tables.ways.shape[1]
    if not tables.on[number]:
        return
    tables.on[number] = 0
    for k in range(longest):
        line = tables.ways[number, k]
        if line == NOBODY:
            break
        crossing = number * longest + k
        then, ahead = tables.after[crossing], tables.before[crossing]
        if then != NOBODY:
            tables.before[then] = ahead
        if ahead != NOBODY:
            tables.after[ahead] = then
        else:
            tables.first[line] = then


PARTS = (_change, _join, _part)
"""What the others are made of."""
