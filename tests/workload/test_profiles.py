"""Described guests, and when of a day they are quiet."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest

from drsim.errors import DataError
from drsim.inventory import PageClass
from drsim.workload import (
    best_hour,
    by_hour,
    hot_and_cold,
    of_histogram,
    of_two_samples,
    swept_dirty_mib,
    unique_dirty_mib,
    unique_dirty_mib_array,
    zipf,
)


@pytest.mark.parametrize("exponent", [0.0, 0.8, 1.2])
def test_zipf_against_the_sum_over_pages(exponent: float) -> None:
    """Every page on its own: the curve of 10,000 pages of falling popularity."""
    pages, rate_mib_s = 10_240, 5.0
    weight = np.arange(1.0, pages + 1.0) ** -exponent
    writes_s = rate_mib_s * 256 * weight / weight.sum()
    classes = zipf(pages / 256, rate_mib_s, exponent)
    for time_s in (0.2, 2.0, 20.0):
        exact = -np.expm1(-writes_s * time_s).sum() / 256
        assert unique_dirty_mib(classes, time_s) == pytest.approx(exact, rel=0.02)


def test_uniform_is_zipf_without_a_slope() -> None:
    one = (PageClass(size_mib=40, dirty_rate_mib_s=10),)
    assert unique_dirty_mib(zipf(40, 10, 0.0), 3.0) == pytest.approx(unique_dirty_mib(one, 3.0), rel=1e-3)


def test_histogram() -> None:
    """256 pages written to once a second, 512 never."""
    classes = of_histogram([1.0, 0.0], [256.0, 512.0])
    assert unique_dirty_mib(classes, 1.0) == pytest.approx(1.0 - np.exp(-1.0))
    with pytest.raises(DataError, match="dirty profile"):
        of_histogram([1.0], [1.0, 2.0])


def test_two_samples_separate_hot_from_cold() -> None:
    truth = hot_and_cold(40.0, 400.0, 4000.0, 8.0)
    short, long = (unique_dirty_mib(truth, time_s) for time_s in (1.0, 10.0))
    found = of_two_samples(1.0, short, 10.0, long, 8192.0)
    for time_s in (1.0, 4.0, 10.0):
        assert unique_dirty_mib(found, time_s) == pytest.approx(unique_dirty_mib(truth, time_s), rel=0.05)
    with pytest.raises(DataError, match="longer interval"):
        of_two_samples(1.0, 20.0, 10.0, 10.0, 100.0)


def test_a_sweep_dirties_in_proportion_until_it_has_gone_round() -> None:
    sweep = (PageClass(size_mib=100, dirty_rate_mib_s=20, in_order=True),)
    assert unique_dirty_mib(sweep, 2.0) == 40.0
    assert unique_dirty_mib(sweep, 9.0) == 100.0
    assert unique_dirty_mib_array(sweep, np.array([2.0, 9.0])).tolist() == [40.0, 100.0]
    assert swept_dirty_mib(sweep, 2.0, 1.0) == 40.0
    assert swept_dirty_mib(sweep, 2.0, 1e9) == pytest.approx(20.0)


def test_the_quiet_hour() -> None:
    """Nights are quiet but for one burst at two o'clock; nobody measured five o'clock."""
    times = [datetime(2026, 1, day, hour, tzinfo=UTC) for day in range(1, 15) for hour in range(24) if hour != 5]
    values = [80.0 if 8 <= at.hour < 20 else 5.0 for at in times]
    values = [900.0 if at.hour == 2 and at.day % 4 == 0 else value for at, value in zip(times, values, strict=True)]
    hours = by_hour(times, values)
    assert [hour.hour for hour in hours] == [hour for hour in range(24) if hour != 5]
    assert hours[2].typical == 5.0
    assert hours[2].high > 500.0
    assert best_hour(hours) == 0
    assert best_hour(hours, length=4) == 20
    with pytest.raises(DataError, match="history"):
        by_hour([], [])
