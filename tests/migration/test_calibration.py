"""Constants found again in migrations that they made, and bands that hold what they promise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from drsim.errors import DataError
from drsim.inventory import Host, PageClass
from drsim.migration import DEFAULT, Calibration, Observation, Options, Parameters, calibrate, foresee, table
from drsim.migration.bands import band, beyond
from drsim.migration.tune import KNOBS, loss, tune
from drsim.topology import Path
from tests.migration.guests import guest

TRUE = replace(
    DEFAULT, stream_limit_mbit_s=900.0, prepare_s=0.9, switchover_ms=90.0, resident_extra_mib=60.0, client_ms=80.0
)


def _observed(count: int, noise: float, seed: int = 3, parameters: Parameters = TRUE) -> list[Observation]:
    draw = np.random.default_rng(seed)
    found = []
    for number in range(count):
        memory = int(draw.choice([512, 1024, 2048]))
        used = memory * float(draw.uniform(0.4, 0.9))
        rate, rtt = float(draw.choice([250.0, 1000.0, 2500.0])), float(draw.choice([0.0, 0.0, 20.0]))
        one = Observation(
            vm=guest(memory, (PageClass(size_mib=50, dirty_rate_mib_s=float(draw.choice([0.0, 5.0, 10.0]))),), used),
            path=Path(edges=(), bandwidth_mbit_s=rate, rtt_ms=rtt, loss=0.0),
            max_downtime_ms=300.0,
            options=Options(),
            cell=str(number % max(2, count // 2)),
        )
        said = foresee([one], parameters)[0]
        off = np.exp(noise * draw.standard_normal(4))
        assert said.client_gap_ms is not None
        found.append(
            replace(
                one,
                total_time_s=said.total_time_s * off[0],
                downtime_ms=said.downtime_ms * off[1],
                sent_mib=said.sent_mib * off[2],
                client_gap_ms=said.client_gap_ms * off[3],
            )
        )
    return found


def test_constants_are_found_again() -> None:
    seen = _observed(40, 0.0)
    found = tune(seen, DEFAULT)
    assert loss(seen, found) < 0.2 * loss(seen, DEFAULT)
    assert found.stream_limit_mbit_s == pytest.approx(900.0, rel=0.05)
    assert found.resident_extra_mib == pytest.approx(60.0, abs=10.0)
    assert found.prepare_s == pytest.approx(0.9, abs=0.1)


def test_what_migrations_do_not_tell_stays() -> None:
    found = tune(_observed(20, 0.0), DEFAULT)
    for name in ("tls_mbit_s", "zstd_ratio", "postcopy_ms", "window_s", "chunk_mib"):
        assert getattr(found, name) == getattr(DEFAULT, name)


def test_bands_cover_what_comes_next() -> None:
    """90 % of 160 migrations that were not seen, give or take three standard deviations."""
    made = calibrate(_observed(60, 0.06), base=TRUE)
    covered = []
    for one, said in zip(fresh := _observed(160, 0.06, seed=9), foresee(fresh, made.parameters), strict=True):
        banded = made.with_bands(said, one.vm, one.path, max_downtime_ms=300.0, bandwidth_mbit_s=None)
        assert banded.total_time_low_s is not None
        assert banded.total_time_high_s is not None
        assert one.total_time_s is not None
        covered.append(banded.total_time_low_s <= one.total_time_s <= banded.total_time_high_s)
    assert 0.82 <= np.mean(covered) <= 0.98


@pytest.mark.parametrize("count", [19, 25, 108])
def test_bands_hold_nine_in_ten_and_no_more(count: int) -> None:
    """Residuals spread evenly over 0 to 1: what a band holds of the next is its width, 0.9 on average."""
    draws = np.random.default_rng(count).random((2000, count))
    bands = [band(1.0, draw.tolist()) for draw in draws]
    assert np.mean([np.log(one.high / one.low) for one in bands]) == pytest.approx(0.9, abs=0.005)


def test_bands_widen_out_of_range_and_say_so() -> None:
    made = calibrate(_observed(30, 0.05), base=TRUE)
    inside, outside = (
        made.with_bands(
            foresee([one], made.parameters)[0], one.vm, one.path, max_downtime_ms=300.0, bandwidth_mbit_s=None
        )
        for one in (
            _observed(1, 0.0, seed=11)[0],
            replace(
                _observed(1, 0.0, seed=11)[0], path=Path(edges=(), bandwidth_mbit_s=40_000.0, rtt_ms=0.0, loss=0.0)
            ),
        )
    )
    assert inside.in_range
    assert not outside.in_range
    widths = [np.log(one.total_time_high_s / one.total_time_low_s) for one in (inside, outside)]  # type: ignore[operator]
    assert widths[1] > 2 * widths[0]


def test_a_calibration_is_the_same_twice_and_counts_its_versions() -> None:
    seen = _observed(12, 0.05)
    first = calibrate(seen, bootstraps=1, seed=5)
    assert calibrate(seen, bootstraps=1, seed=5) == first
    assert calibrate(seen, before=first).version == 2
    assert set(first.uncertainty) <= {knob.name for knob in KNOBS}
    assert first.residuals["total_time_s"] == tuple(sorted(first.residuals["total_time_s"]))
    assert len(first.residuals["total_time_s"]) == 12


def test_one_condition_is_too_little() -> None:
    with pytest.raises(DataError, match="tell too little"):
        calibrate([replace(one, cell="same") for one in _observed(4, 0.0)])


def test_few_residuals_make_wide_bands() -> None:
    none, two, many = band(10.0, []), band(10.0, [-0.05, 0.05]), band(10.0, np.linspace(-0.05, 0.05, 40).tolist())
    assert (none.low, none.high) == pytest.approx((5.0, 20.0))
    assert two.high - two.low > many.high - many.low
    assert many.low < 10.0 < many.high
    assert beyond({"rate": 4000.0}, {"rate": (250.0, 1000.0)}) == pytest.approx(2.0)
    assert beyond({"rate": 500.0}, {"rate": (250.0, 1000.0)}) == 0.0


def test_every_constant_has_a_unit_a_meaning_and_a_source() -> None:
    entries = table()
    assert len(entries) > 50
    assert all(entry.meaning and len(entry.source) > 20 for entry in entries)
    assert {entry.name for entry in entries if entry.tuned_by} == {knob.name for knob in KNOBS}
    assert all(entry.value == entry.default for entry in entries)
    assert Calibration().parameters == DEFAULT


def _estate(slow: float, count: int = 24) -> list[Observation]:
    """Migrations of two links, one of them with a slower thread at its end."""
    fast = [replace(one, groups=("a>a",)) for one in _observed(count, 0.02)]
    other = replace(TRUE, stream_limit_mbit_s=slow)
    far = [replace(one, groups=("a>b",), cell=f"b{one.cell}") for one in _observed(count, 0.02, 4, other)]
    return fast + far


def test_a_link_that_differs_gets_constants_of_its_own() -> None:
    made = calibrate(_estate(300.0), base=TRUE)
    here, there = (Host(name=site, site=site, cores=8, memory_mib=1024) for site in "ab")
    assert "a>b" in made.groups
    assert made.between(here, there).stream_limit_mbit_s == pytest.approx(300.0, rel=0.1)
    assert made.between(here, here).stream_limit_mbit_s == pytest.approx(900.0, rel=0.15)
    assert made.between(there, here) == made.parameters  # nobody has seen that


def test_links_that_do_not_differ_share_their_constants() -> None:
    assert calibrate(_estate(900.0), base=TRUE).groups == {}


def test_the_most_special_group_counts() -> None:
    made = Calibration(groups={"a>b": {"prepare_s": 1.0}, "a>b x>y": {"prepare_s": 2.0}, "x>y": {"prepare_s": 3.0}})
    hosts = {
        (site, cpu): Host(name=site, site=site, cores=8, memory_mib=1024, cpu_model=cpu)
        for site in "abc"
        for cpu in ("x", "y", None)
    }
    assert made.between(hosts["a", "x"], hosts["b", "y"]).prepare_s == 2.0
    assert made.between(hosts["a", "x"], hosts["b", "x"]).prepare_s == 1.0
    assert made.between(hosts["a", "x"], hosts["c", "y"]).prepare_s == 3.0
    assert made.between(hosts["a", None], hosts["c", "y"]).prepare_s == DEFAULT.prepare_s
