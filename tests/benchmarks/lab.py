"""A recording of the lab (`executor.record`): tuned on half of its cells, tested on the other half, both ways.

Or tuned on another recording, without the cells under test. Where migrations were repeated, the mean of the others of
the same cell is the peer: what somebody would say who had just seen the very same migration.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path as File
from typing import Any

import numpy as np
import pandas as pd

from drsim.formats.recordings import observations_of
from drsim.migration import LAB_TCG, Calibration, calibrate, foresee
from drsim.migration.observation import Observation
from tests.benchmarks.errors import errors

MEASURES = {"total_time_s": "total_time", "downtime_ms": "downtime", "sent_mib": "sent", "client_gap_ms": "client_gap"}


def read(path: File) -> pd.DataFrame:
    """Read a table by its suffix."""
    return pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)


def evaluate(folder: File, tuned_on: File | None = None) -> dict[str, Any]:
    """Return the figures of each measure over all cells, each predicted by what was tuned on other cells.

    Parameters
    ----------
    folder : Path
        Recording to test on.
    tuned_on : Path, optional
        Recording to tune on; by default the other half of the cells of `folder`.
    """
    observations = _observations(folder)
    rows: list[dict[str, float]] = []
    for found, tested in _splits(observations, tuned_on):
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
    report: dict[str, Any] = {"cells": len({one.cell for one in observations}), "migrations": len(observations)}
    if tuned_on is not None:
        report["tuned on"] = tuned_on.name
    again = _again(observations)
    for measure, part in frame.groupby("measure"):
        report[str(measure)] = _figures(part, str(measure))
        if not (peer := again[again.measure == measure]).empty:
            report[str(measure)]["the others of its cell"] = _figures(peer, str(measure))
    return report


def _observations(folder: File) -> list[Observation]:
    table = next(path for path in (folder / "migrations.parquet", folder / "migrations.csv") if path.is_file())
    return observations_of(read(table))


def _splits(
    observations: Sequence[Observation], tuned_on: File | None
) -> Iterator[tuple[Calibration, list[Observation]]]:
    """Return what was tuned, and what is to be tested on it; no cell is in both."""
    cells = sorted({one.cell for one in observations})
    if tuned_on is not None:
        others = [one for one in _observations(tuned_on) if one.cell not in set(cells)]
        yield calibrate(others, base=LAB_TCG), list(observations)
        return
    order = np.random.default_rng(1).permutation(len(cells))
    half = {cells[int(cell)]: place % 2 for place, cell in enumerate(order)}
    for part in (0, 1):
        tuned = [one for one in observations if half[one.cell] != part]
        yield calibrate(tuned, base=LAB_TCG), [one for one in observations if half[one.cell] == part]


def _again(observations: Sequence[Observation]) -> pd.DataFrame:
    """Return what was measured beside the mean of the others of the same cell, for each that has others."""
    rows = []
    for one in observations:
        others = [other for other in observations if other.cell == one.cell and other is not one]
        for measure in MEASURES:
            seen = [value for other in others if (value := getattr(other, measure)) is not None]
            if seen and (actual := getattr(one, measure)) is not None:
                rows.append({"measure": measure, "predicted": float(np.mean(seen)), "actual": actual})
    return pd.DataFrame(rows, columns=["measure", "predicted", "actual"])


def _figures(part: pd.DataFrame, measure: str) -> dict[str, Any]:
    bands = (part.low, part.high) if "low" in part else (None, None)
    found = errors(part.predicted, part.actual, *bands)
    if measure.endswith("_ms"):
        found["p90 ms"] = round(float((part.predicted - part.actual).abs().quantile(0.9)), 1)
    return found
