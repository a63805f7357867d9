"""Max-min fair shares of lines among flows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SAME = 1.0 + 1e-12
"""Two shares closer than this are one share: rounding must not tear a bottleneck apart."""


def fair_share(capacity: Floats, flow: Ints, line: Ints, limit: Floats) -> Floats:
    """Return the max-min fair rate of each flow.

    No flow can gain without a flow that has no more than it losing: each flow has its own limit or crosses a full
    line on which nobody gets more than it does. The shares are unique.

    Parameters
    ----------
    capacity : array of float, shape (lines,)
        Capacity of each line, positive.
    flow, line : array of int, shape (crossings,)
        Crossing k: flow ``flow[k]`` crosses line ``line[k]``, once at most.
    limit : array of float, shape (flows,)
        What each flow could use, positive; infinite if only lines limit it.

    Returns
    -------
    array of float, shape (flows,)
        Rates in the unit of `capacity`; a flow that crosses no line gets its limit.

    Notes
    -----
    Progressive filling (Bertsekas and Gallager, Data Networks, 6.5.2), but each round freezes every local bottleneck,
    not only the tightest line of all: a line is one if no flow on it is held lower elsewhere. Fair shares of lines only
    rise while others freeze, so a flow whose limit is within all its lines' shares is settled as well. Rounds are few
    (the depth of the dependencies between lines), where filling line by line needs one for each distinct share.
    """
    rate = np.array(limit, dtype=np.float64)
    free_line = np.array(capacity, dtype=np.float64)
    lines, flows = free_line.size, rate.size
    # A flow without a line is settled; minimum.at leaves its infinite bound, which its limit undercuts.
    while flow.size:
        users = np.bincount(line, minlength=lines)
        share = np.divide(free_line, users, out=np.full(lines, np.inf), where=users > 0)
        bound = np.full(flows, np.inf)
        np.minimum.at(bound, flow, share[line])
        by_limit = limit <= bound
        held = np.minimum(bound, limit)
        lowest = np.full(lines, np.inf)
        np.minimum.at(lowest, line, held[flow])
        full = share <= lowest * SAME
        settled = by_limit.copy()
        settled[flow[full[line]]] = True
        gone = settled[flow]
        rate[flow[gone]] = held[flow[gone]]
        free_line -= np.bincount(line[gone], weights=held[flow[gone]], minlength=lines)
        np.maximum(free_line, 0.0, out=free_line)
        flow, line = flow[~gone], line[~gone]
    return rate


FULL = 0.95
"""A line used beyond this share has a queue in front of it."""


def behind_returns(rate: Floats, up: Ints, down: Ints, capacity: Floats, share: float) -> Floats:
    """Return the rates of flows whose acknowledgements wait behind other data.

    A receiver's acknowledgements leave by its uplink; while that is full they wait in its queue, and the sender with
    them. Measured on Grid'5000 (kherbache_g5k): a migration into a host that sends at its full rate takes 10 to 20 %
    longer, one into a host that sends at less than that takes no longer.

    Parameters
    ----------
    rate : array of float, shape (flows,)
        Max-min fair shares.
    up, down : array of int, shape (flows,)
        Uplink that a flow leaves by, and uplink of the host that it goes to; negative where there is none.
    capacity : array of float, shape (lines,)
        Capacity of the lines.
    share : float
        What a flow keeps of its share then; 1 for no effect.
    """
    if share >= 1.0:
        return rate
    known = up >= 0
    used = np.bincount(up[known], weights=rate[known], minlength=capacity.size)
    full = used >= FULL * capacity
    waits = np.where(down >= 0, full[np.maximum(down, 0)], False)
    result: Floats = np.where(waits, rate * share, rate)
    return result
