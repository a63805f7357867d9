"""What is wrong: with an inventory, with a policy, with a placement, at every instant of a plan.

Plain Python and never the solver: whatever an optimiser or a schedule proposes is judged here before anybody sees it.
A *problem* is a contradiction in the input; a *violation* is a fact that breaks a rule or a capacity.
"""

from drsim.check.datastores import Use, datastore_use, left_mib, overuse
from drsim.check.disks import disk_violations
from drsim.check.inventory import inventory_problems, newcomer_problems
from drsim.check.movable import unmovable, unstartable
from drsim.check.numa import fits_nodes
from drsim.check.placement import breakers, guests_of, loads, penalty, rooms, violations
from drsim.check.policy import policy_problems
from drsim.check.replay import judged, plan_violations
from drsim.check.shares import Felt, counted, felt
from drsim.check.violation import SLACK, Violation

__all__ = [
    "SLACK",
    "Felt",
    "Use",
    "Violation",
    "breakers",
    "counted",
    "datastore_use",
    "disk_violations",
    "felt",
    "fits_nodes",
    "guests_of",
    "inventory_problems",
    "judged",
    "left_mib",
    "loads",
    "newcomer_problems",
    "overuse",
    "penalty",
    "plan_violations",
    "policy_problems",
    "rooms",
    "unmovable",
    "unstartable",
    "violations",
]
