"""Unique memory dirtied in an interval: a mixture of page classes.

A page class of size N is written to uniformly at random at rate w: of its pages, the share ``1 - exp(-w t / N)`` has
been written at least once after t seconds (the coupon-collector curve in continuous time). Hot and cold sets, Zipf
popularity and measured histograms are all mixtures of such classes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from drsim.inventory import PageClass

Floats = NDArray[np.float64]


def unique_dirty_mib(classes: Sequence[PageClass], interval_s: float) -> float:
    """Return the unique memory that the classes dirty in an interval, MiB.

    Parameters
    ----------
    classes : sequence of PageClass
        The mixture; none dirties nothing.
    interval_s : float
        Length of the interval, seconds; not negative.
    """
    return sum(
        min(c.size_mib, c.dirty_rate_mib_s * interval_s)
        if c.in_order
        else -c.size_mib * math.expm1(-c.dirty_rate_mib_s * interval_s / c.size_mib)
        for c in classes
    )


def unique_dirty_mib_array(classes: Sequence[PageClass], interval_s: Floats) -> Floats:
    """Return the unique memory dirtied in each of many intervals, MiB; same shape as `interval_s`."""
    total = np.zeros_like(np.asarray(interval_s, dtype=np.float64))
    for c in classes:
        written = c.dirty_rate_mib_s * np.asarray(interval_s)
        total += np.minimum(c.size_mib, written) if c.in_order else -c.size_mib * np.expm1(-written / c.size_mib)
    return total


def swept_dirty_mib(classes: Sequence[PageClass], interval_s: float, chunks: float) -> float:
    """Return the unique memory found dirty when watching began chunk by chunk over the interval, MiB.

    QEMU re-arms dirty logging one chunk of memory at a time, when the first page of the chunk is about to be sent
    (``migration_clear_memory_region_dirty_bitmap`` in QEMU's migration/ram.c): chunk k of n was watched only for the
    last ``1 - k/n`` of the pass.

    Parameters
    ----------
    classes : sequence of PageClass
        The mixture; its pages lie evenly over the chunks.
    interval_s : float
        Length of the pass, seconds.
    chunks : float
        Chunks of memory; the last may be partial. 1 or less: everything was watched from the start.
    """
    return sum(
        c.size_mib
        * (swept_share_in_order if c.in_order else swept_share)(c.dirty_rate_mib_s * interval_s / c.size_mib, chunks)
        for c in classes
    )


def swept_share(writes_per_page: float, chunks: float) -> float:
    """Return the share of pages dirty after a chunk-wise pass, given the mean writes a page gets during the pass.

    Closed form of ``mean over k of 1 - exp(-x (n - k) / n)`` with a last chunk that may be partial.
    """
    if chunks <= 1.0:
        return -math.expm1(-writes_per_page)
    whole = math.floor(chunks)
    part = chunks - whole
    step = writes_per_page / chunks
    if writes_per_page < 1e-7:  # The difference below loses its digits; the limit is writes times mean exposure.
        return step * (whole * (chunks - (whole - 1) / 2) + part * part) / chunks
    # Clean shares of the whole chunks are q^n, q^(n-1), ..., a geometric series with q = exp(-step).
    series = math.exp(-(part + 1.0) * step) * math.expm1(-whole * step) / math.expm1(-step)
    return 1.0 - (series + part * math.exp(-part * step)) / chunks


def swept_share_in_order(writes_per_page: float, chunks: float) -> float:
    """Return `swept_share` of a class that is written in order: the mean over its chunks of what each was watched for.

    Saturation is that of the mean exposure, ``(n + 1) / 2 n`` of the pass.
    """
    return min(1.0, writes_per_page * exposure(chunks))


def exposure(chunks: float) -> float:
    """Return the mean share of a chunk-wise pass for which a page was watched: ``(n + 1) / 2 n``, 1 for one chunk."""
    return 1.0 if chunks <= 1.0 else (chunks + 1.0) / (2.0 * chunks)


def swept_share_array(writes_per_page: Floats, chunks: Floats, touched: Floats | None = None) -> Floats:
    """Return `swept_share` of arrays that broadcast together; `touched` is that of one chunk, if it is known."""
    x, n = np.broadcast_arrays(np.asarray(writes_per_page, dtype=np.float64), np.asarray(chunks, dtype=np.float64))
    n = np.maximum(n, 1.0)
    whole = np.floor(n)
    part = n - whole
    step = x / n
    tiny = x < 1e-7
    safe = np.where(tiny, 1.0, step)
    last, less = np.exp(-part * safe), np.expm1(-safe)
    share = 1.0 - last * ((1.0 + less) * np.expm1(-whole * safe) / less + part) / n
    share = np.where(tiny, step * (whole * (n - (whole - 1) / 2) + part * part) / n, share)
    result: Floats = np.where(n == 1.0, -np.expm1(-x) if touched is None else touched, share)
    return result
