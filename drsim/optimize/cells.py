"""Part a cluster into cells of hosts with about the mean load each: what is even in each cell is even in all."""

from __future__ import annotations

import numpy as np

from drsim.optimize.problem import Floats, Ints

HOSTS = 100
"""Hosts of a cell: enough that guests of every kind are found in it, few enough for the processor's cache."""

TURNS = 4
"""Times that every host is weighed against one of another cell."""


def cells(levels: Floats, size: Floats, seed: int) -> list[Ints]:
    """Part hosts into cells.

    Parameters
    ----------
    levels : array of float, shape (H, R)
        Load of each host, 1 = mean.
    size : array of float, shape (H, R)
        Share of each host in the whole.
    seed : int
        Seed of the order in which hosts are looked at.

    Returns
    -------
    list of array of int
        Hosts of each cell, sorted; one cell if there are few.
    """
    hosts = len(levels)
    count = max(1, round(hosts / HOSTS))
    if count == 1:
        return [np.arange(hosts, dtype=np.int64)]
    random = np.random.default_rng(seed)
    # What a cell has beyond its share is what its hosts have beyond theirs.
    beyond = (levels - 1.0) * size * hosts
    order = random.permutation(hosts)
    order = order[np.argsort(-np.abs(beyond[order]).max(axis=1), kind="stable")]
    total = np.zeros((count, levels.shape[1]))
    cell_of = np.empty(hosts, dtype=np.int64)
    # The loads far off the mean first, dealt out so that every cell gets as many of them.
    for begin in range(0, hosts, count):
        free = list(range(count))
        for host in order[begin : begin + count].tolist():
            off = np.abs(total[free] + beyond[host]).max(axis=1) - np.abs(total[free]).max(axis=1)
            cell = free.pop(int(off.argmin()))
            cell_of[host] = cell
            total[cell] += beyond[host]
    for _ in range(TURNS * hosts):
        a, b = random.integers(hosts, size=2)
        x, y = cell_of[a], cell_of[b]
        if x == y:
            continue
        change = beyond[b] - beyond[a]
        before = np.abs(total[[x, y]]).max()
        after = max(np.abs(total[x] + change).max(), np.abs(total[y] - change).max())
        if after < before:
            total[x] += change
            total[y] -= change
            cell_of[a], cell_of[b] = y, x
    return [np.flatnonzero(cell_of == cell) for cell in range(count)]
