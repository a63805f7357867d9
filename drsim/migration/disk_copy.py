"""Disks of a running guest, copied between datastores of its host: QEMU's mirror, then the switch to the copy.

Driven as `drsim.migration.Migration` is, by the rate that it gets. The guest runs on all the time: its memory stays
where it is, and the disk is switched over when the copy is like it.
"""

from __future__ import annotations

import math
from collections.abc import Collection

from drsim.inventory import Vm
from drsim.migration.automaton import Migration, Phase
from drsim.migration.disks import named_disks
from drsim.migration.leg import Leg, net_rate, wait_s
from drsim.migration.options import PLAIN, Options
from drsim.migration.parameters import Parameters
from drsim.units import MIB_S_PER_MBIT_S


class DiskCopy:
    """A copy that has begun; the driver's loop is ``advance(wait_s(rate), rate)``, ``happen()`` until done.

    Parameters
    ----------
    vm : Vm
        The guest.
    copy_disks : collection of str
        Its disks that are copied, all of them at once.
    bandwidth_mbit_s : float or None
        Cap given to the hypervisor, for each disk.
    parameters : Parameters
        Constants of the host.
    options : Options
        Whether writes end on both disks.

    Attributes
    ----------
    phase, limit_mib_s, elapsed_s, sent_mib, converges
        As of `drsim.migration.Migration`; it is done after ``disks``.
    passes, downtime_s, qemu_downtime_s, held_back_s, faults, throttle, gave_up, last_rate_mib_s
        What there is nothing of: no guest stands still, and none is given up.
    client_gap_s : float
        Silence that a client sees when a disk is switched over.

    Raises
    ------
    PlanError
        If a disk is not one of the guest's.
    """

    passes = 0
    downtime_s = qemu_downtime_s = held_back_s = faults = throttle = last_rate_mib_s = 0.0
    gave_up = False

    __slots__ = (
        *("_left_mib", "_left_s", "_parameters", "_synchronous", "_writes_mib_s"),
        *("converges", "elapsed_s", "limit_mib_s", "phase", "sent_mib", "_most_mib_s"),
    )

    def __init__(
        self,
        vm: Vm,
        copy_disks: Collection[str],
        *,
        bandwidth_mbit_s: float | None,
        parameters: Parameters,
        options: Options = PLAIN,
    ) -> None:
        disks = named_disks(vm, copy_disks)
        cap = math.inf if bandwidth_mbit_s is None else bandwidth_mbit_s * MIB_S_PER_MBIT_S
        self._parameters = parameters
        self._left_mib = sum((disk.data_mib for disk in disks), 0.0)
        self._writes_mib_s = sum((disk.write_rate_mib_s for disk in disks), 0.0)
        self._synchronous = options.synchronous_writes
        self._most_mib_s = min(parameters.copy_mib_s, cap * max(1, len(disks)))
        self._left_s = parameters.copy_s
        self.phase: Phase = "prepare"
        self.limit_mib_s = self.elapsed_s = self.sent_mib = 0.0
        self.converges = True

    @property
    def done(self) -> bool:
        """Whether nothing is left to happen."""
        return self.phase == "done"

    @property
    def client_gap_s(self) -> float:
        """Silence that a client sees."""
        return self._parameters.pivot_ms / 1e3

    @property
    def remaining_mib(self) -> float:
        """Data known to be left to copy, MiB."""
        return self._left_mib

    @property
    def leg(self) -> Leg:
        """What is being copied now, as plain numbers."""
        return Leg(self._left_mib, self._writes_mib_s, self._parameters.mirror_share)

    def wait_s(self, rate_mib_s: float) -> float:
        """Return the time until the next thing happens at a rate; see `drsim.migration.Migration.wait_s`."""
        return wait_s(self.leg, 0.0, 0.0, rate_mib_s) if self.limit_mib_s > 0.0 else self._left_s

    def advance(self, time_s: float, rate_mib_s: float) -> None:
        """Let time pass in which nothing happens; `rate_mib_s` as for `wait_s`."""
        if self.limit_mib_s > 0.0:
            net = net_rate(self.leg, rate_mib_s)
            self.sent(time_s, rate_mib_s * time_s, net * time_s, rate_mib_s, net, rose=False)
            return
        self.elapsed_s += time_s
        self._left_s -= time_s

    def sent(
        self, time_s: float, sent_mib: float, net_mib: float, least_mib_s: float, last_mib_s: float, rose: bool
    ) -> None:
        """Let time pass in which it copies, at rates that may have changed; see `drsim.migration.Migration.sent`."""
        self.elapsed_s += time_s
        self.sent_mib += sent_mib
        self._left_mib -= net_mib
        if self._writes_mib_s > self._parameters.mirror_share * least_mib_s:
            # Writes that end on both disks hold the guest back instead.
            self.converges = self.converges and self._synchronous

    def happen(self) -> None:
        """Do what was due after `wait_s`."""
        if self.phase == "prepare" and self._left_mib > 0.0:
            self.phase, self.limit_mib_s = "disks", self._most_mib_s
        else:
            self.phase, self.limit_mib_s = "done", 0.0


Course = Migration | DiskCopy
"""What a driver drives: a guest on its way, or disks alone."""
