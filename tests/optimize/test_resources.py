"""Devices, huge pages and demand ahead are kept like memory and CPU: by checker, search, schedule and relaxation."""

from __future__ import annotations

import itertools
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from drsim import check
from drsim.inventory import Inventory
from drsim.optimize import optimize, score
from drsim.placement import Placement
from drsim.planner import make_plan
from drsim.policy import Goal, Objective, Policy
from drsim.resources import needs, resources, sizes
from tests.rules.estates import estate


def paged(inventory: Inventory, guests: str, mib: int) -> Inventory:
    """Put guests on huge pages, of which every host has so much."""
    return replace(
        inventory,
        hosts=tuple(replace(host, huge_pages_mib=mib) for host in inventory.hosts),
        vms=tuple(replace(vm, huge_pages=vm.name in guests.split()) for vm in inventory.vms),
    )


def ahead(inventory: Inventory, *demand: tuple[float, ...]) -> Inventory:
    vms = (replace(vm, cpu_ahead_cores=part) for vm, part in zip(inventory.vms, demand, strict=True))
    return replace(inventory, vms=tuple(vms))


def test_what_nobody_has_is_no_column() -> None:
    assert [kind.kind for kind in resources(estate("1"))] == ["memory", "vcpus", "cpu"]
    inventory = ahead(paged(estate("12", gpus=1, host_gpus=2), "v1", 4096), (1.0, 2.0), ())
    kinds = resources(inventory)
    assert [kind.kind for kind in kinds[3:]] == ["huge_pages", "small_pages", "device", "cpu_ahead", "cpu_ahead"]
    assert needs(inventory.vms[0], kinds) == (1024, 1, 0.1, 1024, 0, 1, 1, 2)
    assert needs(inventory.vms[1], kinds) == (1024, 1, 0.1, 0, 1024, 1, 0.1, 0.1)
    assert sizes(inventory.hosts[0], kinds) == (8192, 64, 8, 4096, 4096, 2, 8, 8)


def test_a_guest_waits_for_a_device_that_another_gives_back() -> None:
    # v1 and v2 change places; each host has one GPU, and h3 has none: the way leads over nobody.
    inventory = estate("12", gpus=1, host_gpus=(1, 1, 0))
    where = Placement({"v1": "h2", "v2": "h1"})
    assert check.violations(inventory, Policy(), where) == ()
    plan = make_plan(inventory, Policy(), Objective(goal="evacuate", hosts=("h1",)))
    assert not plan.complete
    assert any("1 x gpu more on h2" in note for note in plan.notes)
    both = estate("12", gpus=1, host_gpus=(1, 1, 1))
    assert [move.target for move in make_plan(both, Policy(), Objective(goal="evacuate", hosts=("h1",))).moves] == [
        "h3"
    ]


def test_small_guests_cannot_have_memory_that_is_set_aside() -> None:
    inventory = paged(estate("1111", memory_mib=1500), "v1 v2", 4096)
    assert check.violations(inventory, Policy()) == ()
    full = paged(estate("1111", memory_mib=1500), "v1", 4096)
    (found,) = check.violations(full, Policy())
    assert "4500 MiB of memory beside its huge pages; its limit is 4096" in found.text
    plan = make_plan(full, Policy(), Objective(goal="repair"))
    assert (len(plan.moves), plan.after.violations) == (1, 0)


def test_peaks_ahead_that_do_not_meet_share_a_host() -> None:
    day, night = (6.0, 0.5), (0.5, 6.0)
    inventory = ahead(estate("1122", hosts=2), day, day, night, night)
    assert {found.kind for found in check.violations(inventory, Policy())} == {"cpu_ahead"}
    plan = make_plan(inventory, Policy(), Objective(goal="balance"))
    assert plan.after.violations == 0
    assert plan.target["v1"] != plan.target["v2"]
    assert plan.target["v3"] != plan.target["v4"]
    assert plan.before.objective > plan.after.objective


@settings(max_examples=150, deadline=None)
@given(
    places=st.text("123", min_size=3, max_size=5),
    sizes=st.lists(st.sampled_from([1000, 2000, 3000]), min_size=5, max_size=5),
    gpus=st.lists(st.integers(0, 2), min_size=5, max_size=5),
    peaks=st.lists(st.sampled_from([(1.0, 5.0), (5.0, 1.0), (2.0, 2.0)]), min_size=5, max_size=5),
    goal=st.sampled_from(["balance", "consolidate", "repair", "defragment", "spread"]),
)
def test_every_answer_is_the_best_that_trying_every_placement_finds_or_no_better_than_its_bound(
    places: str, sizes: list[int], gpus: list[int], peaks: list[tuple[float, float]], goal: Goal
) -> None:
    count = len(places)
    made = estate(places, memory_mib=sizes[:count], gpus=gpus[:count], host_gpus=(2, 3, 1))
    inventory = ahead(paged(made, "v1 v3", 3000), *peaks[:count])
    wish = Objective(goal=goal)
    names = [vm.name for vm in inventory.vms]
    every = [
        Placement(dict(zip(names, hosts, strict=True))) for hosts in itertools.product(("h1", "h2", "h3"), repeat=count)
    ]
    good = [where for where in every if not check.violations(inventory, Policy(), where)]
    result = optimize(inventory, Policy(), wish, time_limit_s=5.0)
    assert (result.after.violations == 0) == bool(good)
    if good:
        best = min(score(inventory, Policy(), wish, where).objective for where in good)
        assert result.lower_bound is not None
        assert result.lower_bound <= best + 1e-4
        assert result.after.objective >= best - 1e-4
        if goal == "balance":
            assert result.after.objective <= max(best, result.lower_bound) * 1.1
    plan = make_plan(inventory, Policy(), wish, time_limit_s=5.0)
    before = {found.subject for found in check.violations(inventory, Policy())}
    assert {found.subject for found in check.plan_violations(plan)} <= before or not plan.applyable
