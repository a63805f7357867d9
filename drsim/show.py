"""A plan as a person wants to read it in a terminal."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from drsim.check import Felt, Violation
from drsim.migration import Calibration, Entry
from drsim.plan import Move, Plan
from drsim.report.shares import contention, lacking
from drsim.report.text import (
    carried,
    duration,
    how_long,
    milliseconds,
    parts,
    proof,
    route,
    score_text,
    size,
    visible,
    wish,
)
from drsim.simulate import Replications, Simulation

if TYPE_CHECKING:
    from drsim.front import Front
    from drsim.simulate.operate import Operation
    from drsim.why import Explanation, Price

MOVES_SHOWN = 40
"""Moves listed unless all are asked for: what fits on a screen."""

TOLD = 20
"""Incidents told."""

WIDE = 140
"""Characters of an incident's first line that are told."""

MEASURES = {
    "contended_host_hours": "host-hours over the cores",
    "ready_core_hours": "core-hours waited for CPU",
    "worst_ready_share": "worst host: share of CPU waited for",
    "memory_short_gib_hours": "GiB-hours of data without memory",
    "vm_hours_swapping": "guest-hours waited for memory",
    "migrations": "migrations",
    "gib_moved": "GiB moved",
    "downtime_s": "standstill by migrations, s in all",
    "vm_hours_down": "guest-hours down",
    "migrations_not_done": "migrations not done",
}
"""Figures of `Operation.summary`, for people."""


def plan_view(plan: Plan, *, all_moves: bool = False) -> RenderableType:
    """Compose verdict, moves and notes of a plan."""
    parts: list[RenderableType] = [_verdict(plan)]
    if plan.moves:
        shown = plan.moves if all_moves else plan.moves[:MOVES_SHOWN]
        parts.append(_moves(shown))
        if len(shown) < len(plan.moves):
            parts.append(Text(f"... and {len(plan.moves) - len(shown)} more moves (--all lists them)"))
    parts.extend(Text(visible(f"start {start.vm} on {start.host}: {start.reason}")) for start in plan.starts)
    parts.extend(Text(visible(f"! {note}"), style="yellow") for note in plan.notes)
    return Group(*parts)


def _plain(text: str) -> str:
    """Make a name or a sentence safe to print: no markup of ours, no commands to the terminal."""
    return escape(visible(text))


def _verdict(plan: Plan) -> RenderableType:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold")
    grid.add_column()
    estate = plan.inventory
    grid.add_row("estate", _plain(f"{estate.name}: {len(estate.hosts)} hosts, {len(estate.vms)} guests"))
    grid.add_row("asked for", _plain(wish(plan)))
    grid.add_row("score", f"{score_text(plan.before)} -> {score_text(plan.after)}  ({plan.after.unit})")
    if proof(plan):
        grid.add_row("lower bound", proof(plan).removeprefix("lower bound "))
    for goal, figures in parts(plan):
        grid.add_row(goal, figures)
    if (shared := contention(plan)).told:
        grid.add_row("shares", _plain(str(shared)))
    if plan.moves:
        worst = max((move.prediction.downtime_ms for move in plan.moves if move.prediction), default=0.0)
        grid.add_row("moves", f"{len(plan.moves)} in {len(plan.waves)} waves, {carried(plan)}")
        still = "no guest stands still" if plan.disks_only else f"longest standstill of a guest {milliseconds(worst)}"
        if any(move.prediction is not None for move in plan.moves):
            grid.add_row("takes", f"{duration(plan.makespan_s)}; {still}")
    flags = [
        "complete" if plan.complete else "[yellow]not complete[/yellow]",
        "applyable" if plan.applyable else "nothing to do" if not plan.moves else "[red]not applyable[/red]",
    ]
    grid.add_row("plan", f"{', '.join(flags)}; {plan.hash[:12]}")
    return grid


