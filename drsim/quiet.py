"""Quiet times: when guests must not be moved."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from drsim.inventory import Inventory
from drsim.plan import Move
from drsim.policy import DAYS, Policy, Quiet
from drsim.rules import select_vms

LOOK_AHEAD = timedelta(days=8)
"""Quiet times repeat every week: what is not free by then never is."""


class QuietTimes:
    """The quiet times of a policy, by guest.

    Parameters
    ----------
    policy : Policy
        Checked (`drsim.check.policy_problems`).
    inventory : Inventory
        For the guests that it names.
    """

    def __init__(self, policy: Policy, inventory: Inventory) -> None:
        self._of: dict[str, list[Quiet]] = {}
        for quiet in policy.quiet:
            for vm in select_vms(quiet.vms, inventory):
                self._of.setdefault(vm.name, []).append(quiet)

    def __bool__(self) -> bool:
        return bool(self._of)

    def has(self, vm: str) -> bool:
        """Whether there is any time at which a guest must not be moved."""
        return vm in self._of

    def disturbed(self, vm: str, begin: datetime, end: datetime) -> tuple[Quiet, datetime] | None:
        """Return the first quiet time of a guest that a span of time touches, and its end, UTC; None if there is none.

        Parameters
        ----------
        vm : str
            The guest.
        begin, end : datetime
            The span, timezone-aware; its end belongs to it.
        """
        spans = [(span, quiet) for quiet in self._of.get(vm, ()) for span in _spans(quiet, begin, end)]
        touched = [(span, quiet) for span, quiet in spans if span[0] <= end and begin < span[1]]
        if not touched:
            return None
        (_, until), quiet = min(touched, key=lambda pair: pair[0])
        return quiet, until

    def objection(self, move: Move, begin: datetime) -> str | None:
        """Say why a move must not begin at an instant: it would be under way, at the latest, in a quiet time."""
        lasts_s = 0.0 if move.prediction is None else move.prediction.longest_s
        found = self.disturbed(move.vm, begin, begin + timedelta(seconds=lasts_s))
        if found is None:
            return None
        quiet, _ = found
        free = self._free(move.vm, begin, timedelta(seconds=lasts_s))
        when = f"It may begin at {free:%Y-%m-%d %H:%M} UTC." if free else f"In {LOOK_AHEAD.days} days it never may."
        return (
            f"'{move.vm}' must not be moved from {quiet.begin} to {quiet.end} ({_days(quiet)}{quiet.zone}); a move at "
            f"{begin:%Y-%m-%d %H:%M} UTC may take {lasts_s:.0f} s. {when}"
        )

    def _free(self, vm: str, begin: datetime, lasts: timedelta) -> datetime | None:
        """Return when next a move that lasts so long disturbs a guest at no time."""
        now = begin
        while now < begin + LOOK_AHEAD:
            found = self.disturbed(vm, now, now + lasts)
            if found is None:
                return now
            now = found[1]
        return None

    def objections(self, moves: tuple[Move, ...], start: datetime) -> Mapping[str, str]:
        """Return, by guest, why its move must not be made if the plan starts at an instant."""
        found: dict[str, str] = {}
        for move in moves:
            begin_s = move.prediction.start_s if move.prediction else 0.0
            why = self.objection(move, start + timedelta(seconds=begin_s))
            if why is not None:
                found.setdefault(move.vm, why)
        return found


def instant(text: str) -> datetime:
    """Read an instant with its offset from UTC (ISO 8601).

    Raises
    ------
    ValueError
        If it is none, or has no offset.
    """
    found = datetime.fromisoformat(text)
    if found.tzinfo is None:
        raise ValueError(f"'{text}' has no offset from UTC")
    return found.astimezone(UTC)


def clock(text: str) -> time:
    """Read a time of day, HH:MM.

    Raises
    ------
    ValueError
        If it is none.
    """
    return datetime.strptime(text, "%H:%M").time()


def _spans(quiet: Quiet, begin: datetime, end: datetime) -> Iterator[tuple[datetime, datetime]]:
    """Yield the quiet spans, UTC, that could touch a span of time."""
    zone, first, last = ZoneInfo(quiet.zone), clock(quiet.begin), clock(quiet.end)
    overnight = timedelta(days=1 if last <= first else 0)
    day: date = begin.astimezone(zone).date() - timedelta(days=1)
    while day <= end.astimezone(zone).date():
        if DAYS[day.weekday()] in quiet.days:
            span = (datetime.combine(day, first, zone), datetime.combine(day + overnight, last, zone))
            yield span[0].astimezone(UTC), span[1].astimezone(UTC)
        day += timedelta(days=1)


def _days(quiet: Quiet) -> str:
    return "" if quiet.days == DAYS else f"{', '.join(quiet.days)}; "
