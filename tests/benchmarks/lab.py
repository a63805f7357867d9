"""A recording of the lab (`executor.record`): tuned on half of its cells, tested on the other half, both ways."""

from __future__ import annotations

from pathlib import Path as File
from typing import Any

import numpy as np
import pandas as pd

from drsim.formats.recordings import observations_of
from drsim.migration import LAB_TCG, Calibration, calibrate, foresee
from tests.benchmarks.errors import errors

MEASURES = {"total_time_s": "total_time", "downtime_ms": "downtime", "sent_mib": "sent", "client_gap_ms": "client_gap"}


def read(path: File) -> pd.DataFrame:
    """Read a table by its suffix."""
    return pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)


def evaluate(folder: File) -> dict[str, Any]:
    """Return the figures of each measure over all cells, each predicted by what was tuned on the other half."""
    table = next(path for path in (folder / "migrations.parquet", folder / "migrations.csv") if path.is_file())
    observations = observations_of(read(table))
    cells = sorted({one.cell for one in observations})
    order = np.random.default_rng(1).permutation(len(cells))
    half = {cells[int(cell)]: place % 2 for place, cell in enumerate(order)}
    rows: list[dict[str, float]] = []
    for part in (0, 1):
        found: Calibration = calibrate([one for one in observations if half[one.cell] != part], base=LAB_TCG)
        tested = [one for one in observations if half[one.cell] == part]
        for one, said in zip(tested, foresee(tested, found.parameters), strict=True):
            banded = found.with_bands(
                said, one.vm, one.path, max_downtime_ms=one.max_downtime_ms, bandwidth_mbit_s=one.bandwidth_mbit_s
            )
            for measure, stem in MEASURES.items():
                actual, unit = getattr(one, measure), measure.rpartition("_")[2]
                if actual is not None:
                    rows.append(
                        {
                            "measure": measure,
                            "predicted": getattr(said, measure),
                            "actual": actual,
                            "low": getattr(banded, f"{stem}_low_{unit}"),
                            "high": getattr(banded, f"{stem}_high_{unit}"),
                        }
                    )
    frame = pd.DataFrame(rows)
    report: dict[str, Any] = {"cells": len(cells), "migrations": len(observations)}
    for measure, part in frame.groupby("measure"):
        report[str(measure)] = errors(part.predicted, part.actual, part.low, part.high)
        if str(measure).endswith("_ms"):
            off = (part.predicted - part.actual).abs()
            report[str(measure)]["p90 ms"] = round(float(off.quantile(0.9)), 1)
    return report
