"""How good predictions have been: predicted beside actual, migration by migration and over time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from drsim.migration.calibration import Calibration
from drsim.migration.observation import MEASURES, Observation, foresee
from drsim.migration.tune import COPY

if TYPE_CHECKING:
    import pandas as pd

BANDS = {
    "total_time_s": ("total_time_low_s", "total_time_high_s"),
    "downtime_ms": ("downtime_low_ms", "downtime_high_ms"),
    "sent_mib": ("sent_low_mib", "sent_high_mib"),
    "client_gap_ms": ("client_gap_low_ms", "client_gap_high_ms"),
}
"""Fields of a prediction that hold the band of each measure."""

COMPARED = (*MEASURES, "qemu_downtime_ms")
"""What is compared: what is tuned on and has a band, and QEMU's own figure of the downtime, which has none."""


def scorecard(observations: Sequence[Observation], calibration: Calibration) -> pd.DataFrame:
    """Return predicted beside actual, a row for each migration and measure.

    Parameters
    ----------
    observations : sequence of Observation
        Best migrations that the calibration was not made from.
    calibration : Calibration
        What predicts them.

    Returns
    -------
    DataFrame
        Columns: ``at`` (when, or None), ``guest``, ``cell``, ``measure`` (one of `COMPARED`, with its unit; ``copy_``
        before it if disks moved alone), ``predicted``, ``actual``, ``error_share`` (predicted over actual less 1),
        ``low``, ``high`` (90 % band), ``covered`` (NaN without a band), ``in_range``; in the order of time where it is
        known.
    """
    import pandas as pd

    rows = []
    for one, said in zip(observations, foresee(observations, calibration.parameters), strict=True):
        if one.storage_only:
            banded = calibration.with_copy_bands(said)
        else:
            banded = calibration.with_bands(
                said,
                one.vm,
                one.path,
                max_downtime_ms=one.max_downtime_ms,
                bandwidth_mbit_s=one.bandwidth_mbit_s,
                copy_disks=one.copy_disks,
            )
        for measure in COMPARED:
            actual, predicted = getattr(one, measure), getattr(said, measure)
            if actual is None or predicted is None:
                continue
            low, high = (getattr(banded, field) for field in BANDS[measure]) if measure in BANDS else (np.nan, np.nan)
            rows.append(
                {
                    "at": one.at,
                    "guest": one.vm.name,
                    "cell": one.cell,
                    "measure": f"{COPY}{measure}" if one.storage_only else measure,
                    "predicted": predicted,
                    "actual": actual,
                    "error_share": predicted / actual - 1.0 if actual else np.nan,
                    "low": low,
                    "high": high,
                    "covered": low <= actual <= high if measure in BANDS else np.nan,
                    "in_range": banded.in_range,
                }
            )
    table = pd.DataFrame(rows)
    dated = len(table) > 0 and bool(table["at"].notna().all())
    return table.sort_values("at", kind="stable", ignore_index=True) if dated else table


def summary(card: pd.DataFrame, *, window: int | None = None) -> pd.DataFrame:
    """Return bias, errors and coverage of a scorecard by measure, or their course over time.

    Parameters
    ----------
    card : DataFrame
        From `scorecard`.
    window : int, optional
        Migrations that a row looks back on; by default there is one row for all.

    Returns
    -------
    DataFrame
        Columns: ``measure``, ``n``, ``bias`` (median signed error), ``median``, ``p90`` (of the absolute errors), all
        as shares, and ``coverage`` of the bands; with `window` also ``at`` and ``number`` of the last one.
    """
    import pandas as pd

    rows = []
    for measure, part in card.groupby("measure", sort=False):
        error, covered = part["error_share"].to_numpy(float), part["covered"].to_numpy(float)
        for end in [len(part)] if window is None else range(min(window, len(part)), len(part) + 1):
            start = 0 if window is None else max(0, end - window)
            of = error[start:end]
            row = {
                "measure": measure,
                "n": end - start,
                "bias": float(np.median(of)),
                "median": float(np.median(np.abs(of))),
                "p90": float(np.quantile(np.abs(of), 0.9)),
                "coverage": float(covered[start:end].mean()),
            }
            rows.append(row if window is None else row | {"at": part["at"].iloc[end - 1], "number": end})
    return pd.DataFrame(rows)
