"""When of a day a guest is quiet: its history, hour by hour."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from drsim.errors import DataError, Problem

HOURS = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Hour:
    """One hour of the day in a guest's history.

    Parameters
    ----------
    hour : int
        0 to 23, of the clock that the history was told in.
    typical, high : float
        Median and 90th percentile of what was measured then.
    samples : int
        Number of measurements.
    """

    hour: int
    typical: float
    high: float
    samples: int


def by_hour(at: Sequence[datetime], value: Sequence[float]) -> tuple[Hour, ...]:
    """Return the hours of the day that a history knows, in their order.

    Parameters
    ----------
    at : sequence of datetime
        When each value was measured.
    value : sequence of float
        Dirty rate, CPU use, predicted downtime, ...; any unit, not negative.

    Raises
    ------
    DataError
        If they differ in number or nothing was measured.
    """
    if not at or len(at) != len(value):
        raise DataError(
            Problem(
                place="history",
                expected=f"{len(at)} times and {len(value)} values were given.",
                remedy="Give one value for each time, and one at least.",
            )
        )
    hours = np.array([one.hour for one in at])
    values = np.asarray(value, dtype=np.float64)
    return tuple(
        Hour(
            hour=hour,
            typical=float(np.median(values[hours == hour])),
            high=float(np.quantile(values[hours == hour], 0.9)),
            samples=int((hours == hour).sum()),
        )
        for hour in range(HOURS)
        if (hours == hour).any()
    )


def best_hour(hours: Sequence[Hour], *, length: int = 1) -> int:
    """Return the hour at which to begin, for the least of what is measured over `length` hours.

    Decided by the 90th percentile, not by what is typical: a migration that starts in a burst pays for all of it. Hours
    that nobody measured count as the worst one known; of equal ones the first is taken.
    """
    worst = max(hour.high for hour in hours)
    high = {hour.hour: hour.high for hour in hours}
    cost = [sum(high.get((start + k) % HOURS, worst) for k in range(length)) for start in range(HOURS)]
    return int(np.argmin(cost))
