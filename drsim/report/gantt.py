"""When each move runs: as predicted and, if it was carried out, as it was."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from drsim.plan import Move, Plan
from drsim.report.actual import Actual
from drsim.report.axes import SMALL, quiet, sheet, time_unit
from drsim.report.palette import ACTUAL, BAD, GRID, INK, MUTED, PREDICTED, SHADE
from drsim.report.text import duration, how_long, milliseconds, route, size, visible

ROWS = 40
"""Moves up to which each has a row of its own; beyond, moves share the rows of the host that they leave."""

TALLEST_IN = 16.0
"""Height at which rows begin to shrink, inches: about two screens."""


@dataclass(frozen=True, slots=True)
class Bar:
    """One stretch of time on the chart.

    Parameters
    ----------
    number : int
        Place of its move in the plan, from 0.
    row : int
        Row from the top.
    start_s, end_s : float
        Seconds after the start.
    downtime_ms : float or None
        Standstill at its end.
    outcome : Actual or None
        What happened; None for a prediction.
    """

    number: int
    row: int
    start_s: float
    end_s: float
    downtime_ms: float | None
    outcome: Actual | None = None


def draw_gantt(plan: Plan, actual: Sequence[Actual] = (), *, ax: Axes | None = None) -> Figure:
    """Draw when each move starts and ends, wave by wave, with the guest's downtime marked at the end of its bar.

    Up to 40 moves have a row each; more share rows by the host that they leave. Moves without a prediction are left
    out.

    Parameters
    ----------
    plan : Plan
        Its predictions are drawn.
    actual : sequence of Actual, optional
        Outcomes; drawn below their prediction. Those without start or duration are left out.
    ax : Axes, optional
        Where to draw; by default on a new figure.

    Returns
    -------
    Figure
        The figure that was drawn on. Bars carry the identities that `bar_titles` uses.
    """
    predicted = [move for move in plan.moves if move.prediction is not None]
    rows, labels = _own_rows(predicted) if len(predicted) <= ROWS else _shared_rows(predicted)
    bars = [*_predicted(plan.moves, rows), *_actual(plan.moves, rows, actual)]
    done = any(bar.outcome is not None for bar in bars)
    count = max(rows.values(), default=0) + 1

    if ax is None:
        each_in = 0.3 if len(predicted) <= ROWS else 0.15
        ax = sheet(11.0, 1.2 + min(TALLEST_IN, each_in * count)).subplots()
    unit_s, unit = time_unit(max((bar.end_s for bar in bars), default=0.0))
    _shade_waves(ax, plan, unit_s)
    for bar in bars:
        _draw_bar(ax, bar, unit_s, halved=done)
    quiet(ax, grid="x")
    ax.set_ylim(count - 0.4, -0.6)
    last = max((bar.end_s for bar in bars), default=1.0) / unit_s
    ax.set_xlim(0.0, last * 1.01 or 1.0)
    step = 1 + int(len(labels) / (TALLEST_IN / 0.13))
    shown = labels[::step]
    ax.set_yticks([row for row, _ in shown], [visible(text) for _, text in shown], parse_math=False)
    ax.set_xlabel(f"time after the start, {unit}")
    _legend(ax, done=done, failed=any(bar.outcome is not None and not bar.outcome.arrived for bar in bars))
    figure = ax.figure
    assert isinstance(figure, Figure)
    return figure


def bar_titles(plan: Plan, actual: Sequence[Actual] = ()) -> dict[str, str]:
    """Compose what each bar of the chart says about itself, by the identity of the bar."""
    titles = {}
    place = {move.id: number for number, move in enumerate(plan.moves)}
    for number, move in enumerate(plan.moves):
        if (p := move.prediction) is not None:
            titles[f"predicted-{number}"] = (
                f"{move.id} {move.vm}: {route(move, '→')}, predicted {how_long(move, p)}, "
                f"downtime {milliseconds(p.downtime_ms)}, {size(p.sent_mib)}"
            )
    for record in actual:
        if (at := place.get(record.move_id)) is not None:
            spent = "" if record.total_time_s is None else f" {duration(record.total_time_s)}"
            still = "" if record.downtime_ms is None else f", downtime {milliseconds(record.downtime_ms)}"
            titles[f"actual-{at}"] = f"{record.move_id} {plan.moves[at].vm}: {record.status}{spent}{still}"
    return titles


def _own_rows(moves: Sequence[Move]) -> tuple[dict[str, int], list[tuple[float, str]]]:
    rows = {move.id: row for row, move in enumerate(moves)}
    return rows, [(row, f"{move.vm}  {route(move, '→')}") for row, move in enumerate(moves)]


def _shared_rows(moves: Sequence[Move]) -> tuple[dict[str, int], list[tuple[float, str]]]:
    by_source: dict[str, list[Move]] = {}
    for move in moves:
        by_source.setdefault(move.source, []).append(move)
    rows: dict[str, int] = {}
    labels: list[tuple[float, str]] = []
    first = 0
    for source, leaving in sorted(by_source.items()):
        free_s: list[float] = []  # when each row of this host is free again
        for move in sorted(leaving, key=lambda m: (m.prediction.start_s if m.prediction else 0.0, m.id)):
            assert move.prediction is not None
            lane = next((i for i, free in enumerate(free_s) if free <= move.prediction.start_s), len(free_s))
            if lane == len(free_s):
                free_s.append(0.0)
            free_s[lane] = move.prediction.end_s
            rows[move.id] = first + lane
        labels.append((first + (len(free_s) - 1) / 2, f"{source} →"))
        first += len(free_s)
    return rows, labels


def _predicted(moves: Iterable[Move], rows: Mapping[str, int]) -> Iterable[Bar]:
    for number, move in enumerate(moves):
        if (p := move.prediction) is not None:
            yield Bar(number, rows[move.id], p.start_s, p.end_s, p.downtime_ms)


def _actual(moves: Iterable[Move], rows: Mapping[str, int], actual: Sequence[Actual]) -> Iterable[Bar]:
    place = {move.id: number for number, move in enumerate(moves)}
    for record in actual:
        if record.move_id in rows and record.started_s is not None and record.total_time_s is not None:
            end_s = record.started_s + record.total_time_s
            number, row = place[record.move_id], rows[record.move_id]
            yield Bar(number, row, record.started_s, end_s, record.downtime_ms, record)


def _draw_bar(ax: Axes, bar: Bar, unit_s: float, *, halved: bool) -> None:
    outcome = bar.outcome
    top, height = (bar.row - 0.36, 0.72) if not halved else (bar.row - 0.38 + 0.38 * (outcome is not None), 0.36)
    start, end = bar.start_s / unit_s, bar.end_s / unit_s
    (patch,) = ax.barh([top], [end - start], left=[start], height=height, align="edge")
    patch.set_linewidth(0.0)
    if outcome is not None and not outcome.arrived:
        patch.set(facecolor="none", edgecolor=BAD, linewidth=1.0, hatch="////")
    else:
        patch.set_facecolor(PREDICTED if outcome is None else ACTUAL)
    patch.set_gid(f"{'predicted' if outcome is None else 'actual'}-{bar.number}")
    if bar.downtime_ms and (outcome is None or outcome.arrived):
        # As long as the standstill is; its edge keeps it from being too short to be seen.
        still = min(bar.downtime_ms / 1000 / unit_s, end - start)
        ax.barh(
            [top], [still], left=[end - still], height=height, align="edge", color=BAD, edgecolor=BAD, linewidth=1.3
        )


def _shade_waves(ax: Axes, plan: Plan, unit_s: float) -> None:
    few, many = len(plan.waves) <= 8, len(plan.waves) > 25
    if not few and not many:
        ax.annotate(
            "wave", (-0.005, 1.0), xycoords="axes fraction", va="bottom", ha="right", fontsize=SMALL, color=MUTED
        )
    for number, wave in enumerate(plan.waves, start=1):
        times = [move.prediction for move in wave if move.prediction is not None]
        if not times:
            continue
        start, end = min(p.start_s for p in times) / unit_s, max(p.end_s for p in times) / unit_s
        if number % 2:
            ax.axvspan(start, end, color=SHADE, linewidth=0, zorder=0)
        ax.axvline(start, color=GRID, linewidth=0.8, zorder=0.5)
        if not many:
            ax.annotate(
                f" wave {number}" if few else f" {number}",
                (start, 1.0),
                xycoords=("data", "axes fraction"),
                va="bottom",
                fontsize=SMALL,
                color=MUTED,
            )


def _legend(ax: Axes, *, done: bool, failed: bool) -> None:
    handles = [Patch(facecolor=PREDICTED, label="predicted")]
    if done:
        handles.append(Patch(facecolor=ACTUAL, label="actual"))
    if failed:
        handles.append(Patch(facecolor="none", edgecolor=BAD, hatch="////", label="did not arrive"))
    handles.append(Patch(facecolor=BAD, label="downtime (at the end)"))
    ax.legend(
        handles=handles,
        loc="lower right",
        bbox_to_anchor=(1.0, 1.0),
        ncols=4,
        frameon=False,
        fontsize=SMALL,
        labelcolor=INK,
        borderaxespad=1.6,
        handlelength=1.2,
    )
