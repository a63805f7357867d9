"""Room for disks that move along is part of the search: figures by hand, and every placement of small estates tried."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drsim import check
from drsim.inventory import Datastore, Disk, Inventory
from drsim.optimize import optimize
from drsim.optimize.problem import compile_problem
from drsim.placement import Placement
from drsim.planner import make_plan
from drsim.policy import Objective, Policy, Pool, Storing, Survive
from drsim.space import disk_resources
from drsim.storage import Stores
from tests.rules.estates import estate

EVACUATE = Objective(goal="evacuate", hosts=("h1",))


def local(places: str, sizes: list[float], rooms: list[float | None], *, rate: float = 0.0) -> Inventory:
    """Guests with a disk on their host's own datastore, all at the same path."""
    made = estate(places, hosts=len(rooms))
    vms = tuple(
        replace(vm, disks=(Disk(name="vda", datastore=f"{vm.host}:/srv", size_mib=mib, write_rate_mib_s=rate),))
        for vm, mib in zip(made.vms, sizes, strict=True)
    )
    stores = tuple(
        Datastore(name=f"h{n}:/srv", kind="local", capacity_mib=mib, path="/srv", hosts=(f"h{n}",))
        for n, mib in enumerate(rooms, 1)
    )
    return replace(made, vms=vms, datastores=stores)


def test_one_column_holds_the_datastores_of_all_hosts() -> None:
    (space,) = disk_resources(local("112", [100.0, 50.0, 30.0], [200.0, 120.0, 100.0]), Policy())
    assert space.amounts == {"v1": 100.0, "v2": 50.0, "v3": 30.0}
    assert space.limits == {"h2": 120.0, "h3": 100.0}  # h1 has room for all there is
    assert space.more(1536.0, "h2") == "1.5 GiB more on datastore 'h2:/srv' of h2"


def test_what_is_never_short_is_no_column() -> None:
    assert disk_resources(local("112", [100.0, 50.0, 30.0], [None, 1000.0, 180.0]), Policy()) == ()
    assert len(compile_problem(local("1", [100.0], [None, None]), Policy(), Objective()).kinds) == 3


def test_space_in_use_beside_known_disks_and_disks_of_stopped_guests_count() -> None:
    made = local("122", [100.0, 60.0, 30.0], [200.0, 200.0])
    made = replace(made, vms=(*made.vms[:2], replace(made.vms[2], state="stopped")))
    full = replace(made, datastores=(made.datastores[0], replace(made.datastores[1], used_mib=130.0)))
    (space,) = disk_resources(full, Policy())
    assert space.limits == {"h2": 130.0}  # 200, less 40 that nobody knows, less 30 of the stopped guest


def test_a_datastore_that_is_overcommitted_takes_no_more_and_is_not_too_full() -> None:
    made = local("122", [100.0, 150.0, 100.0], [500.0, 200.0])
    (space,) = disk_resources(made, Policy())
    assert space.limits["h2"] == 250.0
    assert make_plan(made, Policy(), Objective(goal="repair")).moves == ()
    assert check.violations(made, Policy()) == ()


def test_guests_that_see_a_shared_datastore_from_everywhere_need_nothing() -> None:
    made = local("12", [100.0, 100.0], [50.0, 150.0])
    shared = Datastore(name="nfs", kind="nfs", capacity_mib=1000.0, path="/nfs", hosts=("h1", "h2"))
    vms = (replace(made.vms[0], disks=(replace(made.vms[0].disks[0], datastore="nfs"),)), made.vms[1])
    (space,) = disk_resources(replace(made, vms=vms, datastores=(*made.datastores, shared)), Policy())
    assert (space.amounts, space.limits, space.narrow) == ({"v2": 100.0}, {"h1": 50.0}, False)


def test_clusters_with_a_datastore_each_compete_for_it_at_their_border_only() -> None:
    made = estate("1133", hosts=4)
    stores = tuple(
        Datastore(name=name, kind="nfs", capacity_mib=mib, path=f"/{name}", hosts=hosts)
        for name, mib, hosts in (("a", 1000.0, ("h1", "h2")), ("b", 250.0, ("h3", "h4")))
    )
    disks = {"h1": "a", "h3": "b"}
    vms = tuple(replace(v, disks=(Disk(name="vda", datastore=disks[v.host], size_mib=100.0),)) for v in made.vms)
    made = replace(made, vms=vms, datastores=stores)
    (space,) = disk_resources(made, Policy())
    assert (space.amounts, space.limits) == ({"v1": 100.0, "v2": 100.0}, {"h3": 50.0, "h4": 50.0})
    assert space.narrow
    assert compile_problem(made, Policy(), Objective()).narrowed
    plan = make_plan(made, Policy(), Objective(goal="evacuate", hosts=("h1", "h2")))
    assert not plan.complete
    assert plan.moves == ()
    assert any("0.0488 GiB more on datastore 'b' of h3" in note or "datastore 'b' of h4" in note for note in plan.notes)


