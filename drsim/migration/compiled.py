"""The loop of plain pre-copies, compiled where that pays."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import cache
from typing import Any

from drsim.migration import dirty, first, leg, plain
from drsim.workload import curve

PAYS_FROM = 5_000
"""Predictions of a process, 40 us each, from which loading the compiled loop (0.1 to 0.3 s) pays."""

_asked = itertools.count(1)


def player() -> Callable[..., Any] | None:
    """Return `drsim.migration.plain.play` compiled, or None as long as too few have asked for that to pay.

    The first one compiled waits some seconds, unless ``python -m drsim.warm`` has been there; the results are the same.
    """
    return compiled_player() if next(_asked) > PAYS_FROM else None


@cache
def compiled_player() -> Callable[..., Any]:
    """Return `drsim.migration.plain.play`, compiled; some seconds the first time, kept on disk from then on."""
    from drsim.compiled import compiled

    let_in()
    return compiled(plain.play, uses=(curve, dirty, first, leg))


@cache
def let_in() -> None:
    """Let compiled functions call those of the model."""
    from drsim.compiled import helper

    model = (curve.exposure, curve.swept_share, first.left, dirty.dirtied, dirty.look, dirty.burst, dirty.late)
    for function in (leg.net_rate, leg.over_s, leg.wait_s, *model, *plain.PARTS):
        helper(function)
