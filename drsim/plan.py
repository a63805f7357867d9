"""Moves, waves and the plan: what was decided, for whom, and what it is expected to cost."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Annotated

from annotated_types import Ge, Gt, Le

from drsim.canonical import fingerprint
from drsim.inventory import Inventory
from drsim.placement import Placement
from drsim.policy import Goal, Objective, Policy
from drsim.transfer import Transfer
from drsim.units import About

FORMAT_VERSION = 1
"""Version of the plan format that this code reads and writes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """What one migration is expected to cost."""

    start_s: Annotated[float, Ge(0), About("Start, after the start of the plan.", "s")] = 0.0
    total_time_s: Annotated[float, Ge(0), About("Whole migration, disks and memory.", "s")]
    downtime_ms: Annotated[float, Ge(0), About("Standstill of the guest as the hypervisor measures it.", "ms")]
    sent_mib: Annotated[float, Ge(0), About("Memory and disk traffic.", "MiB")]
    rounds: Annotated[int, Ge(0), About("Passes over dirty memory, the first included.")]
    converges: Annotated[bool, About("Whether it ends by itself: within the downtime limit, or by post-copy.")] = True
    qemu_downtime_ms: Annotated[float | None, Ge(0), About("Standstill as QEMU alone counts it.", "ms")] = None
    client_gap_ms: Annotated[float | None, Ge(0), About("Silence that a client of the guest sees.", "ms")] = None
    held_back_s: Annotated[
        float, Ge(0), About("Time that the guest loses beside it, to throttling and to pages it waits for.", "s")
    ] = 0.0
    faults: Annotated[int, Ge(0), About("Pages that the guest asks for on the target.")] = 0
    throttle: Annotated[float, Ge(0), Le(1), About("Share of its CPU time that is held back at the end.")] = 0.0
    total_time_low_s: Annotated[float | None, Ge(0), About("90 % band of the total time, from.", "s")] = None
    total_time_high_s: Annotated[float | None, Ge(0), About("90 % band of the total time, to.", "s")] = None
    downtime_low_ms: Annotated[float | None, Ge(0), About("90 % band of the downtime, from.", "ms")] = None
    downtime_high_ms: Annotated[float | None, Ge(0), About("90 % band of the downtime, to.", "ms")] = None
    sent_low_mib: Annotated[float | None, Ge(0), About("90 % band of the traffic, from.", "MiB")] = None
    sent_high_mib: Annotated[float | None, Ge(0), About("90 % band of the traffic, to.", "MiB")] = None
    client_gap_low_ms: Annotated[float | None, Ge(0), About("90 % band of a client's silence, from.", "ms")] = None
    client_gap_high_ms: Annotated[float | None, Ge(0), About("90 % band of a client's silence, to.", "ms")] = None
    in_range: Annotated[bool, About("Whether the bands come from migrations like this one; else they are wider.")] = (
        True
    )

    @property
    def end_s(self) -> float:
        """End, seconds after the start of the plan."""
        return self.start_s + self.total_time_s

    @property
    def longest_s(self) -> float:
        """Total time at the latest: the upper end of its band where there is one, seconds."""
        return max(self.total_time_s, self.total_time_high_s or 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Landing:
    """Where a copied disk comes to lie, if not at the path that it had."""

    disk: Annotated[str, About("Target name of the disk in the guest, e.g. vda.")]
    datastore: Annotated[str, About("Datastore that takes it.")]
    path: Annotated[str, About("Path of its file there.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """One guest from one host to another; or, from a host to the same host, disks of it to other datastores."""

    id: Annotated[str, About("Identity within the plan, e.g. m001.")]
    vm: Annotated[str, About("Guest.")]
    source: Annotated[str, About("Host that it leaves.")]
    target: Annotated[str, About("Host that it goes to.")]
    reason: Annotated[str, About("Why, in one sentence.")]
    wave: Annotated[int, Ge(1), About("Wave that it belongs to; a wave starts when the one before has ended.")] = 1
    stop_over: Annotated[bool, About("Whether it only makes room: the guest moves on in a later wave.")] = False
    transfer: Annotated[Transfer, About("How it travels.")] = field(default_factory=Transfer)
    max_downtime_ms: Annotated[float, About("Downtime limit given to the hypervisor.", "ms")] = 300.0
    first_downtime_ms: Annotated[
        float | None, About("Limit to begin with; raised while passes get no shorter, to the limit at most.", "ms")
    ] = None
    bandwidth_mbit_s: Annotated[float | None, About("Bandwidth cap.", "Mbit/s")] = None
    copy_disks: Annotated[tuple[str, ...], About("Disks that the target does not see and that move along.")] = ()
    landings: Annotated[tuple[Landing, ...], About("Copied disks that do not land at the path that they had.")] = ()
    prediction: Annotated[Prediction | None, About("Expected cost.")] = None

    @property
    def storage_only(self) -> bool:
        """Whether the guest stays on its host and only disks of it move."""
        return self.source == self.target and bool(self.landings)

    @property
    def aim_downtime_ms(self) -> float:
        """Downtime limit that the hypervisor is given at first, ms."""
        first = self.first_downtime_ms
        return self.max_downtime_ms if first is None else min(first, self.max_downtime_ms)


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Where a new guest is to be started by whoever starts guests, once the moves are made; drsim starts none."""

    vm: Annotated[str, About("New guest.")]
    host: Annotated[str, About("Host to start it on.")]
    reason: Annotated[str, About("Why there, in one sentence.")] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What one of several goals counts; lower is better."""

    goal: Annotated[Goal, About("The goal.")]
    rank: Annotated[int, Ge(1), About("Goals of rank 1 come first.")] = 1
    weight: Annotated[float, Gt(0), About("What a share of it counts beside others of its rank.")] = 1.0
    value: Annotated[float, About("Value of the goal, as if it were the only one.")]
    unit: Annotated[str, About("What the value counts.")] = ""
    share: Annotated[float, About("The value as a share: 0 is the best there can be, 1 is told in the README.")]
    lower_bound: Annotated[float | None, About("No placement has a lower value.")] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """How good a placement is; lower is better in every field."""

    violations: Annotated[int, Ge(0), About("Broken 'must' rules and overfull hosts.")]
    penalty: Annotated[float, Ge(0), About("Price of the broken 'should' rules.")]
    objective: Annotated[
        float, About("Value of the objective; of several goals that of the first rank, goals weighed as shares.")
    ]
    unit: Annotated[str, About("What the objective counts.")] = ""
    parts: Annotated[tuple[Part, ...], About("What each of several goals counts, in the order of their ranks.")] = ()


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A decision, complete in itself: what was known, what was wanted, what is to be done, what it should cost."""

    inventory: Annotated[Inventory, About("The inventory that the plan was made from.")]
    policy: Annotated[Policy, About("The policy that it keeps.")] = field(default_factory=Policy)
    objective: Annotated[Objective, About("What it is for.")] = field(default_factory=Objective)
    moves: Annotated[tuple[Move, ...], About("Moves, in the order of their waves.")] = ()
    starts: Annotated[tuple[Start, ...], About("Where new guests are to be started after the moves.")] = ()
    before: Annotated[Score, About("Score of the placement before.")]
    after: Annotated[Score, About("Score of the placement after.")]
    lower_bound: Annotated[float | None, About("No placement can have a lower objective.")] = None
    status: Annotated[str, About("optimal, feasible or nothing to do.")] = "feasible"
    complete: Annotated[bool, About("Whether the plan reaches all that was asked for.")] = True
    applyable: Annotated[bool, About("Whether there is something to do and every step was checked.")] = True
    notes: Annotated[tuple[str, ...], About("What a person should know before applying it.")] = ()
    makespan_s: Annotated[float, Ge(0), About("Expected time from the first start to the last end.", "s")] = 0.0
    seed: Annotated[int, About("Seed of the search.")] = 0
    tool_version: Annotated[str, About("Version of drsim that made it.")] = ""

    @property
    def gap(self) -> float | None:
        """Relative distance between the objective reached and the lower bound; None without a bound."""
        if self.lower_bound is None:
            return None
        return max(0.0, self.after.objective - self.lower_bound) / max(abs(self.after.objective), 1e-9)

    @property
    def disks_only(self) -> bool:
        """Whether there are moves, and all of disks: nothing is sent between hosts, and nobody stands still."""
        return bool(self.moves) and all(move.storage_only for move in self.moves)

    @property
    def waves(self) -> tuple[tuple[Move, ...], ...]:
        """Moves by wave."""
        found: list[list[Move]] = [[] for _ in range(max((move.wave for move in self.moves), default=0))]
        for move in self.moves:
            found[move.wave - 1].append(move)
        return tuple(map(tuple, found))

    @property
    def target(self) -> Placement:
        """Placement that the plan leads to."""
        return replay(self.moves, Placement.of(self.inventory))

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the whole plan in canonical form, its inventory included; of one that was read, as it was written.

        A plan file may be older than fields that have come since: what a person reviewed keeps its hash.
        """
        return self.content_hash

    @cached_property
    def content_hash(self) -> str:
        """The same of what the plan says now, fields included that came after it was written."""
        return fingerprint(self)

    def under(self, written: str) -> Plan:
        """Return the same plan with the hash of the record that it was read from."""
        same = replace(self)
        same.__dict__["hash"] = written
        return same


def replay(moves: tuple[Move, ...], placement: Placement) -> Placement:
    """Return the placement after the moves.

    Raises
    ------
    ValueError
        If a move does not start where its guest is at that moment.
    """
    hosts = dict(placement)
    for move in moves:
        if hosts.get(move.vm) != move.source:
            raise ValueError(f"move {move.id}: '{move.vm}' is on {hosts.get(move.vm)}, not on {move.source}")
        hosts[move.vm] = move.target
    return Placement(hosts)