def test_wishes_of_the_policy_share_the_datastore_that_they_name() -> None:
    made = local("11", [100.0, 100.0], [500.0, 500.0])
    fast = Datastore(name="h2:/fast", kind="local", capacity_mib=150.0, path="/fast", hosts=("h2",))
    made = replace(made, datastores=(*made.datastores, fast))
    policy = Policy(storing=(Storing(vms=("*",), datastores=("h2:/fast",)),))
    (space,) = disk_resources(made, policy)
    assert (space.limits, space.stores) == ({"h2": 150.0}, {"h2": ("h2:/fast",)})


def test_several_guests_compete_for_the_space_of_a_host() -> None:
    made = local("1111", [100.0] * 4, [500.0, 250.0, 250.0])
    result = optimize(made, Policy(), EVACUATE)
    assert result.complete
    assert sorted(result.placement.values()) == ["h2", "h2", "h3", "h3"]


def test_where_space_lacks_the_datastore_and_the_gib_are_named() -> None:
    made = local("11", [2048.0, 3072.0], [None, 4096.0])
    plan = make_plan(made, Policy(), EVACUATE)
    assert not plan.complete
    assert len(plan.moves) == 1
    said = " ".join(plan.notes)
    assert "No placement holds everything" in said
    assert "1 GiB more on datastore 'h2:/srv' of h2" in said
    assert check.plan_violations(plan) == ()


def test_writes_compete_as_space_does() -> None:
    made = local("11", [100.0, 100.0], [None, None], rate=30.0)
    slow = replace(made, datastores=tuple(replace(s, write_rate_mib_s=50.0) for s in made.datastores))
    plan = make_plan(slow, Policy(), EVACUATE)
    assert len(plan.moves) == 1
    assert any("10 MiB/s of writes more on datastore 'h2:/srv'" in note for note in plan.notes)


@pytest.mark.parametrize("goal", ["balance", "consolidate", "spread", "defragment"])
def test_no_goal_brings_disks_to_where_there_is_no_room(goal: str) -> None:
    made = local("1111112", [100.0] * 7, [None, 120.0, 250.0])
    plan = make_plan(made, Policy(), Objective(goal=goal), seed=1)  # type: ignore[arg-type]
    assert check.disk_violations(made, Policy(), plan.target) == ()
    assert check.plan_violations(plan) == ()
    assert sum(host == "h2" for host in plan.target.values()) <= 1


def test_losses_are_outlived_beside_disks_and_pools() -> None:
    made = local("1233", [0.0, 0.0, 0.0, 100.0], [50.0, 50.0, 120.0])
    sizes = (2048, 4096, 7168, 1024)
    bare = tuple(replace(vm, memory_mib=mib) for vm, mib in zip(made.vms, sizes, strict=True))
    made = replace(made, vms=(*(replace(vm, disks=()) for vm in bare[:3]), bare[3]))
    rules = (
        Survive(name="n+1", vms=("v1", "v2", "v3")),
        Pool(name="gold", vms=("v1",), most_memory_mib=8000),
    )
    assert [broken.subject for broken in check.violations(made, Policy(rules=rules))] == ["n+1"]
    plan = make_plan(made, Policy(rules=rules), Objective(goal="repair"))
    assert plan.complete
    assert plan.moves
    assert check.plan_violations(plan) == ()


def fits(inventory: Inventory, placement: Placement) -> bool:
    """The same in its own words: what leaves is gone, what comes must fit where it was not before."""
    for store in inventory.datastores:
        (host,) = store.hosts
        there = sum(vm.disks[0].size_mib for vm in inventory.vms if placement[vm.name] == host)
        now = sum(vm.disks[0].size_mib for vm in inventory.vms if vm.host == host)
        if store.capacity_mib is not None and there > max(store.capacity_mib, now):
            return False
    return True


@settings(max_examples=60, deadline=None)
@given(
    places=st.text("123", min_size=1, max_size=5),
    sizes=st.lists(st.sampled_from([50.0, 80.0, 120.0]), min_size=5, max_size=5),
    rooms=st.lists(st.sampled_from([None, 60.0, 130.0, 200.0, 400.0]), min_size=3, max_size=3),
)
def test_evacuation_is_complete_exactly_if_some_placement_has_room(
    places: str, sizes: list[float], rooms: list[float | None]
) -> None:
    made = local(places, sizes[: len(places)], rooms)
    result = optimize(made, Policy(), EVACUATE, time_limit_s=5.0)
    ways = (
        Placement(dict(zip((vm.name for vm in made.vms), way, strict=True)))
        for way in itertools.product(("h2", "h3"), repeat=len(places))
    )
    assert result.complete is any(fits(made, way) for way in ways)
    assert fits(made, result.placement)
    assert check.disk_violations(made, Policy(), result.placement) == () or _overcommitted(made)


def _overcommitted(inventory: Inventory) -> bool:
    stores = Stores(inventory, Policy())
    return any(stores.free_mib(store) < 0.0 for store in inventory.datastores)
