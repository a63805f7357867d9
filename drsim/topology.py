"""Which lines a migration crosses, and what they allow."""

from __future__ import annotations

import math
import zlib
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from drsim.inventory import Host, Inventory, Link

if TYPE_CHECKING:
    import networkx as nx

DEFAULT_NIC_MBIT_S = 1000.0
"""Rate taken for a host whose cards are not known: gigabit Ethernet, the slowest card still sold in servers."""

LEAST_FREE = 0.1
"""Share of a line that migrations get however much others send. Assumption: connections of others yield a little."""

SOUND = 0.9
"""Share of a line that one connection gets if nothing is wrong: headers take 6 % of it."""

HOP_NS = 1000
"""Added to the way over each line, so that of two ways with equal round-trip times the shorter is taken."""

NS_PER_MS = 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class Path:
    """What lies between two hosts.

    Parameters
    ----------
    edges : tuple of str
        Directed lines crossed, in order: ``h1>`` (its card, sending), ``paris->lyon`` , ``>h2`` (its card, receiving).
        Capacities are in `Topology.capacity_mbit_s`.
    bandwidth_mbit_s : float
        Narrowest of them.
    rtt_ms, loss : float
        Round-trip time; fraction of packets lost.
    connection_mbit_s : float
        Most that one connection gets: a card of a bond, or what was measured. Infinite where there is neither.
    disk_edges : tuple of str
        What copied disks cross besides, while they are copied: datastores, or what a host copies at once
        (`drsim.disk_lines`).
    """

    edges: tuple[str, ...]
    bandwidth_mbit_s: float
    rtt_ms: float
    loss: float
    connection_mbit_s: float = math.inf
    disk_edges: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Bond:
    """The cards by which a host migrates on one switch; one card is a bond, too.

    Parameters
    ----------
    host : str
        Whose.
    node : str
        Switch or site that they are plugged into.
    label : str
        What its lines are named after: the host, and the switch if the host migrates over several.
    cards : int
        How many.
    card_mbit_s : float
        Rate of each.
    """

    host: str
    node: str
    label: str
    cards: int
    card_mbit_s: float

    @property
    def rate_mbit_s(self) -> float:
        """Rate of all of them."""
        return self.cards * self.card_mbit_s


def bonds(host: Host) -> tuple[Bond, ...]:
    """Return the cards by which a host migrates, one bond a switch: the fastest there, for only equal cards bond."""
    rates: dict[str, list[float]] = defaultdict(list)
    for nic in host.nics:
        if nic.carries_migration:
            rates[nic.switch or host.site].append(nic.rate_mbit_s)
    if not rates:
        rates[host.site].append(DEFAULT_NIC_MBIT_S)
    return tuple(
        Bond(
            host=host.name,
            node=node,
            label=host.name if len(rates) == 1 else f"{host.name}@{node}",
            cards=found.count(max(found)),
            card_mbit_s=max(found),
        )
        for node, found in sorted(rates.items())
    )


def free_mbit_s(link: Link) -> float:
    """Return what a line has for migrations in either direction."""
    return max(link.bandwidth_mbit_s - link.other_mbit_s, LEAST_FREE * link.bandwidth_mbit_s)


def _one_connection_mbit_s(link: Link) -> float:
    """Return what one connection was measured to get of a line, if that is clearly less than a sound one gives."""
    measured = link.measured_mbit_s
    return math.inf if measured is None or measured >= SOUND * link.bandwidth_mbit_s else measured


class Topology:
    """Paths between the hosts of an inventory.

    Sites and switches are nodes of one graph, whatever its shape, and do not block. Between two nodes a migration takes
    the way with the least round-trip time, then the fewest lines; where several are equal, as over the spines of a
    leaf-spine network, each pair of hosts keeps to one of them, spread as hashing switches do. A host with cards on
    several switches uses those from which the target is reached at the highest rate.

    Parameters
    ----------
    inventory : Inventory
        Checked (`drsim.check`): every site and switch exists.
    """

    def __init__(self, inventory: Inventory) -> None:
        self._links = inventory.links
        self._bonds = {host.name: bonds(host) for host in inventory.hosts}
        self.capacity_mbit_s: dict[str, float] = {}
        for mine in self._bonds.values():
            for bond in mine:
                self.capacity_mbit_s[f"{bond.label}>"] = bond.rate_mbit_s
                self.capacity_mbit_s[f">{bond.label}"] = bond.rate_mbit_s
        for link in inventory.links:
            self.capacity_mbit_s[f"{link.a}->{link.b}"] = free_mbit_s(link)
            self.capacity_mbit_s[f"{link.b}->{link.a}"] = free_mbit_s(link)
        self._paths: dict[tuple[str, str], Path | None] = {}
        self._before: dict[str, dict[str, list[str]]] = {}

    def station(self, host: str) -> tuple[str, ...]:
        """Return where a host is plugged in: from hosts of one station the same hosts are reached."""
        return tuple(bond.node for bond in self._bonds[host])

    def path(self, source: str, target: str) -> Path | None:
        """Return what lies between two hosts, or None if nothing joins them."""
        key = (source, target)
        if key not in self._paths:
            found = [
                path
                for mine in self._bonds[source]
                for its in self._bonds[target]
                if (path := self._between(mine, its)) is not None
            ]
            self._paths[key] = min(found, key=lambda path: (-path.bandwidth_mbit_s, path.rtt_ms), default=None)
        return self._paths[key]

    def _between(self, source: Bond, target: Bond) -> Path | None:
        edges, rtt_ms, kept = [f"{source.label}>"], 0.0, 1.0
        carried = [bond.card_mbit_s for bond in (source, target) if bond.cards > 1]
        if source.node != target.node:
            links = self._way(source, target)
            if links is None:
                return None
            here = source.node
            for link in links:
                there = link.b if link.a == here else link.a
                edges.append(f"{here}->{there}")
                rtt_ms += link.way_ms
                kept *= 1.0 - link.loss
                carried.append(_one_connection_mbit_s(link))
                here = there
        edges.append(f">{target.label}")
        return Path(
            edges=tuple(edges),
            bandwidth_mbit_s=min(self.capacity_mbit_s[edge] for edge in edges),
            rtt_ms=rtt_ms,
            loss=1.0 - kept,
            connection_mbit_s=min(carried, default=math.inf),
        )

    def _way(self, source: Bond, target: Bond) -> list[Link] | None:
        """Return the lines from switch to switch, from the first to the last; None if there is no way."""
        if source.node not in self._graph:
            return None
        if source.node not in self._before:
            self._before[source.node] = self._shortest(source.node)
        before = self._before[source.node]
        if target.node not in before:
            return None
        draw, here, links = zlib.crc32(f"{source.host}>{target.host}".encode()), target.node, []
        while here != source.node:
            draw, chosen = divmod(draw, len(before[here]))
            there = before[here][chosen]
            links.append(self._graph.edges[here, there]["link"])
            here = there
        return links[::-1]

    def _shortest(self, start: str) -> dict[str, list[str]]:
        """Return, by each node that is reached from one, those that stand before it on a shortest way."""
        import networkx as nx

        before, _ = nx.dijkstra_predecessor_and_distance(self._graph, start)
        return {node: sorted(those) for node, those in before.items()}

    @cached_property
    def _graph(self) -> nx.Graph[str]:
        import networkx as nx

        graph: nx.Graph[str] = nx.Graph()
        for link in self._links:
            # Whole numbers: equal ways must be equal however their parts are added up.
            graph.add_edge(link.a, link.b, weight=HOP_NS + round(link.way_ms * NS_PER_MS), link=link)
        return graph
