"""Laws of one migration.

QEMU looks at what is left only at the end of a turn (50 ms, or 100 ms under a cap), so a load a little higher may be
looked at a turn earlier in its course: the laws of time hold to a few such turns.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from drsim.inventory import PageClass, Vm
from drsim.migration import DEFAULT, Migration, Options, predict
from drsim.plan import Prediction
from drsim.units import PAGE_BYTES
from drsim.workload import unique_dirty_mib
from tests.migration.guests import disk, guest, line

TURNS_S = 0.2
"""Four turns of 50 ms."""

classes = st.lists(
    st.builds(PageClass, size_mib=st.floats(1.0, 800.0), dirty_rate_mib_s=st.floats(0.0, 60.0)), min_size=1, max_size=3
).map(tuple)
vms = st.builds(
    lambda memory, share, dirty, used, writes: guest(
        memory, dirty, used_mib=max(memory * share, sum(c.size_mib for c in dirty)), disks=(disk(used, writes),)
    ),
    st.integers(2400, 32_768),
    st.floats(0.1, 1.0),
    classes,
    st.floats(0.0, 2000.0),
    st.floats(0.0, 10.0),
)
rates = st.floats(200.0, 25_000.0)
rtts = st.floats(0.0, 100.0)
grows = st.floats(1.0, 3.0)


def run(vm: Vm, rate: float, rtt: float) -> Prediction:
    return predict(
        vm,
        line(rate, rtt),
        max_downtime_ms=300.0,
        bandwidth_mbit_s=None,
        copy_disks=["vda"],
        parameters=replace(DEFAULT, tcp_window_mib=64.0),
    )


def no_shorter(longer: Prediction, shorter: Prediction) -> None:
    """Time is compared between migrations that converge: one that is ended by force may well end sooner."""
    assume(longer.converges and shorter.converges)
    assert longer.total_time_s >= shorter.total_time_s - TURNS_S


@given(vms, rates, rtts)
def test_everything_is_sent_at_least_once_and_time_is_finite(vm: Vm, rate: float, rtt: float) -> None:
    result = run(vm, rate, rtt)
    assert result.sent_mib >= vm.data_mib + vm.disks[0].used_mib  # type: ignore[operator]
    assert 0.0 < result.downtime_ms / 1e3 < result.total_time_s < float("inf")
    assert result.rounds >= 2


@given(
    vms,
    rates,
    rtts,
    st.lists(st.tuples(st.floats(0.05, 1.0), st.floats(0.01, 5.0)), min_size=1, max_size=8),
    st.booleans(),
)
def test_what_is_sent_is_memory_and_what_was_dirtied_less_the_zeros(
    vm: Vm, rate: float, rtt: float, shares: list[tuple[float, float]], steered: bool
) -> None:
    """Whatever share of its line it gets, and however often that changes."""
    run = Migration(
        vm,
        line(rate, rtt),
        max_downtime_ms=300.0,
        bandwidth_mbit_s=None,
        copy_disks=(),
        parameters=DEFAULT,
        line_mbit_s=rate,
        most_downtime_ms=1000.0 if steered else None,
    )
    for share, most_s in itertools.cycle(shares):
        if run.done or run.phase == "stalled":
            break
        granted = run.limit_mib_s * share
        wait_s = run.wait_s(granted)
        run.advance(min(wait_s, most_s), granted)
        if wait_s <= most_s:
            run.happen()
    zero_mib = vm.memory_mib - vm.data_mib
    whole = (
        vm.data_mib * (1.0 + DEFAULT.page_header_bytes / PAGE_BYTES) + zero_mib * DEFAULT.zero_page_bytes / PAGE_BYTES
    )
    if run.phase == "stalled":
        assert run.sent_mib + run.remaining_mib == pytest.approx(whole + run.dirtied_mib, rel=1e-6)
    else:
        assert run.sent_mib == pytest.approx(whole + run.dirtied_mib + DEFAULT.device_mib, rel=1e-6)


@given(vms, rates, rtts, grows)
def test_more_data_never_shortens(vm: Vm, rate: float, rtt: float, factor: float) -> None:
    more = replace(vm, memory_used_mib=min(vm.data_mib * factor, vm.memory_mib))
    no_shorter(run(more, rate, rtt), run(vm, rate, rtt))


@given(vms, rates, rtts, grows)
def test_more_dirtying_never_shortens(vm: Vm, rate: float, rtt: float, factor: float) -> None:
    more = replace(vm, dirty=tuple(replace(c, dirty_rate_mib_s=c.dirty_rate_mib_s * factor) for c in vm.dirty))
    no_shorter(run(more, rate, rtt), run(vm, rate, rtt))


@given(vms, rates, rtts, grows)
def test_a_longer_way_never_shortens(vm: Vm, rate: float, rtt: float, factor: float) -> None:
    no_shorter(run(vm, rate, rtt * factor), run(vm, rate, rtt))


@given(vms, rates, rtts, grows)
def test_a_faster_line_never_lengthens(vm: Vm, rate: float, rtt: float, factor: float) -> None:
    no_shorter(run(vm, rate, rtt), run(vm, rate * factor, rtt))


def post(vm: Vm, rate: float, rtt: float, **of: Any) -> Prediction:
    """By post-copy: memory only, nothing is chance and everything ends."""
    return predict(
        vm,
        line(rate, rtt),
        max_downtime_ms=300.0,
        bandwidth_mbit_s=None,
        parameters=replace(DEFAULT, tcp_window_mib=64.0),
        options=Options(mode="postcopy", **of),
    )


def data_wire(vm: Vm) -> float:
    """What sending the guest's memory once takes, MiB: its data with headers, its zeros as such."""
    data = max(vm.data_mib, sum(c.size_mib for c in vm.dirty))
    return data * 4104 / 4096 + max(0.0, vm.memory_mib - data) * 9 / 4096 + DEFAULT.device_mib


