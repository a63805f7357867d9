"""What a run came to, for people: a table in the terminal and a page."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from drsim import check
from drsim.formats import write_text
from drsim.placement import Placement
from drsim.plan import Plan
from drsim.report import render
from drsim.report.text import visible
from executor.lifecycle import MoveState
from executor.result import RunReport


def write_report(plan: Plan, result: RunReport, path: Path) -> None:
    """Write the HTML page about a plan and the run that carried it out."""
    before = check.violations(plan.inventory, plan.policy)
    reached = {move.move.vm: move.move.target for move in result.moves if move.state is MoveState.DONE}
    here = Placement({**Placement.of(plan.inventory), **reached})
    after = check.violations(plan.inventory, plan.policy, here)
    page = render(
        plan,
        actual=result.actuals,
        violations_before=before,
        violations_after=after,
        generated_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    write_text(page, path)


def run_table(result: RunReport) -> Table:
    """Lay out predicted beside actual, move by move."""
    table = Table(box=None, header_style="bold", padding=(0, 1))
    for title in (
        "move",
        "guest",
        "from -> to",
        "state",
        "time",
        "predicted",
        "downtime",
        "predicted",
        "sent",
        "predicted",
    ):
        table.add_column(title, no_wrap=True, justify="left" if title in ("move", "guest", "from -> to") else "right")

    def cell(value: float | None, unit: str, digits: int) -> str:
        return "-" if value is None else f"{value:.{digits}f} {unit}"

    for row in result.compare():
        route = escape(visible(f"{row['source']} -> {row['target']}"))
        cells = [
            cell(row[f"{kind}_{field}"], unit, digits)
            for field, unit, digits in (("total_time_s", "s", 2), ("downtime_ms", "ms", 0), ("sent_mib", "MiB", 0))
            for kind in ("actual", "predicted")
        ]
        table.add_row(row["move_id"], escape(visible(row["vm"])), route, row["state"], *cells)
    return table
