"""Other hypervisors as parameter sets: what their makers' source or words fix, by closed forms."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from drsim.errors import PlanError
from drsim.inventory import PageClass
from drsim.migration import VMOTION, XEN, XEN_2005, Guests, Options, Parameters, estimate, predict, quick
from drsim.plan import Prediction
from drsim.units import MIB_S_PER_MBIT_S
from tests.migration.guests import guest, line

RATE = 1000.0 * XEN.goodput * MIB_S_PER_MBIT_S
BUSY = guest(dirty=(PageClass(size_mib=3000, dirty_rate_mib_s=30, in_order=True),))
WILD = guest(dirty=(PageClass(size_mib=2000, dirty_rate_mib_s=400),))


def run(parameters: Parameters, vm: object = BUSY, limit_ms: float = 300.0, **of: object) -> Prediction:
    options = Options(**of)  # type: ignore[arg-type]
    return predict(
        vm, line(), max_downtime_ms=limit_ms, bandwidth_mbit_s=None, parameters=parameters, options=options  # type: ignore[arg-type]
    )  # fmt: skip


def test_xen_sends_all_that_is_dirty_each_time_and_stops_after_five_passes() -> None:
    """A writer in order at 30 MiB/s leaves a share of 30 / rate of each pass: after five, that to the fifth of all."""
    said = run(XEN)
    assert said.rounds == 6
    ratio = 30.0 * 4104 / 4096 / RATE
    whole = 4096 * 4104 / 4096
    assert said.sent_mib == pytest.approx(whole * (1 - ratio**6) / (1 - ratio), rel=0.01)


def test_xen_stops_below_fifty_pages_whatever_the_limit() -> None:
    idle = run(XEN, guest())
    assert idle.rounds == 2
    assert run(XEN, guest(), limit_ms=10_000.0).sent_mib == idle.sent_mib
    assert run(XEN).downtime_ms == run(XEN, limit_ms=10_000.0).downtime_ms
    assert run(XEN, WILD).rounds == 6
    assert not run(XEN, WILD).converges


def test_early_xen_had_thirty_passes_and_sent_zeros() -> None:
    assert run(XEN_2005, WILD).rounds == 31
    small = replace(guest(), memory_used_mib=1024.0)
    assert run(XEN_2005, small).sent_mib == pytest.approx(4096 * 4104 / 4096 + XEN.device_mib, rel=0.002)
    assert run(XEN, small).sent_mib == pytest.approx(1024 * 4104 / 4096 + 3072 * 9 / 4096 + XEN.device_mib, rel=0.002)


@pytest.mark.parametrize("parameters", [XEN, XEN_2005])
@pytest.mark.parametrize("vm", [BUSY, WILD, guest()])
def test_many_at_once_are_the_same(parameters: Parameters, vm: object) -> None:
    one = run(parameters, vm)
    many = estimate(
        Guests.of([vm]), line_mbit_s=np.array([1000.0]), max_downtime_ms=300.0, parameters=parameters  # type: ignore[list-item]
    )  # fmt: skip
    assert many.total_time_s[0] == pytest.approx(one.total_time_s)
    assert many.sent_mib[0] == pytest.approx(one.sent_mib)
    assert (many.rounds[0], bool(many.converges[0])) == (one.rounds, one.converges)
    with pytest.raises(PlanError, match="stop_pages"):
        quick(Guests.of([vm]), line_mbit_s=1000.0, max_downtime_ms=300.0, parameters=parameters)  # type: ignore[list-item]


def test_vmotion_hands_over_what_could_be_sent_in_half_a_second() -> None:
    """The standstill holds the bitmap, 32 KiB a GiB, not the rest: that follows."""
    of = {"limit_ms": 500.0, "mode": "hybrid", "precopy_passes": VMOTION.most_passes}
    vm = guest(dirty=(PageClass(size_mib=3000, dirty_rate_mib_s=45, in_order=True),))
    said = run(VMOTION, vm, **of)  # type: ignore[arg-type]
    without = run(replace(VMOTION, stale_bitmap=False), vm, **of)  # type: ignore[arg-type]
    assert said.faults > 0
    assert said.converges
    assert said.downtime_ms - without.downtime_ms == pytest.approx(4096 / 1024 * 32 / 1024 / RATE * 1e3)
    stopped = run(replace(VMOTION, pull_rest=False), vm, **of)  # type: ignore[arg-type]
    assert stopped.faults == 0
    assert stopped.downtime_ms > said.downtime_ms


def test_a_stunned_guest_comes_to_rest() -> None:
    """400 MiB/s against 112: held back until each pass is half the one before."""
    of = {"limit_ms": 500.0, "mode": "hybrid", "precopy_passes": VMOTION.most_passes}
    free, stunned = run(VMOTION, WILD, **of), run(VMOTION, WILD, stun=True, **of)  # type: ignore[arg-type]
    assert stunned.sent_mib > free.sent_mib  # the free one is handed over as it is, and waits for its pages
    assert stunned.held_back_s > 1.0
    plain = run(replace(VMOTION, pull_rest=False), WILD, limit_ms=500.0, stun=True)
    assert plain.converges
    assert not run(replace(VMOTION, pull_rest=False), WILD, limit_ms=500.0).converges


def test_a_quiet_guest_is_not_stunned() -> None:
    assert run(VMOTION, guest(), stun=True).held_back_s == 0.0
