"""Copies of disks on shared datastores: alone as predicted, together slower, drawn a hundred times."""

from __future__ import annotations

from dataclasses import replace

import pytest

from drsim.disk_lines import DiskLines
from drsim.inventory import Datastore, Disk, Host, HostNic, Inventory, Site, Vm
from drsim.migration import DEFAULT, Calibration, predict, predict_copy
from drsim.plan import Landing, Move
from drsim.policy import Limits
from drsim.simulate import replicate, simulate
from drsim.topology import Topology

GIB = 1024.0


def guest(number: int, host: str, mib: float = GIB, writes: float = 0.0, store: str = "") -> Vm:
    where = store or f"{host}:/old"
    disk = Disk(name="vda", datastore=where, size_mib=mib, path=f"/old/v{number}", write_rate_mib_s=writes)
    return Vm(name=f"v{number}", host=host, vcpus=1, memory_mib=256, memory_used_mib=100.0, disks=(disk,))


def estate(*vms: Vm, rate: float | None = None) -> Inventory:
    hosts = ("h1", "h2", "h3")
    return Inventory(
        sites=(Site(name="s"),),
        hosts=tuple(
            Host(name=h, site="s", cores=8, memory_mib=65536, nics=(HostNic(name="e", rate_mbit_s=10_000.0),))
            for h in hosts
        ),
        datastores=(
            Datastore(name="nas", kind="nfs", path="/nas", hosts=hosts[:2], write_rate_mib_s=rate),
            *(Datastore(name=f"{h}:/old", kind="local", path="/old", hosts=(h,)) for h in hosts),
        ),
        vms=vms,
    )


def to_nas(number: int, host: str, wave: int = 1) -> Move:
    landing = Landing(disk="vda", datastore="nas", path=f"/nas/v{number}")
    vm = f"v{number}"
    return Move(
        id=f"m{number}", vm=vm, source=host, target=host, reason="", wave=wave, copy_disks=("vda",), landings=(landing,)
    )


def test_alone_it_is_what_was_predicted() -> None:
    vm = guest(1, "h1", writes=5.0)
    found = simulate(estate(vm), [to_nas(1, "h1")], Limits()).predictions["m1"]
    assert found == replace(predict_copy(vm, ["vda"]), total_time_s=pytest.approx(found.total_time_s))
    slow = simulate(estate(vm, rate=50.0), [to_nas(1, "h1")], Limits()).predictions["m1"]
    assert slow.total_time_s == pytest.approx(predict_copy(vm, ["vda"], most_mib_s=50.0).total_time_s)


def test_copies_of_two_hosts_share_the_datastore_and_what_its_guests_leave_of_it() -> None:
    pair = [to_nas(1, "h1"), to_nas(2, "h2")]
    both = simulate(estate(guest(1, "h1"), guest(2, "h2"), rate=100.0), pair, Limits())
    assert both.makespan_s == pytest.approx(DEFAULT.copy_s + 2 * GIB / 100.0)
    busy = guest(3, "h1", writes=40.0, store="nas")
    slower = simulate(estate(guest(1, "h1"), guest(2, "h2"), busy, rate=100.0), pair, Limits())
    assert slower.makespan_s == pytest.approx(DEFAULT.copy_s + 2 * GIB / 60.0)
    full = replace(busy, disks=(replace(busy.disks[0], write_rate_mib_s=500.0),))
    least = simulate(estate(guest(1, "h1"), full, rate=100.0), pair[:1], Limits())
    assert least.makespan_s == pytest.approx(DEFAULT.copy_s + GIB / 10.0)


def test_copies_of_one_host_share_what_it_copies() -> None:
    pair = [to_nas(1, "h1"), to_nas(2, "h1")]
    both = simulate(estate(guest(1, "h1"), guest(2, "h1")), pair, Limits())
    assert both.makespan_s == pytest.approx(DEFAULT.copy_s + 2 * GIB / DEFAULT.copy_mib_s)
    use = both.link_use.to_frame()
    peak = use[use["edge"] == "disks of h1"]["used_mbit_s"].max()
    assert peak / (8 * 2**20 / 1e6) == pytest.approx(DEFAULT.copy_mib_s)


def test_disks_that_travel_along_wait_for_their_datastore_and_memory_does_not() -> None:
    vm = guest(1, "h3", mib=GIB)
    move = Move(
        id="m1", vm="v1", source="h3", target="h1", reason="", copy_disks=("vda",),
        landings=(Landing(disk="vda", datastore="nas", path="/nas/v1"),),
    )  # fmt: skip
    path = Topology(estate(vm)).path("h3", "h1")
    assert path is not None
    alone = predict(vm, path, max_downtime_ms=300.0, bandwidth_mbit_s=None, copy_disks=["vda"])
    free = simulate(estate(vm), [move], Limits()).predictions["m1"]
    assert free.total_time_s == pytest.approx(alone.total_time_s)
    slow = simulate(estate(vm, rate=50.0), [move], Limits()).predictions["m1"]
    line_mib_s = 10_000.0 * DEFAULT.goodput * 1e6 / 8 / 2**20
    assert slow.total_time_s - free.total_time_s == pytest.approx(GIB / 50.0 - GIB / line_mib_s, rel=1e-3)
    assert slow.downtime_ms == pytest.approx(free.downtime_ms)


def test_a_hundred_draws_hold_the_prediction_and_are_wide_where_nothing_was_measured() -> None:
    vms = (guest(1, "h1"), guest(2, "h2"), guest(3, "h3", store="h1:/old"))
    moves = [to_nas(1, "h1"), to_nas(2, "h2", wave=2)]
    said = simulate(estate(*vms, rate=100.0), moves, Limits()).makespan_s
    drawn = replicate(estate(*vms, rate=100.0), moves, Limits(), Calibration(), replications=100, seed=1)
    low, middle, high = (drawn.makespan_percentile_s(at) for at in (5, 50, 95))
    assert middle == pytest.approx(said, rel=0.35)
    assert high / low > 8.0
    sure = Calibration(residuals={"copy_total_time_s": (-0.05, 0.0, 0.05)})
    narrow = replicate(estate(*vms, rate=100.0), moves, Limits(), sure, replications=100, seed=1)
    assert narrow.makespan_percentile_s(95) / narrow.makespan_percentile_s(5) < 1.3
    assert (narrow.downtime_ms == 0.0).all()
    assert narrow.chance_within(said * 1.5) == 1.0


def test_evenly_shared_rates_are_told_for_recordings() -> None:
    pair = [to_nas(1, "h1"), to_nas(2, "h2")]
    lines = DiskLines(estate(guest(1, "h1"), guest(2, "h2"), rate=100.0), pair, 200.0)
    assert lines.datastores_mib_s(pair[0]) == 50.0
    assert DiskLines(estate(guest(1, "h1")), pair[:1], 200.0).datastores_mib_s(pair[0]) == float("inf")
