"""Laws of sharing: conservation and max-min optimality, whatever the network."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drsim.inventory import Inventory
from drsim.migration import DEFAULT
from drsim.policy import Limits
from drsim.simulate import Simulation, fair_share, simulate
from drsim.topology import Topology
from drsim.transfer import Transfer
from drsim.units import MIB_S_PER_MBIT_S
from tests.simulate.estate import estate, move
from tests.test_topology import guest, leaf_spine

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


def _carried(played: Simulation) -> dict[str, float]:
    """Add up what each line carried, MiB; none is over its capacity at any instant."""
    carried: dict[str, float] = defaultdict(float)
    since: dict[str, tuple[float, float]] = {}
    for use in played.link_use:
        assert use.used_mbit_s <= use.capacity_mbit_s
        at_s, used = since.get(use.edge, (use.time_s, 0.0))
        carried[use.edge] += used * (use.time_s - at_s) * MIB_S_PER_MBIT_S * DEFAULT.goodput
        since[use.edge] = (use.time_s, use.used_mbit_s)
    assert all(used == 0.0 for _, used in since.values())
    return carried


def _sent(inventory: Inventory, played: Simulation) -> dict[str, float]:
    """Add up what migrations sent over each line, MiB."""
    sent: dict[str, float] = defaultdict(float)
    for one in played.moves:
        path = Topology(inventory).path(one.source, one.target)
        assert path is not None
        for edge in path.edges:
            sent[edge] += played.predictions[one.id].sent_mib
    return sent


transfers = st.sampled_from(
    [Transfer(), Transfer(mode="postcopy"), Transfer(mode="hybrid"), Transfer(parallel_connections=4)]
)


@given(
    st.lists(st.tuples(st.sampled_from(["h2", "h3", "h4"]), st.floats(0.0, 30.0), transfers), min_size=1, max_size=6)
)
def test_what_lines_carried_is_what_migrations_sent(legs: list[tuple[str, float, Transfer]]) -> None:
    moves = [move(number, target, transfer=transfer) for number, (target, _, transfer) in enumerate(legs, start=1)]
    inventory = estate(guests=6)
    starts = {one.id: start_s for one, (_, start_s, _) in zip(moves, legs, strict=True)}
    played = simulate(inventory, moves, Limits(), starts_s=starts)
    assert _carried(played) == pytest.approx(_sent(inventory, played), rel=1e-6)


@given(
    st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8), st.floats(0.0, 5.0), transfers), min_size=1, max_size=10),
    st.integers(1, 3),
    st.floats(0.0, 9000.0),
)
def test_so_they_do_over_leaves_and_spines(
    legs: list[tuple[int, int, float, Transfer]], spines: int, other_mbit_s: float
) -> None:
    fabric = leaf_spine(leaves=3, spines=spines, each=3)
    names = [host.name for host in fabric.hosts]
    legs = [leg for leg in legs if leg[0] != leg[1]]
    inventory = replace(
        fabric,
        links=tuple(replace(link, other_mbit_s=other_mbit_s) for link in fabric.links),
        vms=tuple(guest(f"v{number}", names[a], memory_mib=2048) for number, (a, *_) in enumerate(legs)),
    )
    moves = [
        move(number, names[b], source=names[a], transfer=transfer) for number, (a, b, _, transfer) in enumerate(legs)
    ]
    starts = {one.id: start_s for one, (_, _, start_s, _) in zip(moves, legs, strict=True)}
    played = simulate(inventory, moves, Limits(), starts_s=starts)
    assert _carried(played) == pytest.approx(_sent(inventory, played), rel=1e-6)
