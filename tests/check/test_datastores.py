"""The checker of plans of disks: figures by hand, and plans bent so that something is wrong."""

from __future__ import annotations

from dataclasses import replace

import pytest

from drsim import check
from drsim.plan import Landing, Move, Plan
from drsim.planner import make_plan
from drsim.policy import Limits, Objective, Policy, Storing
from tests.planner.test_datastores import OLD, STORAGE, estate


def good() -> Plan:
    plan = make_plan(estate(["h1:/old"] * 10, far=0.1), Policy(), STORAGE)
    assert len(plan.moves) == 2
    assert check.plan_violations(plan) == ()
    return plan


def bent(plan: Plan, **landing: str) -> Plan:
    first, *rest = plan.moves
    return replace(plan, moves=(replace(first, landings=(replace(first.landings[0], **landing),)), *rest))


def said(plan: Plan) -> str:
    return " ".join(found.text for found in check.plan_violations(plan))


def test_use_is_what_was_measured_or_the_disks_known_if_they_are_more() -> None:
    made = estate(["h1:/old"] * 5)
    assert check.datastore_use(made)["h1:/old"] == check.Use(full=0.5, written=None)
    more = replace(made, datastores=tuple(replace(store, used_mib=7168.0) for store in made.datastores))
    assert check.datastore_use(more)["h1:/old"].full == pytest.approx(0.7)
    bare = replace(made, datastores=tuple(replace(store, capacity_mib=None) for store in made.datastores))
    assert check.datastore_use(bare)["h1:/old"].full is None
    assert check.overuse(bare, STORAGE) == 0.0
    assert check.overuse(made, replace(STORAGE, most_full=0.3)) == pytest.approx(20.0)
    assert check.left_mib(made, OLD) == 5 * 1024.0


def test_disks_do_not_land_on_each_other() -> None:
    plan = good()
    other = plan.moves[1].landings[0]
    assert "another disk lies, or comes to lie" in said(bent(plan, datastore=other.datastore, path=other.path))
    assert "another disk lies" in said(bent(plan, datastore="h1:/old", path="/old/v3.raw"))


def test_disks_land_where_the_policy_wants_them() -> None:
    plan = good()
    policy = Policy(storing=(Storing(vms=("*",), datastores=("h1:/far",)),))
    assert "the policy wants disks of" in said(replace(plan, policy=policy))


def test_disks_do_not_land_without_room_or_on_what_is_evacuated() -> None:
    plan = good()
    assert "datastore 'h1:/far' would hold" in said(bent(plan, datastore="h1:/far", path="/far/x.raw"))
    assert "does not mount" in said(bent(plan, datastore="h2:/old", path="/old/x.raw"))
    evacuated = Objective(goal="evacuate", datastores=("h1:/new",))
    assert "is to be evacuated; a disk would land there" in said(replace(plan, objective=evacuated))


def test_limits_count_disks_and_not_memory() -> None:
    plan = good()
    assert "2 GiB are moved" in said(replace(plan, policy=Policy(limits=Limits(max_gib=1.9))))
    assert said(replace(plan, policy=Policy(limits=Limits(max_gib=2.0)))) == ""


def test_no_guest_changes_hosts() -> None:
    plan = good()
    move = Move(id="m003", vm="v5", source="h1", target="h2", reason="", wave=3, copy_disks=("vda",))
    moved = replace(move, landings=(Landing(disk="vda", datastore="h2:/old", path="/old/v5.raw"),))
    assert "moves 'v5' itself; only disks were to move" in said(replace(plan, moves=(*plan.moves, moved)))
