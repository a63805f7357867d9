"""Disks that land elsewhere, and plans that move disks only."""

from __future__ import annotations

from dataclasses import replace

import pytest

from drsim import check
from drsim.errors import DrsimError, PlanError
from drsim.formats import plan_to_json
from drsim.formats.plans import plan_from_json
from drsim.inventory import Datastore, Disk, Host, Inventory, Network, Site, Vm, VmNic
from drsim.plan import Landing
from drsim.planner import make_plan
from drsim.policy import Objective, Policy, Storing
from drsim.storing import plan_storage


def guest(name: str, host: str, **changes: object) -> Vm:
    disk = Disk(name="vda", datastore=f"{host}:/srv", size_mib=100.0, path=f"/srv/{name}.raw")
    vm = Vm(name=name, host=host, vcpus=1, memory_mib=64, disks=(disk,), nics=(VmNic(network="br0"),))
    return replace(vm, **changes)  # type: ignore[arg-type]


ESTATE = Inventory(
    sites=(Site(name="s"),),
    hosts=tuple(Host(name=name, site="s", cores=4, memory_mib=1024) for name in ("h1", "h2")),
    datastores=(
        Datastore(name="h1:/srv", kind="local", path="/srv", hosts=("h1",)),
        Datastore(name="h1:/fast", kind="local", path="/fast", hosts=("h1",), capacity_mib=1000.0, used_mib=700.0),
        Datastore(name="h2:/data", kind="local", path="/data", hosts=("h2",)),
        Datastore(name="bare", kind="iscsi", hosts=("h1", "h2")),
    ),
    networks=(Network(name="br0", bridge="br0", hosts=("h1", "h2")),),
    vms=(guest("a", "h1"), guest("b", "h1"), guest("c", "h1", state="paused")),
)


def test_a_policy_says_where_copied_disks_land() -> None:
    policy = Policy(storing=(Storing(vms=("a",), datastores=("h1:/fast", "h2:/data")),))
    plan = make_plan(replace(ESTATE, vms=ESTATE.vms[:2]), policy, Objective(goal="evacuate", hosts=("h1",)))
    landings = {move.vm: move.landings for move in plan.moves}
    assert landings == {"a": (Landing(disk="vda", datastore="h2:/data", path="/data/a.raw"),), "b": ()}
    assert {move.copy_disks for move in plan.moves} == {("vda",)}
    assert plan_from_json(plan_to_json(plan)) == plan


def test_a_plan_of_disks_moves_nobody_and_is_checked() -> None:
    plan = plan_storage(ESTATE, vms=["a", "b"], to="h1:/fast")
    assert [(m.id, m.vm, m.source, m.target, m.wave) for m in plan.moves] == [
        ("m001", "a", "h1", "h1", 1),
        ("m002", "b", "h1", "h1", 2),
    ]
    assert all(move.storage_only for move in plan.moves)
    assert plan.moves[0].landings == (Landing(disk="vda", datastore="h1:/fast", path="/fast/a.raw"),)
    assert plan.target["a"] == "h1"
    assert check.plan_violations(plan) == ()
    assert plan_from_json(plan_to_json(plan)) == plan


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ({"vms": ["a"], "to": "nowhere"}, "no datastore"),
        ({"vms": ["a"], "to": "bare"}, "no datastore with a folder"),
        ({"vms": ["z"], "to": "h1:/fast"}, "'z' is no guest"),
        ({"vms": ["a"], "to": "h2:/data"}, "does not mount"),
        ({"vms": ["c"], "to": "h1:/fast"}, "'c' is paused"),
    ],
)
def test_disks_that_cannot_go_there_are_refused(words: dict[str, object], text: str) -> None:
    with pytest.raises(PlanError, match=text):
        plan_storage(ESTATE, **words)  # type: ignore[arg-type]


def test_a_disk_that_qemu_reads_over_the_network_stays() -> None:
    served = Datastore(name="nfs:/export", kind="nfs", hosts=("h1", "h2"))
    disk = replace(ESTATE.vms[0].disks[0], datastore=served.name, path="/export/a.raw")
    vms = (replace(ESTATE.vms[0], disks=(disk,)), *ESTATE.vms[1:])
    estate = replace(ESTATE, vms=vms, datastores=(*ESTATE.datastores, served))
    with pytest.raises(PlanError, match="disk 'vda' of 'a' is not a file"):
        plan_storage(estate, vms=["a"], to="h1:/fast")
    left = make_plan(estate, objective=Objective(goal="evacuate", datastores=(served.name,)))
    assert left.moves == ()
    assert any("it is not a file" in note for note in left.notes)


def test_room_counts() -> None:
    big = tuple(replace(vm, disks=(replace(vm.disks[0], size_mib=200.0),)) for vm in ESTATE.vms[:2])
    with pytest.raises(PlanError, match="300 MiB free of 400"):
        plan_storage(replace(ESTATE, vms=big), vms=["a", "b"], to="h1:/fast")


def test_the_checker_finds_a_landing_that_cannot_be() -> None:
    plan = plan_storage(ESTATE, vms=["a"], to="h1:/fast")
    (move,) = plan.moves
    wrong = [
        replace(move, landings=(replace(move.landings[0], datastore="h2:/data"),)),
        replace(move, landings=(replace(move.landings[0], disk="vdz"),)),
        replace(move, landings=(replace(move.landings[0], path="/srv/a.raw"),)),
        replace(move, landings=()),
    ]
    for each in wrong:
        assert {v.kind for v in check.plan_violations(replace(plan, moves=(each,)))} in ({"target"}, {"order", "disk"})


def test_a_policy_that_names_no_such_datastore_is_refused() -> None:
    with pytest.raises(DrsimError, match="bare"):
        make_plan(ESTATE, Policy(storing=(Storing(vms=("*",), datastores=("bare",)),)))
