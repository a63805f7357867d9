"""Dirtying learnt from past migrations: the statistics that QEMU tells while one is under way.

Pages newly dirty at a look of QEMU's are the change of what remains plus what was sent meanwhile; between two looks
that is exact, whatever the sampling. When the look was has to be found between two samples.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from drsim.errors import DataError, Problem
from drsim.inventory import PageClass
from drsim.units import MIB, PAGE_BYTES
from drsim.workload.curve import swept_share_array
from drsim.workload.fit import fit_shares, time_constants
from drsim.workload.throttled import slowed

Floats = NDArray[np.float64]

SHORTEST_S = 0.05
"""Intervals shorter than this are left out: sampling cannot place them."""

HALF_TURN_S = 0.05
"""QEMU looks once in a window of 100 ms under a bandwidth cap: half of it later than it could, on average."""

LAST_SAMPLES = 6
"""Samples that tell what the end of memory holds: about a second at the 200 ms of the series known."""

BUSY = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5)
"""Shares of CPU time that are tried where throttling showed how busy a guest was."""

PAGE_MIB = PAGE_BYTES / MIB


@dataclass(frozen=True, kw_only=True)
class Series:
    """Samples of one migration in the order of time; the pre-copy part of ``query-migrate``.

    Parameters
    ----------
    time_s : array of float, shape (n,)
        Since its start.
    remaining_mib : array of float, shape (n,)
        Known to be left.
    data_pages, zero_pages : array of float, shape (n,)
        Pages sent with data (``normal``) and as zeros (``duplicate``).
    looks : array of int, shape (n,)
        Looks at the dirty pages (``dirty-sync-count``); the first is 1.
    throttle : array of float, shape (n,)
        Share of CPU time held back.
    memory_mib : float
        All memory of the guest.
    limit_mib : float
        What fits the downtime limit: rate times limit. QEMU looks when less than that remains.
    """

    time_s: Floats
    remaining_mib: Floats
    data_pages: Floats
    zero_pages: Floats
    looks: NDArray[np.int64]
    throttle: Floats
    memory_mib: float
    limit_mib: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What one look at the dirty pages found.

    Parameters
    ----------
    interval_s : float
        Time since the look before, or since the start.
    fresh_mib : float
        Memory found newly dirty.
    sent : float
        Share that had been sent of what the look before had left.
    held : float
        Share of CPU time held back meanwhile.
    first : bool
        Whether it ended the first pass, over all memory.
    """

    interval_s: float
    fresh_mib: float
    sent: float
    held: float
    first: bool


def looks(series: Series) -> tuple[Look, ...]:
    """Return what the looks of one migration found, in order."""
    s = series
    sent = (s.data_pages + s.zero_pages) * PAGE_MIB
    found: list[Look] = []
    last_s, since, rest = 0.0, 0, s.memory_mib
    for i in (np.flatnonzero(np.diff(s.looks) > 0) + 1).tolist():
        count = int(s.looks[i] - s.looks[i - 1])
        fresh = float(s.remaining_mib[i] - s.remaining_mib[i - 1] + sent[i] - sent[i - 1]) / count
        at_s, left = _place(s, sent, i) if count == 1 else (float(s.time_s[i]), 0.85 * s.limit_mib)
        interval_s = max(at_s - last_s, 0.0) / count
        held = float(np.mean(s.throttle[since : max(i, since + 1)]))
        for _ in range(count):
            gone = min(1.0, max(0.0, 1.0 - left / max(rest, left, PAGE_MIB)))
            found.append(Look(interval_s=interval_s, fresh_mib=max(fresh, 0.0), sent=gone, held=held, first=not found))
            rest = left + fresh
        last_s, since = at_s, i
    return tuple(found)


def first_pass_mib(series: Series) -> float:
    """Return the data that the first pass sent, MiB: what was sent up to the first look, and what was then left."""
    before = np.flatnonzero(series.looks <= 1)
    data, zero = series.data_pages[before] * PAGE_MIB, series.zero_pages[before] * PAGE_MIB
    left = min(float(series.remaining_mib[before][-1]), series.limit_mib)
    # What was left is taken to be of the kind that was sent last.
    recent = max(0, before.size - LAST_SAMPLES)
    more_data, more_zero = data[-1] - data[recent], zero[-1] - zero[recent]
    share = more_data / (more_data + more_zero) if more_data + more_zero > 0.0 else 1.0
    return float(data[-1] + left * share)


@dataclass(frozen=True, slots=True, kw_only=True)
class Habit:
    """How a guest was found to dirty its memory.

    Parameters
    ----------
    classes : tuple of PageClass
        Its page classes.
    chunk_mib : float
        Memory whose dirty log was re-armed at once.
    busy : float
        Share of its vCPUs' time that it wanted, as far as throttling showed it.
    error : float
        Median of the absolute errors of what looks found, relative to what they should have.
    spread_mib : float
        Standard deviation of what looks after the first found, of what they should have; robust.
    """

    classes: tuple[PageClass, ...]
    chunk_mib: float
    busy: float
    error: float
    spread_mib: float


