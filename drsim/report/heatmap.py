"""How full every host was, over time."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MultipleLocator, PercentFormatter
from numpy.typing import NDArray

from drsim.report.axes import SMALL, canvas
from drsim.report.palette import BAD
from drsim.simulate.operate import Operation

COLUMNS = 1000
"""Instants that are drawn at most; of those between, the fullest counts, so that no peak is lost."""

NAMED = 40
"""Hosts up to which every one is named."""

HOUR_S = 3600.0


def draw_heatmap(operation: Operation, *, axes: Axes | None = None) -> Figure:
    """Draw CPU demand over cores of every host over time, the host that waited most at the top.

    Parameters
    ----------
    operation : Operation
        What was lived through.
    axes : Axes, optional
        Where to draw; by default on a new figure.

    Returns
    -------
    Figure
        The figure that was drawn on.
    """
    share = (operation.used_cores + operation.ready_cores).T / operation.cores[:, None]
    order = np.lexsort((-share.max(axis=1), -operation.ready_cores.sum(axis=0)))
    share = _thin(share[order])
    ax, figure = canvas(axes, 10.0, min(8.0, 2.2 + 0.14 * len(share)))
    ax.grid(visible=False)
    hours = operation.step_s * len(operation.used_cores) / HOUR_S
    bottom = len(share) - 0.5
    shown = ax.imshow(
        share,
        aspect="auto",
        interpolation="nearest",
        cmap="cividis",
        vmin=0.0,
        vmax=1.0,
        extent=(0.0, hours, bottom, -0.5),
    )
    over = np.where(share > 1.0, 1.0, np.nan)
    ax.imshow(
        over, aspect="auto", interpolation="nearest", cmap=ListedColormap([BAD]), extent=(0.0, hours, bottom, -0.5)
    )
    if len(share) <= NAMED:
        ax.set_yticks(range(len(share)), [operation.hosts[number] for number in order], fontsize=SMALL)
    else:
        ax.set_yticks([])
        ax.set_ylabel(f"{len(share)} hosts, the one that waited most at the top")
    if hours > 48.0:
        ax.xaxis.set_major_locator(MultipleLocator(24.0))
        ax.xaxis.set_major_formatter(FuncFormatter(lambda hour, _: f"day {hour / 24.0:.0f}"))
    else:
        ax.xaxis.set_major_locator(MultipleLocator(max(1.0, round(hours / 8.0))))
        ax.xaxis.set_major_formatter(FuncFormatter(lambda hour, _: f"{hour:.0f} h"))
    key = figure.colorbar(shown, ax=ax, format=PercentFormatter(1.0, decimals=0), pad=0.02)
    key.set_label("CPU demand over cores (red: more than there are)", fontsize=SMALL)
    return figure


def _thin(share: NDArray[np.float64]) -> NDArray[np.float64]:
    columns = share.shape[1]
    if columns <= COLUMNS:
        return share
    edges = np.linspace(0, columns, COLUMNS + 1).astype(np.int64)[:-1]
    return np.maximum.reduceat(share, edges, axis=1)
