"""Page classes of guests that are described, not measured: hot and cold, Zipf, per-page histograms, two samples."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from drsim.errors import DataError, Problem
from drsim.inventory import PageClass
from drsim.units import MIB, PAGE_BYTES

BINS = 32
"""Classes that a distribution is cut into; twice as many changed no curve by 1 %."""


def hot_and_cold(
    hot_mib: float, hot_rate_mib_s: float, cold_mib: float, cold_rate_mib_s: float
) -> tuple[PageClass, PageClass]:
    """Return a hot and a cold set; sizes in MiB, writes to clean pages in MiB/s."""
    return (
        PageClass(size_mib=hot_mib, dirty_rate_mib_s=hot_rate_mib_s),
        PageClass(size_mib=cold_mib, dirty_rate_mib_s=cold_rate_mib_s),
    )


def zipf(size_mib: float, rate_mib_s: float, exponent: float) -> tuple[PageClass, ...]:
    """Return classes for pages whose popularity falls with their rank by a power law.

    Parameters
    ----------
    size_mib : float
        Memory written to, MiB.
    rate_mib_s : float
        Writes to all of it, counted as pages, MiB/s.
    exponent : float
        Popularity of rank k is ``k ** -exponent``; 0 is uniform.

    Notes
    -----
    Ranks are cut geometrically into `BINS`; within one, popularity hardly varies.
    """
    pages = max(1, round(size_mib * MIB / PAGE_BYTES))
    edges = np.unique(np.round(np.geomspace(1, pages + 1, BINS + 1)).astype(np.int64))
    count = np.diff(edges)
    middle = np.sqrt(edges[:-1] * np.maximum(edges[1:] - 1.0, 1.0))
    weight = count * middle**-exponent
    share = weight / weight.sum()
    mib = count * PAGE_BYTES / MIB
    return tuple(
        PageClass(size_mib=float(size), dirty_rate_mib_s=float(rate_mib_s * part))
        for size, part in zip(mib, share, strict=True)
    )


def of_histogram(writes_per_s: Sequence[float], pages: Sequence[float]) -> tuple[PageClass, ...]:
    """Return classes from a histogram of pages by their own write rate.

    Parameters
    ----------
    writes_per_s : sequence of float
        Writes that a page of the bin gets in a second.
    pages : sequence of float
        Pages in the bin.

    Raises
    ------
    DataError
        If they differ in number, or hold negative numbers.
    """
    if len(writes_per_s) != len(pages) or min([*writes_per_s, *pages, 0.0]) < 0.0:
        raise _unusable("one number of pages for each rate, none of them negative, was expected.")
    return tuple(
        PageClass(size_mib=count * PAGE_BYTES / MIB, dirty_rate_mib_s=rate * count * PAGE_BYTES / MIB)
        for rate, count in zip(writes_per_s, pages, strict=True)
        if count > 0.0
    )


def of_two_samples(
    short_s: float, short_mib: float, long_s: float, long_mib: float, memory_mib: float
) -> tuple[PageClass, ...]:
    """Return a hot and a cold set from the unique memory dirtied in a short and in a long interval.

    What goes on growing between the two is cold; what the short one found beyond that is hot, and was written through
    by then. Right if it was; `drsim.workload.fit` makes more of more samples.

    Parameters
    ----------
    short_s, long_s : float
        Lengths of the intervals, seconds.
    short_mib, long_mib : float
        Unique memory found dirty after each, MiB.
    memory_mib : float
        Memory of the guest.

    Raises
    ------
    DataError
        If the samples contradict each other.
    """
    if not (0.0 < short_s < long_s and 0.0 <= short_mib <= long_mib <= memory_mib):
        raise _unusable("the longer interval must find at least as much as the shorter, and no more than there is.")
    cold_rate = (long_mib - short_mib) / (long_s - short_s)
    hot_mib = max(0.0, short_mib - cold_rate * short_s)
    found = []
    if hot_mib > 0.0:
        # Three time constants in the short interval: 95 % written through.
        found.append(PageClass(size_mib=hot_mib, dirty_rate_mib_s=3.0 * hot_mib / short_s))
    if cold_rate > 0.0:
        found.append(PageClass(size_mib=max(memory_mib - hot_mib, 1.0), dirty_rate_mib_s=cold_rate))
    return tuple(found)


def _unusable(expected: str) -> DataError:
    return DataError(
        Problem(
            place="dirty profile", expected=expected, remedy="Correct the numbers, or measure with drsim.workload.fit."
        )
    )
