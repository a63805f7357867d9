"""A PostgreSQL guest of 8 GiB migrated by QEMU 7.2 (LordWicked/live-migration-thesis-code), curve from other runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path as File

import numpy as np
import pandas as pd
import pytest

from drsim.inventory import Vm
from drsim.migration import DEFAULT, predict
from drsim.plan import Prediction
from drsim.topology import Path
from drsim.workload import fit
from tests.published.bench import migrations

CAP_MIB_S = 128.0
"""QEMU's default bandwidth cap, which the runs kept."""

QEMU_ALONE = replace(DEFAULT, prepare_s=0.0, prepare_rtts=0.0, confirm_s=0.0, switchover_ms=3.0)
"""No libvirt, and `total-time` starts with the migrate command."""

MEMORY_MIB = 8209
"""8 GiB and video memory: `total` of the series."""


def _samples(run: pd.DataFrame) -> tuple[list[tuple[float, float, float]], float]:
    """Return (interval, unique MiB, chunks) between bitmap syncs, and the data of the first pass.

    Pages newly dirty at a sync: change of `remaining` plus pages sent meanwhile. The sync falls between two samples,
    200 ms apart: when what was left had gone down to what fits 300 ms at the cap.
    """
    run = run.sort_values("total_time_ms")
    time = run.total_time_ms.to_numpy() / 1e3
    rest = run.remaining.to_numpy() / 2**20
    pages = (run.normal + run.duplicate).to_numpy() / 256
    normal = run.normal.to_numpy() / 256
    syncs = np.diff(run.dirty_sync_count.to_numpy())
    rate = CAP_MIB_S * DEFAULT.cap_overshoot
    samples, last, data = [], 0.0, 0.0
    for i, count in enumerate(syncs, start=1):
        if count < 1:
            continue
        new = rest[i] - rest[i - 1] + pages[i] - pages[i - 1]
        at = min(time[i], time[i - 1] + max(0.0, rest[i - 1] - rate * 0.3) / rate) if count == 1 else time[i]
        data = data or normal[i - 1] + rate * 0.3
        if (at - last) / count > 0.05:  # shorter than the sampling can place
            samples += [((at - last) / count, new / count, MEMORY_MIB / 1024 if last == 0.0 else 1.0)] * int(count)
        last = at
    return samples, data


def _predict(folder: File, runs: range) -> Prediction:
    series = pd.read_csv(folder / "query_migrate_timeseries.csv.gz")
    series = series[(series.scenario == "Precopy_Convergent") & (series.status == "active")]
    samples: list[tuple[float, float, float]] = []
    data = []
    for run in runs:
        more, first = _samples(series[series.run == run])
        samples += more
        data.append(first)
    used = float(np.mean(data))
    time, unique, chunks = zip(*samples, strict=True)
    dirty = fit(time, unique, chunks=chunks, within_mib=used)
    vm = Vm(name="pg", host="h1", vcpus=4, memory_mib=MEMORY_MIB, memory_used_mib=used, dirty=dirty)
    # A unix socket: nothing but QEMU's thread and its cap limits the rate.
    path = Path(edges=(), bandwidth_mbit_s=100_000.0, rtt_ms=0.0, loss=0.0)
    cap = CAP_MIB_S * 8 * 1.048576
    return predict(vm, path, max_downtime_ms=300.0, bandwidth_mbit_s=cap, parameters=QEMU_ALONE)


@pytest.mark.parametrize(("fitted", "tested"), [(range(1, 4), range(4, 8)), (range(4, 8), range(1, 4))])
def test_convergent_precopy(fitted: range, tested: range) -> None:
    """Curve and first-pass data come from other runs than those under test."""
    folder = migrations("lordwicked_qemu")
    final = pd.read_csv(folder / "final_stats.csv")
    final = final[(final.scenario == "Precopy_Convergent") & final.run.isin(tested)]
    assert len(final) == len(tested)
    result = _predict(folder, fitted)
    time = result.total_time_s * 1e3 / final.total_time_ms.to_numpy() - 1.0
    sent = result.sent_mib * 2**20 / final.transferred.to_numpy() - 1.0
    assert result.converges
    assert np.median(np.abs(time)) < 0.02
    assert np.abs(time).max() < 0.03
    assert np.median(np.abs(sent)) < 0.02
    assert np.abs(sent).max() < 0.03
    assert np.abs(result.downtime_ms - final.downtime_ms.to_numpy()).max() < 10.0
    # QEMU counts one sync when it begins, and one when it completes: its rounds and one more.
    assert abs(result.rounds + 1 - final.dirty_sync_count.mean()) <= 2
