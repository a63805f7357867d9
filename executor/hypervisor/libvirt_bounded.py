"""Many calls that may hang, side by side, with an end to the waiting."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

from drsim.errors import HypervisorError

T = TypeVar("T")


class Failed(Generic[T]):
    """A task that raised, or that did not come back in time.

    Parameters
    ----------
    error : Exception
        What it raised; a `HypervisorError` if it did not come back.
    """

    def __init__(self, error: Exception) -> None:
        self.error = error


def run_bounded(
    tasks: Mapping[str, Callable[[], T]], *, timeout_s: float, max_parallel: int = 32
) -> dict[str, T | Failed[T]]:
    """Run each task in a thread of its own and wait at most `timeout_s` for each.

    A libvirt call can hang for minutes on a host that vanished, and a thread cannot be stopped: one that is late is
    left behind (as a daemon, so that it does not hold up the end of the program) and its place is given to the next.

    Parameters
    ----------
    tasks : mapping of str to callable
        Tasks by name.
    timeout_s : float
        Time for each task from its own start, seconds.
    max_parallel : int
        Tasks at once.

    Returns
    -------
    dict of str to result or Failed
        In the order of `tasks`.
    """
    done: queue.SimpleQueue[tuple[str, T | Failed[T]]] = queue.SimpleQueue()
    results: dict[str, T | Failed[T]] = {}
    waiting = list(tasks)
    late_at: dict[str, float] = {}

    def work(name: str) -> None:
        try:
            done.put((name, tasks[name]()))
        except Exception as error:
            done.put((name, Failed(error)))

    while waiting or late_at:
        while waiting and len(late_at) < max_parallel:
            name = waiting.pop(0)
            late_at[name] = time.monotonic() + timeout_s
            threading.Thread(target=work, args=(name,), name=f"drsim {name}", daemon=True).start()
        try:
            name, result = done.get(timeout=max(0.0, min(late_at.values()) - time.monotonic()))
        except queue.Empty:
            now = time.monotonic()
            for name in [name for name, limit in late_at.items() if limit <= now]:
                del late_at[name]
                results[name] = Failed(HypervisorError(f"no answer within {timeout_s:g} s"))
        else:
            if late_at.pop(name, None) is not None:
                results[name] = result
    return {name: results[name] for name in tasks}


class Call:
    """A blocking call in a thread of its own; what it returned or raised is kept."""

    def __init__(self, function: Callable[[], object]) -> None:
        self.error: Exception | None = None
        self._done = threading.Event()

        def run() -> None:
            try:
                function()
            except Exception as error:
                self.error = error
            finally:
                self._done.set()

        threading.Thread(target=run, name="drsim migration", daemon=True).start()

    def wait(self, timeout_s: float) -> bool:
        """Return whether it has ended, after at most `timeout_s` seconds."""
        return self._done.wait(timeout_s)
