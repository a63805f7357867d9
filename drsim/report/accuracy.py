"""What was predicted against what happened."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from drsim.plan import Plan
from drsim.report.actual import Actual
from drsim.report.axes import SMALL, quiet, sheet
from drsim.report.palette import INK, MUTED, PREDICTED
from drsim.report.tables import comparison_table
from drsim.report.text import percent, visible

WIDE = 30.0
"""Ratio of largest to smallest from which an axis is logarithmic: on a linear one the small would be one heap."""

PANELS = (("total_time_s", "total time, s"), ("downtime_ms", "downtime, ms"), ("sent_mib", "traffic, MiB"))


def draw_accuracy(plan: Plan, actual: Sequence[Actual], *, axes: Sequence[Axes] | None = None) -> Figure:
    """Draw each move as a point, predicted over actual, for total time, downtime and traffic.

    On the line, the prediction was right; above it, too high. The median of the absolute errors is in the title;
    the move that was farthest off is named.

    Parameters
    ----------
    plan : Plan
        Its predictions.
    actual : sequence of Actual
        Outcomes; those that did not arrive or were not measured are left out.
    axes : three Axes, optional
        Where to draw; by default on a new figure.

    Returns
    -------
    Figure
        The figure that was drawn on.
    """
    table = comparison_table(plan, [record for record in actual if record.arrived])
    if axes is None:
        axes = sheet(11.0, 3.9).subplots(1, 3)
    for ax, (measure, label) in zip(axes, PANELS, strict=True):
        _panel(ax, table, measure, label)
    figure = axes[0].figure
    assert isinstance(figure, Figure)
    return figure


def _panel(ax: Axes, table: pd.DataFrame, measure: str, label: str) -> None:
    known = table.dropna(subset=[f"predicted_{measure}", f"actual_{measure}"])
    x, y = known[f"actual_{measure}"].to_numpy(float), known[f"predicted_{measure}"].to_numpy(float)
    both = np.concatenate([x, y])
    quiet(ax, grid="both")
    ax.set_aspect("equal", adjustable="box")
    ax.set_xlabel(f"actual {label}")
    ax.set_ylabel(f"predicted {label}")
    errors = known[f"error_share_{measure}"].abs().dropna()
    title = label.partition(",")[0] + (f": median error {percent(float(errors.median()))}" if len(errors) else "")
    ax.set_title(title, loc="left", fontsize=SMALL + 1, color=INK, fontweight="bold")
    if not len(both):
        ax.text(0.5, 0.5, "nothing measured", transform=ax.transAxes, ha="center", color=MUTED, fontsize=SMALL)
        return
    positive = both[both > 0]
    if len(positive) == len(both) and both.max() / both.min() > WIDE:
        low, high = both.min() / 1.5, both.max() * 1.5
        ax.set(xscale="log", yscale="log")
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axis.set_minor_formatter(NullFormatter())
        ax.tick_params(which="minor", length=0)
    else:
        low, high = 0.0, float(both.max()) * 1.08 or 1.0
        ax.locator_params(nbins=5)
    ax.set(xlim=(low, high), ylim=(low, high))
    ax.plot([low, high], [low, high], color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
    ax.scatter(x, y, s=26 if len(x) <= 60 else 12, color=PREDICTED, alpha=0.75, linewidth=0)
    if len(errors):
        _name_worst(ax, known, str(errors.idxmax()), measure, high)


def _name_worst(ax: Axes, known: pd.DataFrame, move: str, measure: str, high: float) -> None:
    point = (float(known.at[move, f"actual_{measure}"]), float(known.at[move, f"predicted_{measure}"]))  # type: ignore[arg-type]
    right = point[0] > 0.6 * high
    ax.annotate(
        visible(str(known.at[move, "vm"])),
        point,
        xytext=(-6 if right else 6, 4 if point[1] > point[0] else -9),
        textcoords="offset points",
        ha="right" if right else "left",
        fontsize=SMALL - 1,
        color=MUTED,
        parse_math=False,
    )
