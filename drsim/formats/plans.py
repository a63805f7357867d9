"""Plan files: canonical JSON, bound by hash to what they say and to the inventory that they were made from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from drsim.canonical import fingerprint, lines, plain
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
        "hash": plan.content_hash,
        "inventory_fingerprint": plan.inventory.fingerprint,
    }
    return lines({**header, **plain(plan)})


def plan_from_json(text: str, place: str = "plan") -> Plan:
    """Read a plan from JSON.

    Its hash is that of the record as it stands there: a plan that an older drsim wrote lacks fields that have come
    since, and these have their defaults. A field that this drsim does not know may mean anything, and is refused.

    Raises
    ------
    PlanError
        If it is no plan, was changed after it was made, or was made by a drsim whose plans this one does not read.
    """
    data = check_header(parse_json(text, place, PlanError), FORMAT, FORMAT_VERSION, place, PlanError)
    stated, inventory = data.pop("hash", None), data.pop("inventory_fingerprint", None)
    try:
        plan = build(Plan, data, place, PlanError)
    except PlanError as error:
        if stated != _written(data):
            raise
        again = "Another version of drsim wrote it. Make the plan anew with this one: drsim plan."
        raise PlanError(*(replace(problem, remedy=again) for problem in error.problems)) from error
    remedy = "A plan is never edited: change the policy and make a new one with 'drsim plan'."
    if inventory != _written(data.get("inventory")):
        raise refuse(
            PlanError, place, "its inventory does not have this hash: it was edited.", remedy, "inventory_fingerprint"
        )
    written = _written(data)
    if stated != written:
        raise refuse(PlanError, place, "its content does not have this hash: it was edited.", remedy, "hash")
    return plan.under(written)


def _written(data: object) -> str:
    """Return the hash of plain data; empty if they hold what no hash is taken of."""
    try:
        return fingerprint(data)
    except (TypeError, ValueError, RecursionError):
        return ""


def read_plan(path: str | Path) -> Plan:
    """Read a plan file; errors as in `plan_from_json`."""
    return plan_from_json(read_text(path, PlanError, "a plan written by 'drsim plan -o'"), str(path))


def write_plan(plan: Plan, path: str | Path) -> None:
    """Write a plan file."""
    write_text(plan_to_json(plan), path)
