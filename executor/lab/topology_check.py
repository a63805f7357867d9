"""What contradicts itself in a topology."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import combinations

from drsim.errors import Problem
from executor.lab.topology import NETWORKED, LabGuest, LabTopology
from executor.lab.wire import MAX_NETWORKS

MAX_HOSTS = 80
"""Hosts and guests each have an address in a /24."""

MAX_DISKS = 4
"""As many as the guest's agent writes to."""

_NAME = re.compile(r"[a-z][a-z0-9-]{0,11}")
_INTERFACE = re.compile(r"[a-z][a-z0-9._-]{0,14}")


def contradictions(topology: LabTopology, place: str) -> tuple[Problem, ...]:
    """List what keeps a topology from being built.

    Parameters
    ----------
    topology : LabTopology
        What to look at.
    place : str
        Where it comes from, for the texts.
    """
    check = _Check(topology, place)
    check.names()
    check.links()
    check.networks()
    for guest in topology.guests:
        check.guest(guest)
    return tuple(dict.fromkeys(check.problems))


class _Check:
    def __init__(self, topology: LabTopology, place: str) -> None:
        self.topology, self.place = topology, place
        self.hosts = [host.name for host in topology.hosts]
        self.problems: list[Problem] = []

    def say(self, record: str, field: str, expected: str, remedy: str) -> None:
        self.problems.append(Problem(place=f"{self.place}: {record}", field=field, expected=expected, remedy=remedy))

    def _unique(self, kind: str, names: Sequence[str], remedy: str = "Rename one of them.") -> None:
        for name in dict.fromkeys(name for name in names if names.count(name) > 1):
            self.say(f"{kind} {name!r}", "name", "the name is used twice.", remedy)

    def names(self) -> None:
        topology = self.topology
        guests = [guest.name for guest in topology.guests]
        for kind, names in (("hosts", self.hosts), ("guests", guests)):
            if len(names) > MAX_HOSTS:
                self.say(kind, "name", f"there are {len(names)}, at most {MAX_HOSTS} fit.", "Use fewer.")
            for name in names:
                if not _NAME.fullmatch(name):
                    self.say(
                        f"{kind} {name!r}",
                        "name",
                        "it must begin with a lower-case letter and hold at most 12 of a-z, 0-9 and '-', "
                        "because interfaces of the kernel are named after it.",
                        "Rename it.",
                    )
            self._unique(kind, names)
        if not self.hosts:
            self.say("hosts", "hosts", "there is none.", "List at least one host.")
        if not _NAME.fullmatch(topology.name):
            self.say(
                "lab", "name", f"{topology.name!r} is not a name of at most 12 of a-z, 0-9 and '-'.", "Rename the lab."
            )
        for host in topology.hosts:
            if not _NAME.fullmatch(host.cluster):
                self.say(
                    f"hosts {host.name!r}",
                    "cluster",
                    f"{host.cluster!r} is not a name of at most 12 of a-z, 0-9 and '-'.",
                    "Rename it.",
                )

    def links(self) -> None:
        sites = self.topology.sites
        pairs = [frozenset((link.a, link.b)) for link in self.topology.links]
        for link, pair in zip(self.topology.links, pairs, strict=True):
            record = f"links '{link.name}'"
            for field, site in (("a", link.a), ("b", link.b)):
                if site not in sites:
                    self.say(
                        record, field, f"no host stands in '{site}' ({', '.join(sites)}).", "Name a site of a host."
                    )
            if link.a == link.b:
                self.say(record, "b", "both ends are the same site.", "Name two sites; a host's line is its 'line'.")
            elif pairs.count(pair) > 1:
                self.say(record, "a", "the two sites have more than one link.", "Leave one.")
        for a, b in combinations(sites, 2):
            if frozenset((a, b)) not in pairs:
                self.say(
                    "links", "links", f"sites '{a}' and '{b}' have none.", f"Add one: {{a: {a}, b: {b}, rtt_ms: 20}}."
                )

    def networks(self) -> None:
        networks = self.topology.networks
        if not 1 <= len(networks) <= MAX_NETWORKS:
            self.say("networks", "networks", f"there are {len(networks)}, 1 to {MAX_NETWORKS} fit.", "Use fewer.")
        self._unique("networks", [network.name for network in networks])
        taken: dict[tuple[str, str], str] = {}
        for network in networks:
            record = f"networks {network.name!r}"
            for host in (*network.hosts, *network.bridges):
                if host not in self.hosts:
                    self.say(record, "hosts", f"'{host}' is not among the hosts.", "Name one of them.")
            for host in self.hosts:
                bridge = network.bridge_on(host)
                if bridge is None:
                    continue
                if not _INTERFACE.fullmatch(bridge) or bridge in ("lo", "mig0", "sto0"):
                    self.say(
                        record, "bridge", f"{bridge!r} cannot be a bridge: at most 15 of a-z, 0-9, '.-_'.", "Rename it."
                    )
                other = taken.setdefault((host, bridge), network.name)
                if other != network.name:
                    self.say(
                        record,
                        "bridge",
                        f"'{bridge}' of {host} belongs to the network '{other}' already.",
                        "Name another bridge, or give the two networks different hosts.",
                    )

    def guest(self, guest: LabGuest) -> None:
        record = f"guests '{guest.name}'"
        if guest.host not in self.hosts:
            self.say(
                record, "host", f"'{guest.host}' is not among the hosts ({', '.join(self.hosts)}).", "Name one of them."
            )
        if guest.working_set_mib > guest.memory_mib - 96:
            self.say(
                record,
                "working_set_mib",
                f"{guest.working_set_mib} MiB do not fit into {guest.memory_mib} MiB beside the kernel (96 MiB).",
                "Lower it, or raise memory_mib.",
            )
        if len(guest.disks) > MAX_DISKS:
            self.say(record, "more_disks", f"a guest has at most {MAX_DISKS} disks.", "Use fewer.")
        for disk in guest.more_disks:
            if disk.base_mib and (
                disk.format != "qcow2" or disk.datastore in NETWORKED or disk.base_mib > disk.size_mib
            ):
                self.say(
                    record,
                    "more_disks",
                    "a disk over a base is a qcow2 file, shared or local, and no smaller than its base.",
                    "Write it as in: {size_mib: 64, datastore: local, format: qcow2, base_mib: 32}.",
                )
        if self.topology.networks:
            self._port(guest, record)
        self._dirtying(guest, record)

    def _port(self, guest: LabGuest, record: str) -> None:
        names = [network.name for network in self.topology.networks]
        if guest.network and guest.network not in names:
            known = ", ".join(names)
            self.say(record, "network", f"'{guest.network}' is not among the networks ({known}).", "Name one of them.")
            return
        network = self.topology.network_of(guest)
        if guest.host in self.hosts and network.bridge_on(guest.host) is None:
            self.say(record, "network", f"'{guest.host}' does not have '{network.name}'.", "Add it to its hosts.")
        if guest.vlan is not None and network.kind != "ovs":
            self.say(record, "vlan", f"'{network.name}' is of kind '{network.kind}'.", "VLANs need one of kind ovs.")

    def _dirtying(self, guest: LabGuest, record: str) -> None:
        dirty = guest.dirty
        if dirty.pattern == "phases" and not dirty.phases:
            self.say(record, "dirty", "pattern 'phases' without phases.", "List them, or take another pattern.")
        if dirty.phases and dirty.pattern != "phases":
            self.say(record, "dirty", f"phases with pattern '{dirty.pattern}'.", "Write 'pattern: phases'.")
        if len(dirty.phases) > 16:
            self.say(record, "dirty", "a guest knows at most 16 phases.", "Use fewer.")
        largest = max((phase.window_mib for phase in dirty.phases), default=0)
        wanted = dirty.hot_mib if dirty.pattern == "hot" else largest
        if wanted > guest.working_set_mib:
            self.say(
                record,
                "dirty",
                f"{wanted} MiB of it are more than its working set of {guest.working_set_mib} MiB.",
                "Lower it, or raise working_set_mib.",
            )
        if dirty.burst is not None and dirty.burst.length_ms > dirty.burst.every_ms:
            self.say(record, "dirty", "a burst is longer than its period.", "Lower length_ms, or raise every_ms.")
