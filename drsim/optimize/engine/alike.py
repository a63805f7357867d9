"""Which units need about the same: exchanges between them change little, which is what a cold search needs."""

from __future__ import annotations

import numpy as np

from drsim.compiled import compiled
from drsim.optimize.engine.model import Floats, Ints

PROJECTIONS, REACH = 6, 8
"""Lines on which units are laid out, and how far along each a unit looks to both sides."""


def alike(demand: Floats, count: int, seed: int) -> Ints:
    """Find units near each unit, by the Euclidean distance of their needs in mean needs.

    Units are laid out along random lines; those near on some line are compared. In few dimensions hardly a nearest
    neighbour is missed, and time grows with the number of units, not with its square (Indyk and Motwani, DOI
    10.1145/276698.276876, for the idea).

    Parameters
    ----------
    demand : array of float, shape (U, R)
        What units need.
    count : int
        How many to find; fewer if there are fewer units.
    seed : int
        Seed of the lines.

    Returns
    -------
    array of int, shape (U, count)
        The nearest that were found, nearest first.
    """
    units, resources = demand.shape
    count = max(1, min(count, units - 1))
    scaled = demand / np.maximum(demand.mean(axis=0), 1e-12)
    lines = np.abs(np.random.default_rng(seed).normal(size=(resources, PROJECTIONS)))
    order = np.argsort(scaled @ lines, axis=0, kind="stable")
    rank = np.empty_like(order)
    for line in range(PROJECTIONS):
        rank[order[:, line], line] = np.arange(units)
    reach = max(REACH, count)
    return nearest(scaled, np.ascontiguousarray(order.T), np.ascontiguousarray(rank), reach, count)


@compiled
def nearest(scaled: np.ndarray, order: np.ndarray, rank: np.ndarray, reach: int, count: int) -> np.ndarray:
    """Compare each unit with those near it on some line and keep the nearest."""
    units = scaled.shape[0]
    found = np.empty((units, count), dtype=np.int64)
    far = np.empty(count)
    for u in range(units):
        far[:] = np.inf
        found[u, :] = u
        for line in range(order.shape[0]):
            for place in range(max(0, rank[u, line] - reach), min(units, rank[u, line] + reach + 1)):
                v = order[line, place]
                distance = 0.0
                for r in range(scaled.shape[1]):
                    distance += (scaled[u, r] - scaled[v, r]) ** 2
                if v == u or distance >= far[count - 1]:
                    continue
                at = count - 1
                known = False
                for k in range(count):
                    if found[u, k] == v:
                        known = True
                        break
                if known:
                    continue
                while at > 0 and far[at - 1] > distance:
                    far[at], found[u, at] = far[at - 1], found[u, at - 1]
                    at -= 1
                far[at], found[u, at] = distance, v
    return found
