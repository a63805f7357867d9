"""Bars for what takes long."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress() -> Iterator[Callable[[str], Callable[[float], None]]]:
    """Give bars on the standard error, gone in the end; none if that is no terminal.

    Yields
    ------
    callable
        From the name of something to what is told the share of it that is over.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description:>16}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:

        def begin(name: str) -> Callable[[float], None]:
            task = bars.add_task(name, total=1.0)
            return lambda share: bars.update(task, completed=share)

        yield begin
