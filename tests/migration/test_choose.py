"""The ladder."""

from __future__ import annotations

from dataclasses import replace

import pytest

from drsim.inventory import PageClass
from drsim.migration import Options, choose_mode, converging_rate_mbit_s, predict
from tests.migration.guests import QUIET, disk, guest, line

BUSY = guest(dirty=(PageClass(size_mib=60, dirty_rate_mib_s=2000),))
"""60 MiB all the time: more than 300 ms of a gigabit line, less than a second of it."""
WILD = guest(dirty=(PageClass(size_mib=2000, dirty_rate_mib_s=400),))


def test_pre_copy_where_it_converges() -> None:
    choice = choose_mode(guest(dirty=QUIET), line())
    assert choice.options == Options()
    assert choice.max_downtime_ms == 300.0
    assert choice.prediction.converges


def test_the_limit_is_raised_to_what_the_guest_allows_and_no_further() -> None:
    assert choose_mode(replace(BUSY, max_downtime_ms=1000.0), line()).options == Options()
    assert choose_mode(replace(BUSY, max_downtime_ms=1000.0), line()).max_downtime_ms == 1000.0
    assert choose_mode(replace(guest(), max_downtime_ms=100.0), line()).max_downtime_ms == 100.0


def test_then_throttling_then_post_copy_then_nothing() -> None:
    gentle = choose_mode(WILD, line(), most_throttle=0.9)
    assert gentle.options == Options(auto_converge=True)
    assert gentle.prediction.throttle <= 0.9
    hybrid = choose_mode(WILD, line(), most_throttle=0.3)
    assert hybrid.options is not None
    assert hybrid.options.mode == "hybrid"
    stays = choose_mode(WILD, line(), most_throttle=0.3, may_postcopy=False)
    assert stays.options is None
    assert "300 ms" in stays.why


def test_post_copy_is_not_chosen_where_qemu_refuses_it() -> None:
    base = Options(parallel_connections=4)
    assert choose_mode(WILD, line(), most_throttle=0.1, base=base).options is None


def test_copied_disks_are_part_of_the_prediction() -> None:
    vm = guest(disks=(disk(write_rate_mib_s=200.0),))
    assert choose_mode(vm, line(), copy_disks=["vda"], may_postcopy=False).options is None


def test_rate_from_which_a_guest_converges() -> None:
    """A hot set of 60 MiB within 300 ms: 200 MiB/s of data, 1.78 Gbit/s of line; a turn of 50 ms comes on top."""
    found = converging_rate_mbit_s(BUSY, line(), max_downtime_ms=300.0)
    assert found is not None
    assert found == pytest.approx(1783.0, rel=0.25)
    limits = {"max_downtime_ms": 300.0, "bandwidth_mbit_s": None}
    assert predict(BUSY, line(1.02 * found), **limits).converges  # type: ignore[arg-type]
    assert not predict(BUSY, line(0.97 * found), **limits).converges  # type: ignore[arg-type]
    # 3 MiB a round trip of 100 ms: no line makes 30 MiB/s of it suffice.
    assert converging_rate_mbit_s(BUSY, line(rtt_ms=100.0), max_downtime_ms=300.0) is None
