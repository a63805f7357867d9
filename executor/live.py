"""A run as it goes on, drawn in the terminal: each migration, the whole, and when it will be over."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from drsim.plan import Move
from drsim.report.text import duration, milliseconds, size, visible
from executor.events import Event, MoveEnded, MoveProgress, MoveStarted, OutOfTime, RunStarted, StopAsked, WaveStarted
from executor.lifecycle import MoveState

_MARKS = {MoveState.DONE: "[green]moved[/green]", MoveState.UNKNOWN: "[red]not known[/red]"}


def _plain(text: str) -> str:
    return escape(visible(text))


class LiveView:
    """Draws events of a run; lines that tell what ended scroll by above the bars.

    The time left is the share of the plan's predicted work that is not done yet, at the pace of the run so far, so
    that a slow network shows in it and a finished move cannot make it longer.

    Parameters
    ----------
    console : Console
        Where to draw. On anything but a terminal only the lines are printed.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[says]}"),
            console=console,
            disable=not console.is_terminal,
        )
        self._work: dict[str, float] = {}
        self._done: dict[str, float] = {}
        self._tasks: dict[str, TaskID] = {}
        self._whole: TaskID | None = None

    def __enter__(self) -> LiveView:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def __call__(self, event: Event) -> None:
        """Draw one event."""
        match event:
            case RunStarted():
                again = " goes on" if event.resumed else ""
                self._console.print(f"Run {event.run_id}{again}: {len(event.plan.moves)} moves")
                self._work = {m.id: m.prediction.total_time_s if m.prediction else 1.0 for m in event.plan.moves}
                closed = [move for move, state in event.states.items() if state is not MoveState.PENDING]
                self._done = {move: self._work[move] for move in closed}
                self._whole = self._bars.add_task("whole plan", total=sum(self._work.values()) or 1.0, says="")
                self._draw_whole()
            case WaveStarted():
                self._console.print(f"Wave {event.number} of {event.of}")
            case MoveStarted(move=move):
                text = f"{move.id} {_plain(move.vm)} {_plain(move.source)} -> {_plain(move.target)}"
                self._tasks[move.id] = self._bars.add_task(text, total=1.0, says="")
            case MoveProgress(move=move, progress=progress):
                whole = progress.sent_mib + progress.remaining_mib
                share = progress.sent_mib / whole if whole > 0 else 0.0
                rate = f", {progress.rate_mib_s:.0f} MiB/s" if progress.rate_mib_s else ""
                says = f"{progress.phase}: {size(progress.sent_mib)} sent, {size(progress.remaining_mib)} left{rate}"
                self._bars.update(self._tasks[move.id], completed=share, says=says)
                # Dirtied memory lets the share fall back; what was shown once is not taken back.
                self._done[move.id] = max(self._done.get(move.id, 0.0), share * self._work[move.id])
                self._draw_whole()
            case MoveEnded(move=move):
                self._ended(move, event)
            case StopAsked():
                what = "stopping those under way" if event.aborting else "finishing those under way"
                self._console.print(f"[yellow]Stop asked: nothing new is started, {what}.[/yellow]")
            case OutOfTime():
                names = ", ".join(_plain(move.vm) for move in event.late)
                end = f"{event.end:%Y-%m-%d %H:%M} UTC"
                self._console.print(
                    f"[yellow]{names} might outlast the window, which ends at {end}: nothing new is started.[/yellow]"
                )
            case _:
                pass

    def _ended(self, move: Move, event: MoveEnded) -> None:
        if move.id in self._tasks:
            self._bars.remove_task(self._tasks.pop(move.id))
        self._done[move.id] = self._work[move.id]
        self._draw_whole()
        took = ""
        if event.outcome is not None and event.outcome.total_time_s is not None:
            took = f" in {duration(event.outcome.total_time_s)}"
            if event.outcome.downtime_ms is not None:
                took += f", downtime {milliseconds(event.outcome.downtime_ms)}"
        mark = _MARKS.get(event.state, f"[yellow]{event.state}[/yellow]")
        reason = f": {_plain(event.reason)}" if event.reason else ""
        route = _plain(f"{move.vm} {move.source} -> {move.target}")
        self._console.print(f"  {move.id} {route} {mark}{took}{reason}")

    def _draw_whole(self) -> None:
        if self._whole is None:
            return
        done, work = sum(self._done.values()), sum(self._work.values())
        elapsed = self._bars.tasks[0].elapsed or 0.0
        left = f"about {duration(elapsed * (work - done) / done)} left" if done > 0 else ""
        self._bars.update(self._whole, completed=done, says=left)
