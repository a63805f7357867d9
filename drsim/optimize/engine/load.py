"""Load the compiled code before the clock of a search starts: half a second that is not searched in."""

from __future__ import annotations

from functools import cache

import numpy as np

from drsim.optimize.engine.approach import approach
from drsim.optimize.engine.fewest import fewest
from drsim.optimize.engine.model import bare, new_state
from drsim.optimize.engine.search import STEPS, search


@cache
def load() -> None:
    """Search two units on two hosts; compiles what is not compiled yet."""
    model = bare(np.ones((2, 1)), np.ones((2, 1)))
    search(model, model.home[:-1], lambda: 0.0, effort=STEPS[1], workers=1)
    approach(model, new_state(model, model.home[:-1]), model.home[:-1], model.capacity)
    fewest(model, np.arange(2), lambda: 0.0, effort=1)
