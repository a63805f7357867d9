"""A maintenance window: when a run begins, and by when its moves must have ended."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from drsim.errors import DrsimError
from drsim.plan import Move, Plan
from drsim.quiet import instant
from drsim.report.text import duration
from executor.store import Clock

LOOK_S = 30.0
"""Longest sleep between two looks at the clock, seconds: a clock that is set while a run waits is noticed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """When a run begins and by when its moves must have ended; None where nothing was said.

    Parameters
    ----------
    begin, end : datetime or None
        UTC.
    """

    begin: datetime | None = None
    end: datetime | None = None

    @classmethod
    def read(cls, begin: str | None, end: str | None, now: datetime) -> Window:
        """Read both ends as somebody wrote them, ISO 8601 with the offset from UTC.

        Raises
        ------
        DrsimError
            One of them is no such instant or lies in the past, or the end is not after the beginning.
        """
        window = cls(begin=_future("--at", begin, now), end=_future("--until", end, now))
        if window.begin and window.end and window.end <= window.begin:
            raise DrsimError(f"--until {end} is not after --at {begin}. Give the window an end after its beginning.")
        return window

    def late(self, moves: Iterable[Move], now: datetime) -> tuple[Move, ...]:
        """Return those of some moves that, begun now, might still be under way when the window ends.

        A move is taken to last as long as the upper end of its band says; one without a prediction is never late
        before the end itself.
        """
        if self.end is None:
            return ()
        left_s = (self.end - now).total_seconds()
        return tuple(move for move in moves if (move.prediction.longest_s if move.prediction else 0.0) > left_s)

    def outlook(self, plan: Plan, now: datetime) -> str:
        """Say how the plan fits by its own prediction; nothing if there is no end."""
        if self.end is None:
            return ""
        over = (self.begin or now) + timedelta(seconds=plan.makespan_s)
        ends = f"By its prediction the plan ends at {over:%Y-%m-%d %H:%M} UTC"
        if over <= self.end:
            return f"{ends}, {duration((self.end - over).total_seconds())} before its window does."
        return f"{ends}, after its window ({self.end:%H:%M}): what might not end in it is not begun and can be resumed."


ALWAYS = Window()
"""A window without ends."""


def wait_for(begin: datetime, stop: threading.Event, clock: Clock) -> None:
    """Return at an instant.

    Raises
    ------
    DrsimError
        Somebody asked to stop meanwhile: nothing was done.
    """
    while (left_s := (begin - clock()).total_seconds()) > 0.0:
        if stop.wait(min(left_s, LOOK_S)):
            raise DrsimError("Stopped while waiting for --at: nothing was done.")


def _future(option: str, text: str | None, now: datetime) -> datetime | None:
    if text is None:
        return None
    try:
        found = instant(text)
    except ValueError as error:
        raise DrsimError(f"{option} {text}: expected an instant with its offset, 2026-11-28T22:00+01:00.") from error
    if found <= now:
        raise DrsimError(f"{option} {text} lies in the past: it is {now:%Y-%m-%d %H:%M:%S} UTC. Give one to come.")
    return found
