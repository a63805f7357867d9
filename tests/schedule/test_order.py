"""The order of moves, replayed by plain arithmetic that knows nothing of the schedule's own bookkeeping."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drsim.inventory import Host, HostNic, Inventory, Link, Site, Vm
from drsim.placement import Placement
from drsim.policy import Apart, Limits, Policy
from drsim.schedule import schedule

ROOM_MIB = 1000


def estate(places: dict[str, tuple[str, int]], hosts: str = "abc", **changes: object) -> Inventory:
    """Guests by name: host and memory; hosts a, b, ... of equal size, each in a site of its own if asked."""
    apart = bool(changes.pop("sites", False))
    sites = tuple(f"s-{host}" for host in hosts) if apart else ("s",)
    links = [Link(a=a, b=b, bandwidth_mbit_s=1000.0) for i, a in enumerate(sites) for b in sites[i + 1 :]]
    return Inventory(
        sites=tuple(Site(name=site) for site in sites),
        links=tuple(links),
        hosts=tuple(
            Host(
                name=host,
                site=f"s-{host}" if apart else "s",
                cores=64,
                memory_mib=ROOM_MIB,
                nics=(HostNic(name="n", rate_mbit_s=1000.0),),
            )
            for host in hosts
        ),
        vms=tuple(Vm(name=vm, host=host, vcpus=1, memory_mib=mib) for vm, (host, mib) in places.items()),
    )


@st.composite
def tasks(draw: st.DrawFn) -> tuple[Inventory, Placement, Policy]:
    """Two placements that both fit, and limits."""
    names = [f"g{i}" for i in range(draw(st.integers(1, 7)))]
    sizes = {name: draw(st.integers(100, 600)) for name in names}

    def placed() -> dict[str, str]:
        free, chosen = dict.fromkeys("abc", ROOM_MIB), {}
        for name in draw(st.permutations(names)):
            fits = [host for host in "abc" if free[host] >= sizes[name]]
            if fits:
                chosen[name] = draw(st.sampled_from(fits))
                free[chosen[name]] -= sizes[name]
        return chosen

    here, there = placed(), placed()
    both = [name for name in names if name in here and name in there]
    inventory = estate({name: (here[name], sizes[name]) for name in both}, sites=draw(st.booleans()))
    limits = Limits(
        moves_per_host=draw(st.integers(1, 3)),
        moves_per_link=draw(st.integers(1, 3)),
        moves_at_once=draw(st.integers(1, 4)),
    )
    return inventory, Placement({name: there[name] for name in both}), Policy(limits=limits)


@given(tasks())
def test_no_host_is_ever_overfull_and_no_limit_is_passed(task: tuple[Inventory, Placement, Policy]) -> None:
    inventory, target, policy = task
    found = schedule(inventory, policy, target, {})
    size = {vm.name: vm.memory_mib for vm in inventory.vms}
    at = {vm.name: vm.host for vm in inventory.vms}
    for wave in range(1, max((move.wave for move in found.moves), default=0) + 1):
        moves = [move for move in found.moves if move.wave == wave]
        assert moves  # no empty wave
        load, ends, lines = Counter[str](), Counter[str](), Counter[frozenset[str]]()
        for vm, host in at.items():
            load[host] += size[vm]
        for move in moves:
            assert at[move.vm] == move.source != move.target
            load[move.target] += size[move.vm]  # on both hosts while it is on its way
            ends.update((move.source, move.target))
            sites = {inventory.host_by_name[end].site for end in (move.source, move.target)}
            lines[frozenset(sites)] += len(sites) == 2
        assert max(load.values()) <= ROOM_MIB
        assert len({move.vm for move in moves}) == len(moves) <= policy.limits.moves_at_once
        assert max(ends.values()) <= policy.limits.moves_per_host
        assert max(lines.values(), default=0) <= policy.limits.moves_per_link
        at.update({move.vm: move.target for move in moves})
    assert {vm for vm, host in at.items() if host != target[vm]} == set(found.unreached)
    assert found == schedule(inventory, policy, target, {})


def test_two_full_hosts_change_guests_over_a_third() -> None:
    inventory = estate({"x": ("a", 900), "y": ("b", 800)})
    found = schedule(inventory, Policy(), Placement({"x": "b", "y": "a"}), {"x": "wanted"})
    assert [(move.vm, move.source, move.target, move.stop_over) for move in found.moves] == [
        ("y", "b", "c", True),
        ("x", "a", "b", False),
        ("y", "c", "a", False),
    ]
    assert [move.wave for move in found.moves] == [1, 2, 3]
    assert "makes room on b for 'x'" in found.moves[0].reason
    assert found.moves[1].reason == "wanted"
    assert "stop-over" in found.notes[0]


def test_without_a_third_host_both_stay_and_it_is_told() -> None:
    inventory = estate({"x": ("a", 900), "y": ("b", 800)}, hosts="ab")
    found = schedule(inventory, Policy(), Placement({"x": "b", "y": "a"}), {})
    assert found.moves == ()
    assert set(found.unreached) == {"x", "y"}
    assert "no third host has room" in found.unreached["x"]


def test_a_chain_goes_in_the_only_order_that_works() -> None:
    inventory = estate({"x": ("a", 900), "y": ("b", 900)})
    found = schedule(inventory, Policy(), Placement({"x": "b", "y": "c"}), {})
    assert [(move.vm, move.target, move.wave) for move in found.moves] == [("y", "c", 1), ("x", "b", 2)]


def test_guests_that_must_be_apart_are_so_on_the_way_too() -> None:
    inventory = estate({"x": ("a", 100), "y": ("b", 100)})
    policy = Policy(rules=(Apart(name="apart", vms=("x", "y")),))
    found = schedule(inventory, policy, Placement({"x": "b", "y": "c"}), {})
    assert [(move.vm, move.wave) for move in found.moves] == [("y", 1), ("x", 2)]


@pytest.mark.parametrize("most", [0, 1, 2])
def test_a_plan_holds_no_more_moves_than_it_may(most: int) -> None:
    inventory = estate({f"g{i}": ("a", 100) for i in range(4)})
    policy = Policy(limits=Limits(max_moves=most))
    found = schedule(inventory, policy, Placement({f"g{i}": "b" for i in range(4)}), {})
    assert len(found.moves) == most
    assert len(found.unreached) == 4 - most
    assert all(f"may hold {most} moves" in why for why in found.unreached.values())