def _moves(moves: Iterable[Move]) -> RenderableType:
    table = Table(box=None, header_style="bold", padding=(0, 1))
    for title, justify in (
        ("wave", "right"),
        ("move", "left"),
        ("guest", "left"),
        ("from -> to", "left"),
        ("start", "right"),
        ("time", "right"),
        ("downtime", "right"),
        ("traffic", "right"),
    ):
        table.add_column(title, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    table.add_column("why", overflow="fold")
    for move in moves:
        p = move.prediction
        cells = ("-", "-", "-", "-")
        if p is not None:
            cells = (f"+{p.start_s:.1f} s", how_long(move, p), milliseconds(p.downtime_ms), size(p.sent_mib))
        way = _plain(route(move)) + (" (stop-over)" if move.stop_over else "")
        table.add_row(str(move.wave), move.id, _plain(move.vm), way, *cells, _plain(move.reason))
    return table


def violations_view(violations: Sequence[Violation]) -> RenderableType:
    """List what is violated and what to do about it."""
    if not violations:
        return Text("Nothing is violated.", style="green")
    table = Table(box=None, header_style="bold", padding=(0, 1))
    for title in ("what", "where", "says", "what to do"):
        table.add_column(title, overflow="fold")
    for v in violations:
        table.add_row(_plain(v.kind), _plain(v.subject), _plain(v.text), _plain(v.remedy))
    return table


def felt_view(guests: Sequence[Felt]) -> RenderableType:
    """List the guests that get less CPU than their shares entitle them to, those that lack most first."""
    short = sorted((each for each in guests if each.is_short), key=lambda each: -each.lacks_cores)
    said = Text(f"CPU by shares: {lacking(guests)}.")
    if not short:
        return said
    table = Table(box=None, header_style="bold", padding=(0, 1))
    for title in ("guest", "on", "asks for", "entitled to", "gets"):
        table.add_column(title, justify="left" if title in ("guest", "on") else "right")
    for each in short[:TOLD]:
        figures = (f"{cores:.2f}" for cores in (each.asks_cores, each.entitled_cores, each.gets_cores))
        table.add_row(_plain(each.vm), _plain(each.host), *figures)
    rest = [Text(f"... and {len(short) - TOLD} more; --json tells all.")] if len(short) > TOLD else []
    return Group(said, table, *rest)


def simulation_view(simulation: Simulation, moves: Sequence[Move]) -> RenderableType:
    """Lay out when each move starts and ends and what it sends."""
    table = Table(box=None, header_style="bold", padding=(0, 1))
    for title in ("move", "guest", "from -> to", "start", "end", "downtime", "traffic", "rounds"):
        table.add_column(title, no_wrap=True)
    for move in moves:
        p = simulation.predictions[move.id]
        cells = (
            f"+{p.start_s:.1f} s",
            f"+{p.end_s:.1f} s",
            milliseconds(p.downtime_ms),
            size(p.sent_mib),
            str(p.rounds),
        )
        table.add_row(move.id, _plain(move.vm), _plain(route(move)), *cells)
    return Group(table, Text(f"All done after {duration(simulation.makespan_s)}."))


def chances_view(drawn: Replications, window_s: float | None) -> RenderableType:
    """Say how long a plan may take, and how surely it fits its window."""
    low, middle, high = (duration(drawn.makespan_percentile_s(percent)) for percent in (5, 50, 95))
    still = drawn.downtime_ms.max(axis=1)
    grid = Table.grid(padding=(0, 1))
    grid.add_row("played", f"{len(drawn.makespan_s)} times")
    grid.add_row("takes", f"{middle}; 90 % of the time between {low} and {high}")
    grid.add_row("standstill", f"longest {milliseconds(float(np.median(still)))}, 5 % over {_worst(still)}")
    if window_s is not None:
        grid.add_row("fits", f"{duration(window_s)} with a probability of {drawn.chance_within(window_s):.1%}")
    return grid


def _worst(still: NDArray[np.float64]) -> str:
    return milliseconds(float(np.percentile(still, 95)))


def front_view(front: Front) -> RenderableType:
    """List the plans of a front; the one that is suggested stands out."""
    table = Table(box=None, header_style="bold", padding=(0, 1))
    for title in ("plan", front.plans[0].after.unit, "GiB moved", "moves", "takes", "longest standstill", ""):
        table.add_column(title, justify="right")
    for number, (plan, row) in enumerate(zip(front.plans, front.measures, strict=True)):
        chosen = number == front.knee
        table.add_row(
            *(str(number), score_text(plan.after), f"{row[1]:.3g}", str(len(plan.moves))),
            *(duration(plan.makespan_s), milliseconds(row[4]), "suggested" if chosen else ""),
            style="bold" if chosen else None,
        )
    return table


def explanations_view(plan: Plan, explanations: Sequence[Explanation]) -> RenderableType:
    """Say for each guest why it goes, what if it stayed, and where else it could go."""
    lines: list[str] = []
    for each in explanations:
        if each.reason:
            lines.append(f"{each.vm}: {each.source} -> {each.target}")
            lines.append(f"  {each.reason}.")
            lines.append(f"  If it stayed: {_instead(plan, each)}.")
        else:
            lines.append(f"{each.vm}: stays on {each.target}")
            lines.append(f"  {plan.inventory.vm_by_name[each.vm].unmovable_reason or 'No move of it was needed'}.")
        others = "; ".join(f"{other.host} ({score_text(other.score)})" for other in each.alternatives)
        nobody = "no other datastore takes them" if plan.objective.of_disks else "no other host takes it"
        lines.append(f"  Elsewhere: {others or nobody}.")
        if each.closed:
            places = "datastores" if plan.objective.of_disks else "hosts"
            lines.append("  " + "; ".join(f"{number} {places} {why}" for why, number in each.closed.items()) + ".")
    return Text("\n".join(visible(line) for line in lines) or "The plan moves nothing.")


def _instead(plan: Plan, each: Explanation) -> str:
    change = each.refused.objective - plan.after.objective
    said = [f"score {score_text(each.refused)} ({change:+.4g})"]
    for with_it, without in zip(plan.after.parts, each.refused.parts, strict=True):
        if without.value != with_it.value:
            said.append(f"{without.goal} {without.value:.4g} ({without.value - with_it.value:+.4g})")
    return "; ".join([*said, *(text.rstrip(".") for text in each.breaks)])


def prices_view(plan: Plan, prices: Sequence[Price]) -> RenderableType:
    """List what would be reached without each rule."""
    if not prices:
        return Text("The policy has no rules.")
    table = Table(box=None, header_style="bold", padding=(0, 1))
    for title in ("without rule", "score", "change", "moves"):
        table.add_column(title)
    for each in prices:
        change = f"{each.score.objective - plan.after.objective:+.4g}"
        table.add_row(_plain(each.rule), score_text(each.score), change, f"{each.moves} instead of {len(plan.moves)}")
    return table


def operations_view(operations: Mapping[str, Operation]) -> RenderableType:
    """Show what became of a cluster, one column for each who was in charge, and what went wrong in the last."""
    table = Table(box=None, header_style="bold", padding=(0, 1))
    table.add_column("")
    for name in operations:
        table.add_column(name, justify="right")
    figures = [operation.summary() for operation in operations.values()]
    for key, what in MEASURES.items():
        table.add_row(what, *(f"{each[key]:.1%}" if key.endswith("share") else f"{each[key]:,.1f}" for each in figures))
    *_, last = operations.values()
    told = [one for one in last.incidents if one.kind not in ("moved", "planned", "started")]
    lines = [Text(_clock(one.time_s) + "  " + visible(one.text.splitlines()[0])[:WIDE]) for one in told[:TOLD]]
    if len(told) > TOLD:
        lines.append(Text(f"... and {len(told) - TOLD} more; --out writes all."))
    return Group(table, *lines)


def _clock(time_s: float) -> str:
    days, rest = divmod(time_s, 86_400.0)
    return f"day {days:.0f} {rest // 3600:02.0f}:{rest % 3600 // 60:02.0f}"


def parameters_view(calibration: Calibration, entries: Sequence[Entry]) -> RenderableType:
    """Show constants of the migration model, and how far off its predictions were."""
    table = Table(box=None, pad_edge=False)
    for column in ("constant", "value", "+-", "default", "unit", "tuned by", "meaning"):
        table.add_column(column, justify="right" if column in ("value", "+-", "default") else "left")
    for entry in entries:
        spread = "" if entry.uncertainty is None else f"{entry.uncertainty:.3g}"
        table.add_row(
            *(entry.name, f"{entry.value:.5g}", spread, f"{entry.default:.5g}"),
            *(entry.unit, entry.tuned_by or "taken as given", escape(entry.meaning)),
        )
    made = f"{calibration.name}, version {calibration.version}, {calibration.observations} migrations"
    off = [
        f"{measure}: median error {statistics.median(abs(math.expm1(one)) for one in values):.1%} of {len(values)}"
        for measure, values in calibration.residuals.items()
    ]
    groups = [
        escape(f"{key}: " + ", ".join(f"{name} {value:.4g}" for name, value in own.items()))
        for key, own in calibration.groups.items()
    ]
    return Group(escape(f"{made} ({calibration.source})" if calibration.source else made), *off, table, *groups)
