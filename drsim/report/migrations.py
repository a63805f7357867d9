"""When guests moved, from which host, and how that ended."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from drsim.report.axes import SMALL, canvas, time_unit
from drsim.report.palette import BAD, INK, MUTED, PREDICTED
from drsim.report.text import visible
from drsim.simulate.operate import Operation

ROWS = 60
"""Hosts that are drawn at most, those that most guests left."""

COLOURS = {"done": PREDICTED, "refused": MUTED, "aborted": MUTED, "lost": BAD}
"""Of the outcomes of `drsim.simulate.operate.result.Migrated`."""

MEANING = {"done": "moved", "refused": "not possible any more", "aborted": "broken off, stayed", "lost": "lost"}


def draw_migrations(operation: Operation, *, axes: Axes | None = None) -> Figure:
    """Draw each migration as a bar in the row of the host that it left.

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
    left: dict[str, int] = {}
    for one in operation.migrations:
        left[one.source] = left.get(one.source, 0) + 1
    hosts = sorted(left, key=lambda host: (-left[host], host))[:ROWS]
    rows = {host: row for row, host in enumerate(hosts)}
    ax, figure = canvas(axes, 10.0, 1.2 + 0.2 * max(2, len(hosts)))
    whole_s = operation.step_s * len(operation.used_cores)
    unit_s, unit = time_unit(whole_s)
    thinnest_s = whole_s / 500.0  # A migration of seconds is seen among days.
    for outcome, colour in COLOURS.items():
        found = [one for one in operation.migrations if one.outcome == outcome and one.source in rows]
        ax.barh(
            [rows[one.source] for one in found],
            [max(one.end_s - one.start_s, thinnest_s) / unit_s for one in found],
            left=[one.start_s / unit_s for one in found],
            height=0.7,
            color=colour,
        )
    ax.set_yticks(range(len(hosts)), [visible(host) for host in hosts], fontsize=SMALL, parse_math=False)
    ax.set_ylim(max(1, len(hosts)) - 0.4, -0.6)
    ax.set_xlim(0.0, whole_s / unit_s)
    ax.set_xlabel(f"time, {unit}")
    seen = [outcome for outcome in COLOURS if any(one.outcome == outcome for one in operation.migrations)]
    ax.legend(
        [Patch(color=COLOURS[outcome]) for outcome in seen],
        [MEANING[outcome] for outcome in seen],
        loc="lower right",
        bbox_to_anchor=(1.0, 1.0),
        ncols=4,
        frameon=False,
        fontsize=SMALL,
        labelcolor=INK,
    )
    return figure
