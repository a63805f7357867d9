"""Disks copied on their host: the closed form, what makes it not end, bands, and what measured copies teach."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drsim.inventory import Disk, Vm
from drsim.migration import DEFAULT, Calibration, DiskCopy, Observation, Options, calibrate, foresee, predict_copy
from drsim.migration import table as constants
from drsim.migration.scorecard import scorecard, summary
from drsim.topology import Path


def guest(*mib: float, writes_mib_s: float = 0.0) -> Vm:
    disks = tuple(
        Disk(name=f"vd{n}", datastore="a", size_mib=size, write_rate_mib_s=writes_mib_s) for n, size in enumerate(mib)
    )
    return Vm(name="g", host="h", vcpus=1, memory_mib=64, disks=disks)


@given(
    st.lists(st.floats(1.0, 1e5), min_size=1, max_size=3),
    st.floats(0.0, 20.0),
    st.floats(80.0, 5000.0),
    st.none() | st.floats(700.0, 9000.0),
)
def test_it_takes_its_data_over_what_the_writes_leave_of_the_rate(
    sizes: list[float], writes: float, most: float, cap: float | None
) -> None:
    vm, p = guest(*sizes, writes_mib_s=writes), DEFAULT
    said = predict_copy(vm, [disk.name for disk in vm.disks], bandwidth_mbit_s=cap, most_mib_s=most)
    limit = math.inf if cap is None else cap * 1e6 / 8 / 2**20 * len(sizes)
    rate = min(p.copy_mib_s, most, limit)
    copying_s = sum(sizes) / (rate - min(writes * len(sizes), p.mirror_share * rate))
    assert said.total_time_s == pytest.approx(p.copy_s + copying_s, rel=1e-9)
    assert said.sent_mib == pytest.approx(rate * copying_s, rel=1e-9)
    assert (said.downtime_ms, said.converges) == (0.0, True)
    assert said.client_gap_ms == p.pivot_ms


def test_a_guest_that_writes_more_than_a_mirror_gets_rid_of_needs_writes_on_both_disks() -> None:
    vm = guest(100.0, writes_mib_s=190.0)
    assert not predict_copy(vm, ["vd0"]).converges
    assert predict_copy(vm, ["vd0"], options=Options(synchronous_writes=True)).converges


def test_nothing_to_copy_is_over_at_once_and_only_named_disks_count() -> None:
    assert predict_copy(guest(0.0), ["vd0"]).total_time_s == DEFAULT.copy_s
    whole, one = predict_copy(guest(100.0, 300.0), ["vd0", "vd1"]), predict_copy(guest(100.0, 300.0), ["vd0"])
    assert (whole.sent_mib, one.sent_mib) == (pytest.approx(400.0), pytest.approx(100.0))
    copy = DiskCopy(guest(100.0), ["vd0"], bandwidth_mbit_s=None, parameters=DEFAULT)
    assert (copy.phase, copy.limit_mib_s, copy.remaining_mib) == ("prepare", 0.0, 100.0)


def test_a_copy_that_nobody_measured_has_a_band_of_a_factor_of_four() -> None:
    said = Calibration().with_copy_bands(predict_copy(guest(1000.0), ["vd0"]))
    assert said.total_time_low_s == pytest.approx(said.total_time_s / 4.0)
    assert said.total_time_high_s == pytest.approx(said.total_time_s * 4.0)
    assert (said.downtime_low_ms, said.downtime_high_ms, said.in_range) == (0.0, 0.0, False)


def seen(number: int, mib: float, time_s: float) -> Observation:
    return Observation(
        vm=guest(mib),
        path=Path(edges=(), bandwidth_mbit_s=math.inf, rtt_ms=0.0, loss=0.0),
        max_downtime_ms=300.0,
        copy_disks=("vd0",),
        total_time_s=time_s,
        sent_mib=mib,
        cell=f"c{number}",
        storage_only=True,
    )


def test_measured_copies_teach_rate_and_fixed_time() -> None:
    off = (1.05, 0.95, 1.0, 1.1, 0.9, 1.0)
    sizes = (100.0, 400.0, 1000.0, 2000.0, 5000.0, 200.0)
    copies = [seen(n, mib, (1.5 + mib / 80.0) * by) for n, (mib, by) in enumerate(zip(sizes, off, strict=True))]
    found = calibrate(copies)
    assert found.parameters.copy_mib_s == pytest.approx(80.0, rel=0.1)
    assert found.parameters.copy_s == pytest.approx(1.5, rel=0.3)
    assert found.parameters == replace(
        DEFAULT, copy_mib_s=found.parameters.copy_mib_s, copy_s=found.parameters.copy_s
    ), "copies teach nothing about migrations"
    assert found.knows_copies
    assert set(found.residuals) == {"copy_total_time_s", "copy_sent_mib"}
    banded = found.with_copy_bands(foresee(copies, found.parameters)[3])
    assert banded.in_range
    assert banded.total_time_low_s is not None
    assert banded.total_time_high_s is not None
    assert banded.total_time_high_s / banded.total_time_low_s < 2.0
    card = scorecard(copies, found)
    assert set(card["measure"]) == {"copy_total_time_s", "copy_sent_mib"}
    assert summary(card).set_index("measure").loc["copy_total_time_s", "median"] < 0.1


def test_the_table_of_constants_says_what_tunes_them() -> None:
    rows = {entry.name: entry for entry in constants()}
    assert (rows["copy_mib_s"].unit, rows["copy_mib_s"].default) == ("MiB/s", 200.0)
    assert "Assumption" in rows["copy_mib_s"].source
    assert all(rows[name].tuned_by for name in ("copy_mib_s", "copy_s", "pivot_ms"))