def learn(
    series: Sequence[Series],
    *,
    within_mib: float,
    chunk_mib: Sequence[float] = (1024.0, math.inf),
    busy: Sequence[float] = BUSY,
) -> Habit:
    """Return what explains best what several migrations of one guest found dirty.

    Parameters
    ----------
    series : sequence of Series
        Past migrations.
    within_mib : float
        Memory that the classes must fit into, e.g. that of the first pass.
    chunk_mib : sequence of float
        Chunks to try: with manual dirty-log protection QEMU re-arms 1 GiB at a time, without it all memory.
    busy : sequence of float
        Shares to try; only migrations that were throttled tell them apart.

    Raises
    ------
    DataError
        If no look found anything that can be used.
    """
    runs = [(looks(one), one.memory_mib) for one in series]
    if not any(_usable(look) for run, _ in runs for look in run):
        raise DataError(
            Problem(
                place="migration series",
                expected="no second look at the dirty pages is in it.",
                remedy="Give series of migrations that went through a whole pass.",
            )
        )
    if not any(look.held > 0.0 for run, _ in runs for look in run):
        busy = (1.0,)
    tried = [_habit(runs, within_mib, chunk, share) for chunk in chunk_mib for share in busy]
    return min(tried, key=lambda habit: habit.error)


def _usable(look: Look) -> bool:
    return look.interval_s > SHORTEST_S and look.fresh_mib > 0.0


def _habit(runs: Sequence[tuple[Sequence[Look], float]], within_mib: float, chunk_mib: float, busy: float) -> Habit:
    used = [[_usable(look) for look in run] for run, _ in runs]
    times = [look.interval_s for run, _ in runs for look in run if _usable(look)]
    constants = time_constants(np.array(times))
    parts = [
        _shares(run, constants, memory / chunk_mib, busy)[use] for (run, memory), use in zip(runs, used, strict=True)
    ]
    shares = np.concatenate(parts)
    fresh = np.array([look.fresh_mib for run, _ in runs for look in run if _usable(look)])
    first = np.array([look.first for run, _ in runs for look in run if _usable(look)])
    classes = fit_shares(constants, shares, fresh, within_mib=within_mib)
    sizes = {c.size_mib / c.dirty_rate_mib_s: c.size_mib for c in classes}
    keys = np.array(list(sizes))
    columns = [int(np.argmin(np.abs(constants / key - 1.0))) for key in keys]
    expected = shares[:, columns] @ np.array(list(sizes.values()))
    off = np.log(fresh / np.maximum(expected, PAGE_MIB))
    error, later = np.abs(off), (fresh - expected)[~first]
    spread = 1.4826 * float(np.median(np.abs(later - np.median(later)))) if later.size else 0.0
    # First passes are few but long: they count as much as all other looks together.
    medians = [float(np.median(error[part])) for part in (first, ~first) if part.any()]
    return Habit(classes=classes, chunk_mib=chunk_mib, busy=busy, error=float(np.mean(medians)), spread_mib=spread)


def _shares(run: Sequence[Look], constants: Floats, chunks: float, busy: float) -> Floats:
    """Return the share of classes that each look should have found newly dirty; shape (looks, classes).

    The course of `drsim.migration.dirty.Bitmap`: what was not sent stays dirty and is not found again.
    """
    dirty = np.ones_like(constants)
    rows = np.empty((len(run), constants.size))
    for number, look in enumerate(run):
        writes = look.interval_s * slowed(look.held, busy) / constants
        kept, sent = dirty * (1.0 - look.sent), dirty * look.sent
        again = swept_share_array(writes, np.array(chunks * look.sent))
        after = kept + sent * again - (1.0 - kept - sent) * np.expm1(-writes)
        rows[number] = after - kept
        dirty = after
    return rows


def _place(s: Series, sent: Floats, i: int) -> tuple[float, float]:
    """Return when the look between samples i - 1 and i was, and what had not been sent then, MiB.

    It was when what was left had gone down to what fits the limit, half a turn later on average; or, if that much was
    not sent in between, when a timer asked for it.
    """
    before_s, after_s = float(s.time_s[i - 1]), float(s.time_s[i])
    left = float(s.remaining_mib[i - 1])
    rate = max(float(sent[i] - sent[i - 1]) / max(after_s - before_s, 1e-3), 1e-9)
    wait_s = max(0.0, left - s.limit_mib) / rate + HALF_TURN_S
    at_s = min(after_s, before_s + wait_s)
    return at_s, max(0.0, left - rate * (at_s - before_s))
