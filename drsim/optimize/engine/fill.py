"""Equal hosts filled one after the other: a start for a search, and a bound on how few hosts can do."""

from __future__ import annotations

import numpy as np

from drsim.compiled import compiled
from drsim.optimize.engine.model import Floats, Ints

FRACTIONS = 12
"""Dual feasible functions that round to fractions of up to that part."""


def filled(demand: Floats, size: Floats) -> Ints:
    """Fill one host after the other; of the units that fit the one whose needs lie best along what is left.

    The dot product of Panigrahy et al., "Heuristics for Vector Bin Packing", Microsoft Research 2011.

    Parameters
    ----------
    demand : array of float, shape (U, R)
        What each unit needs; none more than a host has.
    size : array of float, shape (R,)
        What a host has.

    Returns
    -------
    array of int, shape (U,)
        Host of each unit, numbered from 0.
    """
    need = demand / np.maximum(size, 1e-12)
    weight = need.sum(axis=0)
    return _filled(demand, size, need, weight / np.maximum(size, 1e-12))


@compiled
def _filled(demand: np.ndarray, size: np.ndarray, need: np.ndarray, weight: np.ndarray) -> np.ndarray:
    units, resources = demand.shape
    place = np.full(units, -1, dtype=np.int64)
    left = np.arange(units)
    count, host = units, 0
    room = np.empty(resources)
    while count:
        room[:] = size
        while True:
            best, most = -1, -1.0
            for k in range(count):
                u = left[k]
                value, fits = 0.0, True
                for r in range(resources):
                    if demand[u, r] > room[r]:
                        fits = False
                        break
                    value += need[u, r] * weight[r] * room[r]
                if fits and value > most:
                    best, most = k, value
            if best < 0:
                break
            u = left[best]
            place[u] = host
            room -= demand[u]
            count -= 1
            left[best] = left[count]
        host += 1
    return place


def least(demand: Floats, size: Floats) -> int:
    """Bound from below how many equal hosts the units need.

    By each resource, by their mean and by their mean weighted with scarcity: the sum; the bound L2 of Martello and Toth
    (DOI 10.1016/0166-218X(90)90094-S); the functions u(k) of Fekete and Schepers (DOI 10.1007/s101070100243). And by
    units of which no two fit together.
    """
    if not len(demand):
        return 0
    need = np.minimum(demand / np.maximum(size, 1e-12), 1.0)
    weight = need.sum(axis=0)
    mixed = np.column_stack([need, need.mean(axis=1), need @ (weight / max(float(weight.sum()), 1e-12))])
    found = max(_apart(need), *(_by_size(column) for column in mixed.T))
    return int(found)


def _by_size(sizes: Floats) -> int:
    """Bound by one figure per unit, of which a host holds 1."""
    size = np.sort(sizes)
    below = np.concatenate([[0.0], np.cumsum(size)])
    half = np.searchsorted(size, 0.5 + 1e-9)
    # Units above 1 - a are alone with all of at least a; those above a half are alone among themselves.
    a = np.unique(np.append(size[:half], 0.0))
    alone, first = np.searchsorted(size, 1.0 - a + 1e-9), np.searchsorted(size, a)
    pairs = len(size) - half
    room = (alone - half) - (below[alone] - below[half])
    best = pairs + np.ceil(np.maximum(below[half] - below[first] - room, 0.0) - 1e-6).max()
    k = np.arange(1, FRACTIONS + 1)[:, None]
    times = size * (k + 1)
    whole = np.abs(times - np.round(times)) < 1e-9
    rounded = np.where(whole, size, np.floor(times) / k).sum(axis=1)
    return int(max(best, np.ceil(rounded - 1e-6).max()))


def _apart(need: Floats) -> int:
    """Count units of which no two fit together, found one after the other, the largest first."""
    left = need[np.argsort(-need.max(axis=1), kind="stable")]
    count = 0
    while len(left):
        first, left = left[0], left[1:]
        left = left[(left + first > 1.0 + 1e-9).any(axis=1)]
        count += 1
    return count
