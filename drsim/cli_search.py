"""A search at the terminal: how far it is, and Ctrl-C to end it with the best that it has found."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from drsim.optimize.stop import GapBelow, Progress, Stalled, Stop, any_of


@contextmanager
def watched(gap: float | None, stalled_s: float | None) -> Iterator[Stop]:
    """Yield what a search should ask; within, the first Ctrl-C ends the search and the second one everything.

    Parameters
    ----------
    gap : float, optional
        Gap to the bound that is small enough.
    stalled_s : float, optional
        Seconds without progress after which it ends.
    """
    pressed = False

    def press(number: int, frame: FrameType | None) -> None:
        nonlocal pressed
        pressed = True
        signal.signal(signal.SIGINT, before)
        sys.stderr.write("Ending the search; once more to give up.\n")

    stops: list[Stop] = [lambda progress: pressed]
    stops += [GapBelow(gap)] if gap is not None else []
    stops += [Stalled(stalled_s)] if stalled_s is not None else []
    before = signal.signal(signal.SIGINT, press)
    try:
        yield any_of(*stops)
    finally:
        signal.signal(signal.SIGINT, before)
        if sys.stderr.isatty():
            sys.stderr.write("\r\033[K")


def tell(progress: Progress) -> None:
    """Write how far a search is over the last line of a terminal; nothing elsewhere."""
    if sys.stderr.isatty():
        gap = "" if progress.gap is None else f", {100.0 * progress.gap:.1f} % above the bound"
        sys.stderr.write(f"\r\033[K{progress.elapsed_s:.1f} s: highest load {progress.objective:.4g} of the mean{gap}")
        sys.stderr.flush()
