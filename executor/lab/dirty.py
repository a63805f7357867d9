"""How a guest of the lab writes to its memory: where, and how fast over time."""

from __future__ import annotations

from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le
from pydantic.dataclasses import dataclass

from executor.lab.wire import STRICT


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Phase:
    """A stretch of time in which a guest works on one part of its working set.

    Parameters
    ----------
    length_s : float
        How long it lasts, s.
    rate_mib_s : int
        How fast it writes, MiB/s.
    window_mib : int
        The part: so much, from where the part of the phase before ended, MiB.
    """

    length_s: Annotated[float, Gt(0)]
    rate_mib_s: Annotated[int, Ge(0)]
    window_mib: Annotated[int, Ge(1)]


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Burst:
    """A higher rate that comes back: on for a while in every period.

    Parameters
    ----------
    rate_mib_s : int
        Rate while it is on, MiB/s, instead of the guest's own.
    length_ms, every_ms : int
        How long it lasts and how often it begins, ms.
    """

    rate_mib_s: Annotated[int, Ge(0)]
    length_ms: Annotated[int, Ge(1)]
    every_ms: Annotated[int, Ge(1)]


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Dirtying:
    """Which page is written next. The rate is one of writes: a page written twice counts twice.

    Parameters
    ----------
    pattern : {"sweep", "hot", "zipf", "phases"}
        ``sweep``: page after page, over and over. ``hot``: a hot set takes most writes, the rest go on a sweep over
        the cold pages. ``zipf``: the page of popularity rank k is drawn with probability proportional to
        1 / k ** `zipf_exponent`; ranks are scattered over the working set. ``phases``: the phases in turn, each
        with a part of the working set and a rate of its own.
    hot_mib, hot_share : int, float
        ``hot``: size of the hot set, MiB, and the fraction of writes that it takes.
    zipf_exponent : float
        ``zipf``: 0 is even, 1 is the classic, larger is more uneven.
    phases : tuple of Phase
        ``phases``: in turn, then from the beginning.
    burst : Burst or None
        A rate that comes and goes.
    """

    pattern: Literal["sweep", "hot", "zipf", "phases"] = "sweep"
    hot_mib: Annotated[int, Ge(1)] = 8
    hot_share: Annotated[float, Ge(0), Le(1)] = 0.9
    zipf_exponent: Annotated[float, Ge(0), Le(4)] = 1.0
    phases: tuple[Phase, ...] = ()
    burst: Burst | None = None

    @property
    def text(self) -> str:
        """One word as the guest's agent reads it, on its kernel's command line and on its control port."""
        match self.pattern:
            case "hot":
                word = f"hot:{self.hot_mib}:{self.hot_share * 1000:.0f}"
            case "zipf":
                word = f"zipf:{self.zipf_exponent * 1000:.0f}"
            case "phases":
                parts = (f"{p.length_s * 1000:.0f}:{p.rate_mib_s}:{p.window_mib}" for p in self.phases)
                word = f"phases:{','.join(parts)}"
            case _:
                word = "sweep"
        if self.burst is not None:
            word += f"+burst:{self.burst.rate_mib_s}:{self.burst.length_ms}:{self.burst.every_ms}"
        return word
