"""What the user wants: rules, limits and the objective.

A rule selects guests by name, by ``tag:LABEL`` or all by ``*``, and hosts by name, by ``tag:LABEL``, by ``rack:NAME``
or by ``site:NAME``. A rule that *must* hold is never broken by a plan, unless it was broken before the plan began;
most not even between two moves, as the rules say (`drsim.rules`). A rule that *should* hold has a price, paid for each
guest that breaks it.
Guests that are stopped break no rule. Shares (`drsim.rules.shares`) divide CPU alone: KVM has no weights for memory.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le, MinLen

from drsim.inventory import HostBridge, Inventory, Name, Vm
from drsim.rules import Apart as Apart
from drsim.rules import Area as Area
from drsim.rules import Licence as Licence
from drsim.rules import NotOn as NotOn
from drsim.rules import Pin as Pin
from drsim.rules import Pool as Pool
from drsim.rules import Rule as Rule
from drsim.rules import RunOn as RunOn
from drsim.rules import Shares as Shares
from drsim.rules import Strength as Strength
from drsim.rules import Survive as Survive
from drsim.rules import Together as Together
from drsim.rules import select_hosts as select_hosts
from drsim.rules import select_vms as select_vms
from drsim.terms import Goal as Goal
from drsim.terms import Term as Term
from drsim.terms import ranked, spelled
from drsim.transfer import Transfer
from drsim.units import About

FORMAT_VERSION = 1
"""Version of the policy format that this code reads and writes."""

Rung = Literal["auto_converge", "hybrid"]
Overlay = Literal["none", "vxlan"]

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

MOST_USED = 0.8
"""Share of a datastore's space, or of what it can be written to at once, from which disks leave it by default."""

CPU_DIVIDED = -1e6
"""The `Limits.cpu_headroom` to plan with where CPU is short and shares divide it: no demand is too much for a host."""

