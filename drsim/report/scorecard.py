"""How good predictions have been, as a picture."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from drsim.migration.scorecard import summary
from drsim.report.axes import SMALL, quiet, sheet
from drsim.report.palette import INK, MUTED, PREDICTED
from drsim.report.text import percent

NAMES = {
    "total_time_s": "total time",
    "downtime_ms": "downtime",
    "qemu_downtime_ms": "downtime as QEMU has it",
    "sent_mib": "traffic",
    "client_gap_ms": "a client's silence",
}


def draw_scorecard(card: pd.DataFrame, *, window: int = 20) -> Figure:
    """Draw each migration's error in the order of time, with the running bias, by measure.

    Grey bars are the 90 % bands, as shares of what happened; a point outside its bar was not covered.

    Parameters
    ----------
    card : DataFrame
        From `drsim.migration.scorecard`.
    window : int
        Migrations that the running bias looks back on.

    Returns
    -------
    Figure
        One panel a measure.
    """
    measures = list(dict.fromkeys(card["measure"])) if len(card) else []
    figure = sheet(11.0, 2.2 * max(1, len(measures)) + 0.4)
    axes = figure.subplots(max(1, len(measures)), 1, squeeze=False)[:, 0]
    if not measures:
        axes[0].text(0.5, 0.5, "nothing measured", ha="center", color=MUTED, fontsize=SMALL)
        return figure
    course = summary(card, window=window)
    for ax, measure in zip(axes, measures, strict=True):
        part, line = card[card["measure"] == measure], course[course["measure"] == measure]
        number = np.arange(1, len(part) + 1)
        actual = part["actual"].to_numpy(float)
        low, high = part["low"].to_numpy(float) / actual - 1.0, part["high"].to_numpy(float) / actual - 1.0
        quiet(ax, grid="y")
        ax.vlines(number, low, high, color=MUTED, alpha=0.35, linewidth=3)
        ax.scatter(number, part["error_share"], s=14, color=PREDICTED, linewidth=0, zorder=3)
        ax.plot(line["number"], line["bias"], color=INK, linewidth=1.1, zorder=4)
        ax.axhline(0.0, color=INK, linewidth=0.7, linestyle=(0, (4, 3)))
        whole = summary(part).iloc[0]
        title = (
            f"{NAMES.get(measure, measure)}: median error {percent(float(whole['median']))}, "
            f"bias {percent(float(whole['bias']))}"
        )
        if np.isfinite(whole["coverage"]):
            title += f", {percent(float(whole['coverage']))} within their bands"
        ax.set_title(title, loc="left", fontsize=SMALL + 1, color=INK, fontweight="bold")
        ax.set_ylabel("error, share")
    axes[-1].set_xlabel("migration, in the order of time")
    return figure
