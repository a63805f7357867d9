"""Laws of sharing: conservation and max-min optimality, whatever the network."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drsim.migration import DEFAULT
from drsim.policy import Limits
from drsim.simulate import fair_share, simulate
from drsim.topology import Topology
from drsim.transfer import Transfer
from drsim.units import MIB_S_PER_MBIT_S
from tests.simulate.estate import estate, move

Network = tuple[list[float], list[list[int]], list[float]]


@st.composite
def networks(draw: st.DrawFn) -> Network:
    lines = draw(st.integers(1, 8))
    capacity = draw(st.lists(st.floats(0.1, 1e4), min_size=lines, max_size=lines))
    routes = draw(
        st.lists(st.lists(st.integers(0, lines - 1), min_size=1, max_size=4, unique=True), min_size=1, max_size=20)
    )
    limit = draw(st.lists(st.one_of(st.floats(0.01, 1e4), st.just(np.inf)), min_size=len(routes), max_size=len(routes)))
    return capacity, routes, limit


def _shares(network: Network) -> np.ndarray:
    capacity, routes, limit = network
    return fair_share(
        np.array(capacity),
        np.array([number for number, route in enumerate(routes) for _ in route], dtype=np.int64),
        np.array([line for route in routes for line in route], dtype=np.int64),
        np.array(limit),
    )


@given(networks())
def test_shares_are_conserved_and_max_min_optimal(network: Network) -> None:
    """No line is over its capacity; each flow has its limit, or a full line on which nobody has more."""
    capacity, routes, limit = network
    rates = _shares(network)
    used = np.zeros(len(capacity))
    for route, rate in zip(routes, rates, strict=True):
        used[route] += rate
    assert (used <= np.array(capacity) * (1 + 1e-9)).all()
    assert (rates > 0).all()
    assert (rates <= np.array(limit) * (1 + 1e-9)).all()
    for number, route in enumerate(routes):
        if rates[number] >= limit[number] * (1 - 1e-9):
            continue
        full = [line for line in route if used[line] >= capacity[line] * (1 - 1e-6)]
        assert any(
            all(rates[other] <= rates[number] * (1 + 1e-6) for other, way in enumerate(routes) if line in way)
            for line in full
        )


@given(networks(), st.randoms(use_true_random=False))
def test_shares_do_not_depend_on_the_order_of_flows(network: Network, random) -> None:  # type: ignore[no-untyped-def]
    capacity, routes, limit = network
    order = list(range(len(routes)))
    random.shuffle(order)
    shuffled = _shares((capacity, [routes[i] for i in order], [limit[i] for i in order]))
    np.testing.assert_allclose(shuffled, _shares(network)[order], rtol=1e-9)


@given(
    st.lists(st.tuples(st.sampled_from(["h2", "h3", "h4"]), st.integers(1, 3)), min_size=1, max_size=6),
)
def test_plans_keep_their_waves_and_their_lines(targets: list[tuple[str, int]]) -> None:
    moves = [move(number, target, wave) for number, (target, wave) in enumerate(targets, start=1)]
    inventory = estate(guests=6)
    played = simulate(inventory, moves, Limits())
    assert all(use.used_mbit_s <= use.capacity_mbit_s for use in played.link_use)
    for one in moves:
        found = played.predictions[one.id]
        assert found.sent_mib >= inventory.vm_by_name[one.vm].memory_mib
        assert found.end_s <= played.makespan_s
        for other in moves:
            if other.wave < one.wave:
                assert played.predictions[other.id].end_s <= found.start_s + 1e-6


@given(
    st.lists(st.tuples(st.sampled_from(["h2", "h3", "h4"]), st.floats(0.0, 30.0)), min_size=1, max_size=6),
    st.sampled_from(["precopy", "postcopy", "hybrid"]),
)
def test_what_lines_carried_is_what_migrations_sent(targets: list[tuple[str, float]], mode: str) -> None:
    transfer = Transfer(mode=mode)  # type: ignore[arg-type]
    moves = [move(number, target, transfer=transfer) for number, (target, _) in enumerate(targets, start=1)]
    inventory = estate(guests=6)
    starts = {one.id: start_s for one, (_, start_s) in zip(moves, targets, strict=True)}
    played = simulate(inventory, moves, Limits(), starts_s=starts)
    carried: dict[str, float] = defaultdict(float)
    since: dict[str, tuple[float, float]] = {}
    for use in played.link_use:
        at_s, used = since.get(use.edge, (use.time_s, 0.0))
        carried[use.edge] += used * (use.time_s - at_s) * MIB_S_PER_MBIT_S * DEFAULT.goodput
        since[use.edge] = (use.time_s, use.used_mbit_s)
    assert all(used == 0.0 for _, used in since.values())
    sent: dict[str, float] = defaultdict(float)
    for one in moves:
        path = Topology(inventory).path(one.source, one.target)
        assert path is not None
        for edge in path.edges:
            sent[edge] += played.predictions[one.id].sent_mib
    assert carried == pytest.approx(sent, rel=1e-6)
