"""What is left to send of a guest's memory: QEMU's dirty bitmap, counted by page class instead of by page."""

from __future__ import annotations

import math
from typing import Any

from drsim.migration.first import Layout, left
from drsim.migration.guest import Load
from drsim.migration.options import Options
from drsim.migration.parameters import Parameters
from drsim.units import PAGE_BYTES
from drsim.workload.curve import exposure, swept_share

Row = Any
"""A number of each page class: a list, or an array where it is compiled."""


class Bitmap:
    """Pages known to be dirty, at the last look; all of them when a migration begins.

    Parameters
    ----------
    guest : Load
        What there is.
    where : Layout
        Where it is.
    parameters : Parameters
        Constants of the hosts.
    options : Options
        Compression.

    Attributes
    ----------
    other_mib : float
        Dirty memory that nobody writes to, MiB.
    dirty_mib : list of float
        Dirty memory of each page class, MiB.
    rest_mib, wire_mib : float
        All dirty memory, and what sending it takes, MiB.
    other_wire : float
        MiB sent for each MiB that nobody writes to.
    chunks : float
        Chunks of memory whose dirty log is re-armed at once.
    """

    __slots__ = (
        "_data_wire", "_in_order", "_older_mib", "_parameters", "_sizes", "_where", "_writes_s", "_xbzrle", "chunks",
        "dirty_mib", "other_mib", "other_wire", "rest_mib", "wire_mib",
    )  # fmt: skip

    def __init__(self, guest: Load, where: Layout, parameters: Parameters, options: Options) -> None:
        p = self._parameters = parameters
        self._xbzrle = options.compression == "xbzrle"
        self._sizes, self._writes_s, self._in_order = rows(guest, p)
        self._data_wire = guest.data_wire
        self._where = where if where.run_mib > 0.0 else None  # until the first pass is over
        self.chunks = guest.memory_mib / p.chunk_mib
        self.dirty_mib = list(self._sizes)
        self._older_mib = list(self.dirty_mib)
        written = sum(self._sizes)
        self.other_mib, self.other_wire = unwritten(guest, written, p)
        self.wire_mib = guest.first_mib
        self.rest_mib = self.other_mib + written

    def look(self, sent: float, time_s: float, pace: float = 1.0, burst_mib: float = 0.0) -> float:
        """Add what was dirtied since the last look; return how much that was, MiB.

        Parameters
        ----------
        sent : float
            Share of what was dirty that has been sent since.
        time_s : float
            Time since.
        pace : float
            Speed of the guest: 1, or less while its vCPUs are held back.
        burst_mib : float
            What it dirtied this time beyond its average, or less than that, MiB.
        """
        rest_of_first: list[float] = []
        if self._where is not None:
            share, *rest_of_first = left(*self._where, sum(self._sizes), (1.0 - sent) * self.wire_mib)
            sent, self._where = 1.0 - share, None
        before = self.rest_mib * (1.0 - sent)
        run_s = pace * time_s
        writes = [writes_s * run_s for writes_s in self._writes_s]
        self.other_mib = look(
            self.other_mib, self._older_mib, self.dirty_mib, self._sizes, writes, self._in_order, self.chunks, sent
        )
        if rest_of_first:
            self.other_mib, self.other_wire = rest_of_first
            before = self.other_mib + sum(self._older_mib)
        dirty = sum(self.dirty_mib)
        if burst_mib:
            fresh = self.other_mib + dirty - before
            more = max(0.0, 1.0 + burst_mib / fresh) if fresh > 0.0 else 1.0
            self.dirty_mib = [
                min(size, left + (after - left) * more)
                for size, left, after in zip(self._sizes, self._older_mib, self.dirty_mib, strict=True)
            ]
            dirty = sum(self.dirty_mib)
        self.rest_mib = self.other_mib + dirty
        self.wire_mib = self.other_mib * self.other_wire + self._wire_of(dirty)
        return self.rest_mib - before

    def burst_mib(self, time_s: float, pace: float = 1.0) -> float:
        """Return what sending all that is dirtied in `time_s` from a clean start takes, MiB."""
        return burst(self._sizes, self._writes_s, self._in_order, pace * time_s) * self._data_wire

    def late_mib(self, time_s: float, pace: float = 1.0) -> float:
        """Return what sending all that is dirtied in `time_s` from now on takes, MiB."""
        return late(self._sizes, self._writes_s, self._in_order, self.dirty_mib, pace * time_s) * self._data_wire

    def _wire_of(self, dirty_mib: float) -> float:
        if not self._xbzrle or dirty_mib <= 0.0:
            return dirty_mib * self._data_wire
        # Pages of the last passes are remembered as far as the cache goes; their difference has a header of 11 bytes.
        p = self._parameters
        known = min(1.0, p.xbzrle_cache_mib / dirty_mib)
        return dirty_mib * (known * (p.xbzrle_ratio + 11.0 / PAGE_BYTES) + (1.0 - known) * self._data_wire)


