"""Modes and switches: what each changes, against what can be worked out by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from drsim.errors import PlanError
from drsim.inventory import PageClass, Vm
from drsim.migration import DEFAULT, Options, Parameters, draws, predict
from drsim.plan import Prediction
from drsim.transfer import Transfer
from drsim.units import MIB_S_PER_MBIT_S
from tests.migration.guests import disk, guest, line

BARE = replace(
    DEFAULT, prepare_s=0.0, prepare_rtts=0.0, confirm_s=0.0, confirm_rtts=0.0, switchover_ms=0.0, switchover_rtts=0.0,
    libvirt_ms=0.0, postcopy_ms=0.0, postcopy_resume_s=0.0, discard_us=0.0,
)  # fmt: skip
RATE = 1000.0 * 0.941 * MIB_S_PER_MBIT_S
HEADERS = 4104 / 4096
WILD = guest(dirty=(PageClass(size_mib=2000, dirty_rate_mib_s=400),))
"""Outruns a line of 1 Gbit/s."""


def run(
    vm: Vm | None = None, parameters: Parameters = BARE, rate: float = 1000.0, rtt_ms: float = 0.0, **of: Any
) -> Prediction:
    limits = {key: of.pop(key) for key in ("bandwidth_mbit_s", "copy_disks") if key in of}
    arguments = {"max_downtime_ms": 300.0, "bandwidth_mbit_s": None, **limits}
    return predict(vm or guest(), line(rate, rtt_ms), parameters=parameters, options=Options(**of), **arguments)


def test_postcopy_sends_memory_once_whatever_the_guest_does() -> None:
    quiet, wild = run(mode="postcopy"), run(WILD, mode="postcopy")
    assert wild.sent_mib == pytest.approx(4096 * HEADERS + BARE.device_mib) == quiet.sent_mib
    assert wild.total_time_s == pytest.approx(wild.sent_mib / RATE, rel=1e-6)
    assert wild.converges
    assert wild.downtime_ms < 10.0
    assert wild.faults > 1000
    assert quiet.faults == 0


def test_hybrid_begins_with_its_passes() -> None:
    one, three = run(WILD, mode="hybrid", precopy_passes=1), run(WILD, mode="hybrid", precopy_passes=3)
    assert 4096 < one.sent_mib < three.sent_mib
    assert one.converges
    assert one.downtime_ms < 10.0
    # A guest that fits after its passes needs no post-copy.
    assert run(mode="hybrid").faults == 0
    assert run(mode="hybrid").sent_mib == run().sent_mib


def test_stale_pages_have_to_be_named_while_the_guest_stands_still() -> None:
    """1 us for each of the pages of 2000 MiB that were sent and are dirty again: 256,000 at most."""
    slow = replace(BARE, discard_us=1.0)
    extra_ms = run(WILD, slow, mode="hybrid").downtime_ms - run(WILD, mode="hybrid").downtime_ms
    assert 0.8 * 512.0 < extra_ms <= 512.0


def test_postcopy_after_a_time_has_sent_what_went_until_then() -> None:
    late = run(guest(dirty=(PageClass(size_mib=500, dirty_rate_mib_s=100),)), mode="postcopy", postcopy_after_s=10.0)
    assert late.total_time_s > 10.0
    assert 4096 * HEADERS < late.sent_mib < 4096 * HEADERS + 501


def test_a_far_page_costs_the_guest_a_round_trip() -> None:
    vm = guest(dirty=(PageClass(size_mib=1000, dirty_rate_mib_s=50),))
    near, far = run(vm, mode="postcopy"), run(vm, mode="postcopy", rtt_ms=50.0, rate=10_000.0)
    assert near.held_back_s < 0.2 * near.total_time_s
    # Two vCPUs that wait 50 ms for each page have time for 40 pages a second, and hardly any for work.
    assert far.faults < 40.5 * far.total_time_s
    assert far.held_back_s > 0.9 * far.total_time_s


def test_without_a_connection_of_its_own_a_page_waits_in_the_queue() -> None:
    vm = guest(dirty=(PageClass(size_mib=1000, dirty_rate_mib_s=50),))
    assert run(vm, mode="postcopy", postcopy_preempt=False).held_back_s > 2 * run(vm, mode="postcopy").held_back_s


def test_a_cap_on_the_push_lengthens_it() -> None:
    assert run(mode="postcopy", postcopy_bandwidth_mbit_s=100.0).total_time_s == pytest.approx(
        4096 * HEADERS / (100.0 * MIB_S_PER_MBIT_S), rel=0.01
    )


def test_auto_converge_brings_a_wild_guest_to_rest() -> None:
    """At 80 % of their time taken, 400 MiB/s become 80, less than the line carries."""
    plain, slowed = run(WILD), run(WILD, auto_converge=True)
    assert not plain.converges
    assert slowed.converges
    assert 0.7 <= slowed.throttle <= 0.99
    assert slowed.held_back_s > 1.0
    assert slowed.downtime_ms < 310.0


def test_idle_cpu_time_is_taken_first() -> None:
    """A guest that wants half of its vCPUs' time is not slowed before half is taken."""
    half = replace(WILD, cpu_demand_cores=1.0)
    assert run(half, auto_converge=True).throttle > run(WILD, auto_converge=True).throttle


def test_a_quiet_guest_is_not_throttled() -> None:
    assert run(auto_converge=True).throttle == 0.0
    assert run(auto_converge=True).total_time_s == pytest.approx(run().total_time_s)


