"""Large units that cost something wherever they are alone: send them where there is room for them."""

from __future__ import annotations

import numpy as np

from drsim.optimize.engine.model import Bools, Ints, Model

BETTER = 0.5
"""A host is better if a unit alone costs at most this part there of what it costs where it is."""

MOST = 200
"""Units that are looked at, the dearest first."""


def roomier(model: Model, place: Ints) -> tuple[Model, Ints] | None:
    """Close hosts to large units that alone pass the safety capacity there, if there are better ones.

    Annealing leaves such a unit where it is: to make room for it elsewhere a whole host has to be cleared, and what is
    cleared does not fit where it was. Once it has to go, the rest is found.

    Parameters
    ----------
    model : Model
        The problem.
    place : array of int, shape (U,)
        A good placement.

    Returns
    -------
    Model, array of int or None
        The problem with those hosts closed to those units, and where a search may begin; None if there are none.
    """
    over = np.maximum(model.demand[:-1] - model.safety[place], 0.0) @ model.load_price
    dear = np.flatnonzero(over > 0.0)
    rows: list[Bools] = []
    kind, start = model.kind.copy(), place.copy()
    for unit in dear[np.argsort(-over[dear], kind="stable")][:MOST].tolist():
        demand = model.demand[unit]
        row = np.maximum(demand - model.safety, 0.0) @ model.load_price
        better = model.allowed[model.kind[unit]] & (row <= BETTER * over[unit])
        if better.any():
            room = ((model.safety - demand) / np.maximum(model.safety, 1e-12)).min(axis=1)
            kind[unit] = len(model.allowed) + len(rows)
            start[unit] = int(np.where(better, room, -np.inf).argmax())
            rows.append(better)
    if not rows:
        return None
    return model._replace(allowed=np.vstack([model.allowed, *rows]), kind=kind), start
