"""How busy the machine is: clocks that do not agree, and a lab that does not count."""

from __future__ import annotations

import os

import pytest

from executor.lab.load import Snapshot, other_cores

CORES = os.cpu_count() or 1
START = Snapshot(at_s=0.0, all_s=100.0, idle_s=50.0, lab_s=10.0)


def after(seconds: float, used_s: float, idle_s: float, lab_s: float) -> Snapshot:
    return Snapshot(at_s=seconds, all_s=100.0 + used_s, idle_s=50.0 + idle_s, lab_s=10.0 + lab_s)


def test_what_others_used_is_all_less_the_lab() -> None:
    assert other_cores(START, after(10.0, 6.0, 10.0 * CORES - 6.0, 2.0)) == pytest.approx(0.4)
    assert other_cores(START, after(10.0, 2.0, 10.0 * CORES - 2.0, 2.0)) == 0.0


def test_time_counted_as_used_and_as_idle_was_idle() -> None:
    assert other_cores(START, after(10.0, 7.0, 10.0 * CORES - 2.0, 2.0)) == 0.0


def test_a_clock_of_idle_time_that_stands_still_does_not_make_others_busy() -> None:
    assert other_cores(START, after(10.0, 3.0, 0.0, 2.0)) == pytest.approx(0.1)


def test_no_time_no_load() -> None:
    assert other_cores(START, START) == 0.0
