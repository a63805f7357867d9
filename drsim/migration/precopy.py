"""One migration under way: QEMU's pre-copy loop, exact between events.

The migration is an automaton that knows what it could send now (`Migration.limit_mib_s`) and, told the rate that it
gets, when the next thing happens to it. Who drives it decides the rate: `drsim.migration.predict` gives it the whole
path, the simulation gives it its fair share. Both therefore play the same model.

The loop follows QEMU's migration/migration.c and migration/ram.c (7.2 and 10.0): memory is sent until what is left in
the bitmap fits the downtime limit at the measured rate; only then are newly dirtied pages looked for; if all that is
left still fits, the guest is stopped and the rest is sent without a bandwidth cap. QEMU looks only when a turn ends
(50 ms, or 100 ms under a cap) and does not know its rate during the first 100 ms.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Literal

from drsim.inventory import Vm
from drsim.migration.guest import load
from drsim.migration.parameters import Parameters
from drsim.migration.rates import rates, slow_start_s
from drsim.topology import Path
from drsim.units import MIB, PAGE_BYTES
from drsim.workload.curve import swept_share

Phase = Literal["prepare", "disks", "memory", "switchover", "resume", "confirm", "done"]

PATIENCE = 20
"""Passes to wait for the rest to fit, if it goes on shrinking as it did in the last one and the guest dirties memory
faster than the shortest pass sends it: a guest that converges gets there in fewer, one that does not never does."""

ONE_PAGE_MIB = PAGE_BYTES / MIB
"""Less than this is nothing: QEMU's bitmap knows whole pages."""