@given(vms, rates, rtts)
def test_post_copy_never_sends_a_page_twice(vm: Vm, rate: float, rtt: float) -> None:
    result = post(vm, rate, rtt)
    assert vm.data_mib <= result.sent_mib <= data_wire(vm) * (1 + 1e-9)
    assert result.converges
    assert 0.0 <= result.faults <= sum(c.size_mib for c in vm.dirty) * 256 + 1
    assert 0.0 <= result.held_back_s <= result.total_time_s


@given(vms, rates, rtts, grows)
def test_laws_of_post_copy(vm: Vm, rate: float, rtt: float, factor: float) -> None:
    """Exact: more data or latency never shortens, a faster line never lengthens, dirtying changes nothing."""
    result = post(vm, rate, rtt)
    more = replace(vm, memory_used_mib=min(vm.data_mib * factor, vm.memory_mib))
    busier = replace(vm, dirty=tuple(replace(c, dirty_rate_mib_s=c.dirty_rate_mib_s * factor) for c in vm.dirty))
    assert post(more, rate, rtt).total_time_s >= result.total_time_s - 1e-9
    assert post(vm, rate, rtt * factor).total_time_s >= result.total_time_s - 1e-9
    assert post(vm, rate * factor, rtt).total_time_s <= result.total_time_s + 1e-9
    assert abs(post(busier, rate, rtt).total_time_s - result.total_time_s) < 1e-6


@given(vms, rates, st.integers(1, 5))
def test_hybrid_sends_each_page_once_more_than_its_passes_at_most(vm: Vm, rate: float, passes: int) -> None:
    options = Options(mode="hybrid", precopy_passes=passes)
    result = predict(vm, line(rate), max_downtime_ms=300.0, bandwidth_mbit_s=None, options=options)
    dirty = sum(c.size_mib for c in vm.dirty) * 4104 / 4096
    assert data_wire(vm) * (1 - 1e-9) <= result.sent_mib <= data_wire(vm) + (passes + 1) * dirty
    assert result.converges


@given(vms, rates, st.sampled_from([{"tls": True}, {"tunnelled": True}, {"parallel_connections": 4}]))
def test_switches_keep_the_amount_and_only_change_the_time(vm: Vm, rate: float, of: dict[str, Any]) -> None:
    """Encryption and tunnels never make a migration faster, connections never slower."""
    plain, other = post(vm, rate, 0.0), post(vm, rate, 0.0, **of)
    assert abs(other.sent_mib / plain.sent_mib - 1.0) < 0.001
    if "parallel_connections" in of:
        assert other.total_time_s <= plain.total_time_s * 1.001
    else:
        assert other.total_time_s >= plain.total_time_s - 1e-9


@given(vms, rates, st.floats(0.3, 1.0))
def test_what_auto_converge_brings_to_rest_costs_the_guest_time(vm: Vm, rate: float, busy: float) -> None:
    wild = replace(
        vm,
        cpu_demand_cores=busy * vm.vcpus,
        dirty=tuple(replace(c, dirty_rate_mib_s=c.dirty_rate_mib_s * 20) for c in vm.dirty),
    )
    limits: dict[str, Any] = {"max_downtime_ms": 300.0, "bandwidth_mbit_s": None}
    plain = predict(wild, line(rate), **limits)
    slowed = predict(wild, line(rate), **limits, options=Options(auto_converge=True))
    assert 0.0 <= slowed.throttle <= 0.99
    assert slowed.converges or not plain.converges
    assert slowed.held_back_s <= slowed.total_time_s
    assert slowed.throttle > 0.0 or slowed.held_back_s == 0.0


@given(classes, st.floats(0.0, 100.0), st.floats(0.0, 100.0))
def test_unique_dirtying_grows_ever_more_slowly(dirty: tuple[PageClass, ...], a: float, b: float) -> None:
    """Monotone, bounded by size and by writes, and concave: two intervals find no less than one twice as long."""
    one, two = unique_dirty_mib(dirty, a), unique_dirty_mib(dirty, a + b)
    assert two >= one
    assert two <= one + unique_dirty_mib(dirty, b) + 1e-9
    assert two <= sum(c.size_mib for c in dirty) + 1e-9
    assert two <= sum(c.dirty_rate_mib_s for c in dirty) * (a + b) + 1e-9
