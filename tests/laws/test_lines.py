"""Laws of lines under load: shares settled where something changed are what settling them everywhere would give."""

from __future__ import annotations

import numpy as np
import simpy
from hypothesis import given, settings
from hypothesis import strategies as st

from drsim.simulate import fair_share
from drsim.simulate.flows import Flow
from drsim.simulate.kernel import LIMIT, RATE
from drsim.simulate.lines import Lines
from drsim.simulate.network import NOBODY

LINES = 8
Change = tuple[int, float]


@st.composite
def courses(draw: st.DrawFn) -> tuple[list[float], list[list[int]], list[list[Change]]]:
    """Draw capacities, the ways of flows, and what they could use from instant to instant."""
    capacity = draw(st.lists(st.sampled_from([1.0, 2.5, 10.0, 25.0]), min_size=LINES, max_size=LINES))
    ways = draw(
        st.lists(st.lists(st.integers(0, LINES - 1), min_size=1, max_size=4, unique=True), min_size=1, max_size=14)
    )
    limit = st.one_of(st.just(0.0), st.floats(0.01, 30.0), st.just(1e6))
    change = st.tuples(st.integers(0, len(ways) - 1), limit)
    return capacity, ways, draw(st.lists(st.lists(change, min_size=1, max_size=6), min_size=1, max_size=8))


def _play(course: tuple[list[float], list[list[int]], list[list[Change]]], fast: bool) -> list[np.ndarray]:
    capacity, ways, instants = course
    env = simpy.Environment()
    lines = Lines(env, {f"l{n}": rate for n, rate in enumerate(capacity)}, 1.0, fast=fast)
    flows = [lines.open(tuple(f"l{line}" for line in way)) for way in ways]
    found = []
    for number, changes in enumerate(instants, 1):
        for flow, limit in changes:
            lines.limit(flows[flow], limit)
        env.run(until=number)
        found.append(_rates(lines, flows))
        _check(lines, flows)
    return found


def _rates(lines: Lines, flows: list[Flow]) -> np.ndarray:
    return np.array([lines.rate_mib_s(flow) for flow in flows])


def _check(lines: Lines, flows: list[Flow]) -> None:
    tables = lines.flows.tables
    active = [flow.number for flow in flows if flow.limit_mib_s > 0.0]
    used = np.zeros(tables.capacity.size)
    ways = {number: [line for line in tables.ways[number].tolist() if line != NOBODY] for number in active}
    for number in active:
        used[ways[number]] += tables.flow[number, RATE]
    assert (used <= tables.capacity * (1.0 + 1e-8)).all()
    np.testing.assert_allclose(tables.used, used, atol=1e-8)
    everywhere = fair_share(
        tables.capacity,
        np.array([place for place, number in enumerate(active) for _ in ways[number]], dtype=np.int64),
        np.array([line for number in active for line in ways[number]], dtype=np.int64),
        tables.flow[active, LIMIT],
    )
    np.testing.assert_allclose(tables.flow[active, RATE], everywhere, rtol=1e-6)
    for number in active:
        rate = tables.flow[number, RATE]
        others = [
            max(tables.flow[other, RATE] for other in active if line in ways[other])
            for line in ways[number]
            if used[line] >= tables.capacity[line] * (1.0 - 1e-6)
        ]
        assert rate >= tables.flow[number, LIMIT] * (1.0 - 1e-6) or min(others) <= rate * (1.0 + 1e-6)


@settings(max_examples=150)
@given(courses())
def test_shares_are_fair_after_every_change(course: tuple[list[float], list[list[int]], list[list[Change]]]) -> None:
    _play(course, fast=False)


def test_compiled_and_plain_give_the_same_bits() -> None:
    draw = np.random.default_rng(7)
    ways = [draw.choice(LINES, size=draw.integers(1, 4), replace=False).tolist() for _ in range(40)]
    instants = [
        [(int(flow), float(draw.choice([0.0, 0.3, 2.0, 1e6]))) for flow in draw.choice(40, size=8, replace=False)]
        for _ in range(60)
    ]
    course = ([1.0, 1.0, 2.5, 10.0, 10.0, 25.0, 25.0, 25.0], ways, instants)
    for plain, fast in zip(_play(course, fast=False), _play(course, fast=True), strict=True):
        assert plain.tobytes() == fast.tobytes()
