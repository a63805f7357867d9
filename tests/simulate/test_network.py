"""Fair shares worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from drsim.simulate import fair_share


def share(capacity: list[float], routes: list[list[int]], limit: list[float] | None = None) -> list[float]:
    flow = [number for number, route in enumerate(routes) for _ in route]
    line = [edge for route in routes for edge in route]
    rates = fair_share(
        np.array(capacity),
        np.array(flow, dtype=np.int64),
        np.array(line, dtype=np.int64),
        np.array(limit or [np.inf] * len(routes)),
    )
    found: list[float] = rates.tolist()
    return found


def test_one_line_is_shared_equally() -> None:
    assert share([10.0], [[0], [0], [0], [0]]) == pytest.approx([2.5] * 4)


def test_what_a_limited_flow_leaves_goes_to_the_others() -> None:
    assert share([10.0], [[0], [0], [0]], [1.0, np.inf, np.inf]) == pytest.approx([1.0, 4.5, 4.5])


def test_the_parking_lot() -> None:
    """One long flow over three lines, a short one on each: the narrowest line sets the long flow's rate."""
    assert share([10.0, 4.0, 8.0], [[0, 1, 2], [0], [1], [2]]) == pytest.approx([2.0, 8.0, 2.0, 6.0])


def test_several_levels() -> None:
    """Line 0 (6) holds three flows at 2; line 1 (10) then has 8 for its other two."""
    assert share([6.0, 10.0], [[0], [0], [0, 1], [1], [1]]) == pytest.approx([2.0, 2.0, 2.0, 4.0, 4.0])


def test_flows_without_lines_get_their_limit() -> None:
    assert share([1.0], [[], [0]], [7.0, np.inf]) == [7.0, 1.0]


def test_nobody_shares_nothing() -> None:
    assert share([5.0], []) == []
