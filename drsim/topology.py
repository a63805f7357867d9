"""Which lines a migration crosses, and what they allow."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from drsim.inventory import Host, Inventory

if TYPE_CHECKING:
    import networkx as nx

DEFAULT_NIC_MBIT_S = 1000.0
"""Rate taken for a host whose cards are not known: gigabit Ethernet, the slowest card still sold in servers."""


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
    """

    edges: tuple[str, ...]
    bandwidth_mbit_s: float
    rtt_ms: float
    loss: float


def migration_rate_mbit_s(host: Host) -> float:
    """Rate of the cards by which a host migrates, Mbit/s: the fastest of them."""
    return max((nic.rate_mbit_s for nic in host.nics if nic.carries_migration), default=DEFAULT_NIC_MBIT_S)


class Topology:
    """Paths between the hosts of an inventory.

    Hosts of one site share a non-blocking switch: a migration within the site crosses the two cards only. Between
    sites it takes the links with the least round-trip time.

    Parameters
    ----------
    inventory : Inventory
        Checked (`drsim.check`): every site exists.
    """

    def __init__(self, inventory: Inventory) -> None:
        self._hosts = inventory.host_by_name
        self._links = inventory.links
        self.capacity_mbit_s: dict[str, float] = {}
        for host in inventory.hosts:
            rate = migration_rate_mbit_s(host)
            self.capacity_mbit_s[f"{host.name}>"] = rate
            self.capacity_mbit_s[f">{host.name}"] = rate
        for link in inventory.links:
            self.capacity_mbit_s[f"{link.a}->{link.b}"] = link.bandwidth_mbit_s
            self.capacity_mbit_s[f"{link.b}->{link.a}"] = link.bandwidth_mbit_s
        self._paths: dict[tuple[str, str], Path | None] = {}

    @cached_property
    def _graph(self) -> nx.Graph[str]:
        import networkx as nx

        graph: nx.Graph[str] = nx.Graph()
        graph.add_nodes_from(host.site for host in self._hosts.values())
        for link in self._links:
            # One microsecond a hop, so that of two ways with equal round-trip times the shorter is taken.
            graph.add_edge(link.a, link.b, weight=link.rtt_ms + 1e-3, link=link)
        return graph

    def path(self, source: str, target: str) -> Path | None:
        """Return what lies between two hosts, or None if no links join their sites."""
        key = (source, target)
        if key not in self._paths:
            self._paths[key] = self._find(source, target)
        return self._paths[key]

    def _find(self, source: str, target: str) -> Path | None:
        a, b = self._hosts[source].site, self._hosts[target].site
        edges, rtt_ms, kept = [f"{source}>"], 0.0, 1.0
        if a != b:
            import networkx as nx

            try:
                sites = nx.shortest_path(self._graph, a, b, weight="weight")
            except (nx.NetworkXNoPath, nx.NodeNotFound):
                return None
            for here, there in itertools.pairwise(sites):
                link = self._graph.edges[here, there]["link"]
                edges.append(f"{here}->{there}")
                rtt_ms += link.rtt_ms
                kept *= 1.0 - link.loss
        edges.append(f">{target}")
        bandwidth = min(self.capacity_mbit_s[edge] for edge in edges)
        return Path(edges=tuple(edges), bandwidth_mbit_s=bandwidth, rtt_ms=rtt_ms, loss=1.0 - kept)
