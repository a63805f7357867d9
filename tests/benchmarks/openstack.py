"""OpenStack migrations (osic/benchmarking_live-migration): durations as nova tells them, guests of 4, 8 and 16 GiB.

How much data the guests hold is not told; the time for each GiB and the fixed time are tuned on the small and the large
guests and tested on the medium ones, tunnelled and not.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path as File
from typing import Any

import pandas as pd

from drsim.inventory import PageClass, Vm
from drsim.migration import DEFAULT, Options, predict
from drsim.topology import Path
from tests.benchmarks.errors import errors

MEMORY_MIB = {"small": 4096, "medium": 8192, "large": 16384}
LINE = Path(edges=(), bandwidth_mbit_s=10_000.0, rtt_ms=0.0, loss=0.0)
IDLE = PageClass(size_mib=5.0, dirty_rate_mib_s=2.5)


def evaluate(folder: File) -> dict[str, Any]:
    """Tune on two sizes, test on the third; migrations on shared storage, recordings made again left out."""
    table = pd.read_csv(folder / "migrations.csv")
    table = table[table.file.str.contains("shared_storage") & ~table.file.str.contains("timeout|after_patch")]
    report: dict[str, Any] = {}
    for tunnelling, rows in table.groupby("tunneling"):
        typical = rows.groupby("flavor").migration_s.median()
        if not {"small", "medium", "large"} <= set(typical.index):
            continue
        slope = (typical["large"] - typical["small"]) / (MEMORY_MIB["large"] - MEMORY_MIB["small"])
        fixed = typical["small"] - slope * MEMORY_MIB["small"]
        rate = 1.0 / slope / 1e6 * 8 * 2**20
        parameters = replace(
            DEFAULT, stream_limit_mbit_s=rate, tunnel_limit_mbit_s=rate, prepare_s=fixed - DEFAULT.confirm_s
        )
        vm = Vm(name="vm", host="h", vcpus=2, memory_mib=MEMORY_MIB["medium"], dirty=(IDLE,))
        said = predict(
            vm,
            LINE,
            max_downtime_ms=300.0,
            bandwidth_mbit_s=None,
            parameters=parameters,
            options=Options(tunnelled=tunnelling == "on"),
        )
        actual = rows[rows.flavor == "medium"].migration_s
        report[f"tunnelling {tunnelling}"] = errors([said.total_time_s] * len(actual), actual)
    return report
