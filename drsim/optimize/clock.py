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
    cut : bool
        Set once the clock has ended something: from then on the answer depends on the speed of the machine.
    """

    limit_s: float
    clock: Clock
    cut: bool = False
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
        """Whether that share of the time has passed; remembers that it did."""
        if self.elapsed_s < self.limit_s * share:
            return False
        self.cut = True
        return True
