"""The optimiser: compile, mend, search, prove, explain."""

from drsim.optimize.disks import Item, Shelved, Stock, Store, residual, shelve
from drsim.optimize.result import Result
from drsim.optimize.score import bounded, score
from drsim.optimize.solve import optimize
from drsim.optimize.stop import GapBelow, Progress, Stalled, Stop, any_of

__all__ = [
    "GapBelow",
    "Item",
    "Progress",
    "Result",
    "Shelved",
    "Stalled",
    "Stock",
    "Stop",
    "Store",
    "any_of",
    "bounded",
    "optimize",
    "residual",
    "score",
    "shelve",
]
