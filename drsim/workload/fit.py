"""Page classes from measurements: which mixture explains the unique memory dirtied in intervals of several lengths."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from drsim.errors import DataError, Problem
from drsim.inventory import PageClass
from drsim.workload.curve import swept_share

Floats = NDArray[np.float64]

CLASSES_A_DECADE = 6
"""Time constants tried per factor of ten; finer grids changed fitted curves by less than 1 %."""

ROUNDS = 6
"""Rounds of weighting by the curve found so far; more changed it by less than 0.1 %."""

OUTLIER = 1.345
"""Residuals beyond this many robust standard deviations count less: Huber's constant, 95 % efficient on clean data."""


def fit(
    interval_s: Sequence[float],
    unique_mib: Sequence[float],
    *,
    chunks: Sequence[float] | None = None,
    within_mib: float = math.inf,
) -> tuple[PageClass, ...]:
    """Return the page classes that best explain measured unique dirtying.

    Non-negative least squares over classes with time constants ``size / rate`` spaced evenly in the logarithm, from a
    third of the shortest interval to thirty times the longest. Errors count relative to the curve itself, found in a
    few rounds of reweighting (relative to the samples they would favour the low ones), outliers less. The size of a
    class that is far from written through in the longest interval is a guess: `within_mib` bounds it, by leaving out
    the slowest classes.

    Parameters
    ----------
    interval_s : sequence of float
        Lengths of the intervals, seconds, at least one, all positive.
    unique_mib : sequence of float
        Unique memory found dirty after each, MiB, not negative.
    chunks : sequence of float, optional
        Chunks that were watched one after the other in each interval (`drsim.workload.swept_dirty_mib`); 1 by default.
    within_mib : float
        Memory that the classes must fit into together, e.g. the memory that the guest uses.

    Returns
    -------
    tuple of PageClass
        As few as the data supports, fastest first; empty if nothing was dirtied.

    Raises
    ------
    DataError
        If the samples cannot be used.
    """
    time = np.asarray(interval_s, dtype=np.float64)
    unique = np.asarray(unique_mib, dtype=np.float64)
    swept = np.ones_like(time) if chunks is None else np.asarray(chunks, dtype=np.float64)
    if time.size == 0 or time.shape != unique.shape or time.shape != swept.shape:
        raise _unusable(f"{time.size} intervals, {unique.size} amounts and {swept.size} chunk counts were given.")
    if not (np.isfinite(time).all() and (time > 0).all() and np.isfinite(unique).all() and (unique >= 0).all()):
        raise _unusable("Intervals must be positive, amounts not negative, and all of them finite.")
    if unique.max() == 0.0:
        return ()
    constants = time_constants(time)
    curve = np.array([[swept_share(t / c, n) for c in constants] for t, n in zip(time, swept, strict=True)])
    return fit_shares(constants, curve, unique, within_mib=within_mib)


def time_constants(interval_s: Floats) -> Floats:
    """Return the time constants to try for samples over such intervals, seconds, shortest first."""
    low, high = np.log10(interval_s.min() / 3), np.log10(interval_s.max() * 30)
    return np.logspace(low, high, int(np.ceil((high - low) * CLASSES_A_DECADE)) + 1)


def fit_shares(
    constants: Floats, shares: Floats, unique_mib: Floats, *, within_mib: float = math.inf
) -> tuple[PageClass, ...]:
    """Return the sizes of classes of given time constants that best explain what was found.

    Parameters
    ----------
    constants : array of float, shape (classes,)
        Time constants, seconds, shortest first.
    shares : array of float, shape (samples, classes)
        Share of each class that a sample should have found.
    unique_mib : array of float, shape (samples,)
        What it found, MiB; not all zero.
    within_mib : float
        As for `fit`.
    """
    # The number of classes that stays within the memory: more classes, slower ones, larger sum.
    low, high = 1, constants.size
    while low < high:
        middle = (low + high + 1) // 2
        if _reweighted(shares[:, :middle], unique_mib).sum() <= within_mib:
            low = middle
        else:
            high = middle - 1
    size = _reweighted(shares[:, :low], unique_mib)
    return tuple(
        PageClass(size_mib=float(n), dirty_rate_mib_s=float(n / c))
        for n, c in zip(size, constants, strict=False)
        if n > 1e-9 * size.max()
    )


def _reweighted(curve: Floats, unique: Floats) -> Floats:
    """Return the sizes of the classes whose curve has the smallest errors relative to itself."""
    floor = 1e-3 * float(unique.max())  # A sample of almost nothing must not outweigh the rest.
    weight = 1.0 / np.maximum(unique, 0.1 * float(unique.max()))
    size = np.zeros(curve.shape[1])
    for _ in range(ROUNDS):
        size = _nonnegative_least_squares(curve * weight[:, None], unique * weight)
        found = np.maximum(curve @ size, floor)
        error = np.abs(unique / found - 1.0)
        spread = max(1.4826 * float(np.median(error)), 1e-6)
        weight = np.sqrt(np.minimum(1.0, OUTLIER * spread / np.maximum(error, 1e-12))) / found
    return size


def _nonnegative_least_squares(a: Floats, b: Floats) -> Floats:
    """Minimise ``|a x - b|`` over ``x >= 0``: the active-set method of Lawson and Hanson (1974), chapter 23."""
    x = np.zeros(a.shape[1])
    free = np.zeros(a.shape[1], dtype=bool)
    tolerance = 1e-10 * float(np.abs(a.T @ b).max())
    for _ in range(3 * a.shape[1]):
        gradient = a.T @ (b - a @ x)
        gradient[free] = -np.inf
        if free.all() or gradient.max() <= tolerance:
            break
        free[int(gradient.argmax())] = True
        while True:
            trial = np.zeros_like(x)
            trial[free] = np.linalg.lstsq(a[:, free], b, rcond=None)[0]
            bad = free & (trial <= 0.0)
            if not bad.any():
                break
            step = (x[bad] / (x[bad] - trial[bad])).min()
            x = x + step * (trial - x)
            free &= x > 1e-12 * max(float(x.max()), 1e-300)
            x[~free] = 0.0
        x = trial
    return x


def _unusable(expected: str) -> DataError:
    return DataError(
        Problem(
            place="dirty-rate samples",
            expected=expected,
            remedy="Give one positive interval, one amount and, if any, one chunk count for each sample.",
        )
    )
