"""Plans that even out datastores or empty them: what is moved, what is said, what is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from drsim import check
from drsim.errors import PolicyError
from drsim.formats import plan_to_json
from drsim.formats.plans import plan_from_json
from drsim.inventory import Datastore, Disk, Host, Inventory, Site, Vm
from drsim.planner import make_plan
from drsim.policy import Goal, Limits, Objective, Policy, Storing
from drsim.report import summary
from drsim.show import explanations_view, plan_view
from drsim.storage import landed
from drsim.why import explain
from tests.optimize.test_space import local

GIB = 1024.0
STORAGE = Objective(goal="storage")
OLD = Objective(goal="evacuate", datastores=("h1:/old",))


def guest(number: int, store: str, mib: float = GIB, **changes: object) -> Vm:
    host, path = store.split(":")
    disk = Disk(name="vda", datastore=store, size_mib=mib, path=f"{path}/v{number}.raw")
    return replace(Vm(name=f"v{number}", host=host, vcpus=1, memory_mib=256, disks=(disk,)), **changes)  # type: ignore[arg-type]


def estate(places: list[str], **capacity_gib: float) -> Inventory:
    """Guests v1, v2, ... with a disk of 1 GiB on the datastore named; /old, /new and /far of h1, /old of h2."""
    stores = {"h1:/old": 10.0, "h1:/new": 10.0, "h1:/far": 10.0, "h2:/old": 10.0}
    sizes = stores | {f"h1:/{name}": size for name, size in capacity_gib.items()}
    return Inventory(
        sites=(Site(name="s"),),
        hosts=tuple(Host(name=name, site="s", cores=8, memory_mib=65536) for name in ("h1", "h2")),
        datastores=tuple(
            Datastore(name=name, kind="local", path=name[2:][1:], capacity_mib=gib * GIB, hosts=(name[:2],))
            for name, gib in sizes.items()
        ),
        vms=tuple(guest(number, store) for number, store in enumerate(places, 1)),
    )


def where(plan_inventory: Inventory) -> list[str]:
    return [vm.disks[0].datastore for vm in plan_inventory.vms]


def test_a_datastore_is_relieved_and_told_why() -> None:
    made = estate(["h1:/old"] * 9 + ["h1:/new"] * 4 + ["h2:/old"] * 3)
    plan = make_plan(made, Policy(), STORAGE)
    (move,) = plan.moves
    assert (plan.before.objective, plan.after.objective) == (pytest.approx(10.0), pytest.approx(0.0, abs=1e-9))
    assert (plan.status, plan.complete, plan.applyable, plan.lower_bound) == ("optimal", True, True, 0.0)
    assert (move.source, move.target, move.copy_disks, move.storage_only) == ("h1", "h1", ("vda",), True)
    assert move.landings[0].datastore == "h1:/far" or move.landings[0].datastore == "h1:/new"
    assert move.reason.startswith("h1:/old is 90% -> 80% full; vda to h1:/")
    assert any("1 GiB of disks are copied; the fewest that do." in note for note in plan.notes)
    assert check.plan_violations(plan) == ()
    assert plan_from_json(plan_to_json(plan)) == plan
    assert any("1.0 GiB of disks on their hosts" in line for line in summary(plan))
    assert make_plan(made, Policy(), STORAGE) == plan


def test_what_is_measured_counts_and_what_a_disk_may_grow_to_must_have_room() -> None:
    thin = [replace(vm, disks=(replace(vm.disks[0], used_mib=512.0),)) for vm in estate(["h1:/old"] * 9).vms]
    made = replace(estate(["h1:/old"] * 9, new=1.5, far=0.9), vms=tuple(thin))
    assert make_plan(made, Policy(), STORAGE).moves == ()  # 45 % full
    full = replace(
        made, datastores=tuple(replace(s, used_mib=8.5 * GIB if s.name == "h1:/old" else None) for s in made.datastores)
    )
    plan = make_plan(full, Policy(), STORAGE)
    assert [move.landings[0].datastore for move in plan.moves] == ["h1:/new"]
    after = landed(full, plan.moves)
    assert check.datastore_use(after)["h1:/old"].full == pytest.approx(0.8)
    assert check.datastore_use(after)["h1:/new"].full == pytest.approx(1 / 3)


def test_writes_are_evened_out() -> None:
    made = estate(["h1:/old"] * 3)
    vms = tuple(replace(vm, disks=(replace(vm.disks[0], write_rate_mib_s=30.0),)) for vm in made.vms)
    made = replace(made, vms=vms, datastores=tuple(replace(s, write_rate_mib_s=100.0) for s in made.datastores))
    plan = make_plan(made, Policy(), STORAGE)
    assert len(plan.moves) == 1
    assert plan.moves[0].reason.startswith("h1:/old is written to at 90% -> 60% of what it bears")
    assert make_plan(made, Policy(), replace(STORAGE, most_written=0.95)).moves == ()


def test_the_policy_says_where_disks_may_go() -> None:
    made = estate(["h1:/old"] * 10)
    policy = Policy(storing=(Storing(vms=("*",), datastores=("h1:/far", "h2:/old")),))
    plan = make_plan(made, policy, STORAGE)
    assert {move.landings[0].datastore for move in plan.moves} == {"h1:/far"}
    held = Policy(storing=(Storing(vms=("*",), datastores=("h1:/old",)),))
    stuck = make_plan(made, held, STORAGE)
    assert stuck.moves == ()
    assert any("none of its disks can leave: the policy wants it on h1:/old" in note for note in stuck.notes)


def test_an_evacuated_datastore_is_empty_and_its_guests_stay() -> None:
    made = estate(["h1:/old", "h1:/old", "h1:/new", "h2:/old"])
    plan = make_plan(made, Policy(), OLD)
    assert plan.complete
    assert plan.status == "optimal"
    assert "h1:/old" not in where(landed(made, plan.moves))
    assert {move.vm for move in plan.moves} == {"v1", "v2"}
    assert (plan.before.objective, plan.after.objective) == (2 * GIB, 0.0)
    assert all(move.reason.startswith("h1:/old is to be evacuated; ") for move in plan.moves)


def test_what_cannot_leave_is_named_with_what_lacks() -> None:
    made = estate(["h1:/old"] * 4 + ["h2:/old"], new=1.5, far=0.5)
    plan = make_plan(made, Policy(), OLD)
    assert not plan.complete
    assert len(plan.moves) == 1
    assert plan.lower_bound == plan.after.objective == 3 * GIB
    assert any("datastore 'h1:/new' lacks 2.5 GiB. Make room there." in note for note in plan.notes)
    alone = make_plan(made, Policy(), replace(OLD, datastores=("h2:/old",)))
    assert any("'h2' mounts no other datastore that would do" in note for note in alone.notes)
    paused = replace(made, vms=tuple(replace(vm, state="paused") for vm in made.vms))
    assert any("its guest is paused" in note for note in make_plan(paused, Policy(), OLD).notes)


def test_limits_are_kept() -> None:
    made = estate(["h1:/old"] * 10)
    for limits, most in ((Limits(max_gib=1.5), 1), (Limits(max_moves=0), 0), (Limits(max_minutes=1.0), 2)):
        plan = make_plan(made, Policy(limits=limits), STORAGE)
        assert len(plan.moves) == most
        assert check.plan_violations(plan) == ()
    wide = make_plan(made, Policy(limits=Limits(moves_at_once=1)), OLD)
    assert sorted(move.wave for move in wide.moves) == list(range(1, 11))


@pytest.mark.parametrize(
    ("wish", "text"),
    [
        (Objective(goal="evacuate", datastores=("nowhere",)), "no datastore 'nowhere'"),
        (Objective(goal="evacuate", datastores=("h1:/old",), hosts=("h1",)), "not together with hosts"),
        (Objective(goal="balance", datastores=("h1:/old",)), "not together with hosts"),
        (Objective(goal="storage", start_at="2026-11-28T22:00+01:00"), "whenever that is"),
    ],
)
def test_wishes_that_make_no_sense_are_refused(wish: Objective, text: str) -> None:
    with pytest.raises(PolicyError, match=text):
        make_plan(estate(["h1:/old"]), Policy(), wish)


def test_a_plan_of_disks_is_explained() -> None:
    made = estate(["h1:/old"] * 9, far=0.5)
    plan = make_plan(made, Policy(), STORAGE)
    (move,) = plan.moves
    found = explain(plan, move.vm)
    assert (found.source, found.target, found.reason) == ("h1:/old", "h1:/new", move.reason)
    assert found.refused.objective == pytest.approx(10.0)
    assert dict(found.closed) == {"have too little room": 1, "are not mounted by its host": 1}
    roomy = make_plan(estate(["h1:/old"] * 9), Policy(), STORAGE)
    other = explain(roomy, next(vm.name for vm in made.vms if vm.name != roomy.moves[0].vm))
    assert other.reason == ""
    assert [(each.host, each.score.objective) for each in other.alternatives] == [
        ("h1:/far", pytest.approx(0.0, abs=1e-9)),
        ("h1:/new", pytest.approx(0.0, abs=1e-9)),
    ]
    assert "datastores have too little room" in str(explanations_view(plan, [found]))
    assert plan_view(plan) is not None


@pytest.mark.parametrize("goal", ["balance", "evacuate"])
def test_goals_for_guests_are_as_before_where_no_datastore_is_limited(goal: Goal) -> None:
    made = local("112", [1.0, 1.0, 1.0], [None, None, None])
    wish = Objective(goal=goal, hosts=("h1",) if goal == "evacuate" else ())
    bare = replace(made, vms=tuple(replace(vm, disks=()) for vm in made.vms), datastores=())
    assert make_plan(made, Policy(), wish).target == make_plan(bare, Policy(), wish).target
