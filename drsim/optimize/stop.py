"""How far a search is, and whether it should end before it has done all that it could: asked again and again."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a search is.

    Parameters
    ----------
    objective : float
        Of the best placement so far.
    lower_bound : float or None
        No placement has a lower one.
    gap : float or None
        Relative distance between the two.
    excess : float
        What loads are above the one that is sought, over all hosts: falls long before the highest load does.
    elapsed_s : float
        Seconds since the start, by the clock of the search.
    """

    objective: float
    lower_bound: float | None
    gap: float | None
    excess: float
    elapsed_s: float


class Stop(Protocol):
    """Says whether a search should end with the best that it has found."""

    def __call__(self, progress: Progress) -> bool:
        """Look at how far the search is; true ends it."""


@dataclass(frozen=True, slots=True)
class GapBelow:
    """Ends a search whose answer is near enough to the bound.

    Parameters
    ----------
    share : float
        Gap that is small enough.
    """

    share: float

    def __call__(self, progress: Progress) -> bool:
        """Whether the gap is that small."""
        return progress.gap is not None and progress.gap <= self.share


@dataclass(slots=True)
class Stalled:
    """Ends a search that has not come further for some time; for one search each.

    Parameters
    ----------
    after_s : float
        That time, seconds.
    """

    after_s: float
    _best: tuple[float, float] = field(default=(float("inf"), float("inf")), init=False)
    _since_s: float = field(default=0.0, init=False)

    def __call__(self, progress: Progress) -> bool:
        """Whether neither the objective nor the excess has fallen for that time."""
        objective, excess = self._best
        if progress.objective < objective or progress.excess < excess:
            self._best = min(progress.objective, objective), min(progress.excess, excess)
            self._since_s = progress.elapsed_s
        return progress.elapsed_s - self._since_s >= self.after_s


def any_of(*stops: Stop) -> Stop:
    """End a search as soon as one of these would; each is asked each time."""

    def stop(progress: Progress) -> bool:
        said = [one(progress) for one in stops]
        return any(said)

    return stop