class Migration:
    """A migration that has begun; the driver's loop is ``advance(wait_s(rate), rate)``, ``happen()`` until done.

    Parameters
    ----------
    vm : Vm
        The guest.
    path : Path
        What lies between the hosts.
    max_downtime_ms : float
        Downtime limit given to the hypervisor, ms.
    bandwidth_mbit_s : float or None
        Bandwidth cap given to the hypervisor.
    copy_disks : collection of str
        Disks that move along.
    parameters : Parameters
        Constants of the hosts.
    line_mbit_s : float
        Line rate that it may use at most.

    Attributes
    ----------
    phase : Phase
        ``prepare`` and ``confirm`` send nothing; the guest stands still in ``switchover`` and ``resume``.
    limit_mib_s : float
        Data rate that it could use now; 0 while it sends nothing.
    elapsed_s, sent_mib : float
        Since its start.
    passes : int
        Passes over dirty memory completed.
    downtime_s : float
        Standstill of the guest up to now.
    converges : bool
        False as soon as it is clear that pre-copy alone cannot keep the downtime limit.
    """

    def __init__(
        self,
        vm: Vm,
        path: Path,
        *,
        max_downtime_ms: float,
        bandwidth_mbit_s: float | None,
        copy_disks: Collection[str],
        parameters: Parameters,
        line_mbit_s: float,
    ) -> None:
        p = self._parameters = parameters
        guest = self._load = load(vm, copy_disks, p)
        limits = self._rates = rates(path, bandwidth_mbit_s, line_mbit_s, p)
        self._max_downtime_s = max_downtime_ms / 1e3
        self._chunks = guest.memory_mib / p.chunk_mib
        self._classes = [(c.size_mib, c.dirty_rate_mib_s / c.size_mib) for c in guest.classes]
        # One thread alternates between looking for zeros and sending: both take time unless a cap leaves it idle.
        first_s = guest.first_mib / limits.stream_mib_s + guest.zero_scan_s
        self._first_rate = min(guest.first_mib / first_s, limits.cap_mib_s)
        self._later_rate = min(limits.stream_mib_s, limits.cap_mib_s)

        ramp_s = slow_start_s(self._later_rate, limits.rtt_s, guest.first_mib + guest.disk_mib, p)
        self._left_s = p.prepare_s + p.prepare_rtts * limits.rtt_s + ramp_s  # of a phase that only takes time
        self._left_mib = 0.0  # of a phase that only sends
        self._dirty = [size for size, _ in self._classes]  # of each class, in the bitmap when the pass began, MiB
        self._other = guest.memory_mib - sum(self._dirty)  # of all memory that nobody writes to, likewise
        # Memory that the guest writes to holds data; only if there is more of it than data is some of it still zero.
        rest_mib = guest.first_mib - sum(self._dirty) * guest.data_wire
        self._other_wire = max(p.zero_page_bytes / PAGE_BYTES, rest_mib / self._other) if self._other > 0.0 else 0.0
        self._wire = guest.first_mib  # traffic of the whole pass, MiB
        self._gone = 0.0  # share of the pass that was sent
        self._pass_s = 0.0
        self._memory_s = 0.0
        self._last_rest = math.inf
        self._last_rate = 0.0

        self.phase: Phase = "prepare"
        self.limit_mib_s = 0.0
        self.elapsed_s = 0.0
        self.sent_mib = 0.0
        self.passes = 0
        self.downtime_s = 0.0
        self.converges = True

    @property
    def done(self) -> bool:
        """Whether nothing is left to happen."""
        return self.phase == "done"

    @property
    def remaining_mib(self) -> float:
        """Memory and disk data known to be left to send, MiB."""
        match self.phase:
            case "prepare":
                return self._load.first_mib + self._load.disk_mib
            case "disks":
                return self._load.first_mib + self._left_mib
            case "memory":
                return self._wire * (1.0 - self._gone)
            case "switchover":
                return self._left_mib
            case _:
                return 0.0

    def wait_s(self, rate_mib_s: float) -> float:
        """Return the time until the next thing happens if the rate stays as it is, seconds.

        Parameters
        ----------
        rate_mib_s : float
            Data rate granted, positive and not above `limit_mib_s` where that is positive; unused elsewhere.
        """
        match self.phase:
            case "memory":
                return self._pass_wait_s(self._memory_rate(rate_mib_s))
            case "disks":
                return self._left_mib / (rate_mib_s - self._held_back_writes(rate_mib_s))
            case "switchover":
                return self._left_mib / rate_mib_s
            case _:
                return self._left_s

    def advance(self, time_s: float, rate_mib_s: float) -> None:
        """Let time pass in which nothing happens; `rate_mib_s` as for `wait_s`."""
        self.elapsed_s += time_s
        match self.phase:
            case "memory":
                self.sent_mib += rate_mib_s * time_s
                memory_rate = self._memory_rate(rate_mib_s)
                self._gone += memory_rate * time_s / self._wire
                self._pass_s += time_s
                self._memory_s += time_s
                if memory_rate > self._last_rate:
                    self._last_rest = math.inf  # What did not shrink at a lower rate may shrink at this one.
                self._last_rate = memory_rate
            case "disks":
                self.sent_mib += rate_mib_s * time_s
                self._left_mib -= (rate_mib_s - self._held_back_writes(rate_mib_s)) * time_s
                if self._load.disk_write_mib_s > self._parameters.mirror_share * rate_mib_s:
                    self.converges = False
            case "switchover":
                self.sent_mib += rate_mib_s * time_s
                self.downtime_s += time_s
                self._left_mib -= rate_mib_s * time_s
            case "resume":
                self.downtime_s += time_s
                self._left_s -= time_s
            case _:
                self._left_s -= time_s

    def happen(self) -> None:
        """Do what was due after `wait_s`: end the pass or the phase."""
        p, limits = self._parameters, self._rates
        match self.phase:
            case "prepare" if self._load.disks:
                self.phase = "disks"
                self._left_mib = self._load.disk_mib
                in_flight = p.mirror_window_mib / limits.rtt_s if limits.rtt_s > 0.0 else math.inf
                one_disk = min(limits.tcp_mib_s, limits.cap_mib_s, in_flight)
                self.limit_mib_s = min(limits.line_mib_s, one_disk * self._load.disks)
            case "prepare" | "disks":
                self.phase = "memory"
                self._limit_memory(self._first_rate)
            case "memory":
                self._end_pass()
            case "switchover":
                self.phase = "resume"
                self.limit_mib_s = 0.0
                self._left_s = p.switchover_ms / 1e3 + p.switchover_rtts * limits.rtt_s
            case "resume":
                self.phase = "confirm"
                self._left_s = p.confirm_s + p.confirm_rtts * limits.rtt_s
            case "confirm":
                self.phase = "done"

    def _limit_memory(self, rate_mib_s: float) -> None:
        # Mirrors go on beside memory over connections of their own, in the same network share.
        self._memory_limit = rate_mib_s
        self.limit_mib_s = min(self._rates.line_mib_s, rate_mib_s + self._load.disk_write_mib_s)

    def _memory_rate(self, rate_mib_s: float) -> float:
        """Part of the rate that memory gets: two connections share fairly, so the mirror takes no more than half."""
        return min(rate_mib_s - min(self._load.disk_write_mib_s, rate_mib_s / 2.0), self._memory_limit)

    def _held_back_writes(self, rate_mib_s: float) -> float:
        """Rate of guest writes while the disks are copied."""
        return min(self._load.disk_write_mib_s, self._parameters.mirror_share * rate_mib_s)

    def _rest(self) -> float:
        """Memory in the bitmap when the pass began, MiB."""
        return self._other + sum(self._dirty)

    def _pass_wait_s(self, memory_rate: float) -> float:
        p = self._parameters
        empty_s = (1.0 - self._gone) * self._wire / memory_rate
        if p.full_passes:
            return max(0.0, empty_s)
        share_left = memory_rate * self._max_downtime_s / self._rest()
        fits_s = max(0.0, (1.0 - share_left - self._gone) * self._wire / memory_rate)
        # The rate, and so what fits, is not known before the first window has ended.
        fits_s = max(fits_s, p.window_s - self._memory_s)
        # The first end of a turn, counted from the last look, at which it fits.
        turn_s = self._turn_s(memory_rate)
        turns = max(1, math.ceil((self._pass_s + fits_s) / turn_s - 1e-9))
        fits_s = max(0.0, turns * turn_s - self._pass_s)
        return max(0.0, min(fits_s, empty_s))

    def _end_pass(self) -> None:
        """Look for newly dirtied pages; stop the guest if what is left fits, or if it never will."""
        p = self._parameters
        self.passes += 1
        gone = self._gone if self._gone < 1.0 - 1e-12 else 1.0
        self._other *= 1.0 - gone
        self._dirty = [
            self._dirtied(size, writes_s * self._pass_s, left * (1.0 - gone), left * gone, self._chunks * gone)
            for (size, writes_s), left in zip(self._classes, self._dirty, strict=True)
        ]
        self._wire = self._other * self._other_wire + sum(self._dirty) * self._load.data_wire
        self._gone = 0.0
        self._pass_s = 0.0
        rest = self._rest()
        rate_known = self._memory_s >= p.window_s - 1e-9
        over = rest - self._last_rate * self._max_downtime_s
        fits = rest < ONE_PAGE_MIB or (rate_known and over < 0.0)
        stuck = rate_known and over > PATIENCE * (self._last_rest - rest) and self._outrun()
        hopeless = stuck or self.passes >= p.most_passes
        self._last_rest = rest
        if fits or hopeless:
            self.converges = self.converges and fits
            self._stop_guest()
        else:
            self._limit_memory(self._later_rate)

    def _outrun(self) -> bool:
        """Whether the guest dirties memory at least as fast as it is sent, even over the shortest pass.

        Unique dirtying is concave in time, so passes shrink down to the shortest one if this is false; if it is true
        they settle where a pass sends as much as is dirtied in it, which may or may not fit the downtime limit.
        """
        shortest_s = self._max_downtime_s
        if not self._parameters.full_passes:
            shortest_s = min(shortest_s, self._turn_s(self._last_rate))
        dirtied = sum(self._dirtied(size, writes_s * shortest_s, 0.0, 0.0, 1.0) for size, writes_s in self._classes)
        return dirtied * self._load.data_wire >= self._last_rate * shortest_s

    def _turn_s(self, memory_rate: float) -> float:
        """Time between two looks of QEMU at what is left."""
        p = self._parameters
        return p.window_s if memory_rate >= 0.999 * self._rates.cap_mib_s else p.turn_s

    def _stop_guest(self) -> None:
        p = self._parameters
        lag_s = p.stop_lag_ms / 1e3
        late = sum(
            self._dirtied(size, writes_s * lag_s, left, 0.0, 1.0) - left
            for (size, writes_s), left in zip(self._classes, self._dirty, strict=True)
        )
        owed = self._load.disk_write_mib_s * p.mirror_lag_s
        self._left_mib = self._wire + late * self._load.data_wire + p.device_mib + owed
        self.phase = "switchover"
        self.limit_mib_s = self._rates.stream_mib_s

    def _dirtied(self, size: float, writes_per_page: float, kept: float, sent: float, chunks: float) -> float:
        """Return what of a page class is dirty after a pass, MiB.

        Pages that were `kept` unsent are dirty still. Pages that were `sent` have been watched since their chunk was
        reached, all others since the pass began.
        """
        if self._parameters.linear_dirtying:
            # A writer that goes on in order does not come back to what it wrote last; in the first pass, when all
            # memory is still to be sent, what it writes was partly kept anyway.
            new = size - kept if self.passes == 1 else size
            return min(size, kept + new * writes_per_page)
        again = sent * swept_share(writes_per_page, chunks)
        return kept + again - (size - kept - sent) * math.expm1(-writes_per_page)
