"""What is left to send of a guest's memory: QEMU's dirty bitmap, counted by page class instead of by page."""

from __future__ import annotations

import math

from drsim.migration.guest import Load
from drsim.migration.options import Options
from drsim.migration.parameters import Parameters
from drsim.units import PAGE_BYTES
from drsim.workload.curve import exposure, swept_share


class Bitmap:
    """Pages known to be dirty, at the last look; all of them when a migration begins.

    Parameters
    ----------
    guest : Load
        What there is.
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
    wire_mib : float
        What sending all of it takes, MiB.
    """

    def __init__(self, guest: Load, parameters: Parameters, options: Options) -> None:
        p = self._parameters = parameters
        self._guest = guest
        self._xbzrle = options.compression == "xbzrle"
        self._classes = [(c.size_mib, c.dirty_rate_mib_s / c.size_mib) for c in guest.classes]
        self._in_order = [p.linear_dirtying or c.in_order for c in guest.classes]
        self._chunks = guest.memory_mib / p.chunk_mib
        self._looks = 0
        self.dirty_mib = [size for size, _ in self._classes]
        self._older_mib = list(self.dirty_mib)
        written = sum(self.dirty_mib)
        self.other_mib = guest.memory_mib - written
        # Memory that the guest writes to holds data; only if there is more of it than data is some of it still zero.
        rest = guest.first_mib - written * guest.data_wire
        self._other_wire = max(p.zero_page_bytes / PAGE_BYTES, rest / self.other_mib) if self.other_mib > 0.0 else 0.0
        self.wire_mib = guest.first_mib

    @property
    def rest_mib(self) -> float:
        """Dirty memory, MiB."""
        return self.other_mib + sum(self.dirty_mib)

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
        self._looks += 1
        before = self.rest_mib * (1.0 - sent)
        kept = self._keep(sent)
        self.dirty_mib = [
            self._dirtied(k, writes_s * pace * time_s, left, was - left, self._chunks * sent)
            for k, ((_, writes_s), was, left) in enumerate(zip(self._classes, self.dirty_mib, kept, strict=True))
        ]
        if burst_mib:
            fresh = self.rest_mib - before
            more = max(0.0, 1.0 + burst_mib / fresh) if fresh > 0.0 else 1.0
            self.dirty_mib = [
                min(size, left + (after - left) * more)
                for (size, _), left, after in zip(self._classes, kept, self.dirty_mib, strict=True)
            ]
        self.wire_mib = self.other_mib * self._other_wire + self._wire_of(sum(self.dirty_mib))
        return self.rest_mib - before

    def _keep(self, sent: float) -> list[float]:
        """Take away what was sent since the last look; return what is left of each class, MiB.

        QEMU goes on through memory where its last pass ended: what that pass left over goes first.
        """
        amount, older = self.rest_mib * sent, self.other_mib + sum(self._older_mib)
        fresh = self.rest_mib - older
        first = min(1.0, amount / older) if older > 0.0 else 1.0
        then = min(1.0, max(0.0, amount - older) / fresh) if fresh > 0.0 else 0.0
        self.other_mib *= 1.0 - first
        self._older_mib = [
            old * (1.0 - first) + (dirty - old) * (1.0 - then)
            for old, dirty in zip(self._older_mib, self.dirty_mib, strict=True)
        ]
        return self._older_mib

    def burst_mib(self, time_s: float, pace: float = 1.0) -> float:
        """Return what sending all that is dirtied in `time_s` from a clean start takes, MiB."""
        fresh = sum(self._dirtied(k, w * pace * time_s, 0.0, 0.0, 1.0) for k, (_, w) in enumerate(self._classes))
        return fresh * self._guest.data_wire

    def late_mib(self, time_s: float, pace: float = 1.0) -> float:
        """Return what sending all that is dirtied in `time_s` from now on takes, MiB."""
        fresh = sum(
            self._dirtied(k, writes_s * pace * time_s, left, 0.0, 1.0) - left
            for k, ((_, writes_s), left) in enumerate(zip(self._classes, self.dirty_mib, strict=True))
        )
        return fresh * self._guest.data_wire

    def _wire_of(self, dirty_mib: float) -> float:
        if not self._xbzrle or dirty_mib <= 0.0:
            return dirty_mib * self._guest.data_wire
        # Pages of the last passes are remembered as far as the cache goes; their difference has a header of 11 bytes.
        p = self._parameters
        known = min(1.0, p.xbzrle_cache_mib / dirty_mib)
        return dirty_mib * (known * (p.xbzrle_ratio + 11.0 / PAGE_BYTES) + (1.0 - known) * self._guest.data_wire)

    def _dirtied(self, number: int, writes_per_page: float, kept: float, sent: float, chunks: float) -> float:
        """Return what of a page class is dirty after a pass, MiB.

        Pages that were `kept` unsent are dirty still. Pages that were `sent` have been watched since their chunk was
        reached, all others since the pass began.
        """
        size = self._classes[number][0]
        if self._in_order[number]:
            # A writer that goes on in order does not come back to what it wrote last, unless it has been everywhere:
            # then, as in the first pass when all memory is still to be sent, what it writes was partly kept anyway.
            # The square is what a play of single pages shows best.
            new = size - kept * min(1.0, (kept + sent) / size) ** 2
            return min(size, kept + new * min(1.0, writes_per_page) * exposure(chunks))
        again = sent * swept_share(writes_per_page, chunks)
        return kept + again - (size - kept - sent) * math.expm1(-writes_per_page)
