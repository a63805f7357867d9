"""Rules, a file each: whom it is about, when it holds, and which guests break it.

What a solver makes of a rule is its own affair; whether the rule holds is said here, in plain Python.
"""

from drsim.rules.apart import Apart
from drsim.rules.licence import Licence
from drsim.rules.not_on import NotOn
from drsim.rules.pin import Pin
from drsim.rules.pool import Pool
from drsim.rules.run_on import RunOn
from drsim.rules.select import Area, Strength, area_of, select_hosts, select_vms
from drsim.rules.shares import Shares
from drsim.rules.survive import Survive
from drsim.rules.together import Together

Rule = Together | Apart | RunOn | NotOn | Pin | Licence | Survive | Pool | Shares

__all__ = [
    "Apart",
    "Area",
    "Licence",
    "NotOn",
    "Pin",
    "Pool",
    "Rule",
    "RunOn",
    "Shares",
    "Strength",
    "Survive",
    "Together",
    "area_of",
    "select_hosts",
    "select_vms",
]
