"""Tables, figures and one self-contained page about a plan.

Names are loaded when they are first used: whoever only writes a duration does not wait for matplotlib.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from drsim.report.accuracy import draw_accuracy
    from drsim.report.actual import Actual
    from drsim.report.front import draw_front, front_table
    from drsim.report.gantt import draw_gantt
    from drsim.report.heatmap import draw_heatmap
    from drsim.report.html import Chance, render
    from drsim.report.links import draw_links
    from drsim.report.migrations import draw_migrations
    from drsim.report.scorecard import draw_scorecard
    from drsim.report.svg import write_svg
    from drsim.report.tables import comparison_table, goals_table, host_table, moves_table, shares_table
    from drsim.report.text import summary
    from drsim.report.utilisation import draw_utilisation

__all__ = [
    "Actual",
    "Chance",
    "comparison_table",
    "draw_accuracy",
    "draw_front",
    "draw_gantt",
    "draw_heatmap",
    "draw_links",
    "draw_migrations",
    "draw_scorecard",
    "draw_utilisation",
    "front_table",
    "goals_table",
    "host_table",
    "moves_table",
    "render",
    "shares_table",
    "summary",
    "write_svg",
]

_HOMES = {
    "Actual": "actual",
    "Chance": "html",
    "comparison_table": "tables",
    "draw_accuracy": "accuracy",
    "draw_front": "front",
    "draw_gantt": "gantt",
    "draw_heatmap": "heatmap",
    "draw_links": "links",
    "draw_migrations": "migrations",
    "draw_scorecard": "scorecard",
    "draw_utilisation": "utilisation",
    "front_table": "front",
    "goals_table": "tables",
    "host_table": "tables",
    "moves_table": "tables",
    "render": "html",
    "shares_table": "tables",
    "summary": "text",
    "write_svg": "svg",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'drsim.report' has no attribute '{name}'")
    return getattr(importlib.import_module(f"drsim.report.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