def test_a_dirty_limit_holds_each_vcpu() -> None:
    held = run(WILD, dirty_limit_mib_s=20.0)
    assert held.converges
    assert held.throttle == 0.0
    assert held.held_back_s > 1.0


def test_multifd_is_limited_by_the_line_only() -> None:
    one, four = run(rate=40_000.0), run(rate=40_000.0, parallel_connections=4)
    assert one.total_time_s > 2 * four.total_time_s
    assert four.sent_mib == pytest.approx(4096 * (4096 + 10.5) / 4096 + BARE.device_mib, rel=1e-6)


def test_several_connections_have_several_windows() -> None:
    """3 MiB a round trip each."""
    one, four = run(rate=10_000.0, rtt_ms=100.0), run(rate=10_000.0, rtt_ms=100.0, parallel_connections=4)
    assert one.total_time_s / four.total_time_s == pytest.approx(4.0, rel=0.1)


def test_zstd_trades_time_of_a_core_for_traffic() -> None:
    slow, fast = ({"parallel_connections": 2, "compression": "zstd", "rate": rate} for rate in (1000.0, 40_000.0))
    assert run(**slow).sent_mib == pytest.approx(4096 * (0.34 + 10.5 / 4096) + BARE.device_mib, rel=1e-6)
    assert run(**slow).total_time_s < 0.4 * run().total_time_s
    assert run(**fast).total_time_s > run(rate=40_000.0, parallel_connections=2).total_time_s


def test_encryption_takes_its_part_of_the_thread() -> None:
    """18 and 31 Gbit/s in turn: 11.4 Gbit/s."""
    both = run(rate=40_000.0, tls=True)
    expected = 4096 * HEADERS / (1.0 / (1.0 / 18_000.0 + 1.0 / 31_000.0) * MIB_S_PER_MBIT_S)
    assert both.total_time_s == pytest.approx(expected, rel=0.02)
    assert run(tls=True).total_time_s == pytest.approx(run().total_time_s)


def test_a_tunnel_is_slow() -> None:
    assert run(rate=10_000.0, tunnelled=True).total_time_s > 4 * run(rate=10_000.0).total_time_s


def test_xbzrle_pays_for_pages_that_its_cache_still_knows() -> None:
    small = guest(dirty=(PageClass(size_mib=60, dirty_rate_mib_s=300),))
    large = guest(dirty=(PageClass(size_mib=1500, dirty_rate_mib_s=300),))
    saved = [1.0 - run(vm, compression="xbzrle").sent_mib / run(vm).sent_mib for vm in (small, large)]
    assert saved[0] > 0.0
    again = [run(vm).sent_mib - 4096 * HEADERS for vm in (small, large)]
    assert saved[0] * run(small).sent_mib / again[0] > saved[1] * run(large).sent_mib / again[1]


def test_writes_that_end_on_both_ends_let_a_copy_come_to_rest() -> None:
    vm = guest(disks=(disk(write_rate_mib_s=200.0),))
    assert not run(vm, copy_disks=["vda"]).converges
    assert run(vm, copy_disks=["vda"], synchronous_writes=True).converges


def test_three_downtimes() -> None:
    """QEMU's is part of libvirt's, which is part of what a client misses."""
    said = run(parameters=DEFAULT, rtt_ms=10.0)
    assert said.qemu_downtime_ms is not None
    assert said.client_gap_ms is not None
    assert said.downtime_ms - said.qemu_downtime_ms == pytest.approx(37.0 + 0.7 * 10.0)
    assert said.client_gap_ms - said.downtime_ms == pytest.approx(50.0 + 10.0 / 2)


def test_a_guest_at_the_edge_gets_there_in_a_quiet_moment() -> None:
    """Its average never fits; with a spread of what it dirties some of the outcomes do."""
    edge = guest(dirty=(PageClass(size_mib=42, dirty_rate_mib_s=3000),))
    limits: dict[str, Any] = {"max_downtime_ms": 300.0, "bandwidth_mbit_s": None, "parameters": BARE}
    assert not predict(edge, line(), **limits).converges
    found = draws(edge, line(), **limits, spread_mib=15.0)
    assert any(one.converges for one in found)
    assert [one.total_time_s for one in found] == sorted(one.total_time_s for one in found)
    assert found == draws(edge, line(), **limits, spread_mib=15.0)


@pytest.mark.parametrize(
    ("of", "word"),
    [
        ({"mode": "teleport"}, "mode"),
        ({"compression": "lzma"}, "compression"),
        ({"compression": "zstd"}, "needs multifd"),
        ({"compression": "xbzrle", "parallel_connections": 2}, "xbzrle"),
        ({"parallel_connections": 300}, "parallel_connections"),
        ({"precopy_passes": 0}, "precopy_passes"),
        ({"postcopy_bandwidth_mbit_s": 0.0}, "postcopy_bandwidth_mbit_s"),
        ({"auto_converge": True, "dirty_limit_mib_s": 1.0}, "dirty_limit_mib_s"),
    ],
)
def test_what_qemu_would_refuse_is_refused(of: dict[str, Any], word: str) -> None:
    with pytest.raises(PlanError, match=word):
        Options(**of)


def test_options_of_a_move() -> None:
    transfer = Transfer(mode="hybrid", precopy_passes=4, transport="tunnelled", auto_converge=True)
    found = Options.of(transfer, bandwidth_mbit_s=200.0)
    assert (found.mode, found.precopy_passes, found.tunnelled, found.auto_converge) == ("hybrid", 4, True, True)
    assert found.postcopy_bandwidth_mbit_s == 200.0
    assert Options.of(Transfer(), bandwidth_mbit_s=200.0) == Options()
