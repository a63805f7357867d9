"""Lines and networks of a lab, as nouns."""

from __future__ import annotations

from dataclasses import field
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, MinLen
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)
"""A field that is not known is refused: a wrong spelling must not be a default in disguise."""

MAX_NETWORKS = 9
"""Interfaces are numbered with one digit."""


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Line:
    """The migration line of a host.

    Parameters
    ----------
    rate_mbit_s : float
        Rate, each direction; 0 is unlimited.
    rtt_ms : float
        Round-trip time between this host and another with the same setting.
    jitter_ms : float
        Up to so much more each way, evenly spread; frames keep their order.
    loss : float
        Packets lost, as a fraction.
    queue_ms : float
        Longest time that packets wait before some are dropped.
    fair : bool
        Whether connections take turns, as behind fq_codel, the usual queue of a Linux host; else first come, first
        served.
    """

    rate_mbit_s: Annotated[float, Ge(0)] = 1000.0
    rtt_ms: Annotated[float, Ge(0)] = 0.0
    jitter_ms: Annotated[float, Ge(0)] = 0.0
    loss: Annotated[float, Ge(0), Le(1)] = 0.0
    queue_ms: Annotated[float, Gt(0)] = 50.0
    fair: bool = True


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Wan:
    """The line between two sites; all hosts of both share it.

    Parameters
    ----------
    a, b : str
        Its ends: sites.
    rate_mbit_s, rtt_ms, jitter_ms, loss, queue_ms : float
        As of `Line`; the round-trip time comes on top of that of the hosts' own lines.
    fair : bool
        As of `Line`; by default the queue of a plain router, first come, first served.
    """

    a: Annotated[str, MinLen(1)]
    b: Annotated[str, MinLen(1)]
    rate_mbit_s: Annotated[float, Ge(0)] = 1000.0
    rtt_ms: Annotated[float, Ge(0)] = 0.0
    jitter_ms: Annotated[float, Ge(0)] = 0.0
    loss: Annotated[float, Ge(0), Le(1)] = 0.0
    queue_ms: Annotated[float, Gt(0)] = 50.0
    fair: bool = False

    @property
    def name(self) -> str:
        """How it is called: ``SITE:SITE``."""
        return f"{self.a}:{self.b}"

    @property
    def line(self) -> Line:
        """What it is like."""
        return Line(
            rate_mbit_s=self.rate_mbit_s,
            rtt_ms=self.rtt_ms,
            jitter_ms=self.jitter_ms,
            loss=self.loss,
            queue_ms=self.queue_ms,
            fair=self.fair,
        )


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class LabNetwork:
    """A network that guests are plugged into: one bridge on each of its hosts, all of them connected.

    Parameters
    ----------
    name : str
        Name in the topology.
    kind : {"linux", "ovs", "vxlan"}
        Linux bridges on a wire of their own that reaches every site; Open vSwitch with VLANs on such a wire; or Linux
        bridges joined by tunnels (VXLAN) over the migration network, whose lines guests and migrations then share.
    bridge : str
        Name of the bridge on the hosts.
    bridges : dict of str to str
        Hosts whose bridge has another name.
    hosts : tuple of str
        Hosts that have it; empty: all.
    """

    name: Annotated[str, MinLen(1)]
    kind: Literal["linux", "ovs", "vxlan"] = "linux"
    bridge: Annotated[str, MinLen(1)] = "br0"
    bridges: dict[str, str] = field(default_factory=dict)
    hosts: tuple[str, ...] = ()

    def bridge_on(self, host: str) -> str | None:
        """Name of its bridge on a host; None if the host does not have it."""
        if self.hosts and host not in self.hosts:
            return None
        return self.bridges.get(host, self.bridge)
