"""The scorecard of predictions."""

from __future__ import annotations

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
