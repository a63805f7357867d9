"""Disks that move along: where they land, and that space and write rate suffice at every instant."""

from __future__ import annotations

from dataclasses import replace

from drsim import check
from drsim.inventory import Datastore, Disk, Inventory, Vm
from drsim.placement import Placement
from drsim.planner import make_plan
from drsim.policy import Objective, Policy, Storing
from drsim.schedule import schedule
from drsim.storage import Stores
from tests.rules.estates import estate

EVACUATE = Objective(goal="evacuate", hosts=("h1",))


def local(
    places: str, capacity_mib: dict[str, float | None], *, size_mib: float = 100.0, rate: float = 1.0
) -> Inventory:
    """Guests with one disk each on their host's own datastore; hosts without a capacity have no datastore."""
    made = estate(places)

    def with_disk(vm: Vm) -> Vm:
        store = f"{vm.host}-disks"
        return replace(vm, disks=(Disk(name="vda", datastore=store, size_mib=size_mib, write_rate_mib_s=rate),))

    return replace(
        made,
        datastores=tuple(
            Datastore(name=f"{host}-disks", kind="local", capacity_mib=mib, path="/d", hosts=(host,))
            for host, mib in capacity_mib.items()
        ),
        vms=tuple(with_disk(vm) for vm in made.vms),
    )


def test_disks_land_on_a_datastore_that_has_room() -> None:
    plan = make_plan(local("11", {"h1": 1000.0, "h2": 150.0, "h3": 150.0}), Policy(), EVACUATE)
    assert plan.complete
    assert sorted(move.target for move in plan.moves) == ["h2", "h3"]
    assert check.plan_violations(plan) == ()
    both = replace(plan, moves=tuple(replace(m, target="h2", wave=1) for m in plan.moves))
    assert any("would hold 200 MiB of disks" in found.text for found in check.plan_violations(both))


def test_without_room_for_its_disk_a_guest_stays_and_it_is_said() -> None:
    plan = make_plan(local("11", {"h1": 1000.0, "h2": 150.0, "h3": 50.0}), Policy(), EVACUATE)
    assert not plan.complete
    assert len(plan.moves) == 1
    assert "no datastore of" in "\n".join(plan.notes) or "cannot be placed" in "\n".join(plan.notes)


def test_the_write_rate_of_a_datastore_is_kept() -> None:
    inventory = local("11", {"h1": None, "h2": None, "h3": None}, rate=30.0)
    slow = replace(inventory, datastores=tuple(replace(store, write_rate_mib_s=50.0) for store in inventory.datastores))
    plan = make_plan(slow, Policy(), EVACUATE)
    assert sorted(plan.target.values()) == ["h2", "h3"]


def test_the_same_path_goes_before_more_space() -> None:
    inventory = local("1", {"h1": 1000.0, "h2": 200.0})
    other = Datastore(name="big", kind="local", capacity_mib=1e6, path="/elsewhere", hosts=("h2",))
    stores = Stores(replace(inventory, datastores=(*inventory.datastores, other)), Policy())
    assert stores.landing(inventory.vms[0], inventory.host_by_name["h2"]) == ("h2-disks",)
    assert Stores(inventory, Policy()).landing(inventory.vms[0], inventory.host_by_name["h3"]) == ("",)


def test_on_its_way_home_a_disk_is_copied_again() -> None:
    inventory = local("12", {"h1": 1000.0, "h2": 1000.0, "h3": 1000.0})
    full = replace(inventory, hosts=tuple(replace(host, memory_mib=1500) for host in inventory.hosts))
    order = schedule(full, Policy(), Placement({"v1": "h2", "v2": "h1"}), {})
    assert [(move.vm, move.target, move.copy_disks) for move in order.moves] == [
        ("v1", "h3", ("vda",)),
        ("v2", "h1", ("vda",)),
        ("v1", "h2", ("vda",)),
    ]


def test_of_the_datastores_that_the_policy_names_the_first_with_room_is_taken() -> None:
    made = local("11", {"h1": 1000.0})
    disks = tuple(replace(disk, path=f"/d/{vm.name}") for vm in made.vms for disk in vm.disks)
    stores = tuple(
        Datastore(name=name, kind="nfs", capacity_mib=mib, path=f"/{name}", hosts=("h2",))
        for name, mib in (("fast", 150.0), ("slow", 1000.0))
    )
    inventory = replace(
        made,
        vms=tuple(replace(vm, disks=(disk,)) for vm, disk in zip(made.vms, disks, strict=True)),
        datastores=(*made.datastores, *stores),
    )
    policy = Policy(storing=(Storing(vms=("*",), datastores=("fast", "slow")),))
    plan = make_plan(inventory, policy, Objective(goal="evacuate", hosts=("h1", "h3")))
    landings = [landing for move in plan.moves for landing in move.landings]
    assert {(landing.datastore, landing.path[:6]) for landing in landings} == {("fast", "/fast/"), ("slow", "/slow/")}
    assert check.plan_violations(plan) == ()
