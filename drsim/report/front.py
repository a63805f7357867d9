"""A Pareto front as table and picture."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from drsim.front import Front
from drsim.report.axes import SMALL, quiet, sheet
from drsim.report.palette import ACTUAL, INK, MUTED, PREDICTED

COLUMNS = {
    "objective": "score",
    "gib": "sent_gib",
    "moves": "moves",
    "minutes": "makespan_min",
    "downtime_ms": "downtime_max_ms",
}
"""Columns of the table, by measure."""

PANELS = (("sent_gib", "GiB moved"), ("moves", "moves"), ("makespan_min", "minutes"), ("downtime_max_ms", "ms"))
"""Costs that the score is drawn over."""


def front_table(front: Front) -> pd.DataFrame:
    """Tabulate what each plan of a front reaches and costs.

    Returns
    -------
    DataFrame
        By number of the plan: score, sent_gib, moves, makespan_min, downtime_max_ms, and whether it is suggested.
    """
    table = pd.DataFrame(front.measures, columns=list(COLUMNS.values()))
    table["moves"] = table["moves"].astype(int)
    table["suggested"] = [number == front.knee for number in range(len(front.plans))]
    table.index.name = "plan"
    return table


def draw_front(front: Front) -> Figure:
    """Draw the score over what it costs, one panel a cost; the suggested plan stands out.

    Parameters
    ----------
    front : Front
        From `drsim.front.pareto_front`.
    """
    table = front_table(front)
    figure = sheet(11.0, 3.2)
    panels: list[Axes] = list(figure.subplots(1, len(PANELS), sharey=True))
    chosen = table[table["suggested"]]
    for ax, (column, label) in zip(panels, PANELS, strict=True):
        quiet(ax, grid="y")
        course = table.sort_values(column)
        ax.step(course[column], course["score"], where="post", color=MUTED, linewidth=0.9)
        ax.scatter(table[column], table["score"], s=22, color=PREDICTED, linewidth=0, zorder=3)
        ax.scatter(chosen[column], chosen["score"], s=70, color=ACTUAL, linewidth=0, zorder=4)
        ax.set_xlabel(label)
    panels[0].set_ylabel(front.plans[0].after.unit)
    best = front.plans[front.knee]
    said = f"suggested: {best.after.objective:.4g} for {chosen['sent_gib'].iloc[0]:.3g} GiB in {len(best.moves)} moves"
    panels[0].set_title(said, loc="left", fontsize=SMALL + 1, color=INK, fontweight="bold")
    return figure
