"""Plan files: canonical JSON, bound by hash to what they say and to the inventory that they were made from."""

from __future__ import annotations

from pathlib import Path

from drsim.canonical import lines, plain
from drsim.errors import PlanError
from drsim.formats.text import read_text, refuse, write_text
from drsim.formats.validate import build, check_header, parse_json
from drsim.plan import FORMAT_VERSION, Plan

FORMAT = "drsim-plan"


def plan_to_json(plan: Plan) -> str:
    """Write a plan as canonical JSON: same plan, same bytes."""
    header = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "hash": plan.hash,
        "inventory_fingerprint": plan.inventory.fingerprint,
    }
    return lines({**header, **plain(plan)})


def plan_from_json(text: str, place: str = "plan") -> Plan:
    """Read a plan from JSON.

    Raises
    ------
    PlanError
        If it is no plan, or was changed after it was made.
    """
    data = check_header(parse_json(text, place, PlanError), FORMAT, FORMAT_VERSION, place, PlanError)
    stated, inventory = data.pop("hash", None), data.pop("inventory_fingerprint", None)
    plan = build(Plan, data, place, PlanError)
    remedy = "A plan is never edited: change the policy and make a new one with 'drsim plan'."
    if inventory != plan.inventory.fingerprint:
        raise refuse(
            PlanError, place, "its inventory does not have this hash: it was edited.", remedy, "inventory_fingerprint"
        )
    if stated != plan.hash:
        raise refuse(PlanError, place, "its content does not have this hash: it was edited.", remedy, "hash")
    return plan


def read_plan(path: str | Path) -> Plan:
    """Read a plan file; errors as in `plan_from_json`."""
    return plan_from_json(read_text(path, PlanError, "a plan written by 'drsim plan -o'"), str(path))


def write_plan(plan: Plan, path: str | Path) -> None:
    """Write a plan file."""
    write_text(plan_to_json(plan), path)
