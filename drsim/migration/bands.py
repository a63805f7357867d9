"""How sure a prediction is: bands from what earlier predictions were off."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

STUDENT = (6.31, 2.92, 2.35, 2.13, 2.02, 1.94, 1.89, 1.86, 1.83, 1.81, 1.80, 1.78, 1.77, 1.76, 1.75, 1.75, 1.74, 1.73)
"""95 % points of Student's t for 1, 2, ... degrees of freedom: bands of 90 % from few residuals."""

FEW = 19
"""Residuals from which their own quantiles are taken: with 19 the outermost but none bound 90 % of the next."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """Where an outcome is expected with 90 % certainty.

    Parameters
    ----------
    low, high : float
        Its ends, in the unit of the prediction.
    in_range : bool
        Whether the earlier predictions were of migrations like this one; if not, the band was widened.
    """

    low: float
    high: float
    in_range: bool = True


def band(
    predicted: float,
    residuals: Sequence[float],
    outside: float = 0.0,
) -> Band:
    """Return the band of a prediction.

    Parameters
    ----------
    predicted : float
        Positive.
    residuals : sequence of float
        Logarithms of actual over predicted, of earlier migrations that were not tuned on.
    outside : float
        How far it is out of their range (`beyond`): widens the band in proportion.

    Notes
    -----
    From `FEW` residuals on: split conformal prediction (Vovk, Gammerman, Shafer, "Algorithmic learning in a random
    world", 2005): between the ranks ``(n + 1) 0.05`` and ``(n + 1) 0.95`` lie 90 % of what comes next, whatever the
    distribution. Ranks that are not whole are interpolated: whole ones further out would hold up to ``2 / (n + 1)``
    more than was asked for. From fewer: Student's t. From one or none: a factor of two.
    """
    r = np.sort(np.asarray(residuals, dtype=np.float64))
    n = r.size
    if n >= FEW:
        below, above = (float(end) for end in np.quantile(r, (0.05, 0.95), method="weibull"))
    elif n >= 2:
        middle, width = float(r.mean()), STUDENT[n - 2] * float(r.std(ddof=1)) * math.sqrt(1.0 + 1.0 / n)
        below, above = middle - width, middle + width
    else:
        below, above = -math.log(2.0), math.log(2.0)
    if outside > 0.0:
        middle, half = (below + above) / 2.0, (above - below) / 2.0
        half = max(half, 0.05) * (1.0 + outside)
        below, above = min(below, middle - half), max(above, middle + half)
    return Band(low=predicted * math.exp(below), high=predicted * math.exp(above), in_range=outside <= 0.0)


def beyond(features: Mapping[str, float], ranges: Mapping[str, tuple[float, float]]) -> float:
    """Return how far a case lies outside the range of those that residuals come from; 0 inside.

    Parameters
    ----------
    features : mapping of str to float
        Memory, rate, round-trip time, ... of the case.
    ranges : mapping of str to (float, float)
        Lowest and highest of each among the earlier cases.

    Returns
    -------
    float
        Sum over features of the distance to the range, in units of its width or, for one that spans a factor, of the
        logarithm of two: a line twice as fast as any before counts 1.
    """
    total = 0.0
    for name, (low, high) in ranges.items():
        value = features.get(name)
        if value is None or low <= value <= high:
            continue
        nearest = low if value < low else high
        if nearest > 0.0 and value > 0.0:
            total += abs(math.log2(value / nearest))
        else:
            total += abs(value - nearest) / max(high - low, 1.0)
    return total
