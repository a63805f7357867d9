"""Load the compiled code before the clock of a search starts: half a second that is not searched in."""

from __future__ import annotations

from functools import cache

import numpy as np

from drsim.optimize.engine.model import Model, flat
from drsim.optimize.engine.search import STEPS, search


@cache
def load() -> None:
    """Search two units on two hosts; compiles what is not compiled yet."""
    nothing, of_nothing = flat([[]])
    empty = np.zeros(0, dtype=np.int64)
    model = Model(
        demand=np.array([[1.0], [1.0], [0.0]]),
        held=np.zeros((3, 1)),
        capacity=np.ones((2, 1)),
        bar=np.full((2, 1), 2.0),
        safety=np.ones((2, 1)),
        load_price=np.zeros(1),
        balance=np.zeros((0, 4), dtype=np.int64),
        home=np.array([0, 0, -1]),
        move_price=np.ones(2),
        route_price=np.zeros((0, 0)),
        group_price=0.0,
        groups_from=np.zeros(4, dtype=np.int64),
        groups_of=empty,
        most=empty,
        spread=empty,
        needs_from=nothing[:1],
        needs=of_nothing,
        needed_from=nothing[:1],
        needed=of_nothing,
        location=np.zeros(2, dtype=np.int64),
        area=np.zeros(2, dtype=np.int64),
        allowed=np.ones((1, 2), dtype=np.bool_),
        kind=np.zeros(2, dtype=np.int64),
    )
    search(model, model.home[:-1], lambda: 0.0, effort=STEPS[1], workers=1)