def rows(guest: Load, parameters: Parameters) -> tuple[list[float], list[float], list[float]]:
    """Return of each page class its size, MiB, writes that a page gets a second, and 1 if they go on in order."""
    every = parameters.linear_dirtying
    return (
        [c.size_mib for c in guest.classes],
        [c.dirty_rate_mib_s / c.size_mib for c in guest.classes],
        [1.0 if every or c.in_order else 0.0 for c in guest.classes],
    )


def unwritten(guest: Load, written_mib: float, parameters: Parameters) -> tuple[float, float]:
    """Return the memory that nobody writes to, and what is sent for each MiB of it, MiB.

    Memory that the guest writes to holds data; only if there is more of it than data is some of it still zero.
    """
    other_mib = guest.memory_mib - written_mib
    if other_mib <= 0.0:
        return other_mib, 0.0
    rest = guest.first_mib - written_mib * guest.data_wire
    return other_mib, max(parameters.zero_page_bytes / PAGE_BYTES, rest / other_mib)


def look(
    other: float, older: Row, dirty: Row, size: Row, writes: Row, in_order: Row, chunks: float, sent: float
) -> float:
    """Take away what was sent since the last look and add what was dirtied; return what is left of the rest, MiB.

    Only numbers and rows of them, lists or arrays, so that it can be compiled as it is.

    Parameters
    ----------
    other : float
        Dirty memory that nobody writes to, MiB.
    older, dirty : row of float
        Of each page class what was left at the last look but one, and what is dirty since the last, MiB. Changed.
    size, writes, in_order : row
        Its size, MiB; writes that a page of it gets since the last look; whether they go on in order.
    chunks : float
        Chunks of memory whose dirty log is re-armed at once.
    sent : float
        Share of what was dirty that has been sent.

    Notes
    -----
    QEMU goes on through memory where its last pass ended: what that pass left over goes first.
    """
    first_mib, rest = other, other
    for k in range(len(dirty)):
        first_mib += older[k]
        rest += dirty[k]
    amount, fresh = rest * sent, rest - first_mib
    first = amount / first_mib if first_mib > amount else 1.0
    then = min(1.0, (amount - first_mib) / fresh) if fresh > 0.0 and amount > first_mib else 0.0
    for k in range(len(dirty)):
        was = dirty[k]
        left = older[k] * (1.0 - first) + (was - older[k]) * (1.0 - then)
        older[k] = left
        dirty[k] = dirtied(size[k], in_order[k], writes[k], left, was - left, chunks * sent)
    return other * (1.0 - first)


def dirtied(size: float, in_order: float, writes: float, kept: float, sent: float, chunks: float) -> float:
    """Return what of a page class is dirty after a pass, MiB.

    Pages that were `kept` unsent are dirty still. Pages that were `sent` have been watched since their chunk was
    reached, all others since the pass began.
    """
    if in_order:
        # A writer that goes on in order does not come back to what it wrote last, unless it has been everywhere:
        # then, as in the first pass when all memory is still to be sent, what it writes was partly kept anyway.
        # The square is what a play of single pages shows best.
        new = size - kept * min(1.0, (kept + sent) / size) ** 2
        return min(size, kept + new * min(1.0, writes) * exposure(chunks))
    again = sent * swept_share(writes, chunks)
    return kept + again - (size - kept - sent) * math.expm1(-writes)


def burst(size: Row, writes_s: Row, in_order: Row, time_s: float) -> float:
    """Return what is dirtied in so much time from a clean start, MiB."""
    fresh = 0.0
    for k in range(len(size)):
        fresh += dirtied(size[k], in_order[k], writes_s[k] * time_s, 0.0, 0.0, 1.0)
    return fresh


def late(size: Row, writes_s: Row, in_order: Row, dirty: Row, time_s: float) -> float:
    """Return what is dirtied in so much time beside what is dirty already, MiB."""
    fresh = 0.0
    for k in range(len(size)):
        fresh += dirtied(size[k], in_order[k], writes_s[k] * time_s, dirty[k], 0.0, 1.0) - dirty[k]
    return fresh
