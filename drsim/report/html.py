"""The page about a plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, get_type_hints

from markupsafe import Markup

from drsim import check
from drsim.check import Violation
from drsim.placement import Placement
from drsim.plan import Move, Plan
from drsim.policy import Limits
from drsim.report.accuracy import draw_accuracy
from drsim.report.actual import Actual
from drsim.report.gantt import ROWS, bar_titles, draw_gantt
from drsim.report.page import compose
from drsim.report.shares import contention
from drsim.report.svg import inline_svg
from drsim.report.tables import MEASURES, comparison_table, goals_table, host_table
from drsim.report.text import count, duration, proof, size, verdict, warnings, wish
from drsim.report.utilisation import draw_utilisation
from drsim.simulate import Replications
from drsim.units import About

FEW = 40
"""Moves that are listed in one open table; more are folded away by wave."""


def render(
    plan: Plan,
    *,
    actual: Sequence[Actual] = (),
    chance: Chance | None = None,
    violations_before: Sequence[Violation] | None = None,
    violations_after: Sequence[Violation] | None = None,
    title: str | None = None,
    generated_at: str | None = None,
) -> str:
    """Write one self-contained HTML page about a plan, and about its outcome once there is one.

    The page loads nothing and runs nothing; whatever names the inventory holds are shown, never obeyed. The same input
    gives the same bytes.

    Parameters
    ----------
    plan : Plan
        What was decided.
    actual : sequence of Actual, optional
        What happened, move by move.
    chance : Chance, optional
        How long it may take, and how surely it fits its window.
    violations_before, violations_after : sequence of Violation, optional
        What was and what will be violated; by default found by `drsim.check`.
    title : str, optional
        Heading; by default what was asked for and where.
    generated_at : str, optional
        When the report was written, as it shall stand on the page; left out by default.

    Returns
    -------
    str
        HTML.
    """
    target, counted = plan.target, check.counted(plan.inventory, plan.policy, plan.objective)
    if violations_before is None:
        violations_before = check.violations(*counted)
    if violations_after is None:
        violations_after = check.violations(*counted, target)
    return compose(
        "drsim.report",
        "plan.html",
        title=title or f"{wish(plan)}: {plan.inventory.name}",
        subtitle=f"{count(len(plan.inventory.hosts), 'host')}, {count(len(plan.inventory.vms), 'guest')}",
        generated_at=generated_at,
        plan=plan,
        verdict=verdict(plan),
        warnings=warnings(plan),
        proof=proof(plan),
        goals=goals_table(plan).reset_index().to_dict("records"),
        totals=_totals(plan),
        chance=chance,
        few=FEW,
        gantt_rows=ROWS,
        waves=[{"moves": wave, "text": _wave_text(number, wave)} for number, wave in enumerate(plan.waves, start=1)],
        contention=contention(plan),
        hosts=host_table(plan.inventory, target).reset_index().to_dict("records"),
        figures=_figures(plan, target, actual),
        outcome=_outcome(plan, actual) if actual else None,
        violations_before=violations_before,
        violations_after=violations_after,
        limits=_limits(plan.policy.limits),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Chance:
    """How long a plan may take.

    Parameters
    ----------
    replications : int
        How often it was played.
    median_s, most_s : float
        Time that half of them, and 95 % of them, do not exceed.
    window_s : float or None
        Time that there is for it.
    within : float or None
        Share that ended within it.
    """

    replications: int
    median_s: float
    most_s: float
    window_s: float | None = None
    within: float | None = None

    @classmethod
    def of(cls, drawn: Replications, window_s: float | None = None) -> Chance:
        """Sum replications up."""
        return cls(
            replications=len(drawn.makespan_s),
            median_s=drawn.makespan_percentile_s(50),
            most_s=drawn.makespan_percentile_s(95),
            window_s=window_s,
            within=None if window_s is None else drawn.chance_within(window_s),
        )


@dataclass(frozen=True, slots=True)
class _Totals:
    known: bool
    sent_mib: float
    downtime_ms: float
    downtime_vm: str


def _totals(plan: Plan) -> _Totals:
    known = [(move.prediction, move.vm) for move in plan.moves if move.prediction is not None]
    downtime_ms, vm = max(((p.downtime_ms, vm) for p, vm in known), key=lambda worst: worst[0], default=(0.0, ""))
    return _Totals(bool(known), sum(p.sent_mib for p, _ in known), downtime_ms, vm)


def _wave_text(number: int, wave: Sequence[Move]) -> str:
    known = [move.prediction for move in wave if move.prediction is not None]
    if not known:
        return f"Wave {number}: {count(len(wave), 'move')}"
    start_s, end_s = min(p.start_s for p in known), max(p.end_s for p in known)
    return (
        f"Wave {number}: {count(len(wave), 'move')}, {size(sum(p.sent_mib for p in known))}, "
        f"+{duration(start_s)} to +{duration(end_s)}"
    )


def _figures(plan: Plan, target: Placement, actual: Sequence[Actual]) -> dict[str, Markup | None]:
    figures: dict[str, Markup | None] = dict.fromkeys(("utilisation", "gantt", "accuracy"))
    figures["utilisation"] = inline_svg(
        lambda: draw_utilisation(plan.inventory, target, limits=plan.policy.limits),
        name="fig-utilisation",
        title="Utilisation of every host before and after",
        description="Bars per host for CPU and memory, with mean and capacity. The table below has the numbers.",
    )
    if any(move.prediction is not None for move in plan.moves):
        figures["gantt"] = inline_svg(
            lambda: draw_gantt(plan, actual),
            name="fig-timeline",
            title="When each move runs",
            description="Bars over time, one a move, wave by wave. The table of moves has the numbers.",
            titles=bar_titles(plan, actual),
        )
    if actual:
        figures["accuracy"] = inline_svg(
            lambda: draw_accuracy(plan, actual),
            name="fig-accuracy",
            title="Predicted over actual",
            description="Points, one a move, for total time, downtime and traffic. The table below has the numbers.",
        )
    return figures


WORDS = {"total_time_s": "total time", "downtime_ms": "downtime", "sent_mib": "traffic"}


def _outcome(plan: Plan, actual: Sequence[Actual]) -> dict[str, Any]:
    table = comparison_table(plan, actual)
    errors = []
    for measure in MEASURES:
        error = table[f"error_share_{measure}"].dropna()
        if len(error):
            spread = error.abs()
            row = {"what": WORDS[measure], "count": len(error), "mean": float(error.mean())}
            errors.append(row | {"median": float(spread.median()), "worst": float(spread.max())})
    rest = table["status"][table["status"] != "done"].value_counts().sort_index()
    starts = table["actual_start_s"]
    ends = (starts + table["actual_total_time_s"]).dropna()
    downtimes = table["actual_downtime_ms"].dropna()
    return {
        "arrived": int((table["status"] == "done").sum()),
        "rest": ", ".join(f"{n} {status}" for status, n in rest.items()),
        "makespan_s": float(ends.max() - starts.min()) if len(ends) else None,
        "downtime_ms": float(downtimes.max()) if len(downtimes) else None,
        "downtime_vm": str(table.at[downtimes.idxmax(), "vm"]) if len(downtimes) else "",
        "errors": errors,
        "rows": table.reset_index().to_dict("records"),
    }


def _limits(limits: Limits) -> list[tuple[str, str, str]]:
    hints = get_type_hints(Limits, include_extras=True)
    rows = []
    for field in fields(Limits):
        about = next(note for note in hints[field.name].__metadata__ if isinstance(note, About))
        value = getattr(limits, field.name)
        rows.append((field.name, about.meaning, "none" if value is None else f"{value:g} {about.unit}".strip()))
    return rows
