"""Slowing a guest down until its memory can be sent: QEMU's auto-converge and dirty limit, vMotion's stun."""

from __future__ import annotations

import math

from drsim.migration.guest import Load
from drsim.migration.options import Options
from drsim.migration.parameters import Parameters
from drsim.workload.throttled import slowed


class Throttle:
    """Decides after each look at the dirty pages how fast the guest may go on.

    Follows ``migration_trigger_throttle`` and ``mig_throttle_guest_down`` in QEMU's migration/ram.c: dirtied and sent
    memory are counted over periods of more than a second; the second period in which too much was dirtied (they need
    not follow each other) brings the next step. Since QEMU 9.2 a timer adds a look where passes are long
    (system/cpu-throttle.c).

    Parameters
    ----------
    options : Options
        Which of the two, if any.
    parameters : Parameters
        Steps and thresholds.
    guest : Load
        For its vCPUs and the rate at which it writes.

    Attributes
    ----------
    held : float
        Share of their time that vCPUs are held back; 0 as long as they are not, or only their writes are.
    pace : float
        Speed of the guest's writes, of its own. Taking CPU time that the guest leaves idle does not slow it.
    """

    def __init__(self, options: Options, parameters: Parameters, guest: Load) -> None:
        self._options, self._p = options, parameters
        self._writes_mib_s = sum(c.dirty_rate_mib_s for c in guest.classes)
        self._limit_mib_s = math.inf
        if options.dirty_limit_mib_s is not None:
            self._limit_mib_s = options.dirty_limit_mib_s * guest.vcpus
        ticks = options.throttles and not options.stun and parameters.throttle_sync_s > 0.0
        self._tick_s = parameters.throttle_sync_s if ticks else math.inf
        self._looks = 0
        self._counted_s = 0.0
        self._dirtied_mib = 0.0
        self._sent_mib = 0.0
        self._high = 0
        self._busy = guest.busy
        self.held = 0.0
        self.pace = 1.0

    @property
    def next_tick_s(self) -> float:
        """When the timer looks next, seconds of memory transfer; infinite if it never does."""
        return self._tick_s

    @property
    def exhausted(self) -> bool:
        """Whether no step is left."""
        if self._options.auto_converge:
            return self.held >= self._p.throttle_most - 1e-9
        if self._options.stun:
            return False
        return self._options.dirty_limit_mib_s is None or self.pace < 1.0

    def tick(self, looks: int) -> bool:
        """Wind the timer up again; return whether it looks: not in the first pass nor right after another look."""
        due = looks > 0 and looks == self._looks
        self._looks = looks + due
        self._tick_s += self._p.throttle_sync_s
        return due

    def count(self, memory_s: float, dirtied_mib: float, sent_mib: float) -> None:
        """Take note of a look.

        Parameters
        ----------
        memory_s : float
            When, seconds of memory transfer.
        dirtied_mib : float
            Memory found newly dirty.
        sent_mib : float
            Memory sent up to now, MiB on the wire.
        """
        self._dirtied_mib += dirtied_mib
        if self._options.stun:
            allowed_mib = self._p.stun_share * (sent_mib - self._sent_mib)
            if dirtied_mib > allowed_mib > 0.0:
                self.pace *= allowed_mib / dirtied_mib
            self._sent_mib = sent_mib
            return
        if memory_s - self._counted_s <= self._p.throttle_count_s:
            return
        if self._dirtied_mib > self._p.throttle_trigger * (sent_mib - self._sent_mib):
            self._high += 1
            if self._high >= 2:
                self._high = 0
                self._step()
        self._counted_s, self._sent_mib, self._dirtied_mib = memory_s, sent_mib, 0.0

    def _step(self) -> None:
        p = self._p
        if self._options.auto_converge:
            step = self.held + p.throttle_increment if self.held else p.throttle_initial
            self.held = min(step, p.throttle_most)
            self.pace = slowed(self.held, self._busy)
        elif self._writes_mib_s > 0.0:
            self.pace = min(1.0, self._limit_mib_s / self._writes_mib_s)
