"""Page classes from measurements."""

from __future__ import annotations

import pytest

from drsim.errors import DataError
from drsim.inventory import PageClass, Vm
from drsim.workload import IDLE_GUEST, dirty_classes, fit, swept_dirty_mib, unique_dirty_mib

TRUTH = (PageClass(size_mib=40, dirty_rate_mib_s=80), PageClass(size_mib=800, dirty_rate_mib_s=16))
TIMES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)


def test_fit_reproduces_the_curve_that_it_was_given() -> None:
    found = fit(TIMES, [unique_dirty_mib(TRUTH, t) for t in TIMES])
    for time in (*TIMES, 0.3, 3.0, 20.0):
        assert unique_dirty_mib(found, time) == pytest.approx(unique_dirty_mib(TRUTH, time), rel=0.01)


def test_fit_of_a_chunk_wise_pass_uses_its_shorter_exposure() -> None:
    samples = [unique_dirty_mib(TRUTH, t) for t in TIMES[:-1]] + [swept_dirty_mib(TRUTH, TIMES[-1], 8.0)]
    found = fit(TIMES, samples, chunks=[1.0] * (len(TIMES) - 1) + [8.0])
    assert unique_dirty_mib(found, 30.0) == pytest.approx(unique_dirty_mib(TRUTH, 30.0), rel=0.02)


def test_fit_stays_within_the_memory_given() -> None:
    """Two samples far from saturation say nothing of the size; the bound does."""
    found = fit([1.0, 2.0], [10.0, 20.0], within_mib=100.0)
    assert sum(c.size_mib for c in found) <= 100.0
    assert unique_dirty_mib(found, 1.0) == pytest.approx(10.0, rel=0.1)


def test_an_idle_guest_has_no_classes() -> None:
    assert fit([1.0, 5.0], [0.0, 0.0]) == ()


@pytest.mark.parametrize(
    ("times", "amounts"),
    [([], []), ([1.0], [1.0, 2.0]), ([0.0], [1.0]), ([1.0], [-1.0]), ([1.0], [float("nan")])],
)
def test_unusable_samples_are_refused(times: list[float], amounts: list[float]) -> None:
    with pytest.raises(DataError, match="dirty-rate samples"):
        fit(times, amounts)


def test_assumptions_about_a_guest_nobody_measured() -> None:
    vm = Vm(name="a", host="h", vcpus=1, memory_mib=2048)
    assert dirty_classes(vm) == (IDLE_GUEST,)
    stopped = Vm(name="a", host="h", vcpus=1, memory_mib=2048, state="stopped")
    assert dirty_classes(stopped) == ()
    small = Vm(name="a", host="h", vcpus=1, memory_mib=10, dirty=(PageClass(size_mib=40, dirty_rate_mib_s=8),))
    assert dirty_classes(small) == (PageClass(size_mib=10, dirty_rate_mib_s=8),)
