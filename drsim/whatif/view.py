"""A comparison as a person wants to read it in a terminal."""

from __future__ import annotations

import math

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from drsim.report.text import duration, milliseconds, percent, size, visible
from drsim.whatif.cases import Comparison

COLUMNS = (
    "case",
    "feasible",
    "no place",
    "restarted",
    "hosts",
    "imbalance",
    "moves",
    "traffic",
    "takes",
    "downtime",
    "CPU free",
    "memory free",
    "largest guest",
)

SHORT = "guests short of CPU"
"""One more column where CPU is divided by shares."""


def comparison_view(comparison: Comparison) -> RenderableType:
    """Lay out one line a case, then why cases are not feasible and which guests find no place."""
    table = Table(box=None, header_style="bold", padding=(0, 1))
    for title in COLUMNS:
        table.add_column(title, justify="left" if title in ("case", "feasible") else "right")
    shared = comparison.shared
    if shared:
        table.add_column(SHORT, justify="right")
    for name, row in comparison.table.iterrows():
        no_plan = math.isnan(row["moves"])
        table.add_row(
            Text(visible(str(name))),
            Text("yes", style="green") if row["feasible"] else Text("no", style="red"),
            str(row["guests_without_place"]),
            str(row["guests_restarted"]),
            str(row["hosts"]),
            f"{row['imbalance_before']:.3g} -> {row['imbalance_after']:.3g}",
            "-" if no_plan else f"{row['moves']:.0f}",
            "-" if no_plan else size(row["moved_gib"] * 1024),
            "-" if no_plan else duration(row["makespan_s"]),
            "-" if no_plan else milliseconds(row["max_downtime_ms"]),
            percent(row["cpu_headroom_share"]),
            percent(row["memory_headroom_share"]),
            size(row["largest_guest_mib"]),
            *([f"{row['guests_short_of_cpu_before']} -> {row['guests_short_of_cpu_after']}"] if shared else []),
        )
    parts: list[RenderableType] = [table]
    for case in comparison.cases:
        if not case.feasible:
            parts.append(Text(visible(f"! {case.name}: {case.reason}"), style="yellow"))
        parts.extend(Text(visible(f"  {vm}: {why}")) for vm, why in case.left.items())
    return Group(*parts)
