"""How full the estate would be in each case."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from drsim.report.axes import SMALL, quiet, sheet
from drsim.report.palette import ACTUAL, BAD, INK, PREDICTED
from drsim.report.text import visible
from drsim.whatif.cases import Comparison


def draw_cases(comparison: Comparison, *, ax: Axes | None = None) -> Figure:
    """Draw the share of CPU and of memory in use on the hosts that take guests, per case.

    Parameters
    ----------
    comparison : Comparison
        Its cases, from the top.
    ax : Axes, optional
        Where to draw; by default on a new figure.

    Returns
    -------
    Figure
        The figure that was drawn on.
    """
    table = comparison.table
    if ax is None:
        ax = sheet(9.0, 1.0 + 0.5 * len(table)).subplots()
    at = np.arange(len(table))
    cpu, memory = 1 - table["cpu_headroom_share"].to_numpy(float), 1 - table["memory_headroom_share"].to_numpy(float)
    ax.barh(at - 0.2, cpu, height=0.36, color=PREDICTED, label="CPU demand / cores")
    ax.barh(at + 0.2, memory, height=0.36, color=ACTUAL, label="configured memory / capacity")
    ax.axvline(1.0, color=BAD, linewidth=1.0, label="capacity")
    quiet(ax, grid="x")
    ax.set_xlim(0.0, max(1.0, float(cpu.max()), float(memory.max())) * 1.04)
    ax.set_ylim(len(table) - 0.5, -0.5)
    names = [visible(case.name) + ("" if case.feasible else " (not feasible)") for case in comparison.cases]
    ax.set_yticks(at, names, parse_math=False)
    ax.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    ax.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=3, frameon=False, fontsize=SMALL, labelcolor=INK)
    figure = ax.figure
    assert isinstance(figure, Figure)
    return figure
