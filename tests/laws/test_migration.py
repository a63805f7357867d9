"""Laws of one migration.

QEMU looks at what is left only at the end of a turn (50 ms, or 100 ms under a cap), so a load a little higher may be
looked at a turn earlier in its course: the laws of time hold to a few such turns.
"""

from __future__ import annotations

from dataclasses import replace

from hypothesis import assume, given
from hypothesis import strategies as st

from drsim.inventory import PageClass, Vm
from drsim.migration import DEFAULT, predict
from drsim.plan import Prediction
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


@given(classes, st.floats(0.0, 100.0), st.floats(0.0, 100.0))
def test_unique_dirtying_grows_ever_more_slowly(dirty: tuple[PageClass, ...], a: float, b: float) -> None:
    """Monotone, bounded by size and by writes, and concave: two intervals find no less than one twice as long."""
    one, two = unique_dirty_mib(dirty, a), unique_dirty_mib(dirty, a + b)
    assert two >= one
    assert two <= one + unique_dirty_mib(dirty, b) + 1e-9
    assert two <= sum(c.size_mib for c in dirty) + 1e-9
    assert two <= sum(c.dirty_rate_mib_s for c in dirty) * (a + b) + 1e-9
