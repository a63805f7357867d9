"""How full the hosts are, before and after."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from drsim.inventory import Inventory
from drsim.policy import Limits
from drsim.report.axes import SMALL, quiet, sheet
from drsim.report.palette import BAD, BEFORE, INK, MUTED, PREDICTED
from drsim.report.tables import host_table
from drsim.report.text import visible

NAMED = 40
"""Hosts up to which every one is named below its bar: more names would run into each other."""

BARS = 200
"""Hosts up to which every one has a bar; beyond, the bars are narrower than a line and curves say more."""

LEGEND = ("before", "after", "mean", "capacity", "capacity less headroom")
"""Order of the key: what changes first."""


def draw_utilisation(
    inventory: Inventory,
    placement: Mapping[str, str],
    *,
    limits: Limits | None = None,
    axes: tuple[Axes, Axes] | None = None,
) -> Figure:
    """Draw the share of CPU and of memory in use on every host, before and after, the fullest first.

    CPU is demand over cores, memory is configured memory over what the host may hold. Both panels have the same order
    of hosts: that of the larger of the two shares before. With very many hosts, each curve is sorted by itself.

    Parameters
    ----------
    inventory : Inventory
        Hosts and guests; its own placement is "before".
    placement : mapping of str to str
        Guest to host; "after".
    limits : Limits, optional
        Their headroom is drawn as the line that moves keep below.
    axes : pair of Axes, optional
        Where to draw CPU and memory; by default on a new figure.

    Returns
    -------
    Figure
        The figure that was drawn on.
    """
    limits = limits or Limits()
    table = host_table(inventory, placement)
    table = table.assign(_fullest=table[["cpu_share_before", "memory_share_before"]].max(axis=1))
    table = table.sort_values("_fullest", ascending=False, kind="stable")
    if axes is None:
        own = sheet(min(11.0, max(6.0, 2.5 + 0.5 * len(table))), 5.2)
        upper, lower = own.subplots(2, 1, sharex=True)
        axes = (upper, lower)
    takes = np.array([inventory.host_by_name[name].takes_guests for name in table.index], dtype=bool)
    _panel(axes[0], table, takes, "cpu", "CPU demand / cores", 1.0 - limits.cpu_headroom)
    _panel(axes[1], table, takes, "memory", "configured memory / capacity", 1.0 - limits.memory_headroom)
    _name_hosts(axes[1], table, takes)
    axes[0].tick_params(labelbottom=False)
    handles, labels = axes[0].get_legend_handles_labels()
    order = sorted(range(len(labels)), key=lambda i: LEGEND.index(labels[i]))
    axes[0].legend(
        [handles[i] for i in order],
        [labels[i] for i in order],
        loc="lower right",
        bbox_to_anchor=(1.0, 1.02),
        ncols=5,
        frameon=False,
        fontsize=SMALL,
        labelcolor=INK,
        borderpad=0,
    )
    figure = axes[0].figure
    assert isinstance(figure, Figure)
    return figure


def _panel(ax: Axes, table: pd.DataFrame, takes: np.ndarray, resource: str, title: str, limit: float) -> None:
    before, after = table[f"{resource}_share_before"].to_numpy(), table[f"{resource}_share_after"].to_numpy()
    at = np.arange(len(table))
    if len(table) <= BARS:
        ax.bar(at, before, width=0.8, color=BEFORE, label="before")
        ax.bar(at, after, width=0.44, color=PREDICTED, label="after")
    else:
        ax.step(at, np.sort(before)[::-1], where="mid", color=BEFORE, linewidth=2.5, label="before")
        ax.step(at, np.sort(after)[::-1], where="mid", color=PREDICTED, linewidth=1.5, label="after")
    capacity = "cores" if resource == "cpu" else "guest_memory_mib"
    weights = table[capacity].to_numpy(dtype=float) * takes
    if weights.sum() > 0:
        # All demand over what takes guests: the level that a perfect balance would reach.
        mean = float(after @ table[capacity].to_numpy(dtype=float) / weights.sum())
        ax.axhline(mean, color=INK, linewidth=0.9, linestyle=(0, (1, 2)), label="mean")
    ax.axhline(1.0, color=BAD, linewidth=1.0, label="capacity")
    if limit < 1.0:
        ax.axhline(limit, color=BAD, linewidth=0.9, linestyle=(0, (4, 3)), label="capacity less headroom")
    top = float(max(before.max(initial=0.0), after.max(initial=0.0), 1.0))
    ax.set_ylim(0.0, top * 1.06)
    ax.set_xlim(-0.7, len(table) - 0.3)
    ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    quiet(ax, grid="y")
    ax.set_title(title, loc="left", fontsize=SMALL + 1, color=INK, fontweight="bold")


def _name_hosts(ax: Axes, table: pd.DataFrame, takes: np.ndarray) -> None:
    if len(table) > NAMED:
        ax.set_xticks([])
        ax.set_xlabel(f"{len(table)} hosts, the fullest first")
        return
    names = [visible(name) + ("" if up else " ✕") for name, up in zip(table.index, takes, strict=True)]
    slanted = len(table) > 12 or max(map(len, names), default=0) > 10
    ax.set_xticks(np.arange(len(table)), names, parse_math=False)
    if slanted:
        for label in ax.get_xticklabels():
            label.set(rotation=60, ha="right", rotation_mode="anchor")
    if not takes.all():
        ax.set_xlabel("✕ takes no guests")
    ax.xaxis.label.set_color(MUTED)
