"""Laws of sharing: conservation and max-min optimality, whatever the network."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from drsim.policy import Limits
from drsim.simulate import fair_share, simulate
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
