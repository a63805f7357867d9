"""The curve of unique dirty memory."""

from __future__ import annotations

import math

import numpy as np
import pytest

from drsim.inventory import PageClass
from drsim.workload import swept_dirty_mib, unique_dirty_mib, unique_dirty_mib_array
from drsim.workload.curve import swept_share, swept_share_array

MIXTURE = (PageClass(size_mib=30, dirty_rate_mib_s=50), PageClass(size_mib=300, dirty_rate_mib_s=10))


def test_nothing_is_dirtied_at_once_or_by_nobody() -> None:
    assert unique_dirty_mib(MIXTURE, 0.0) == 0.0
    assert unique_dirty_mib((), 10.0) == 0.0


def test_one_time_constant_dirties_all_but_one_part_in_e() -> None:
    assert unique_dirty_mib(MIXTURE[:1], 30 / 50) == pytest.approx(30 * (1 - 1 / math.e))


def test_array_is_the_same_curve() -> None:
    times = np.array([[0.0, 0.1], [3.0, 100.0]])
    expected = [[unique_dirty_mib(MIXTURE, t) for t in row] for row in times.tolist()]
    assert unique_dirty_mib_array(MIXTURE, times) == pytest.approx(np.array(expected))


@pytest.mark.parametrize("chunks", [1.0, 1.5, 2.0, 7.25, 64.0])
@pytest.mark.parametrize("writes", [1e-9, 1e-3, 1.0, 40.0])
def test_swept_share_is_the_mean_over_chunks(chunks: float, writes: float) -> None:
    """Against the sum that it is the closed form of: chunk k is watched for the last (n - k) / n of the pass."""
    total = 0.0
    for k in range(math.ceil(chunks)):
        weight = min(1.0, chunks - k)
        total -= weight * math.expm1(-writes * (chunks - k) / chunks)
    assert swept_share(writes, chunks) == pytest.approx(total / chunks, rel=1e-6)
    assert float(swept_share_array(np.array(writes), np.array(chunks))) == pytest.approx(swept_share(writes, chunks))


def test_chunks_halve_the_exposure_of_a_large_guest() -> None:
    """Of many chunks each is watched for half of the pass on average; slow dirtying is linear in exposure."""
    slow = (PageClass(size_mib=1e6, dirty_rate_mib_s=1.0),)
    assert swept_dirty_mib(slow, 10.0, 1000.0) == pytest.approx(5.0, rel=2e-3)
    assert swept_dirty_mib(slow, 10.0, 0.5) == pytest.approx(unique_dirty_mib(slow, 10.0))
