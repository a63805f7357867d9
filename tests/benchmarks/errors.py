"""Figures of how far predictions were off, the same for every data set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def errors(
    predicted: Sequence[float],
    actual: Sequence[float],
    low: Sequence[float] | None = None,
    high: Sequence[float] | None = None,
    *,
    relative: bool = True,
) -> dict[str, Any]:
    """Return n, median and 90th percentile of the absolute errors, the median signed error, and the coverage.

    Parameters
    ----------
    predicted, actual : sequence of float
        Pairs.
    low, high : sequence of float, optional
        Bands; without them the coverage is None.
    relative : bool
        Errors as shares of the actual value, else in its unit.
    """
    p, a = np.asarray(predicted, dtype=float), np.asarray(actual, dtype=float)
    if not p.size:
        return {"n": 0}
    error = (p - a) / a if relative else p - a
    covered = None
    if low is not None and high is not None:
        covered = round(float(np.mean((np.asarray(low) <= a) & (a <= np.asarray(high)))), 3)
    return {
        "n": int(p.size),
        "median": round(float(np.median(np.abs(error))), 4),
        "p90": round(float(np.quantile(np.abs(error), 0.9)), 4),
        "bias": round(float(np.median(error)), 4),
        "mean": round(float(np.mean(np.abs(error))), 4),
        "coverage": covered,
    }
