"""The engine: its running sums are what counting from scratch gives, it keeps what it must, it finds what is best."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drsim.optimize.engine.alike import alike
from drsim.optimize.engine.anneal import PATIENCE, anneal
from drsim.optimize.engine.model import Model, bare, broken, cost, flat, new_state, overfull
from drsim.optimize.engine.roomier import roomier
from drsim.optimize.engine.search import RECIPES, Found, Recipe, race, search


def model(seed: int, units: int, hosts: int, *, roomy: float = 1.6, groups: int = 4, transient: bool = True) -> Model:
    """Draw a problem with everything that a model can hold; whole numbers, so that sums are exact."""
    draw = np.random.default_rng(seed)
    demand = np.vstack([draw.integers(1, 20, (units, 3)), np.zeros((1, 3))]).astype(float)
    capacity = np.ceil(np.ones((hosts, 3)) * demand.sum(axis=0) * roomy / hosts)
    several = bool(seed % 2)  # units of several groups, or groups that need each other
    most = 3 if several else 2
    members = [sorted(set(draw.integers(0, groups, draw.integers(0, most)).tolist())) for _ in range(units)]
    groups_from, groups_of = flat([*members, []])
    needs = [
        sorted(set(draw.integers(0, groups, 0 if several else draw.integers(0, 2)).tolist()) - {g})
        for g in range(groups)
    ]
    needed: list[list[int]] = [[g for g in range(groups) if other in needs[g]] for other in range(groups)]
    needs_from, needs_of = flat(needs)
    needed_from, needed_of = flat(needed)
    return Model(
        demand=demand,
        held=demand * np.array([float(transient), 0.0, 0.0]),
        capacity=capacity,
        bar=np.full((hosts, 3), np.inf),
        safety=np.floor(capacity * 0.7),
        load_price=np.array([3.0, 5.0, 0.0]),
        balance=np.array([[0, 1, 2, 7]]),
        home=np.append(draw.integers(0, hosts, units), -1),
        move_price=draw.integers(1, 9, units).astype(float),
        route_price=draw.integers(0, 4, (hosts, hosts)) * (1.0 - np.eye(hosts)),
        group_price=11.0,
        groups_from=groups_from,
        groups_of=groups_of,
        most=draw.integers(1, 4, groups),
        cell=np.vstack([np.arange(hosts), np.arange(hosts) // 2]),
        per=draw.integers(0, 2, groups),
        spread=draw.integers(0, 3, groups),
        needs_from=needs_from,
        needs=needs_of,
        needed_from=needed_from,
        needed=needed_of,
        location=np.arange(hosts) % 3,
        area=np.arange(hosts) % 2,
        allowed=draw.random((2, hosts)) < 0.8,
        kind=draw.integers(0, 2, units),
    )


def run(m: Model, place: np.ndarray, *, lawful: bool, bar: np.ndarray, seed: int) -> tuple[float, float, int]:
    """Anneal with capacity and rules priced; return the change of the cost from scratch, the told one, and of rules."""
    state = new_state(m, place)
    price = np.full(m.capacity.shape, 13.0)

    def priced() -> float:
        over = np.maximum(state.full - m.capacity, 0.0)
        return cost(m, state) + float((over * price).sum()) + 17.0 * broken(m, state)

    before, wrong = priced(), broken(m, state)
    random = np.array([seed * 2 + 1], dtype=np.uint64)
    kin = alike(m.demand[:-1], 3, 0)
    told, change = anneal(
        m, state, m.capacity, price, bar, 17.0, wrong, lawful, PATIENCE, random, 3000, 30.0, 0.5, 0.3, 0.3, kin, 0.5,
        0.3, np.array([0]), 0.2,
    )  # fmt: skip
    fresh = new_state(m, state.place)
    for name in ("use", "full", "in_cell", "in_location", "locations", "in_area", "moved", "groups_moved"):
        assert np.array_equal(getattr(state, name), getattr(fresh, name)), name
    assert broken(m, state) - wrong == change
    hosts = m.capacity.shape[0]
    for host in range(hosts):
        ring, unit = [], int(state.first[host])
        while unit >= 0 and unit not in ring:
            ring.append(unit)
            assert state.before[state.after[unit]] == unit
            unit = int(state.after[unit])
        assert sorted(ring) == np.flatnonzero(state.place == host).tolist()
    return priced() - before, told, change


def lawful_start(m: Model) -> Model:
    """Let every unit be where it is."""
    allowed = m.allowed.copy()
    allowed[m.kind, m.home[:-1]] = True
    return m._replace(allowed=allowed)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 30), st.integers(2, 7), st.booleans())
def test_what_is_added_up_on_the_way_is_what_counting_gives(seed: int, units: int, hosts: int, lawful: bool) -> None:
    m = lawful_start(model(seed, units, hosts))
    counted, told, change = run(m, m.home[:-1], lawful=lawful, bar=m.bar, seed=seed)
    assert told == pytest.approx(counted, abs=1e-6)
    if lawful:
        assert change <= 0


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 30), st.integers(2, 7))
def test_no_step_passes_the_bar(seed: int, units: int, hosts: int) -> None:
    m = lawful_start(model(seed, units, hosts))
    start = new_state(m, m.home[:-1])
    bar = np.maximum(m.capacity, start.full)
    state = new_state(m, m.home[:-1])
    kin = alike(m.demand[:-1], 3, 0)
    price = np.zeros(m.capacity.shape)
    random = np.array([seed + 1], dtype=np.uint64)
    anneal(
        m, state, m.capacity, price, bar, 0.0, 0, False, PATIENCE, random, 3000, 30.0, 0.5, 0.3, 0.3, kin, 0.5,
        0.3, np.array([0]), 0.2,
    )  # fmt: skip
    assert (state.full <= bar).all()
    assert m.allowed[m.kind, state.place].all()


def exhaustive(m: Model) -> float:
    """Return the least cost of a whole placement, all of them tried."""
    hosts, units = len(m.capacity), len(m.kind)
    best = np.inf
    for place in itertools.product(range(hosts), repeat=units):
        state = new_state(m, np.array(place))
        if broken(m, state) == 0 and overfull(m, state) == 0.0:
            best = min(best, cost(m, state))
    return best


@pytest.mark.parametrize("seed", range(12))
def test_small_problems_are_solved_to_the_best_that_there_is(seed: int) -> None:
    m = lawful_start(model(seed, 6, 3, roomy=2.0, groups=2))
    best = exhaustive(m)
    found = search(m, m.home[:-1], lambda: 0.0, effort=300_000, seed=seed, workers=2)
    if np.isfinite(best):
        assert (found.broken, found.over) == (0, 0.0)
        assert found.cost == best
    else:
        assert found.broken > 0 or found.over > 0.0


def test_an_answer_depends_on_the_seed_alone() -> None:
    m = lawful_start(model(5, 60, 8))
    first, second, other = (
        search(m, m.home[:-1], lambda: 0.0, effort=200_000, seed=seed, workers=2) for seed in (1, 1, 2)
    )
    assert np.array_equal(first.place, second.place)
    assert not np.array_equal(first.place, other.place)


def test_a_start_that_is_whole_is_never_made_worse() -> None:
    m = lawful_start(model(3, 40, 6, groups=1))
    m = m._replace(most=np.array([40]), spread=np.array([0]), capacity=new_state(m, m.home[:-1]).full)
    ends: list[Found] = [search(m, m.home[:-1], lambda: 0.0, effort=effort, workers=1) for effort in (1_000, 100_000)]
    start = cost(m, new_state(m, m.home[:-1]))
    for found in ends:
        assert (found.broken, found.over) == (0, 0.0)
        assert found.cost <= start


def test_a_race_ends_with_its_time_and_is_no_worse_than_the_start() -> None:
    m = lawful_start(model(4, 30, 5, groups=2))
    calls = itertools.count()
    found = race(m, m.home[:-1], lambda: next(calls) / 600, workers=2)
    state = new_state(m, m.home[:-1])
    assert found.rank <= (broken(m, state), overfull(m, state), cost(m, state))
    assert len({(recipe.hot, recipe.over, recipe.homes) for recipe in RECIPES}) == len(RECIPES)


def test_units_alike_are_the_nearest() -> None:
    demand = np.random.default_rng(1).gamma(2.0, size=(400, 3))
    scaled = demand / demand.mean(axis=0)
    found = alike(demand, 5, 0)
    distance = np.linalg.norm(scaled[:, None] - scaled[None], axis=2)
    np.fill_diagonal(distance, np.inf)
    nearest = np.sort(distance, axis=1)[:, :5]
    got = np.take_along_axis(distance, found, axis=1)
    assert (np.diff(got, axis=1) >= 0).all()
    assert got.mean() < 1.2 * nearest.mean()
    assert all(len(set(row)) == 5 for row in found.tolist())


def test_a_recipe_has_sane_defaults() -> None:
    recipe = Recipe()
    assert recipe.hot > recipe.cold > 0.0
    assert recipe.up > 1.0 > recipe.down


def test_a_large_unit_goes_where_it_costs_nothing_alone() -> None:
    demand = np.array([[60.0], [30.0], [40.0]])
    m = bare(demand, np.array([[100.0], [100.0]]))._replace(
        safety=np.array([[50.0], [70.0]]), load_price=np.array([1.0])
    )
    freed = roomier(m, np.array([0, 1, 1]))
    assert freed is not None
    closed, start = freed
    assert start.tolist() == [1, 1, 1]
    assert closed.allowed[closed.kind].tolist() == [[False, True], [True, True], [True, True]]
    assert roomier(m, np.array([1, 0, 0])) is None
    assert roomier(m._replace(safety=np.full((2, 1), 50.0)), np.array([0, 1, 1])) is None


def test_polishing_ends_where_no_single_move_saves_anything() -> None:
    draw = np.random.default_rng(3)
    demand = draw.integers(1, 20, (150, 2)).astype(float)
    home = np.append(draw.integers(0, 6, 150), -1)
    m = bare(demand, np.full((6, 2), 1000.0))._replace(
        home=home,
        safety=np.full((6, 2), np.ceil(demand.sum(axis=0).max() / 5.5)),
        load_price=np.full(2, 1e6),
        move_price=draw.integers(1, 9, 150).astype(float),
    )
    found = search(m, home[:-1], lambda: 0.0, effort=3_000_000, seed=1, workers=1)
    assert found.cost < 1e6 < cost(m, new_state(m, home[:-1]))
    for unit, host in itertools.product(range(150), range(6)):
        place = found.place.copy()
        place[unit] = host
        assert cost(m, new_state(m, place)) >= found.cost


def test_a_race_of_many_units_keeps_what_it_found_and_betters_its_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("drsim.optimize.engine.search.LARGE", 1)
    m = lawful_start(model(5, 12, 5, roomy=2.5, groups=2))
    looks = itertools.count()
    found = race(m, m.home[:-1], lambda: next(looks) / 300.0, seed=3)
    first, state = new_state(m, m.home[:-1]), new_state(m, found.place)
    assert (found.broken, found.over, found.cost) == (broken(m, state), overfull(m, state), cost(m, state))
    assert found.rank < (broken(m, first), overfull(m, first), cost(m, first))


@pytest.mark.parametrize("chains", [0.0, 1.0])
def test_a_unit_goes_where_another_makes_room_for_it(chains: float) -> None:
    # The unit on host 0 saves 100 on host 1, which the other one has to leave for host 2 first, for a price of 5.
    m = bare(np.array([[6.0], [6.0]]), np.full((3, 1), 10.0))._replace(
        home=np.array([0, 1, -1]),
        bar=np.full((3, 1), 10.0),
        safety=np.array([[0.0], [10.0], [10.0]]),
        load_price=np.array([20.0]),
        move_price=np.array([5.0, 5.0]),
        allowed=np.array([[True, True, False], [False, True, True]]),
        kind=np.array([0, 1]),
    )
    state, kin = new_state(m, m.home[:-1]), alike(m.demand[:-1], 1, 0)
    change, _ = anneal(
        m, state, m.capacity, np.zeros((3, 1)), m.bar, 0.0, 0, True, PATIENCE, np.array([1], dtype=np.uint64), 3000,
        1e-9, 1e-9, 0.5, 0.3, kin, 0.5, chains, np.array([0]), 0.2,
    )  # fmt: skip
    assert (change, state.place.tolist()) == ((-110.0, [1, 2]) if chains else (0.0, [0, 1]))
    assert cost(m, state) == (10.0 if chains else 120.0)
