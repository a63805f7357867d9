"""The optimiser: compile, mend, search, prove, explain."""

from drsim.optimize.result import Result
from drsim.optimize.score import score
from drsim.optimize.solve import optimize

__all__ = ["Result", "optimize", "score"]