THRESHOLDS = {1: math.inf, 2: 1.5, 3: 1.25, 4: 1.1}
"""Load over mean load from which a host is relieved, by how willing balancing is; 5 stands for as even as can be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a plan may use on its way."""

    cpu_headroom: Annotated[float, Ge(0), Le(0.95), About("Share of a host's cores to leave free.")] = 0.0
    memory_headroom: Annotated[float, Ge(0), Le(0.95), About("Share of a host's guest memory that is left free.")] = 0.0
    moves_per_host: Annotated[int, Ge(1), About("Migrations that one host sends or receives at once.")] = 2
    moves_per_link: Annotated[int, Ge(1), About("Migrations that one link carries at once.")] = 4
    moves_at_once: Annotated[int, Ge(1), About("Migrations under way at once in all.")] = 16
    max_moves: Annotated[int | None, Ge(0), About("Most moves that a plan may hold.")] = None
    max_gib: Annotated[
        float | None,
        Ge(0),
        About("Most that a plan may move: memory in use of guests, or disks without guests.", "GiB"),
    ] = None
    max_minutes: Annotated[float | None, Gt(0), About("Longest time that a plan may take, as predicted.", "min")] = None
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
class Quiet:
    """When the guests named must not be moved: no migration of theirs begins then, or is likely to run into it."""

    vms: Annotated[tuple[str, ...], MinLen(1), About("Guests: names, tag:LABEL, or * for all.")]
    days: Annotated[tuple[Day, ...], MinLen(1), About("Days on which it begins: mon, tue, ...; all by default.")] = DAYS
    begin: Annotated[str, About("Time of day at which it begins, HH:MM.")] = "00:00"
    end: Annotated[str, About("Time of day at which it ends, HH:MM; on the day after if it is not later.")] = "00:00"
    zone: Annotated[str, About("Time zone of both, e.g. Europe/Berlin.")] = "UTC"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wire:
    """Networks of the inventory that are one wire, whatever their bridges are called."""

    name: Annotated[Name, About("Name of the wire: the network that guests are plugged into from then on.")]
    networks: Annotated[tuple[str, ...], MinLen(1), About("Networks of the inventory.")]
    bridges: Annotated[
        tuple[HostBridge, ...], About("Which bridge is the wire's on hosts that have several of them.")
    ] = ()
    overlay: Annotated[
        Overlay, About("none: they end at their site. vxlan: tunnels carry frames across the borders of sites.")
    ] = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """What to reach."""

    goal: Annotated[
        Goal,
        About("balance, evacuate, consolidate, repair, place, spread, defragment or storage; of several the first."),
    ] = "balance"
    terms: Annotated[
        tuple[Term, ...], About("Several goals, weighed or one after the other; none if there is only one.")
    ] = ()
    hosts: Annotated[tuple[str, ...], About("Hosts to evacuate.")] = ()
    datastores: Annotated[tuple[str, ...], About("Datastores to evacuate, instead of hosts; guests stay.")] = ()
    most_full: Annotated[
        float, Ge(0), Le(1), About("storage: share of a datastore's space in use from which disks leave it.")
    ] = MOST_USED
    most_written: Annotated[
        float, Ge(0), Le(1), About("storage: share of what a datastore can be written to from which disks leave it.")
    ] = MOST_USED
    aim: Annotated[
        float | None, Ge(1), About("balance: load over mean load that no host need be below; by default near the best.")
    ] = None
    threshold: Annotated[
        int | None,
        Ge(1),
        Le(5),
        About("balance: from 1, only what must hold is mended, to 5, every host as near the mean as can be."),
    ] = None
    newcomers: Annotated[tuple[Vm, ...], About("place: new guests that have no host yet.")] = ()
    like: Annotated[
        str | None, About("defragment: guest that room is made for another of; the largest by default.")
    ] = None
    horizon_s: Annotated[
        float | None,
        Gt(0),
        About("balance: what a plan saves in this time must exceed what it costs; not asked by default.", "s"),
    ] = None
    start_at: Annotated[
        str | None, About("When it will be carried out, ISO 8601 with its offset from UTC: quiet times are kept then.")
    ] = None

    @classmethod
    def seeking(cls, *terms: Term, **more: Any) -> Objective:
        """Return an objective of one goal or several.

        Parameters
        ----------
        *terms : Term
            One at least; which may go together says `drsim.terms.term_problems`.
        **more
            Other fields, such as the hosts to evacuate.
        """
        first = ranked(terms)[0][0].goal
        return cls(goal=first, terms=terms if len(terms) > 1 else (), **more)

    @property
    def spelled(self) -> str:
        """What is sought, as on the command line: ``spread>balance``."""
        return spelled(self.terms) or self.goal

    @property
    def emptied(self) -> tuple[str, ...]:
        """Hosts that guests cannot count on, for they are to be evacuated."""
        return self.hosts if self.goal == "evacuate" else ()

    @property
    def overcommits(self) -> bool:
        """Whether hosts may hold more CPU demand than they have where all are short of it and it is divided by shares.

        Not where nothing that is sought evens it out: guests would be crowded together.
        """
        goals = {self.goal, *(term.goal for term in self.terms)}
        return "consolidate" not in goals and not goals <= {"spread", "defragment"}

    @property
    def of_disks(self) -> bool:
        """Whether disks are moved, and no guests."""
        return self.goal == "storage" or bool(self.datastores)

    @property
    def load_to_reach(self) -> float | None:
        """Load over mean load that no host need be below: `aim`, or what `threshold` stands for."""
        return THRESHOLDS.get(self.threshold or 0) if self.aim is None else self.aim


@dataclass(frozen=True, kw_only=True)
class Policy:
    """Rules and limits, and what is sought by default."""

    rules: Annotated[tuple[Rule, ...], About("Rules.")] = ()
    limits: Annotated[Limits, About("Limits.")] = Limits()
    manners: Annotated[tuple[Manner, ...], About("How guests travel; by default by plain pre-copy.")] = ()
    storing: Annotated[tuple[Storing, ...], About("Where copied disks land; by default at the path they had.")] = ()
    quiet: Annotated[tuple[Quiet, ...], About("When guests must not be moved.")] = ()
    wires: Annotated[tuple[Wire, ...], About("Networks that are one wire under several names.")] = ()
    objective: Annotated[
        tuple[Term, ...], About("What is sought where nothing else is asked for: one goal or several; balance.")
    ] = ()

    @property
    def wish(self) -> Objective:
        """What is sought where nothing else is asked for."""
        return Objective.seeking(*self.objective) if self.objective else Objective()

    @cached_property
    def placing(self) -> tuple[Pin | RunOn | NotOn, ...]:
        """Rules that must hold and say for one guest, whatever the others do, where it may be."""
        rules = (rule for rule in self.rules if rule.strength == "must")
        return tuple(rule for rule in rules if isinstance(rule, Pin | RunOn | NotOn))


def wished_stores(policy: Policy, vm: Vm, host: str, inventory: Inventory) -> tuple[str, ...]:
    """Return the datastores that a policy names for the disks of a guest, as far as a host mounts them, in order."""
    names = {"*", vm.name, *(f"tag:{tag}" for tag in vm.tags)}
    wish = next((wish for wish in policy.storing if not names.isdisjoint(wish.vms)), None)
    stores = inventory.datastore_by_name
    return () if wish is None else tuple(name for name in wish.datastores if host in stores[name].hosts)
