"""Max-min fair shares of lines among flows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SAME = 1.0 + 1e-12
"""Two shares closer than this are one share: rounding must not tear a bottleneck apart."""

NOBODY = -1


def fair_share(capacity: Floats, flow: Ints, line: Ints, limit: Floats) -> Floats:
    """Return the max-min fair rate of each flow.

    No flow can gain without a flow that has no more than it losing: each flow has its own limit or crosses a full
    line on which nobody gets more than it does. The shares are unique.

    Parameters
    ----------
    capacity : array of float, shape (lines,)
        Capacity of each line, positive.
    flow, line : array of int, shape (crossings,)
        Crossing k: flow ``flow[k]`` crosses line ``line[k]``, once at most; in the order of flows.
    limit : array of float, shape (flows,)
        What each flow could use, positive; infinite if only lines limit it.

    Returns
    -------
    array of float, shape (flows,)
        Rates in the unit of `capacity`; a flow that crosses no line gets its limit.
    """
    count = limit.size
    start = np.searchsorted(flow, np.arange(count + 1))
    rate, held = np.empty(count), np.empty(count, dtype=np.int64)
    fill(np.array(capacity, dtype=np.float64), start, line, limit, rate, held)
    return rate


def fill(capacity: Floats, start: Ints, line: Ints, limit: Floats, rate: Floats, held: Ints) -> None:
    """Find the max-min fair rate of each flow; the part of `fair_share` that is compiled as it is.

    Parameters
    ----------
    capacity : array of float, shape (lines,)
        What is free on each line; taken over and changed.
    start : array of int, shape (flows + 1,)
        Flow f crosses ``line[start[f]:start[f + 1]]``.
    line : array of int, shape (crossings,)
        Lines crossed.
    limit : array of float, shape (flows,)
        What each flow could use.
    rate : array of float, shape (flows,)
        The result.
    held : array of int, shape (flows,)
        The result: line that holds the flow, `NOBODY` if that is its own limit.

    Notes
    -----
    Progressive filling (Bertsekas and Gallager, Data Networks, 6.5.2), but each round freezes every local bottleneck,
    not only the tightest line of all: a line is one if no flow on it is held lower elsewhere. Fair shares of lines only
    rise while others freeze, so a flow whose limit is within all its lines' shares is settled as well. Rounds are few
    (the depth of the dependencies between lines), where filling line by line needs one for each distinct share.
    """
    lines, free = capacity.size, limit.size
    waiting = np.arange(free)
    users = np.zeros(lines, dtype=np.int64)
    for crossing in range(line.size):
        users[line[crossing]] += 1
    share, lowest = np.empty(lines), np.empty(lines)
    while free > 0:
        for number in range(lines):
            share[number] = capacity[number] / users[number] if users[number] > 0 else np.inf
            lowest[number] = np.inf
        for place in range(free):
            flow = waiting[place]
            least = limit[flow]
            for crossing in range(start[flow], start[flow + 1]):
                least = min(least, share[line[crossing]])
            rate[flow] = least
            for crossing in range(start[flow], start[flow + 1]):
                lowest[line[crossing]] = min(lowest[line[crossing]], least)
        left = 0
        for place in range(free):
            flow = waiting[place]
            settled, by = limit[flow] <= rate[flow], NOBODY
            if not settled:
                for crossing in range(start[flow], start[flow + 1]):
                    number = line[crossing]
                    if share[number] <= lowest[number] * SAME:
                        settled, by = True, number
            if settled:
                held[flow] = by
                for crossing in range(start[flow], start[flow + 1]):
                    number = line[crossing]
                    capacity[number] = max(0.0, capacity[number] - rate[flow])
                    users[number] -= 1
            else:
                waiting[left] = flow
                left += 1
        free = left
