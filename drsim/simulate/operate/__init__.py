"""A cluster lived through days: demand that changes, a planner in charge, hosts and lines that fail."""

from drsim.simulate.operate.happening import Abort, Call, HostFailure, LinkFailure, Maintenance, Recorded
from drsim.simulate.operate.operate import operate
from drsim.simulate.operate.result import Operation
from drsim.simulate.operate.watch import Watch

__all__ = ["Abort", "Call", "HostFailure", "LinkFailure", "Maintenance", "Operation", "Recorded", "Watch", "operate"]
