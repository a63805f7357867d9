"""The scorecard of predictions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from drsim.formats import read_recording
from drsim.migration import LAB_TCG, MEASURES, calibrate, foresee
from drsim.migration.scorecard import scorecard, summary
from drsim.report import draw_scorecard

SEEN = read_recording(Path(__file__).parents[2] / "data" / "lab" / "migrations.csv")


def test_predicted_beside_actual() -> None:
    tuned = calibrate(SEEN[::2], base=LAB_TCG)
    card = scorecard(SEEN[1::2], tuned)
    said = foresee(SEEN[1::2], tuned.parameters)
    assert set(card.measure) == set(MEASURES)
    assert len(card) == 4 * len(SEEN[1::2])
    time = card[card.measure == "total_time_s"]
    assert sorted(time.predicted) == pytest.approx(sorted(one.total_time_s for one in said))
    assert list(card["at"]) == sorted(card["at"])
    assert (card.covered == ((card.low <= card.actual) & (card.actual <= card.high))).all()

    whole = summary(card).set_index("measure")
    assert whole.loc["total_time_s", "median"] == pytest.approx(np.median(np.abs(time.predicted / time.actual - 1.0)))
    assert whole.loc["total_time_s", "coverage"] == pytest.approx(time.covered.mean())

    course = summary(card, window=3)
    assert len(course) == 4 * (len(SEEN[1::2]) - 2)
    assert (course.n == 3).all()

    figure = draw_scorecard(card, window=3)
    assert len(figure.axes) == len(MEASURES)
    assert "median error" in figure.axes[0].get_title(loc="left")


def test_qemu_s_own_figure_is_compared_where_it_was_measured_and_has_no_band() -> None:
    tuned = calibrate(SEEN[::2], base=LAB_TCG)
    seen = [replace(one, qemu_downtime_ms=100.0) for one in SEEN[1:6:2]]
    card = scorecard(seen, tuned)
    own = card[card.measure == "qemu_downtime_ms"]
    assert sorted(own.predicted) == pytest.approx(
        sorted(one.qemu_downtime_ms for one in foresee(seen, tuned.parameters))
    )
    assert own[["low", "high", "covered"]].isna().all(axis=None)
    whole = summary(card).set_index("measure")
    assert whole.loc["qemu_downtime_ms", "n"] == 3
    assert np.isnan(whole.loc["qemu_downtime_ms", "coverage"])
    assert len(draw_scorecard(card).axes) == len(MEASURES) + 1


def test_three_downtimes_of_one_migration_lie_within_each_other_as_predicted() -> None:
    seen = read_recording(Path(__file__).parents[2] / "data" / "lab-downtime" / "migrations.parquet")
    assert len(seen) == 20
    both = [
        (one.downtime_ms - one.qemu_downtime_ms, said.downtime_ms - (said.qemu_downtime_ms or 0.0))
        for one, said in zip(seen, foresee(seen, LAB_TCG), strict=True)
        if one.downtime_ms is not None and one.qemu_downtime_ms is not None
    ]
    assert len(both) == 18  # libvirt keeps no figure of a post-copy
    measured, predicted = np.array(both).T
    assert (measured > 0.0).all()
    assert np.median(np.abs(predicted - measured)) < 15.0
    assert np.abs(predicted - measured).max() < 50.0
