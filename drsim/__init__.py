"""drsim: plan, simulate, prove and apply live migrations of KVM guests.

Everything that a planner needs is here: ``import drsim as dr``. Names are loaded when they are first used, so that
``import drsim`` is quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from drsim.version import __version__

if TYPE_CHECKING:
    from drsim.check import plan_violations as plan_violations
    from drsim.check import violations as violations
    from drsim.errors import DrsimError as DrsimError
    from drsim.formats import fields as fields
    from drsim.formats import from_frames as from_frames
    from drsim.formats import read_inventory as read_inventory
    from drsim.formats import read_plan as read_plan
    from drsim.formats import read_policy as read_policy
    from drsim.formats import to_frames as to_frames
    from drsim.formats import write_inventory as write_inventory
    from drsim.formats import write_plan as write_plan
    from drsim.formats import write_policy as write_policy
    from drsim.front import pareto_front as pareto_front
    from drsim.inventory import Inventory as Inventory
    from drsim.migration import predict as predict
    from drsim.placement import Placement as Placement
    from drsim.plan import Plan as Plan
    from drsim.planner import make_plan as make_plan
    from drsim.planner import simulate_plan as simulate_plan
    from drsim.policy import Objective as Objective
    from drsim.policy import Policy as Policy
    from drsim.report import render as render
    from drsim.whatif import compare as compare
    from drsim.why import explain as explain
    from drsim.why import rule_prices as rule_prices
    from drsim.worth import worth as worth

_HOMES = {
    "DrsimError": "errors",
    "Inventory": "inventory",
    "Objective": "policy",
    "Placement": "placement",
    "Plan": "plan",
    "Policy": "policy",
    "compare": "whatif",
    "explain": "why",
    "fields": "formats",
    "from_frames": "formats",
    "make_plan": "planner",
    "pareto_front": "front",
    "plan_violations": "check",
    "predict": "migration",
    "read_inventory": "formats",
    "read_plan": "formats",
    "read_policy": "formats",
    "render": "report",
    "rule_prices": "why",
    "simulate_plan": "planner",
    "to_frames": "formats",
    "violations": "check",
    "worth": "worth",
    "write_inventory": "formats",
    "write_plan": "formats",
    "write_policy": "formats",
}

__all__ = ["__version__", *sorted(_HOMES)]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'drsim' has no attribute '{name}'")
    value = getattr(importlib.import_module(f"drsim.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
