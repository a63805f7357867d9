"""Dirtying learnt from the statistics of migrations that the model itself played."""

from __future__ import annotations

import numpy as np
import pytest

from drsim.errors import DataError
from drsim.inventory import PageClass
from drsim.migration import DEFAULT, Migration, Options
from drsim.units import MIB, PAGE_BYTES
from drsim.workload import Series, first_pass_mib, learn, looks, slowed, unique_dirty_mib
from tests.migration.guests import guest, line

TRUTH = (PageClass(size_mib=30, dirty_rate_mib_s=60), PageClass(size_mib=600, dirty_rate_mib_s=25))
CAP_MBIT_S = 800.0
RATE_MIB_S = CAP_MBIT_S / 8 / 1.048576 * DEFAULT.cap_overshoot


def _record(options: Options = Options(), every_s: float = 0.2) -> Series:  # noqa: B008
    """Sample a migration as ``query-migrate`` would."""
    run = Migration(
        guest(3072, TRUTH, 1500.0),
        line(10_000.0),
        max_downtime_ms=100.0,
        bandwidth_mbit_s=CAP_MBIT_S,
        copy_disks=(),
        parameters=DEFAULT,
        line_mbit_s=10_000.0,
        options=options,
    )
    rows: list[tuple[float, float, float, int, float]] = []
    while run.phase == "prepare":
        run.advance(run.wait_s(0.0), 0.0)
        run.happen()
    began, sent_before = run.elapsed_s, run.sent_mib
    pages = 0.0
    while run.phase == "memory":
        rate = run.limit_mib_s
        wait_s = run.wait_s(rate)
        step = min(wait_s, every_s)
        run.advance(step, rate)
        if step == wait_s:
            run.happen()
        pages = (run.sent_mib - sent_before) * MIB / (PAGE_BYTES + 8)
        rows.append((run.elapsed_s - began, run.remaining_mib * 4096 / 4104, pages, run.passes + 1, run.throttle))
    rows = rows[:-1]
    time, left, data, seen, throttle = (np.array(column) for column in zip(*rows, strict=True))
    return Series(
        time_s=time,
        remaining_mib=left,
        data_pages=data,
        zero_pages=np.zeros_like(data),
        looks=seen.astype(np.int64),
        throttle=throttle,
        memory_mib=3072.0,
        limit_mib=RATE_MIB_S * 0.1,
    )


def test_the_curve_comes_back() -> None:
    """From one migration, between the lengths of its passes."""
    habit = learn([_record()], within_mib=1500.0)
    for time_s in (0.5, 1.0, 3.0):
        assert unique_dirty_mib(habit.classes, time_s) == pytest.approx(unique_dirty_mib(TRUTH, time_s), rel=0.15)
    assert habit.error < 0.1


def test_looks_and_first_pass() -> None:
    series = _record()
    found = looks(series)
    assert found[0].first
    assert not any(look.first for look in found[1:])
    assert found[0].fresh_mib > found[1].fresh_mib
    assert all(0.0 <= look.sent <= 1.0 for look in found)
    assert first_pass_mib(series) == pytest.approx(1500.0, rel=0.03)


def test_a_series_without_a_look_tells_nothing() -> None:
    empty = np.zeros(3)
    series = Series(
        time_s=np.arange(3.0),
        remaining_mib=empty,
        data_pages=empty,
        zero_pages=empty,
        looks=np.ones(3, dtype=np.int64),
        throttle=empty,
        memory_mib=1.0,
        limit_mib=1.0,
    )
    with pytest.raises(DataError, match="no second look"):
        learn([series], within_mib=1.0)


def test_throttling_takes_idle_time_first() -> None:
    assert slowed(0.2, 1.0) == pytest.approx(0.8)
    assert slowed(0.2, 0.7) == 1.0
    assert slowed(0.5, 0.8) == pytest.approx(0.625)
    assert slowed(0.99, 0.0) == 1.0
