"""How moves travel: what the policy says of whom, the ladder, and the limit that is kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path as File

import pytest

from drsim.check import policy_problems
from drsim.formats import read_policy, write_policy
from drsim.inventory import Datastore, Disk, Host, HostNic, Inventory, Link, PageClass, Site, Vm
from drsim.migration import DEFAULT, predict
from drsim.migration.choose import LEAST_SHARE
from drsim.plan import Move, Plan
from drsim.planner import make_plan
from drsim.policy import Limits, Manner, Objective, Policy
from drsim.topology import Path, Topology
from drsim.transfer import Transfer
from drsim.travel import equip, manner_of


def estate(*guests: Vm, rtt_ms: float = 0.0) -> Inventory:
    nic = (HostNic(name="eth0", rate_mbit_s=1000.0),)
    return Inventory(
        sites=(Site(name="s"), Site(name="t")),
        links=(Link(a="s", b="t", bandwidth_mbit_s=1000.0, rtt_ms=rtt_ms),),
        hosts=tuple(
            Host(name=name, site=site, cores=16, memory_mib=65536, nics=nic) for name, site in (("a", "s"), ("b", "t"))
        ),
        datastores=(
            Datastore(name="local", kind="local", hosts=("a",)),
            Datastore(name="b", kind="local", hosts=("b",)),
        ),
        vms=guests,
    )


def guest(name: str, rate_mib_s: float = 1.0, **changes: object) -> Vm:
    dirty = (PageClass(size_mib=2048.0, dirty_rate_mib_s=rate_mib_s),)
    return Vm(name=name, host="a", vcpus=2, memory_mib=8192, dirty=dirty, **changes)  # type: ignore[arg-type]


def evacuate(inventory: Inventory, *manners: Manner, limits: Limits | None = None) -> Plan:
    policy = Policy(manners=manners, limits=limits or Limits())
    return make_plan(inventory, policy, Objective(goal="evacuate", hosts=("a",)), time_limit_s=1.0, seed=1)


HOT = guest("hot", rate_mib_s=400.0)


def test_the_first_manner_that_names_a_guest_counts() -> None:
    first, second = (Manner(vms=("tag:db",), transfer=Transfer(tls=True)), Manner(vms=("*",)))
    policy = Policy(manners=(first, second))
    assert manner_of(guest("x", tags=("db",)), policy) is first
    assert manner_of(guest("y"), policy) is second
    assert manner_of(guest("y"), Policy()) == Manner(vms=("*",))


def test_a_guest_that_outruns_its_line_stays_unless_the_ladder_allows_more() -> None:
    plain = evacuate(estate(HOT))
    assert (plain.moves, plain.complete) == ((), False)
    assert "'hot' stays on a" in " ".join(plain.notes)
    (move,) = evacuate(estate(HOT), Manner(vms=("hot",), ladder=("hybrid",))).moves
    assert (move.transfer.mode, move.transfer.auto_converge) == ("hybrid", False)
    assert move.prediction is not None
    assert move.prediction.converges


def test_why_a_rung_was_taken_stands_in_the_notes() -> None:
    plan = evacuate(estate(HOT, guest("calm")), Manner(vms=("*",), ladder=("hybrid",)))
    assert {move.vm: move.transfer.mode for move in plan.moves} == {"hot": "hybrid", "calm": "precopy"}
    assert any(note.startswith("'hot': It outruns pre-copy") for note in plan.notes)
    assert plan.complete


def test_the_fixed_part_of_the_standstill_is_taken_off_the_limit() -> None:
    near, far, tight = (
        evacuate(estate(guest("calm", max_downtime_ms=limit), rtt_ms=rtt)).moves[0]
        for limit, rtt in ((300.0, 0.0), (300.0, 100.0), (150.0, 100.0))
    )
    assert 200.0 < near.aim_downtime_ms < near.max_downtime_ms == 300.0
    assert far.aim_downtime_ms == pytest.approx(300.0 - 40.0 - 1.5 * 100.0)  # capped: its socket is empty
    assert tight.aim_downtime_ms == pytest.approx(LEAST_SHARE * 150.0, abs=0.1)


@pytest.mark.parametrize(("rtt_ms", "synchronous"), [(1.0, False), (20.0, True)])
def test_copied_disks_over_a_long_line_are_written_on_both_ends(rtt_ms: float, synchronous: bool) -> None:
    disk = Disk(name="vda", datastore="local", size_mib=1024.0, write_rate_mib_s=1.0)
    (move,) = evacuate(estate(guest("calm", disks=(disk,)), rtt_ms=rtt_ms)).moves
    assert move.copy_disks == ("vda",)
    assert move.transfer.synchronous_writes is synchronous


def test_a_policy_file_says_how_guests_travel_and_comes_back_as_it_was(tmp_path: File) -> None:
    manners = (
        Manner(vms=("tag:db",), transfer=Transfer(tls=True, mode="hybrid", precopy_passes=3)),
        Manner(vms=("*",), ladder=("auto_converge", "hybrid")),
    )
    write_policy(Policy(manners=manners), tmp_path / "policy.yaml")
    assert read_policy(tmp_path / "policy.yaml").manners == manners


def test_manners_that_cannot_be_are_named_with_a_way_out() -> None:
    bad = (
        Manner(vms=("nobody",)),
        Manner(vms=("*",), transfer=Transfer(compression="zstd")),
        Manner(vms=("*",), transfer=Transfer(parallel_connections=4), ladder=("hybrid",)),
    )
    found = policy_problems(Policy(manners=bad), estate(HOT))
    assert [(problem.place, problem.field) for problem in found] == [
        ("manners 1", "vms"),
        ("manners 2", "transfer"),
        ("manners 3", "ladder"),
    ]
    assert "parallel_connections" in found[1].remedy
    assert policy_problems(Policy(manners=(replace(bad[1], transfer=Transfer()),)), estate(HOT)) == ()


def test_over_a_long_line_a_cap_keeps_the_standstill_within_what_the_guest_allows() -> None:
    small = replace(guest("calm"), memory_mib=256, dirty=(PageClass(size_mib=32.0, dirty_rate_mib_s=2.0),))
    near, far = (evacuate(estate(small, rtt_ms=rtt)).moves[0] for rtt in (1.0, 100.0))
    assert near.bandwidth_mbit_s is None
    assert far.bandwidth_mbit_s is not None
    assert far.prediction is not None
    assert far.prediction.downtime_ms <= far.max_downtime_ms
    full = predict(small, Path(edges=(), bandwidth_mbit_s=1000.0, rtt_ms=100.0, loss=0.0), max_downtime_ms=300.0,
                   bandwidth_mbit_s=None)  # fmt: skip
    assert full.downtime_ms > far.max_downtime_ms
    assert far.prediction.total_time_s <= 2.0 * full.total_time_s


def test_moves_that_share_a_long_line_share_the_cap_and_a_hot_guest_gets_all_of_it() -> None:
    few = replace(guest("a"), memory_mib=256, dirty=(PageClass(size_mib=32.0, dirty_rate_mib_s=0.5),))
    line = Topology(estate(rtt_ms=20.0)).path("a", "b")
    assert line is not None
    caps = [
        equip(
            Move(id="m", vm="a", source="a", target="b", reason="", max_downtime_ms=100.0), few, line, Policy(),
            DEFAULT, share,
        ).bandwidth_mbit_s
        for share in (1000.0, 500.0)
    ]  # fmt: skip
    assert caps[0] is not None
    assert caps[1] == pytest.approx(caps[0] / 2, abs=0.1)
    hot = replace(few, dirty=(PageClass(size_mib=200.0, dirty_rate_mib_s=80.0),))
    move = Move(id="m", vm="a", source="a", target="b", reason="", max_downtime_ms=100.0)
    assert equip(move, hot, line, Policy(), DEFAULT, 1000.0).bandwidth_mbit_s is None


def test_what_calm_guests_leave_of_a_long_line_a_busier_one_gets() -> None:
    calm = [
        replace(guest(name), memory_mib=256, dirty=(PageClass(size_mib=32.0, dirty_rate_mib_s=0.5),)) for name in "xyz"
    ]
    busy = replace(guest("busy"), memory_mib=256, dirty=(PageClass(size_mib=64.0, dirty_rate_mib_s=20.0),))
    wide = replace(DEFAULT, tcp_window_mib=32.0)
    policy = Policy(limits=Limits(moves_per_host=8))
    wish = Objective(goal="evacuate", hosts=("a",))
    inventory = estate(*calm, busy, rtt_ms=80.0)
    plan = make_plan(inventory, policy, wish, time_limit_s=1.0, seed=1, parameters=wide)
    caps = {move.vm: move.bandwidth_mbit_s for move in plan.moves}
    assert {move.wave for move in plan.moves} == {1}
    assert all(caps[vm.name] is not None for vm in calm)
    assert caps["busy"] is not None
    assert caps["busy"] > 1.5 * (caps["x"] or 0.0)
    assert sum(cap or 0.0 for cap in caps.values()) < 1000.0
    assert all(move.prediction is not None and move.prediction.converges for move in plan.moves)
