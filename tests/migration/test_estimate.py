"""Arrays against the event loop."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from drsim.inventory import PageClass, Vm
from drsim.migration import DEFAULT, LAB_TCG, SIMGRID, Guests, Options, Parameters, estimate, predict
from drsim.topology import Path
from tests.migration.guests import disk, guest

N = 300


def _cases() -> tuple[list[Vm], list[list[str]], list[Path], list[float], list[float]]:
    draw = np.random.default_rng(5)
    vms, along, paths, downtime, cap = [], [], [], [], []
    for _ in range(N):
        memory = int(draw.choice([512, 4096, 100_000]))
        dirty = tuple(
            PageClass(
                size_mib=float(memory * draw.uniform(0.001, 0.5)),
                dirty_rate_mib_s=float(draw.choice([0, 5, 80, 900])),
                in_order=bool(draw.random() < 0.2),
            )
            for _ in range(draw.integers(0, 4))
        )
        disks = tuple(
            disk(used_mib=float(draw.uniform(0, 2000)), write_rate_mib_s=float(draw.choice([0, 5, 200])), name=f"vd{k}")
            for k in range(draw.integers(0, 3))
        )
        vms.append(guest(memory, dirty, float(memory * draw.random()), disks))
        along.append([one.name for one in disks])
        rate, rtt, loss = (float(draw.choice(of)) for of in ([100, 1000, 25_000], [0, 0, 1, 50], [0, 1e-5]))
        paths.append(Path(edges=(), bandwidth_mbit_s=rate, rtt_ms=rtt, loss=loss))
        downtime.append(float(draw.choice([30, 300, 2000])))
        cap.append(float(draw.choice([np.inf, 500, 3000])))
    return vms, along, paths, downtime, cap


@pytest.mark.parametrize(
    ("parameters", "options"),
    [
        (DEFAULT, Options()),
        (SIMGRID, Options()),
        (LAB_TCG, Options()),
        (DEFAULT, Options(parallel_connections=4, compression="zstd", tls=True)),
        (LAB_TCG, Options(mode="postcopy")),
        (DEFAULT, Options(mode="hybrid", postcopy_bandwidth_mbit_s=400.0)),
        (LAB_TCG, Options(mode="hybrid", precopy_passes=1)),
    ],
    ids=["default", "simgrid", "lab", "multifd", "postcopy", "hybrid", "one pass"],
)
def test_estimate_equals_predict(parameters: Parameters, options: Options) -> None:
    vms, along, paths, downtime, cap = _cases()
    costs = estimate(
        Guests.of(vms, along, parameters),
        line_mbit_s=[path.bandwidth_mbit_s for path in paths],
        rtt_ms=[path.rtt_ms for path in paths],
        loss=[path.loss for path in paths],
        max_downtime_ms=downtime,
        bandwidth_mbit_s=cap,
        parameters=parameters,
        options=options,
    )
    for row, (vm, disks, path) in enumerate(zip(vms, along, paths, strict=True)):
        one = predict(
            vm,
            path,
            max_downtime_ms=downtime[row],
            bandwidth_mbit_s=None if np.isinf(cap[row]) else cap[row],
            copy_disks=disks,
            parameters=parameters,
            options=options,
        )
        assert costs.total_time_s[row] == pytest.approx(one.total_time_s, rel=1e-9)
        assert costs.downtime_ms[row] == pytest.approx(one.downtime_ms, rel=1e-6)
        assert costs.sent_mib[row] == pytest.approx(one.sent_mib, rel=1e-9)
        assert (costs.rounds[row], costs.converges[row]) == (one.rounds, one.converges)


def test_both_kinds_of_guest_are_among_the_cases() -> None:
    """The test above would prove little if all converged or none did."""
    vms, along, paths, downtime, _ = _cases()
    costs = estimate(
        Guests.of(vms, along), line_mbit_s=[path.bandwidth_mbit_s for path in paths], max_downtime_ms=downtime
    )
    assert 0.2 * N < costs.converges.sum() < 0.8 * N


def test_rows_can_be_taken_for_every_target() -> None:
    vms = [guest(1024), replace(guest(2048), name="b")]
    guests = Guests.of(vms).take(np.array([1, 0, 1]))
    costs = estimate(guests, line_mbit_s=[1000.0, 1000.0, 10_000.0], max_downtime_ms=300.0)
    assert costs.total_time_s[0] > costs.total_time_s[1] > costs.total_time_s[2]
    assert costs.total_time_s.shape == (3,)


def test_no_migrations_cost_nothing() -> None:
    assert estimate(Guests.of([]), line_mbit_s=1000.0, max_downtime_ms=300.0).total_time_s.shape == (0,)
