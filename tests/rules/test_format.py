"""Rules, limits and plans of new guests survive being written and read."""

from __future__ import annotations

from pathlib import Path

from drsim.formats import plan_from_json, plan_to_json, read_policy, write_policy
from drsim.inventory import Device, Vm
from drsim.planner import make_plan
from drsim.policy import Apart, Licence, Limits, NotOn, Objective, Pin, Policy, Pool, RunOn, Survive, Together
from tests.rules.estates import estate

EVERY = Policy(
    rules=(
        Together(name="a", vms=("v1",)),
        Apart(name="b", vms=("*",), per="rack", most=3),
        RunOn(name="c", vms=("v1",), hosts=("h1",), strength="should", price=2.5),
        NotOn(name="d", vms=("tag:odd",), hosts=("rack:r0",)),
        Pin(name="e", vms=("v2",)),
        Licence(name="f", vms=("tag:odd",), most=2, per="rack"),
        Survive(name="g", lost=2, per="host"),
        Pool(name="h", vms=("v1",), hosts=("h1",), most_cores=4.0, kept_memory_mib=100.0),
    ),
    limits=Limits(max_gib=12.5, max_minutes=30.0),
)


def test_a_policy_is_read_as_it_was_written(tmp_path: Path) -> None:
    write_policy(EVERY, tmp_path / "policy.yaml")
    assert read_policy(tmp_path / "policy.yaml") == EVERY


def test_what_may_be_left_out_has_its_default(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text("format: drsim-policy\nformat_version: 1\nrules:\n- {kind: survive, name: ha}\n")
    assert read_policy(path).rules == (Survive(name="ha", vms=("*",), lost=1, per="host"),)


def test_a_plan_of_new_guests_is_read_as_it_was_written() -> None:
    new = Vm(name="new", host="", vcpus=1, memory_mib=100, devices=(Device(name="gpu"),))
    inventory = estate("12", host_gpus=1)
    plan = make_plan(inventory, Policy(), Objective(goal="place", newcomers=(new,)))
    again = plan_from_json(plan_to_json(plan))
    assert (again, again.hash) == (plan, plan.hash)
    assert len(again.starts) == 1
