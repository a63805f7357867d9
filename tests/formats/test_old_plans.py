"""Plan files of other versions: read where what they say is whole, refused with what to do where it is not known."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from drsim.canonical import fingerprint
from drsim.errors import PlanError
from drsim.formats import plan_to_json, read_plan
from drsim.planner import make_plan
from drsim.policy import Objective
from drsim.synthetic import demo
from executor.hypervisor.simulated import SimulatedHypervisor
from executor.run import apply, plan_of
from executor.store import Store

PLAN = make_plan(*demo(), Objective(goal="evacuate", hosts=("h1",)), time_limit_s=1.0)
SINCE = {"landings", "starts", "in_range", "replace_leftovers", "huge_pages_mib", "switches", "terms", "stop_over"}
"""Fields that have come since an older version, say."""


def older(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: older(item) for key, item in value.items() if key not in SINCE}
    return [older(item) for item in value] if isinstance(value, list) else value


def bound(data: dict[str, Any]) -> dict[str, Any]:
    """Bind content by its hash, as the version does that writes it."""
    content = {k: v for k, v in data.items() if k not in ("format", "format_version", "hash", "inventory_fingerprint")}
    return {**data, "hash": fingerprint(content), "inventory_fingerprint": fingerprint(content["inventory"])}


def written(tmp_path: Path, data: dict[str, Any]) -> Path:
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(data))
    return path


def test_an_older_plan_is_read_with_defaults_under_its_own_hash(tmp_path: Path) -> None:
    old = bound(older(json.loads(plan_to_json(PLAN))))
    assert old["hash"] != PLAN.hash
    read = read_plan(written(tmp_path, old))
    assert read == PLAN
    assert read.hash == old["hash"]
    assert read_plan(written(tmp_path, json.loads(plan_to_json(read)))).hash == PLAN.hash
    assert replace(read, seed=7).hash == replace(PLAN, seed=7).hash


def test_an_older_plan_is_applied_and_resumed(tmp_path: Path) -> None:
    old = bound(older(json.loads(plan_to_json(PLAN))))
    read, store = read_plan(written(tmp_path, old)), Store(f"sqlite:///{tmp_path / 'runs.db'}")
    result = apply(read, SimulatedHypervisor(PLAN.inventory), store, actor="test")
    assert result.run_id is not None
    assert {row.state for row in result.moves} == {"done"}
    assert store.run(result.run_id).plan_hash == old["hash"]
    assert plan_of(store, result.run_id) == PLAN


def test_an_older_plan_that_was_edited_is_refused(tmp_path: Path) -> None:
    old = bound(older(json.loads(plan_to_json(PLAN))))
    for change in ({"seed": 99}, {"moves": old["moves"][1:]}):
        with pytest.raises(PlanError, match="it was edited"):
            read_plan(written(tmp_path, {**old, **change}))
    with pytest.raises(PlanError, match="inventory does not have this hash"):
        read_plan(written(tmp_path, {**old, "inventory": {**old["inventory"], "name": "other"}}))


@pytest.mark.parametrize(
    "change", [{"urgency": "high"}, {"status": 7}, {"objective": {"goal": "harmony"}}], ids=["new", "other", "unknown"]
)
def test_a_plan_that_says_what_is_not_known_is_refused_with_what_to_do(tmp_path: Path, change: dict[str, Any]) -> None:
    newer = bound({**json.loads(plan_to_json(PLAN)), **change})
    with pytest.raises(PlanError, match=r"Another version of drsim wrote it\. Make the plan anew"):
        read_plan(written(tmp_path, newer))
