"""One migration alone: what each part of it costs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from drsim.errors import PlanError
from drsim.inventory import Datastore, Host, Inventory, PageClass, Site
from drsim.migration import DEFAULT, Parameters, copied_disks, predict, trace
from drsim.plan import Prediction
from drsim.units import MIB_S_PER_MBIT_S
from tests.migration.guests import disk, guest, line

BARE = replace(
    DEFAULT, prepare_s=0.0, prepare_rtts=0.0, confirm_s=0.0, confirm_rtts=0.0, switchover_ms=0.0, switchover_rtts=0.0
)
"""No fixed costs: what is left is data and time on the line."""

RATE = 1000.0 * 0.941 * MIB_S_PER_MBIT_S
HEADERS = 4104 / 4096


def run(vm=None, path=None, parameters: Parameters = BARE, **more) -> Prediction:  # type: ignore[no-untyped-def]
    arguments = {"max_downtime_ms": 300.0, "bandwidth_mbit_s": None, **more}
    return predict(vm or guest(), path or line(), parameters=parameters, **arguments)


def test_a_quiet_guest_costs_its_memory_once() -> None:
    result = run()
    assert result.sent_mib == pytest.approx(4096 * HEADERS + DEFAULT.device_mib)
    assert result.total_time_s == pytest.approx(result.sent_mib / RATE)
    assert result.rounds == 2
    assert result.converges


def test_downtime_is_what_fits_the_limit() -> None:
    """The last look comes at most one turn (50 ms) after the rest fits 300 ms."""
    assert 250.0 <= run().downtime_ms <= 305.0
    assert run(max_downtime_ms=1000.0).downtime_ms > 950.0


def test_fixed_costs_are_added() -> None:
    bare, default = run(), run(parameters=DEFAULT)
    assert default.total_time_s - bare.total_time_s == pytest.approx(0.5 + 0.25 + 0.04)
    assert default.downtime_ms - bare.downtime_ms == pytest.approx(40.0)


def test_zero_pages_cost_nine_bytes_and_a_look() -> None:
    result = run(guest(used_mib=1024.0))
    zero_pages = (4096 - 1024) * 256
    assert result.sent_mib == pytest.approx(1024 * HEADERS + zero_pages * 9 / 2**20 + DEFAULT.device_mib)
    quick = run(guest(used_mib=1024.0), parameters=replace(BARE, zero_scan_pages_s=1e12))
    looks_s = zero_pages / BARE.zero_scan_pages_s
    assert 0.9 * looks_s < result.total_time_s - quick.total_time_s <= looks_s


def test_a_cap_slows_all_but_the_switchover() -> None:
    """libvirt's cap leaves completion alone: QEMU lifts it when the guest stands still."""
    capped = run(bandwidth_mbit_s=200.0)
    slow = 200.0 * MIB_S_PER_MBIT_S * BARE.cap_overshoot
    assert capped.total_time_s == pytest.approx(capped.sent_mib / slow, rel=0.01)
    assert capped.downtime_ms < 0.3 * run().downtime_ms


def test_a_smaller_share_of_the_line_is_a_slower_line() -> None:
    assert run(rate_mbit_s=250.0) == run(path=line(250.0))
    assert run(rate_mbit_s=5000.0) == run()


def test_the_window_bounds_a_long_line() -> None:
    """3 MiB a round trip of 100 ms, whatever the line."""
    result = run(path=line(10_000.0, rtt_ms=100.0))
    assert result.total_time_s == pytest.approx(result.sent_mib / 30.0, rel=0.02)
    assert run(path=line(40_000.0, rtt_ms=100.0)).total_time_s == pytest.approx(result.total_time_s)


def test_loss_bounds_a_long_line() -> None:
    """MSS / RTT * sqrt(1.5 / p): 1448 B a 20 ms * sqrt(15,000) = 8.87 MB/s at one packet in ten thousand."""
    result = run(path=line(10_000.0, rtt_ms=20.0, loss=1e-4))
    assert result.total_time_s == pytest.approx(result.sent_mib * 2**20 / 8.867e6, rel=0.01)


