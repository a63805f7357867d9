"""How full the lines were, over time."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray

from drsim.report.axes import SMALL, canvas, time_unit
from drsim.simulate import LinkUses

LINES = 40
"""Lines that are drawn at most, those that carried most."""

COLUMNS = 600
"""Stretches of time that are drawn; each shows its highest use: a migration of seconds is seen among days."""


def draw_links(link_use: LinkUses, *, axes: Axes | None = None) -> Figure:
    """Draw the use of lines by migrations over time, the line that carried most at the top.

    Parameters
    ----------
    link_use : LinkUses
        Of `Simulation` or of `Operation`.
    axes : Axes, optional
        Where to draw; by default on a new figure.

    Returns
    -------
    Figure
        The figure that was drawn on.
    """
    names, share, until_s = _shares(link_use)
    ax, figure = canvas(axes, 10.0, 1.4 + 0.2 * max(3, len(names)))
    ax.grid(visible=False)
    unit_s, unit = time_unit(until_s)
    ax.set_xlabel(f"time, {unit}")
    if not names:
        ax.set_yticks([])
        ax.set_title("No line carried anything.", loc="left", fontsize=SMALL + 1)
        return figure
    shown = ax.imshow(
        share,
        aspect="auto",
        interpolation="nearest",
        cmap="Blues",
        vmin=0.0,
        vmax=1.0,
        extent=(0.0, until_s / unit_s, len(names) - 0.5, -0.5),
    )
    ax.set_yticks(range(len(names)), names, fontsize=SMALL, parse_math=False)
    key = figure.colorbar(shown, ax=ax, format=PercentFormatter(1.0, decimals=0), pad=0.02)
    key.set_label("share of the line", fontsize=SMALL)
    return figure


def _shares(uses: LinkUses) -> tuple[list[str], NDArray[np.float64], float]:
    """Return the busiest lines, their highest use in each stretch as a share of their rate, and the end, seconds."""
    if not len(uses):
        return [], np.empty((0, COLUMNS)), 0.0
    until_s = float(uses.time_s[-1])
    edges = np.linspace(0.0, until_s, COLUMNS + 1)
    carried = np.zeros(len(uses.names))
    shares: dict[int, NDArray[np.float64]] = {}
    for line in np.unique(uses.line).tolist():
        own = uses.line == line
        time_s, used = uses.time_s[own], uses.used_mbit_s[own]
        carried[line] = float(used @ np.diff(np.append(time_s, until_s)))
        at_start = np.searchsorted(time_s, edges[:-1], side="right") - 1
        highest = np.where(at_start >= 0, used[at_start], 0.0)
        stretch = np.clip(np.searchsorted(edges, time_s, side="right") - 1, 0, COLUMNS - 1)
        np.maximum.at(highest, stretch, used)
        shares[line] = highest / uses.capacity_mbit_s[line]
    order = [line for line in np.argsort(-carried, kind="stable").tolist() if line in shares and carried[line] > 0.0]
    order = order[:LINES]
    return [uses.names[line] for line in order], np.array([shares[line] for line in order]), until_s
