"""What to do with a migration that is under way: pure, from what its statistics say.

The ladder: while passes get shorter nothing is done; when they do not, the downtime limit is raised, never past what
the guest allows; a hybrid hands over after its passes; what neither comes to rest nor may be handed over is given up
and stays.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from drsim.migration.automaton import STALLED_S
from drsim.plan import Move

STALLED_PASSES = 12
"""Passes in a row, at the last rung, none of which left less than the best before, until a migration is given up,
if they took `STALLED_S` at least: passes of an idle line are short, and bursts of a guest pass."""

SILENT_S = 20.0
"""Time without a byte sent until a migration is given up, seconds: QEMU itself waits for TCP, a quarter of an hour, and
libvirt's daemons miss each other after half a minute."""

START_S = 60.0
"""The same before the first byte, seconds: the target may take its time to get ready."""

SHRINK = 0.9
"""A pass counts as shorter if it leaves less than this share of the best before it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """Statistics of a running migration at one look.

    Parameters
    ----------
    elapsed_s : float
        Since its start, seconds.
    rounds : int
        Number of the pass over memory that is under way, from 1; 0 before memory is sent.
    remaining_mib : float
        Memory known to be left, MiB.
    sent_mib : float
        Memory and disks sent so far, MiB.
    """

    elapsed_s: float
    rounds: int
    remaining_mib: float
    sent_mib: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Something to be done now.

    Parameters
    ----------
    kind : {"downtime", "postcopy", "give_up"}
        Set the downtime limit; hand over and send the rest afterwards; abort, so that the guest stays.
    downtime_ms : float
        The limit to set, ms.
    why : str
        One clause for the record.
    """

    kind: Literal["downtime", "postcopy", "give_up"]
    downtime_ms: float = 0.0
    why: str = ""


class Steering:
    """The hand on one migration.

    Parameters
    ----------
    move : Move
        What was planned: mode, limits, time-out.
    """

    def __init__(self, move: Move) -> None:
        self._move = move
        self.downtime_ms = max(1.0, move.aim_downtime_ms)
        """Downtime limit in force, ms."""
        self._best_mib: float | None = None
        self._best_pass, self._best_s = 0, 0.0
        self._pass, self._low_mib = 0, 0.0
        self._sent_mib, self._sent_s = -1.0, 0.0
        self._over = False
        self.handed_over = False
        """Whether it was told to hand the guest over to the target before all of its memory is there."""

    def next(self, sight: Sight) -> Step | None:
        """Say what is to be done after a look; None for nothing. After a hand-over or a give-up there is nothing."""
        if self._over:
            return None
        transfer = self._move.transfer
        if transfer.timeout_s is not None and sight.elapsed_s > transfer.timeout_s:
            return self._give_up(f"it was given up after {transfer.timeout_s:g} s, as planned")
        if sight.sent_mib != self._sent_mib:
            self._sent_mib, self._sent_s = sight.sent_mib, sight.elapsed_s
        elif sight.elapsed_s - self._sent_s >= (limit_s := SILENT_S if sight.sent_mib else START_S):
            return self._give_up(f"nothing could be sent for {limit_s:g} s")
        handover = 1 if transfer.mode == "postcopy" else transfer.precopy_passes + 1
        if transfer.may_postcopy and sight.rounds >= handover:
            self._over = self.handed_over = True
            return Step(kind="postcopy", why=f"handed over in pass {sight.rounds}")
        return self._mind_stall(sight)

    def _mind_stall(self, sight: Sight) -> Step | None:
        """Climb when passes do not get shorter; what is left is largest just after a sync, smallest just before one."""
        if sight.rounds != self._pass:
            if self._pass:
                self._end_pass(sight)
            self._pass, self._low_mib = sight.rounds, sight.remaining_mib
        self._low_mib = max(self._low_mib, sight.remaining_mib)
        stalled = self._pass - self._best_pass
        if self._best_mib is None or stalled < 2:
            return None
        if self.downtime_ms < self._move.max_downtime_ms:
            self.downtime_ms = min(2 * self.downtime_ms, self._move.max_downtime_ms)
            self._best_pass, self._best_s = self._pass, sight.elapsed_s
            return Step(kind="downtime", downtime_ms=self.downtime_ms, why="passes over memory get no shorter")
        if self._move.transfer.auto_converge:  # QEMU slows the guest down further and further
            return None
        if stalled >= STALLED_PASSES and sight.elapsed_s - self._best_s >= STALLED_S:
            return self._give_up(
                f"{stalled} passes over memory got no shorter; about {self._low_mib:.0f} MiB stay to be sent, more "
                f"than the line carries in its downtime limit of {self.downtime_ms:g} ms"
            )
        return None

    def _end_pass(self, sight: Sight) -> None:
        if self._best_mib is None or self._low_mib < SHRINK * self._best_mib:
            self._best_mib, self._best_pass, self._best_s = self._low_mib, self._pass, sight.elapsed_s

    def _give_up(self, why: str) -> Step:
        self._over = True
        return Step(kind="give_up", why=why)
