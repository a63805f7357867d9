"""Tables, figures and one self-contained page about a plan."""

from drsim.report.accuracy import draw_accuracy
from drsim.report.actual import Actual
from drsim.report.gantt import draw_gantt
from drsim.report.html import render
from drsim.report.tables import comparison_table, host_table, moves_table
from drsim.report.text import summary
from drsim.report.utilisation import draw_utilisation

__all__ = [
    "Actual",
    "comparison_table",
    "draw_accuracy",
    "draw_gantt",
    "draw_utilisation",
    "host_table",
    "moves_table",
    "render",
    "summary",
]
