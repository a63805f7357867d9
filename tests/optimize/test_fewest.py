"""The fewest hosts: against brute force, within capacities and rules, and never below the bound."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drsim.optimize import optimize
from drsim.optimize.engine.fewest import fewest
from drsim.optimize.engine.fill import filled, least
from drsim.optimize.engine.model import bare, broken, new_state
from drsim.policy import Objective, Policy
from drsim.synthetic import cluster
from tests.optimize.test_engine import lawful_start
from tests.optimize.test_engine import model as drawn

SIZE = np.array([10.0, 12.0])


def optimum(demand: np.ndarray, size: np.ndarray) -> int:
    """Count the fewest equal hosts, all partitions tried."""
    for hosts in range(1, len(demand) + 1):
        for place in itertools.product(range(hosts), repeat=len(demand) - 1):
            use = np.zeros((hosts, len(size)))
            np.add.at(use, np.array([0, *place]), demand)
            if (use <= size).all():
                return hosts
    raise AssertionError("a unit is larger than a host")


needs = st.lists(st.tuples(st.integers(0, 10), st.integers(0, 12)), min_size=1, max_size=7)


@given(needs)
@settings(max_examples=60, deadline=None)
def test_small_ones_are_packed_into_the_fewest(rows: list[tuple[int, int]]) -> None:
    demand = np.array(rows, dtype=float)
    best = optimum(demand, SIZE)
    start = filled(demand, SIZE)
    assert least(demand, SIZE) <= best <= int(start.max()) + 1
    capacity = np.tile(SIZE, (int(start.max()) + 1, 1))
    place = fewest(bare(demand, capacity), start, lambda: 0.0, effort=200_000)
    use = np.zeros_like(capacity)
    np.add.at(use, place, demand)
    assert (use <= capacity).all()
    assert len(np.unique(place)) == best


@pytest.mark.parametrize(
    ("demand", "hosts"),
    [
        ([[6.0, 0.0], [6.0, 0.0], [6.0, 0.0], [0.0, 7.0]], 3),  # three larger than a half in the first
        ([[4.0, 0.0]] * 7, 4),  # two fit, three do not
        ([[7.0, 4.0], [1.0, 9.0], [4.0, 4.0]], 3),  # no two fit together, each pair for its own reason
        ([[2.0, 3.0]] * 20, 5),
    ],
)
def test_the_bound_sees_why(demand: list[list[float]], hosts: int) -> None:
    assert least(np.array(demand), SIZE) == hosts


@given(st.integers(0, 10**6), st.integers(4, 40), st.integers(2, 8))
@settings(max_examples=40, deadline=None)
def test_capacities_and_rules_are_kept_and_no_host_is_opened(seed: int, units: int, hosts: int) -> None:
    m = lawful_start(drawn(seed, units, hosts, transient=False))
    m = m._replace(capacity=np.maximum(m.capacity, new_state(m, m.home[:-1]).full))
    before = new_state(m, m.home[:-1])
    after = new_state(m, fewest(m, m.home[:-1], lambda: 0.0, effort=100_000, seed=seed))
    assert (after.full <= m.capacity).all()
    assert broken(m, after) <= broken(m, before)
    assert set(after.place.tolist()) <= set(before.place.tolist())


def test_units_packed_without_a_gap_are_found_again() -> None:
    draw = np.random.default_rng(2)
    cuts = np.sort(draw.integers(1, 1000, (30, 2, 3)), axis=1)
    edges = np.concatenate([np.zeros((30, 1, 3)), cuts, np.full((30, 1, 3), 1000.0)], axis=1)
    demand, size = np.diff(edges, axis=1).reshape(-1, 3), np.full(3, 1000.0)
    start = filled(demand, size)
    assert least(demand, size) == 30
    place = fewest(bare(demand, np.tile(size, (int(start.max()) + 1, 1))), start, lambda: 0.0, effort=4_000_000)
    assert len(np.unique(place)) <= 33 < int(start.max()) + 1


def test_consolidation_goes_on_where_hosts_cannot_be_emptied_one_by_one() -> None:
    made = cluster(40, 600, 1, fill=0.7)
    first, second = (
        optimize(made, Policy(), Objective(goal="consolidate"), time_limit_s=20.0, seed=3) for _ in range(2)
    )
    assert first == second
    assert (first.after.violations, first.status) == (0, "optimal")
