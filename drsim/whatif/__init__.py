"""What if: changes to an inventory, and the estates that they make, compared."""

from drsim.whatif.cases import BASELINE, Case, Comparison, compare
from drsim.whatif.change import AddHosts, Change, Drain, EmptyDatastore, Grow, LoseHost, apply_all
from drsim.whatif.days import balancer, drain, parse_happening, restarter
from drsim.whatif.figure import draw_cases
from drsim.whatif.parse import parse_case, parse_change
from drsim.whatif.recorded import read_moved
from drsim.whatif.restart import Restart, restart
from drsim.whatif.view import comparison_view

__all__ = [
    "BASELINE",
    "AddHosts",
    "Case",
    "Change",
    "Comparison",
    "Drain",
    "EmptyDatastore",
    "Grow",
    "LoseHost",
    "Restart",
    "apply_all",
    "balancer",
    "compare",
    "comparison_view",
    "drain",
    "draw_cases",
    "parse_case",
    "parse_change",
    "parse_happening",
    "read_moved",
    "restart",
    "restarter",
]
