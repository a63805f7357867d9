"""Ways between hosts: any graph of sites and switches, bonded cards, networks for migrations, traffic of others."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from dataclasses import replace

import networkx as nx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drsim import check
from drsim.inventory import Host, HostNic, Inventory, Link, PageClass, Site, Switch, Vm
from drsim.migration import DEFAULT, predict
from drsim.plan import Move
from drsim.policy import Limits, Policy
from drsim.simulate import simulate
from drsim.topology import LEAST_FREE, Path, Topology
from drsim.transfer import Transfer
from drsim.units import MIB_S_PER_MBIT_S


def host(name: str, *nics: HostNic, site: str = "s") -> Host:
    return Host(name=name, site=site, cores=16, memory_mib=1 << 18, nics=nics)


def card(rate: float, switch: str | None = None, number: int = 0, carries: bool = True) -> HostNic:
    return HostNic(name=f"{switch or 'e'}{number}", rate_mbit_s=rate, switch=switch, carries_migration=carries)


def guest(name: str, on: str, memory_mib: int = 8192) -> Vm:
    dirty = (PageClass(size_mib=64.0, dirty_rate_mib_s=5.0),)
    return Vm(name=name, host=on, vcpus=2, memory_mib=memory_mib, dirty=dirty)


def leaf_spine(leaves: int = 4, spines: int = 2, each: int = 4, uplink_mbit_s: float = 10_000.0) -> Inventory:
    """Hosts ``h<leaf>-<number>`` with 10 Gbit/s below leaves that are joined by every spine."""
    below = [f"l{n}" for n in range(leaves)]
    above = [f"s{n}" for n in range(spines)]
    return Inventory(
        sites=(Site(name="s"),),
        switches=tuple(Switch(name=name) for name in (*below, *above)),
        hosts=tuple(host(f"h{leaf[1:]}-{n}", card(10_000.0, leaf)) for leaf in below for n in range(each)),
        links=tuple(Link(a=leaf, b=spine, bandwidth_mbit_s=uplink_mbit_s) for leaf in below for spine in above),
    )


def way(inventory: Inventory, source: str, target: str) -> Path:
    path = Topology(inventory).path(source, target)
    assert path is not None
    return path


def test_below_one_leaf_only_the_cards_are_crossed() -> None:
    assert way(leaf_spine(), "h0-0", "h0-1").edges == ("h0-0>", ">h0-1")


def test_between_leaves_pairs_of_hosts_are_spread_over_all_spines_and_keep_to_theirs() -> None:
    inventory = leaf_spine(leaves=2, spines=4, each=20)
    names = [h.name for h in inventory.hosts]
    topology, again = Topology(inventory), Topology(inventory)
    used: Counter[str] = Counter()
    for source, target in itertools.product(names[:20], names[20:]):
        path = topology.path(source, target)
        assert path is not None
        assert path == again.path(source, target)
        up, down = path.edges[1:3]
        assert (up.split("->")[0], down.split("->")[1]) == ("l0", "l1")
        used[up] += 1
    assert len(used) == 4
    assert all(80 <= times <= 120 for times in used.values())  # of 400


def test_migrations_that_meet_on_an_uplink_share_it_and_others_do_not() -> None:
    inventory = leaf_spine(leaves=2, spines=2, each=8)
    pairs = [(a, b) for a, b in itertools.product(range(8), range(8))]
    uplink = {(a, b): way(inventory, f"h0-{a}", f"h1-{b}").edges[1] for a, b in pairs}
    first = pairs[0]
    apart = [pair for pair in pairs if not set(pair) & set(first)]
    met = next(pair for pair in apart if uplink[pair] == uplink[first])
    missed = next(pair for pair in apart if uplink[pair] != uplink[first])

    def rate_mbit_s(beside: tuple[int, int]) -> float:
        """Rate of the first, the other beside it."""
        both = list(enumerate((first, beside)))
        vms = tuple(guest(f"v{n}", f"h0-{a}") for n, (a, _) in both)
        moves = [Move(id=f"m{n}", vm=f"v{n}", source=f"h0-{a}", target=f"h1-{b}", reason="") for n, (a, b) in both]
        played = simulate(replace(inventory, vms=vms), moves, Limits())
        return next(use.used_mbit_s for use in played.link_use if use.edge == "h0-0>" and use.used_mbit_s > 0.0)

    assert rate_mbit_s(missed) == pytest.approx(10_000.0, rel=1e-6)
    assert rate_mbit_s(met) == pytest.approx(5_000.0, rel=1e-6)


def test_of_two_ways_the_one_with_the_least_round_trip_time_is_taken() -> None:
    inventory = Inventory(
        sites=tuple(Site(name=name) for name in ("paris", "lyon", "rome")),
        hosts=(host("p", site="paris"), host("r", site="rome")),
        links=(
            Link(a="paris", b="rome", bandwidth_mbit_s=10_000.0, rtt_ms=30.0),
            Link(a="paris", b="lyon", bandwidth_mbit_s=1000.0, rtt_ms=8.0, loss=0.1),
            Link(a="rome", b="lyon", bandwidth_mbit_s=800.0, rtt_ms=12.0, loss=0.1),
        ),
    )
    path = way(inventory, "p", "r")
    assert path.edges == ("p>", "paris->lyon", "lyon->rome", ">r")
    assert (path.rtt_ms, path.bandwidth_mbit_s, path.loss) == (20.0, 800.0, pytest.approx(0.19))
    assert check.inventory_problems(inventory) == ()


def test_migrations_keep_to_their_own_network() -> None:
    """The management network joins all hosts, that for migrations only two of them."""
    inventory = Inventory(
        sites=(Site(name="s"),),
        switches=(Switch(name="vmotion"),),
        hosts=(
            host("a", card(1000.0, carries=False), card(25_000.0, "vmotion")),
            host("b", card(1000.0, carries=False), card(10_000.0, "vmotion")),
            host("c", card(1000.0)),
        ),
        vms=(guest("v", "a"),),
    )
    assert way(inventory, "a", "b").bandwidth_mbit_s == 10_000.0
    assert Topology(inventory).path("a", "c") is None
    vm, c = inventory.vms[0], inventory.hosts[2]
    assert check.unmovable(inventory, Policy(), vm, c, Topology(inventory)) == "no line joins 'a' to 'c'"


def test_a_host_on_two_networks_uses_the_one_that_gets_it_there_fastest() -> None:
    inventory = Inventory(
        sites=(Site(name="s"),),
        switches=(Switch(name="fast"),),
        hosts=(
            host("a", card(1000.0), card(25_000.0, "fast")),
            host("b", card(1000.0), card(10_000.0, "fast")),
            host("c", card(1000.0)),
        ),
    )
    assert way(inventory, "a", "b").edges == ("a@fast>", ">b@fast")
    assert way(inventory, "a", "c").edges == ("a@s>", ">c")


BONDED = Inventory(
    sites=(Site(name="s"),),
    hosts=(
        host("a", card(1000.0, number=9), *(card(10_000.0, number=n) for n in range(2))),
        host("b", *(card(10_000.0, number=n) for n in range(2))),
    ),
    vms=tuple(guest(f"v{n}", "a") for n in range(3)),
)
"""Two cards of 10 Gbit/s each on either side; the slow one of a host does not bond with its fast ones."""


def test_one_connection_gets_one_card_of_a_bond_and_multifd_all_of_them() -> None:
    path = way(BONDED, "a", "b")
    assert (path.bandwidth_mbit_s, path.connection_mbit_s) == (20_000.0, 10_000.0)

    def most(*transfers: Transfer) -> float:
        moves = [
            Move(id=f"m{n}", vm=f"v{n}", source="a", target="b", reason="", transfer=transfer)
            for n, transfer in enumerate(transfers)
        ]
        parameters = replace(DEFAULT, stream_limit_mbit_s=100_000.0)
        played = simulate(BONDED, moves, Limits(), parameters)
        return max(use.used_mbit_s for use in played.link_use if use.edge == "a>")

    plain, four = Transfer(), Transfer(parallel_connections=4)
    assert most(plain) == pytest.approx(10_000.0)
    assert most(four) == pytest.approx(20_000.0)
    assert most(plain, plain, plain) == pytest.approx(20_000.0)


def test_others_traffic_is_taken_off_a_line() -> None:
    def between(other: float) -> Path:
        link = Link(a="s", b="t", bandwidth_mbit_s=1000.0, other_mbit_s=other)
        hosts = (host("a", card(10_000.0)), host("b", card(10_000.0), site="t"))
        return way(Inventory(sites=(Site(name="s"), Site(name="t")), hosts=hosts, links=(link,)), "a", "b")

    assert between(0.0).bandwidth_mbit_s == 1000.0
    assert between(700.0).bandwidth_mbit_s == 300.0
    assert between(1000.0).bandwidth_mbit_s == pytest.approx(1000.0 * LEAST_FREE)
    vm = guest("v", "a", memory_mib=2048)
    quiet, busy = (
        predict(vm, between(other), max_downtime_ms=300.0, bandwidth_mbit_s=None).total_time_s for other in (0.0, 500.0)
    )
    data_s = 2048 * 1.002 / (1000.0 * DEFAULT.goodput * MIB_S_PER_MBIT_S)
    assert busy - quiet == pytest.approx(data_s, rel=0.05)


@st.composite
def graphs(draw: st.DrawFn) -> Inventory:
    nodes = [f"n{number}" for number in range(draw(st.integers(2, 7)))]
    pairs = draw(st.lists(st.sampled_from(list(itertools.combinations(nodes, 2))), max_size=12, unique=True))
    rtts = st.sampled_from([0.0, 0.1, 0.2, 0.3, 5.0])
    return Inventory(
        sites=(Site(name="s"),),
        switches=tuple(Switch(name=node) for node in nodes),
        hosts=tuple(host(f"h{node}", card(1000.0, node)) for node in nodes),
        links=tuple(Link(a=a, b=b, bandwidth_mbit_s=100.0, rtt_ms=draw(rtts)) for a, b in pairs),
    )


@given(graphs())
def test_any_graph_is_crossed_without_gaps_by_the_least_round_trip_time(inventory: Inventory) -> None:
    """Beside the shortest of all simple ways, enumerated."""
    assert check.inventory_problems(inventory) == ()
    topology = Topology(inventory)
    plain: nx.Graph[str] = nx.Graph()
    plain.add_nodes_from(switch.name for switch in inventory.switches)
    plain.add_edges_from((link.a, link.b, {"rtt": link.rtt_ms}) for link in inventory.links)
    for a, b in itertools.permutations((switch.name for switch in inventory.switches), 2):
        path = topology.path(f"h{a}", f"h{b}")
        ways = list(nx.all_simple_paths(plain, a, b))
        assert (path is None) == (not ways)
        if path is None:
            continue
        first, *inner, last = path.edges
        steps = [edge.split("->") for edge in inner]
        assert (first, last, steps[0][0], steps[-1][1]) == (f"h{a}>", f">h{b}", a, b)
        assert all(here[1] == there[0] for here, there in itertools.pairwise(steps))
        found = min((math.fsum(plain.edges[pair]["rtt"] for pair in itertools.pairwise(one)), len(one)) for one in ways)
        assert path.rtt_ms == pytest.approx(found[0], abs=1e-9)
        assert len(steps) == found[1] - 1 or path.rtt_ms > 0.0
