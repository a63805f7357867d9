"""How long a search may go on: the clock is the safety net, counted work is the rule."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

Clock = Callable[[], float]


@dataclass(slots=True, kw_only=True)
class Budget:
    """Time left for a search.

    Parameters
    ----------
    limit_s : float
        Time allowed from the start, by that clock, seconds.
    clock : callable
        Returns seconds; only differences count.
    ask : callable, optional
        Says whether the search should end before its time.
    cut : bool
        Set once the clock, or who was asked, has ended something: from then on the answer depends on the speed of the
        machine.
    """

    limit_s: float
    clock: Clock
    ask: Callable[[], bool] | None = None
    cut: bool = False
    ended: bool = field(default=False, init=False)
    start: float = field(init=False)

    def __post_init__(self) -> None:
        self.start = self.clock()

    @property
    def elapsed_s(self) -> float:
        """Seconds since the start."""
        return self.clock() - self.start

    @property
    def left_s(self) -> float:
        """Seconds left."""
        return self.limit_s - self.elapsed_s

    def out(self, share: float = 1.0) -> bool:
        """Whether that share of the time has passed, or the search should end; remembers that it did."""
        if not self.stopped() and self.elapsed_s < self.limit_s * share:
            return False
        self.cut = True
        return True

    def stopped(self) -> bool:
        """Whether the search should end before its time; remembers that it should."""
        if not self.ended and self.ask is not None:
            self.ended = self.ask()
        return self.ended
