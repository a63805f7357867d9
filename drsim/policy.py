"""What the user wants: rules, limits and the objective.

A rule selects guests by name or by ``tag:LABEL`` and hosts by name, by ``tag:LABEL``, by ``rack:NAME`` or by
``site:NAME``. A rule that *must* hold is never broken by a plan, not even between two moves, unless it was broken
before the plan began; a rule that *should* hold has a price, paid for each guest that breaks it.
Guests that are stopped break no rule.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, MinLen

from drsim.inventory import Host, Inventory, Name, Vm
from drsim.transfer import Transfer
from drsim.units import About

FORMAT_VERSION = 1
"""Version of the policy format that this code reads and writes."""

Strength = Literal["must", "should"]
Area = Literal["host", "rack", "site"]
Rung = Literal["auto_converge", "hybrid"]
Overlay = Literal["none", "vxlan"]
Goal = Literal["balance", "evacuate", "consolidate", "repair"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Together:
    """The guests share one host."""

    kind: Literal["together"] = "together"
    name: Annotated[Name, About("Name of the rule.")]
    vms: Annotated[tuple[str, ...], MinLen(1), About("Guests: names or tag:LABEL.")]
    strength: Annotated[Strength, About("must or should.")] = "must"
    price: Annotated[float, Gt(0), About("What a breach of a 'should' costs, per guest.")] = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Apart:
    """No two of the guests share a host; or at most so many a host, a rack or a site."""

    kind: Literal["apart"] = "apart"
    name: Annotated[Name, About("Name of the rule.")]
    vms: Annotated[tuple[str, ...], MinLen(1), About("Guests: names or tag:LABEL.")]
    per: Annotated[
        Area, About("What they must not share: host, rack or site. A host without a rack is one itself.")
    ] = "host"
    most: Annotated[int, Ge(1), About("How many of them may share one.")] = 1
    strength: Annotated[Strength, About("must or should.")] = "must"
    price: Annotated[float, Gt(0), About("What a breach of a 'should' costs, per guest.")] = 1.0

    def area(self, host: Host) -> tuple[str, ...]:
        """Return what names the host, rack or site that a host is part of."""
        if self.per == "site":
            return (host.site,)
        if self.per == "rack" and host.rack is not None:
            return (host.site, host.rack)
        return (host.site, "", host.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOn:
    """The guests run on the hosts named and nowhere else."""

    kind: Literal["run_on"] = "run_on"
    name: Annotated[Name, About("Name of the rule.")]
    vms: Annotated[tuple[str, ...], MinLen(1), About("Guests: names or tag:LABEL.")]
    hosts: Annotated[tuple[str, ...], MinLen(1), About("Hosts: names, tag:, rack: or site:.")]
    strength: Annotated[Strength, About("must or should.")] = "must"
    price: Annotated[float, Gt(0), About("What a breach of a 'should' costs, per guest.")] = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class NotOn:
    """The guests run on none of the hosts named."""

    kind: Literal["not_on"] = "not_on"
    name: Annotated[Name, About("Name of the rule.")]
    vms: Annotated[tuple[str, ...], MinLen(1), About("Guests: names or tag:LABEL.")]
    hosts: Annotated[tuple[str, ...], MinLen(1), About("Hosts: names, tag:, rack: or site:.")]
    strength: Annotated[Strength, About("must or should.")] = "must"
    price: Annotated[float, Gt(0), About("What a breach of a 'should' costs, per guest.")] = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """The guests stay where they are."""

    kind: Literal["pin"] = "pin"
    name: Annotated[Name, About("Name of the rule.")]
    vms: Annotated[tuple[str, ...], MinLen(1), About("Guests: names or tag:LABEL.")]
    strength: Annotated[Strength, About("must or should.")] = "must"
    price: Annotated[float, Gt(0), About("What a breach of a 'should' costs, per guest.")] = 1.0


Rule = Together | Apart | RunOn | NotOn | Pin


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a plan may use on its way."""

    cpu_headroom: Annotated[float, Ge(0), Le(0.95), About("Share of a host's cores to leave free.")] = 0.0
    memory_headroom: Annotated[float, Ge(0), Le(0.95), About("Share of a host's guest memory that is left free.")] = 0.0
    moves_per_host: Annotated[int, Ge(1), About("Migrations that one host sends or receives at once.")] = 2
    moves_per_link: Annotated[int, Ge(1), About("Migrations that one link carries at once.")] = 4
    moves_at_once: Annotated[int, Ge(1), About("Migrations under way at once in all.")] = 16
    max_moves: Annotated[int | None, Ge(0), About("Most moves that a plan may hold.")] = None
    max_downtime_ms: Annotated[float, Gt(0), About("Longest standstill of a guest that names none.", "ms")] = 300.0
    bandwidth_mbit_s: Annotated[float | None, Gt(0), About("Cap of one migration.", "Mbit/s")] = None
    min_rate_mbit_s: Annotated[
        float | None, Gt(0), About("Least rate of the line between the hosts of a move.", "Mbit/s")
    ] = None
    max_rtt_ms: Annotated[float, Ge(0), About("Longest round-trip time between the hosts of a move.", "ms")] = 100.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How the guests named travel; of several that name a guest, the first counts."""

    vms: Annotated[tuple[str, ...], MinLen(1), About("Guests: names, tag:LABEL, or * for all.")]
    transfer: Annotated[Transfer, About("Mode, encryption, compression, ...")] = field(default_factory=Transfer)
    ladder: Annotated[
        tuple[Rung, ...],
        About("What may be done about one that pre-copy does not bring over: auto_converge, then hybrid."),
    ] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Storing:
    """Where copied disks of the guests named land: in the first such datastore that the target mounts."""

    vms: Annotated[tuple[str, ...], MinLen(1), About("Guests: names, tag:LABEL, or * for all.")]
    datastores: Annotated[tuple[str, ...], MinLen(1), About("Datastores, by the names of the inventory.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wire:
    """Networks of the inventory that are one wire, whatever their bridges are called."""

    name: Annotated[Name, About("Name of the wire: the network that guests are plugged into from then on.")]
    networks: Annotated[tuple[str, ...], MinLen(1), About("Networks of the inventory.")]
    overlay: Annotated[
        Overlay, About("none: they end at their site. vxlan: tunnels carry frames across the borders of sites.")
    ] = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """What to reach."""

    goal: Annotated[Goal, About("balance, evacuate, consolidate or repair.")] = "balance"
    hosts: Annotated[tuple[str, ...], About("Hosts to evacuate.")] = ()
    aim: Annotated[
        float | None, Ge(1), About("balance: load over mean load that no host need be below; by default near the best.")
    ] = None
    horizon_s: Annotated[
        float | None,
        Gt(0),
        About("balance: what a plan saves in this time must exceed what it costs; not asked by default.", "s"),
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Rules and limits."""

    rules: Annotated[tuple[Rule, ...], About("Rules.")] = ()
    limits: Annotated[Limits, About("Limits.")] = Limits()
    manners: Annotated[tuple[Manner, ...], About("How guests travel; by default by plain pre-copy.")] = ()
    storing: Annotated[tuple[Storing, ...], About("Where copied disks land; by default at the path they had.")] = ()
    wires: Annotated[tuple[Wire, ...], About("Networks that are one wire under several names.")] = ()


def select_vms(selectors: Iterable[str], inventory: Inventory) -> tuple[Vm, ...]:
    """List the guests that the selectors name, each once, in the inventory's order; unknown names select nothing."""
    numbers = {number for selector in selectors for number in inventory.vm_numbers.get(selector, ())}
    return tuple(inventory.vms[number] for number in sorted(numbers))


def select_hosts(selectors: Iterable[str], inventory: Inventory) -> tuple[Host, ...]:
    """List the hosts that the selectors name, each once, in the inventory's order; unknown names select nothing."""
    chosen = set(selectors)
    return tuple(
        host
        for host in inventory.hosts
        if host.name in chosen
        or f"site:{host.site}" in chosen
        or (host.rack is not None and f"rack:{host.rack}" in chosen)
        or any(f"tag:{tag}" in chosen for tag in host.tags)
    )
