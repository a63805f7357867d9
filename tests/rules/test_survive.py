"""Guests that outlive their hosts: played by the rule, and by trying every way."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drsim import check
from drsim.inventory import Datastore, Disk, Inventory
from drsim.placement import Placement
from drsim.policy import Apart, NotOn, Policy, Rule, Survive, Together
from tests.rules.estates import estate

ONE = Survive(name="ha")


def broken(inventory: Inventory, *rules: Rule) -> list[str]:
    return [vm.name for vm in check.breakers(ONE, inventory, Placement.of(inventory), Policy(rules=(ONE, *rules)))]


def test_sums_are_not_enough() -> None:
    # 6 GiB are free on two hosts, and no host has the 4 in one piece.
    scattered = estate("1122333", memory_mib=(4096, 1024, 4096, 1024, 4096, 512, 512), host_mib=8192)
    assert broken(scattered) == ["v1", "v3", "v5"]
    gathered = estate("112233", memory_mib=(4096, 1024, 2048, 1024, 2048, 512), host_mib=8192)
    assert broken(gathered) == []


def test_a_puzzle_that_fits_to_the_last_mib() -> None:
    # When h1 is lost, 3, 3, 2 and 2 go into holes of 3, 4 and 3, and into no smaller ones.
    fits = estate("1111234", hosts=4, memory_mib=(3, 3, 2, 2, 3, 2, 3), host_mib=(13, 6, 6, 6))
    assert broken(fits) == []
    assert len(broken(estate("1111234", hosts=4, memory_mib=(3, 3, 2, 2, 4, 2, 3), host_mib=(14, 6, 6, 6)))) == 1


def test_rules_hold_among_those_that_start_again() -> None:
    inventory = estate("112", hosts=3)
    assert broken(inventory) == []
    apart = Apart(name="apart", vms=("v1", "v3"))
    assert broken(inventory, apart) == []
    assert broken(inventory, apart, NotOn(name="not", vms=("v1",), hosts=("h3",))) == ["v1"]
    small = estate("112", memory_mib=(4096, 4096, 4096), host_mib=8192)
    assert broken(small) == []
    assert broken(small, Together(name="pair", vms=("v1", "v2"))) == []
    assert broken(estate("1123", memory_mib=4096), Together(name="pair", vms=("v1", "v2"))) == ["v1", "v2"]


def test_local_disks_are_lost_with_their_host() -> None:
    inventory = estate("1")
    disk = Disk(name="vda", datastore="d", size_mib=1.0)
    local = replace(
        inventory,
        vms=(replace(inventory.vms[0], disks=(disk,)),),
        datastores=(Datastore(name="d", kind="local", hosts=("h1",)),),
    )
    assert broken(local) == ["v1"]
    shared = replace(local, datastores=(Datastore(name="d", kind="nfs", hosts=("h1", "h2")),))
    assert broken(shared) == []


def test_racks_fail_whole_and_hosts_in_pairs() -> None:
    inventory = estate("1234", hosts=4, memory_mib=3000)
    rack = Survive(name="rack", per="rack")
    where = Placement.of(inventory)
    assert rack.breakers(inventory, where) == []
    assert Survive(name="two", lost=2).breakers(inventory, where) == []
    fuller = estate("1234", hosts=4, memory_mib=5000)
    assert len(rack.breakers(fuller, where)) == 4
    assert Survive(name="one").breakers(fuller, where) == list(fuller.vms)


def test_only_the_guests_named_have_to() -> None:
    inventory = estate("12", hosts=2, memory_mib=6000)
    assert broken(inventory) == ["v1", "v2"]
    assert Survive(name="some", vms=("v1",)).breakers(inventory, Placement.of(inventory)) == [inventory.vms[0]]
    stopped = replace(inventory, vms=(inventory.vms[0], replace(inventory.vms[1], state="stopped")))
    assert broken(stopped) == []


@settings(max_examples=200, deadline=None)
@given(
    places=st.text("1234", min_size=3, max_size=6),
    sizes=st.lists(st.integers(1, 5), min_size=6, max_size=6),
    gpus=st.lists(st.integers(0, 1), min_size=6, max_size=6),
    rooms=st.lists(st.integers(4, 9), min_size=4, max_size=4),
    lost=st.integers(1, 2),
    apart=st.booleans(),
)
def test_the_rule_is_what_trying_every_way_says(
    places: str, sizes: list[int], gpus: list[int], rooms: list[int], lost: int, apart: bool
) -> None:
    count = len(places)
    inventory = estate(
        places, hosts=4, memory_mib=sizes[:count], gpus=gpus[:count], host_mib=rooms, host_gpus=(1, 2, 1, 0)
    )
    rule = Survive(name="ha", lost=lost)
    rules: tuple[Rule, ...] = (rule, Apart(name="a", vms=("v1", "v2", "v3"))) if apart else (rule,)
    where = Placement.of(inventory)
    beside = Policy(rules=rules[1:])
    # What is broken before the loss is not the loss's doing, and would confuse the brute force.
    if check.violations(inventory, beside):
        return
    told = {vm.name for vm in rule.breakers(inventory, where, rules)}
    names = [host.name for host in inventory.hosts]
    used = {where[vm.name] for vm in inventory.vms}
    truly: set[str] = set()
    for gone in itertools.combinations(sorted(used), min(lost, len(used))):
        dead = [vm.name for vm in inventory.vms if where[vm.name] in gone]
        alive = [name for name in names if name not in gone]
        ways = itertools.product(alive, repeat=len(dead))
        if not any(
            not check.violations(inventory, beside, Placement({**where, **dict(zip(dead, way, strict=True))}))
            for way in ways
        ):
            truly.update(dead)
    assert told <= truly
    assert bool(told) == bool(truly)


@pytest.mark.parametrize(("lost", "says"), [(3, "of 3 none is left"), (2, "")])
def test_a_loss_of_everything_is_refused(lost: int, says: str) -> None:
    problems = check.policy_problems(Policy(rules=(Survive(name="ha", lost=lost),)), estate("123"))
    assert [problem for problem in problems if says and says in problem.expected] == list(problems)


def test_too_many_ways_to_fail_are_refused() -> None:
    inventory = estate("1" * 10, hosts=60)
    assert len(Counter(host.name for host in inventory.hosts)) == 60
    (problem,) = check.policy_problems(Policy(rules=(Survive(name="ha", lost=4),)), inventory)
    assert "can be proven" in problem.expected
