"""A wave of plain pre-copies, played by numbers alone: what `drsim.simulate.drive` does, compiled."""

from __future__ import annotations

import math

import numpy as np

from drsim.migration.leg import UNTIL
from drsim.migration.plain import DONE, LAST_RATE, LIMIT, PHASE, WAIT_S, begin, happen, leg, sent, waited
from drsim.simulate.kernel import LAST, NET, ROSE, SOON_S, SPENT, Tables, settle
from drsim.simulate.kernel import begin as launch
from drsim.simulate.kernel import end as finish
from drsim.simulate.network import Floats, Ints


def rush(
    tables: Tables, rows: Ints, fixed: Floats, classes: Floats, counts: Ints, state: Floats, now_s: float, share: float
) -> float:
    """Let migrations that start together run to their ends; return when the last has ended, seconds.

    Parameters
    ----------
    tables : Tables
        The lines, with a way for each migration.
    rows : array of int, shape (n,)
        Row of each way.
    fixed : array of float, shape (n, columns)
        What each is made of (`drsim.migration.plain`).
    classes : array of float, shape (n, OF_CLASS, most classes)
        Its page classes, padded; changed.
    counts : array of int, shape (n,)
        How many of them it has.
    state : array of float, shape (n, STATE)
        The result: where each stands in the end.
    now_s : float
        When they start.
    share : float
        What a flow keeps of its share while the uplink of the host that it goes to is full.
    """
    count = rows.size
    timer = np.empty(count)
    limit = np.zeros(count)
    stretch = np.empty(UNTIL + 1)
    changed = np.empty(count, dtype=np.int64)
    limits = np.empty(count)
    for n in range(count):
        begin(fixed[n], classes[n, :, : counts[n]], state[n])
        timer[n] = now_s + state[n, WAIT_S]
    left = count
    while left > 0:
        now_s = math.inf
        for n in range(count):
            now_s = min(now_s, timer[n], tables.due[rows[n]])
        news = 0
        for n in range(count):
            row, of_n, mine = rows[n], classes[n, :, : counts[n]], state[n]
            if tables.due[row] <= now_s + SOON_S:
                finish(tables, row, now_s)
                flow = tables.flow[row]
                sent(mine, flow[SPENT], flow[NET], flow[LAST], flow[ROSE] > 0.0)
            elif timer[n] <= now_s:
                timer[n] = math.inf
                waited(mine)
            else:
                continue
            happen(fixed[n], of_n, mine)
            if mine[LIMIT] != limit[n]:
                limit[n] = mine[LIMIT]
                changed[news], limits[news] = row, mine[LIMIT]
                news += 1
            if mine[LIMIT] > 0.0:
                leg(fixed[n], of_n, mine, stretch)
                launch(tables, row, stretch, mine[LAST_RATE], now_s)
            elif mine[PHASE] == DONE:
                left -= 1
            else:
                timer[n] = now_s + mine[WAIT_S]
        if news > 0:
            settle(tables, changed[:news], limits[:news], now_s, share)
    return now_s
