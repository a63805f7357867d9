"""The Pareto front of balance against moving."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drsim import check
from drsim.errors import DrsimError
from drsim.front import knee, pareto_front
from drsim.report import draw_front, front_table
from drsim.synthetic import cluster


@given(seed=st.integers(0, 50), hosts=st.integers(2, 8), points=st.integers(2, 6))
@settings(max_examples=15, deadline=None)
def test_no_plan_of_a_front_is_worse_than_another_in_everything(seed: int, hosts: int, points: int) -> None:
    front = pareto_front(cluster(hosts, 8 * hosts, seed), points=points, time_limit_s=2.0)
    figures = front.measures
    assert 1 <= len(front.plans) <= points
    for one in range(len(figures)):
        for other in range(len(figures)):
            dominates = (figures[one] <= figures[other]).all() and (figures[one] < figures[other]).any()
            assert not dominates
    for plan in front.plans:
        assert not check.plan_violations(plan)
    assert 0 <= front.knee < len(front.plans)
    assert list(figures[:, 1]) == sorted(figures[:, 1])


def test_more_moving_buys_more_balance_from_end_to_end() -> None:
    front = pareto_front(cluster(12, 120, seed=1), points=6, time_limit_s=6.0)
    table = front_table(front)
    assert table["score"].is_monotonic_decreasing
    assert len(front.plans) >= 4
    assert front.plans[-1].gap == pytest.approx(0.0, abs=0.05)
    assert 0 < front.knee < len(front.plans) - 1, "an end is no knee"
    assert table["suggested"].sum() == 1
    title = draw_front(front).axes[0].get_title(loc="left")
    assert f"in {len(front.plans[front.knee].moves)} moves" in title


def test_the_knee_of_a_curve_is_where_it_bends() -> None:
    x = np.linspace(0.1, 10.0, 100)
    bend = knee(np.column_stack([1.0 / x, x]))
    # 1/x scaled to its span bends where its slope is that of the line between its ends: x = sqrt(0.1 * 10).
    assert x[bend] == pytest.approx(1.0, abs=0.1)
    assert knee(np.array([[1.0, 5.0]])) == 0


def test_a_front_of_one_point_is_refused() -> None:
    with pytest.raises(DrsimError, match="at least 2"):
        pareto_front(cluster(2, 8, 0), points=1)
