"""What a post-copied guest and its clients go through, against closed forms."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drsim.inventory import Arrival, PageClass
from drsim.migration import DEFAULT, Options, predict
from drsim.migration.guest import sent_data_mib
from drsim.migration.postcopy import missing_pages, silence_s, waking_s
from tests.migration.guests import guest, line

PAGE_MIB = 1.0 / 256.0
BUSY = guest(dirty=(PageClass(size_mib=1000, dirty_rate_mib_s=60),))


def test_many_pages_far_away_are_waited_for_until_all_is_pushed() -> None:
    awake_s = 20.0 - float(waking_s(0.1, DEFAULT))
    assert silence_s(20.0, 100.0, 0.1, 5000.0, DEFAULT) == pytest.approx(awake_s, rel=1e-6)


def test_few_pages_of_a_long_push_take_their_own_time() -> None:
    each_s = 0.01 + 0.25e-3 + PAGE_MIB / 100.0
    assert silence_s(1e6, 100.0, 0.01, 40.0, DEFAULT) == pytest.approx(40 * each_s, rel=1e-3)


@given(
    push=st.floats(0.0, 100.0),
    rate=st.floats(1.0, 2000.0),
    rtt=st.floats(0.0, 0.2),
    pages=st.floats(0.0, 5000.0),
    more=st.floats(0.0, 1000.0),
)
def test_silence_is_never_longer_than_the_push_and_grows_with_what_is_missing(
    push: float, rate: float, rtt: float, pages: float, more: float
) -> None:
    one, two = (float(silence_s(push, rate, rtt, number, DEFAULT)) for number in (pages, pages + more))
    assert 0.0 <= one <= two + 1e-12
    assert two <= max(push, 1e-9)


def test_pages_that_passes_of_pre_copy_brought_are_not_waited_for() -> None:
    assert missing_pages(1.0, DEFAULT) == DEFAULT.serve_pages
    assert missing_pages(0.0, DEFAULT) == DEFAULT.serve_written_pages
    assert np.diff(missing_pages(np.linspace(0.0, 1.0, 5), DEFAULT)).min() > 0.0


def test_a_client_waits_longer_after_post_copy_than_after_a_hybrid() -> None:
    gaps = [
        predict(BUSY, line(1000.0, 20.0), max_downtime_ms=30.0, bandwidth_mbit_s=None, options=options).client_gap_ms
        for options in (Options(mode="postcopy"), Options(mode="hybrid", precopy_passes=1))
    ]
    assert None not in gaps
    assert gaps[0] > 2 * gaps[1]  # type: ignore[operator]


def test_the_push_goes_on_while_the_guest_wakes_up() -> None:
    """Round trips of libvirt's daemons lengthen the standstill, not the whole."""
    few, many = (replace(DEFAULT, switchover_rtts=count) for count in (2.0, 12.0))
    one, two = (
        predict(
            BUSY, line(1000.0, 50.0), max_downtime_ms=300.0, bandwidth_mbit_s=None, parameters=parameters,
            options=Options(mode="postcopy"),
        )
        for parameters in (few, many)
    )  # fmt: skip
    assert two.downtime_ms - one.downtime_ms == pytest.approx(500.0)
    assert two.total_time_s == pytest.approx(one.total_time_s)


def test_a_hybrid_whose_next_pass_fits_before_anybody_can_act_stays_pre_copy() -> None:
    slow, prompt = (replace(DEFAULT, handover_lag_s=lag) for lag in (1.0, 0.0))
    vm = guest(dirty=(PageClass(size_mib=60, dirty_rate_mib_s=40),))
    said = {
        lag.handover_lag_s: predict(
            vm, line(), max_downtime_ms=100.0, bandwidth_mbit_s=None, parameters=lag,
            options=Options(mode="hybrid", precopy_passes=1),
        )
        for lag in (slow, prompt)
    }  # fmt: skip
    assert said[0.0].faults > 0
    assert said[1.0].faults == 0
    assert said[1.0].rounds > said[0.0].rounds


def test_channels_of_multifd_hold_data_when_the_guest_stops() -> None:
    holding = replace(DEFAULT, multifd_queue_mib=2.0, multifd_rtts=3.0)
    options = Options(parallel_connections=4)
    one, two = (
        predict(
            guest(), line(1000.0, 10.0), max_downtime_ms=300.0, bandwidth_mbit_s=None, parameters=p, options=options
        )
        for p in (DEFAULT, holding)
    )
    rate_mib_s = 1000.0 * DEFAULT.goodput / (8 * 1.048576)
    assert two.downtime_ms - one.downtime_ms == pytest.approx(3 * 10.0 + 8.0 / rate_mib_s * 1e3)
    assert two.total_time_s - one.total_time_s == pytest.approx(0.03)  # the data is out no sooner and no later
    assert two.sent_mib == one.sent_mib


@pytest.mark.parametrize(("arrived", "extra"), [("boot", 90.0), ("migration", 30.0), ("postcopy", 15.0), (None, 30.0)])
def test_what_is_resident_beside_data_depends_on_how_the_guest_came(arrived: Arrival | None, extra: float) -> None:
    p = replace(DEFAULT, resident_extra_mib=30.0, resident_extra_boot_mib=90.0, resident_extra_postcopy_mib=15.0)
    vm = replace(guest(), memory_used_mib=1000.0, arrived=arrived)
    assert sent_data_mib(vm, p) == 1000.0 - extra
    assert math.isclose(sent_data_mib(replace(vm, memory_used_mib=None), p), vm.memory_mib)
