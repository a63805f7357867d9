"""SimGrid's live-migration plugin, one pre-copy alone: a guest of 4 GiB on a line of 1 Gbit/s.

Measured with libsimgrid 3.32: intensity is the share of the migration speed of 119 MiB/s at which the guest dirties its
memory; the working set is 90 % of memory and the downtime limit 30 ms, both its defaults.
"""

from __future__ import annotations

import pytest

from drsim.inventory import PageClass
from drsim.migration import SIMGRID, predict
from tests.migration.guests import guest, line


@pytest.mark.parametrize(
    ("intensity", "total_s", "downtime_ms"), [(0.30, 51.262, 14.2), (0.01, 35.799, 7.7), (0.0, 35.428, 3.9)]
)
def test_single_precopy(intensity: float, total_s: float, downtime_ms: float) -> None:
    vm = guest(dirty=(PageClass(size_mib=0.9 * 4096, dirty_rate_mib_s=intensity * 119.0),))
    result = predict(vm, line(1000.0), max_downtime_ms=30.0, bandwidth_mbit_s=None, parameters=SIMGRID)
    assert result.total_time_s == pytest.approx(total_s, rel=0.0005)
    assert result.downtime_ms == pytest.approx(downtime_ms, abs=1.0)
    assert result.converges
