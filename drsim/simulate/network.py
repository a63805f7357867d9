"""Max-min fair shares of lines among flows."""

from __future__ import annotations

import numpy as np

from drsim.simulate.kernel import Floats, Ints, fill


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
