"""What the figures share: a sheet to draw on and quiet axes."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from drsim.report.palette import GRID, INK, MUTED

SMALL = 8
"""Size of labels, points."""


def sheet(width_in: float, height_in: float) -> Figure:
    """Make an empty transparent figure of its own: pyplot does not know it."""
    figure = Figure(figsize=(width_in, height_in), layout="constrained")
    figure.patch.set_alpha(0.0)
    return figure


def canvas(axes: Axes | None, width_in: float, height_in: float) -> tuple[Axes, Figure]:
    """Return quiet axes with lines along x and the figure they stand on: those given, or on a sheet of their own."""
    ax = axes if axes is not None else sheet(width_in, height_in).add_subplot()
    figure = ax.get_figure(root=True)
    assert figure is not None  # axes stand on one
    quiet(ax, grid="x")
    return ax, figure


def quiet(ax: Axes, *, grid: str) -> None:
    """Take away what does not carry information; keep light lines along one axis (``"x"``, ``"y"`` or ``"both"``)."""
    for side in ("top", "right", "left"):
        ax.spines[side].set_visible(False)
    ax.spines["bottom"].set_color(GRID)
    ax.patch.set_alpha(0.0)
    ax.grid(axis=grid, color=GRID, linewidth=0.6)  # type: ignore[arg-type]
    ax.set_axisbelow(True)
    ax.tick_params(length=0, labelsize=SMALL, colors=MUTED, labelcolor=INK)
    for label in (ax.xaxis.label, ax.yaxis.label):
        label.set_color(MUTED)
        label.set_fontsize(SMALL + 1)


def time_unit(longest_s: float) -> tuple[float, str]:
    """Choose the unit of a time axis: (seconds in it, its name)."""
    if longest_s <= 300:
        return 1.0, "s"
    return (60.0, "min") if longest_s <= 5 * 3600 else (3600.0, "h")