def test_slow_start_is_paid_once() -> None:
    """From 10 segments to a window of 3 MiB: log2(217) = 7.8 round trips, less the data sent meanwhile."""
    far = run(guest(512), path=line(10_000.0, rtt_ms=100.0))
    assert far.total_time_s - far.sent_mib / 30.0 == pytest.approx(0.1 * (7.76 - 1.44), rel=0.02)


def test_a_busy_guest_is_sent_more_than_once() -> None:
    busy = run(guest(dirty=(PageClass(size_mib=300, dirty_rate_mib_s=50),)))
    assert busy.converges
    assert busy.rounds > 3
    assert busy.sent_mib > 4096 * HEADERS + 200


def test_a_guest_that_outruns_the_line_is_flagged_and_forced() -> None:
    wild = guest(dirty=(PageClass(size_mib=2000, dirty_rate_mib_s=400),))
    result = run(wild)
    assert not result.converges
    assert result.downtime_ms > 1000.0
    assert result.total_time_s < 3 * run().total_time_s
    assert run(wild, path=line(10_000.0)).converges


def test_a_small_hot_set_converges_however_fast_it_is_written() -> None:
    hot = run(guest(dirty=(PageClass(size_mib=20, dirty_rate_mib_s=5000),)))
    assert hot.converges


def test_disks_go_first_and_are_mirrored_until_the_end() -> None:
    still = run(guest(disks=(disk(),)), copy_disks=["vda"])
    assert still.sent_mib - run().sent_mib == pytest.approx(1000.0)
    written = run(guest(disks=(disk(write_rate_mib_s=20.0),)), copy_disks=["vda"])
    first_s = 1000.0 / (RATE - 20.0)
    memory_s = 4096 * HEADERS / (RATE - 20.0)
    assert written.total_time_s == pytest.approx(first_s + memory_s, rel=0.01)
    assert written.converges


def test_a_disk_nobody_measured_is_copied_whole() -> None:
    whole = run(guest(disks=(disk(used_mib=None),)), copy_disks=["vda"])
    assert whole.sent_mib - run().sent_mib == pytest.approx(2000.0)


def test_a_mirror_that_never_gets_ready_is_flagged() -> None:
    assert not run(guest(disks=(disk(write_rate_mib_s=200.0),)), copy_disks=["vda"]).converges


def test_an_unknown_disk_is_refused() -> None:
    with pytest.raises(PlanError, match=r"copy_disks.*vdz is not among its disks"):
        run(guest(disks=(disk(),)), copy_disks=["vdz"])


def test_a_trace_ends_where_the_prediction_does() -> None:
    vm = guest(dirty=(PageClass(size_mib=300, dirty_rate_mib_s=50),), disks=(disk(),))
    points = trace(vm, line(), max_downtime_ms=300.0, bandwidth_mbit_s=None, copy_disks=["vda"])
    total = run(vm, parameters=DEFAULT, copy_disks=["vda"])
    assert points[0].phase == "prepare"
    assert (points[-1].phase, points[-1].time_s) == ("done", pytest.approx(total.total_time_s))
    assert points[-1].sent_mib == pytest.approx(total.sent_mib)
    assert list(dict.fromkeys(p.phase for p in points)) == [
        *("prepare", "disks", "memory", "switchover", "resume", "confirm", "done")
    ]
    assert [p.time_s for p in points] == sorted(p.time_s for p in points)
    assert [p.sent_mib for p in points] == sorted(p.sent_mib for p in points)


def test_disks_that_the_target_does_not_see_are_copied() -> None:
    inventory = Inventory(
        sites=(Site(name="s"),),
        datastores=(
            Datastore(name="local", kind="local", hosts=("h1",)),
            Datastore(name="san", kind="nfs", hosts=("h1", "h2")),
        ),
    )
    vm = guest(disks=(disk(), replace(disk(name="vdb"), datastore="san"), replace(disk(name="vdc"), datastore="gone")))
    target = Host(name="h2", site="s", cores=4, memory_mib=1024)
    assert copied_disks(vm, target, inventory) == ("vda", "vdc")
