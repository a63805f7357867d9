"""The event loop against formulas that can be written down."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from drsim.inventory import PageClass
from drsim.migration import DEFAULT, SIMGRID, predict
from drsim.units import MIB_S_PER_MBIT_S
from tests.migration.guests import QUIET, disk, guest, line

IDEAL = replace(SIMGRID, prepare_s=0.0, switchover_ms=0.0)
"""Full passes, linear dirtying, no overheads: the textbook's pre-copy."""

RATE = 1000.0 * 0.97 * MIB_S_PER_MBIT_S


@pytest.mark.parametrize("ratio", [0.1, 0.5, 0.8])
def test_passes_are_a_geometric_series(ratio: float) -> None:
    """V_i = V_0 r^i until it fits the limit: V_0 (1 - r^(n+1)) / (1 - r) in all."""
    vm = guest(4096, dirty=(PageClass(size_mib=4096, dirty_rate_mib_s=ratio * RATE),))
    result = predict(vm, line(), max_downtime_ms=300.0, bandwidth_mbit_s=None, parameters=IDEAL)
    passes = math.ceil(math.log(0.3 * RATE / 4096) / math.log(ratio))
    expected = 4096 * (1 - ratio ** (passes + 1)) / (1 - ratio)
    assert result.rounds == passes + 1
    assert result.sent_mib == pytest.approx(expected, rel=1e-9)
    assert result.total_time_s == pytest.approx(expected / RATE, rel=1e-9)
    assert result.downtime_ms == pytest.approx(4096 * ratio**passes / RATE * 1e3, rel=1e-9)


@pytest.mark.parametrize(("ratio", "converges"), [(0.98, True), (1.02, False)])
def test_linear_dirtying_converges_exactly_if_it_is_slower_than_the_line(ratio: float, converges: bool) -> None:
    vm = guest(4096, dirty=(PageClass(size_mib=4096, dirty_rate_mib_s=ratio * RATE),))
    result = predict(vm, line(), max_downtime_ms=300.0, bandwidth_mbit_s=None, parameters=IDEAL)
    assert result.converges is converges


def test_a_hot_set_within_the_limit_is_always_small_enough() -> None:
    """A set of 30 MiB fits 300 ms at 116 MiB/s however often it is rewritten."""
    hot = guest(2048, dirty=(PageClass(size_mib=30, dirty_rate_mib_s=1e5),))
    result = predict(hot, line(), max_downtime_ms=300.0, bandwidth_mbit_s=None, parameters=IDEAL)
    assert result.converges
    assert result.downtime_ms == pytest.approx(30 / RATE * 1e3, rel=0.01)


@pytest.mark.parametrize("writes", [0.0, 20.0, 60.0])
def test_a_mirror_is_ready_after_size_over_what_writes_leave(writes: float) -> None:
    """Background mirror: T = S / (B - w); then memory shares the line with w, fairly: w gets half at most."""
    bare = replace(DEFAULT, prepare_s=0.0, confirm_s=0.0, switchover_ms=0.0, device_mib=0.0, mirror_lag_s=0.0)
    rate = 1000.0 * 0.941 * MIB_S_PER_MBIT_S
    vm = guest(1024, dirty=QUIET, disks=(disk(1500.0, writes),))
    result = predict(vm, line(), max_downtime_ms=1e-3, bandwidth_mbit_s=None, copy_disks=["vda"], parameters=bare)
    expected = 1500.0 / (rate - writes) + 1024 * 4104 / 4096 / (rate - min(writes, rate / 2))
    assert result.total_time_s == pytest.approx(expected, rel=2e-3)
