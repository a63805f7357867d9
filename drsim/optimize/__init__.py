"""The optimiser: compile, mend, search, prove, explain."""

from drsim.optimize.result import Result
from drsim.optimize.score import score
from drsim.optimize.solve import optimize
from drsim.optimize.stop import GapBelow, Progress, Stalled, Stop, any_of

__all__ = ["GapBelow", "Progress", "Result", "Stalled", "Stop", "any_of", "optimize", "score"]
