"""Going from a whole placement towards another: whole at every end, as near as what is in the way lets it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drsim.optimize.engine.approach import approach
from drsim.optimize.engine.model import bare, broken, new_state, overfull
from tests.optimize.test_engine import lawful_start, model


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32), st.integers(2, 40), st.integers(2, 9))
def test_what_is_whole_stays_whole(seed: int, units: int, hosts: int) -> None:
    m = lawful_start(model(seed, units, hosts))
    state = new_state(m, m.home[:-1])
    m = m._replace(capacity=np.maximum(m.capacity, state.full))
    goal = np.random.default_rng(seed).integers(0, hosts, units)
    before = broken(m, state)
    missing = approach(m, state, goal, m.capacity)
    assert overfull(m, state) == 0.0
    assert broken(m, state) <= before
    assert ((state.place == m.home[:-1]) | (state.place == goal)).all()
    assert missing == int((state.place != goal).sum())
    counted = new_state(m, state.place)
    assert np.array_equal(state.full, counted.full)
    assert np.array_equal(state.in_cell, counted.in_cell)


@pytest.mark.parametrize("units", [3, 10])
def test_a_chain_is_followed_to_its_end_whatever_the_order(units: int) -> None:
    # Each host holds one unit; each goes one host on, the last to the free one, so only the last can go at first.
    m = bare(np.ones((units, 1)), np.ones((units + 1, 1)))._replace(home=np.append(np.arange(units), -1))
    state = new_state(m, np.arange(units))
    assert approach(m, state, np.arange(1, units + 1), m.capacity) == 0
    assert state.place.tolist() == list(range(1, units + 1))


def test_what_a_unit_holds_at_home_while_it_is_away_keeps_others_out() -> None:
    m = bare(np.ones((2, 1)), np.ones((3, 1)))
    m = m._replace(home=np.array([0, 1, -1]), held=np.array([[1.0], [1.0], [0.0]]))
    state = new_state(m, np.array([0, 1]))
    assert approach(m, state, np.array([1, 2]), m.capacity) == 1
    assert state.place.tolist() == [0, 2]


def test_two_that_are_in_each_others_way_stay() -> None:
    m = bare(np.ones((2, 1)), np.ones((2, 1)))._replace(home=np.array([0, 1, -1]))
    state = new_state(m, np.array([0, 1]))
    assert approach(m, state, np.array([1, 0]), m.capacity) == 2
    assert state.place.tolist() == [0, 1]
