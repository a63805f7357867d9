"""What the executor asks of a hypervisor; deliberately without any verb that starts, stops or removes a guest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from drsim.inventory import HostState, Inventory, Vm
from drsim.plan import Move
from executor.hypervisor.certificate import Certificate
from executor.refusal import Refusal

SightingState = Literal["running", "paused", "incoming", "stopped", "unknown"]
Phase = Literal["starting", "disks", "memory", "switchover", "finishing"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """One place where a guest was seen.

    Parameters
    ----------
    host : str
        Host that reported it.
    state : {"running", "paused", "incoming", "stopped", "unknown"}
        ``incoming``: made by a migration that has not switched over; it has never run. ``stopped``: defined there, no
        process.
    job : bool
        Whether a migration job is active on this copy.
    severed : bool
        Whether it is one half of a guest whose post-copy lost its connection: the other half is elsewhere. On the
        source such a copy is ``paused``, or ``running`` again because QEMU let it; on the target it is ``running``.
    disks : tuple of (str, str)
        Name and path of each disk.
    copying : tuple of str
        Disks that are being copied to another place on this host.
    """

    host: str
    state: SightingState
    job: bool = False
    severed: bool = False
    disks: tuple[tuple[str, str], ...] = ()
    copying: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Whereabouts:
    """Every place where a guest was seen, and every host that could not be asked.

    Parameters
    ----------
    vm : str
        Guest.
    sightings : tuple of Sighting
        At most one a host.
    unreachable : tuple of str
        Hosts that did not answer.
    """

    vm: str
    sightings: tuple[Sighting, ...] = ()
    unreachable: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a migration is; for display only, it decides nothing.

    Parameters
    ----------
    move_id : str
        The move.
    phase : {"starting", "disks", "memory", "switchover", "finishing"}
        What is under way.
    sent_mib, remaining_mib : float
        Memory and disks together, MiB.
    memory_left_mib : float
        Memory of that which is left, MiB.
    rate_mib_s, dirty_rate_mib_s : float or None
        Transfer rate and dirty rate as the hypervisor reports them, MiB/s.
    elapsed_s : float
        Since the start of the migration, seconds.
    rounds : int
        Passes over dirty memory so far.
    """

    move_id: str
    phase: Phase
    sent_mib: float
    remaining_mib: float
    memory_left_mib: float = 0.0
    rate_mib_s: float | None = None
    dirty_rate_mib_s: float | None = None
    elapsed_s: float
    rounds: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a migration ended, judged by looking at both ends.

    Parameters
    ----------
    status : {"moved", "stayed", "unknown"}
        ``moved``: one running copy, on the target. ``stayed``: one running copy, on the source. ``unknown``: anything
        else; the executor keeps its hands off.
    reason : str
        One sentence: why it stayed, or what was seen and what a person can do. Empty for a plain ``moved``.
    total_time_s, downtime_ms, sent_mib : float or None
        The hypervisor's own figures: whole migration, s; standstill of the guest, ms; traffic, MiB.
    zero_mib : float or None
        Memory found to hold nothing but zeros, MiB.
    rounds : int or None
        Passes over dirty memory.
    """

    status: Literal["moved", "stayed", "unknown"]
    reason: str = ""
    total_time_s: float | None = None
    downtime_ms: float | None = None
    sent_mib: float | None = None
    zero_mib: float | None = None
    rounds: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFacts:
    """What a host says of itself at this moment; names are those of the inventory.

    Parameters
    ----------
    host : str
        The host.
    state : {"up", "maintenance", "down", "unknown"}
        ``unknown`` if it could not be asked; every other field is then without meaning.
    memory_free_mib : float or None
        Memory that a new guest could take now by the host's own figures (on Linux MemAvailable), less what is
        reserved for the host, MiB.
    cpu_model, arch : str or None
        As libvirt names them.
    networks : tuple of str
        Networks of the inventory that are present.
    datastores : mapping of str to (float or None)
        Datastores of the inventory that are present, with their free space in MiB (None: not known).
    guests_memory_mib, guests_vcpus : float
        Configured memory (MiB) and vCPUs of all guests on it that are not stopped, incoming ones left out.
    clock_ahead_s : float or None
        Its clock, less that of the controller, seconds.
    clock_error_s : float
        By how much that may be wrong, seconds.
    free_ports : int or None
        Ports of its migration range on which nobody listens.
    outgoing_ports : int or None
        Ports from which it can still connect to others.
    certificates : tuple of Certificate
        Those that it uses for migrations; empty if not known.
    rtt_ms : float or None
        Round-trip time between the controller and it, ms; None as well where a busy host hides it.
    note : str
        What a person should know, e.g. why it could not be asked.
    """

    host: str
    state: HostState
    memory_free_mib: float | None = None
    cpu_model: str | None = None
    arch: str | None = None
    networks: tuple[str, ...] = ()
    datastores: Mapping[str, float | None] = field(default_factory=dict)
    guests_memory_mib: float = 0.0
    guests_vcpus: float = 0.0
    clock_ahead_s: float | None = None
    clock_error_s: float = 0.0
    free_ports: int | None = None
    outgoing_ports: int | None = None
    certificates: tuple[Certificate, ...] = ()
    rtt_ms: float | None = None
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """The way from one host to another.

    Parameters
    ----------
    a, b : str
        From where, to where.
    rtt_ms, rate_mbit_s : float or None
        Round-trip time; what one TCP connection carries. None if it was not measured.
    note : str
        Why it was not.
    """

    a: str
    b: str
    rtt_ms: float | None = None
    rate_mbit_s: float | None = None
    note: str = ""


ProgressListener = Callable[[Progress], None]


class Hypervisor(Protocol):
    """Hosts that guests can be moved between.

    All methods may be called from several threads at once. Methods that cannot reach anything at all raise
    `drsim.errors.HypervisorError`; a single host that does not answer is reported in the result, never raised.
    """

    name: str
    """What the user called it, e.g. ``simulated:FILE`` or ``libvirt``."""

    def inventory(self) -> Inventory:
        """Read the estate as it is now; hosts that do not answer are listed in state ``unknown``, never dropped."""
        ...

    def locate(self, vm: Vm) -> Whereabouts:
        """Ask every host for the guest, by UUID if it has one and by name."""
        ...

    def facts(self, host: str) -> HostFacts:
        """Ask one host about itself, now; one that does not answer is in state ``unknown`` with the cause as note."""
        ...

    def line(self, source: str, target: str) -> Line:
        """Measure the way between two hosts, now and shortly; if that cannot be done, the line says why."""
        ...

    def objections(self, move: Move, vm: Vm) -> tuple[Refusal, ...]:
        """Ask both ends what they themselves have against the move: versions, machine, CPU, filters, media."""
        ...

    def migrate(self, move: Move, vm: Vm, on_progress: ProgressListener) -> Outcome:
        """Migrate a running guest and return when the migration has ended.

        A migration that fails is not an exception: the outcome is found by looking at both ends (`judge`), whatever
        the call that made it returned. `on_progress` is called from some thread, one call at a time.
        """
        ...

    def watch(self, move: Move, vm: Vm, on_progress: ProgressListener) -> Outcome:
        """Follow a migration that is already under way (its controller died) to its end; as `migrate` otherwise."""
        ...

    def recover(self, move: Move, vm: Vm, on_progress: ProgressListener) -> Outcome:
        """Bring a post-copy that lost its connection to its end: what is still missing is sent over a new one.

        Nothing is done about a guest that is in any other state. As `migrate` otherwise.
        """
        ...

    def abort(self, move: Move, vm: Vm) -> None:
        """Ask the running migration to stop, so that the guest stays on the source; a no-op if none is running."""
        ...

    def close(self) -> None:
        """Let go of connections; migrations under way carry on."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the whereabouts of a guest mean for a move.

    Parameters
    ----------
    status : {"moved", "stayed", "under_way", "unknown"}
        ``under_way``: a migration job is active, look again later.
    text : str
        What was seen and, if `status` is ``unknown``, what a person can do.
    """

    status: Literal["moved", "stayed", "under_way", "unknown"]
    text: str


_HANDS_OFF = "drsim keeps its hands off."


def judge(move: Move, whereabouts: Whereabouts) -> Verdict:
    """Decide what became of a move from where its guest was seen, and from nothing else.

    Both ends must have answered. Exactly one running copy, on the target and with nothing but a stopped definition
    elsewhere, is ``moved``; exactly one running copy, on the source, is ``stayed`` (a copy on the target that never
    ran does not count). All else is ``unknown``: in doubt nothing is done, since a second start or a stop in error
    costs a guest.

    Parameters
    ----------
    move : Move
        The move in question.
    whereabouts : Whereabouts
        Where its guest was seen, over all hosts of the plan.
    """
    if move.storage_only:
        return _judge_disks(move, whereabouts)
    vm, live = move.vm, tuple(s for s in whereabouts.sightings if s.state != "stopped")
    seen = ", ".join(f"{s.state} on {s.host}" for s in live) or "nowhere"
    mute = [host for host in (move.source, move.target) if host in whereabouts.unreachable]
    if mute:
        remedy = f"{_HANDS_OFF} Bring {' and '.join(mute)} back in reach, then resume the run."
        return Verdict(status="unknown", text=f"'{vm}': {' and '.join(mute)} cannot be asked; seen: {seen}. {remedy}")
    if any(s.severed for s in live):
        # The target may still wait for a job that its source has given up: that is not under way.
        again = any(s.host == move.source and s.state == "running" for s in live)
        advice = _torn(move, again=again) if len(live) > 1 else _halved(move, live[0].host, again=again)
        return Verdict(status="unknown", text=f"'{vm}' was seen {seen}. {advice}")
    if any(s.job for s in live):
        return Verdict(status="under_way", text=f"'{vm}' is being migrated ({seen}).")
    running = [s.host for s in live if s.state == "running"]
    idle = [s for s in live if s.state != "running"]
    if running == [move.target] and not idle:
        return Verdict(status="moved", text=f"'{vm}' runs on {move.target}.")
    if running == [move.source] and all(s.state == "incoming" and s.host == move.target for s in idle):
        leftover = f" {move.target} holds an incoming copy that never ran; libvirt there removes it." if idle else ""
        return Verdict(status="stayed", text=f"'{vm}' runs on {move.source}.{leftover}")
    return Verdict(status="unknown", text=f"'{vm}' was seen {seen}. {_advice(move, running, idle)}")


def _judge_disks(move: Move, whereabouts: Whereabouts) -> Verdict:
    """Decide what became of disks from where they lie: all on the new place, or all on the old one; else unknown."""
    live = [s for s in whereabouts.sightings if s.state != "stopped"]
    if move.source in whereabouts.unreachable:
        text = f"'{move.vm}': {move.source} cannot be asked. {_HANDS_OFF} Bring it back in reach, then resume the run."
        return Verdict(status="unknown", text=text)
    if [(s.host, s.state) for s in live] != [(move.source, "running")]:
        seen = ", ".join(f"{s.state} on {s.host}" for s in live) or "nowhere"
        text = f"'{move.vm}' was seen {seen}. {_HANDS_OFF} Look at it, and at its disks, by hand."
        return Verdict(status="unknown", text=text)
    paths, copying = dict(live[0].disks), set(live[0].copying)
    if copying & {landing.disk for landing in move.landings}:
        return Verdict(status="under_way", text=f"Disks of '{move.vm}' are being copied.")
    if unread := [landing.disk for landing in move.landings if landing.disk not in paths]:
        text = (
            f"'{move.vm}': {move.source} does not say where {', '.join(unread)} lie. {_HANDS_OFF} Resume the run later."
        )
        return Verdict(status="unknown", text=text)
    there = [landing.disk for landing in move.landings if paths.get(landing.disk) == landing.path]
    if len(there) == len(move.landings):
        text = (
            f"{', '.join(there)} of '{move.vm}' lie at their new places; what they left on {move.source} is as it was."
        )
        return Verdict(status="moved", text=text)
    if not there:
        return Verdict(status="stayed", text=f"The disks of '{move.vm}' lie where they lay.")
    text = f"Of the disks of '{move.vm}' only {', '.join(there)} lie at their new places; it runs on both."
    return Verdict(status="unknown", text=f"{text} {_HANDS_OFF} Collect anew and plan the rest.")


def _torn(move: Move, *, again: bool) -> str:
    """Say what a person can do about a guest of which each host holds a part, and whose old copy may run again."""
    if again:
        return (
            f"{_HANDS_OFF} Its post-copy lost the connection after the guest had begun to run on {move.target}, and "
            f"QEMU on {move.source} let the old copy run again: two copies may write to the same disks. Stop that on "
            f"{move.source} at once, save from the other what can be saved, then check the guest's file systems."
        )
    return (
        f"{_HANDS_OFF} Its post-copy lost the connection: it runs on {move.target} until it needs memory that is still "
        f"on {move.source}. Neither copy may be stopped or started. Restore the line between them, then recover it: "
        "drsim resume RUN --recover."
    )


def _halved(move: Move, left: str, *, again: bool) -> str:
    """Say what a person can do about a guest of whose two halves one is gone."""
    if left == move.target:
        return (
            f"{_HANDS_OFF} Its post-copy lost the connection, and the half on {move.source} is gone with the memory "
            f"that it still held: the guest runs on {left} until it needs that. Save from it what can be saved, then "
            "stop it and start it anew by hand."
        )
    if again:
        return (
            f"{_HANDS_OFF} The half on {move.target}, which ran since the hand-over, is gone, and QEMU on {left} let "
            "the old copy run again: its memory is older than its disks. Stop it at once, check the disks, then start "
            "the guest anew by hand."
        )
    return (
        f"{_HANDS_OFF} The half on {move.target}, which ran since the hand-over, is gone; what is left on {left} is "
        "older than its disks. Never resume it: check the disks, then start the guest anew by hand."
    )


def _advice(move: Move, running: list[str], idle: list[Sighting]) -> str:
    """Say what a person can do about an unclear result."""
    if len(running) > 1:
        return (
            f"{_HANDS_OFF} Two copies may write to the same disks: fence one of {', '.join(running)} at once, then "
            "check the guest's file systems."
        )
    if len(running) == 1 and idle:
        others = ", ".join(s.host for s in idle)
        return (
            f"{_HANDS_OFF} The guest runs on {running[0]}; never resume the copy on {others}. If a post-copy was cut, "
            "restore the network and recover the migration; otherwise remove that copy by hand, then resume the run."
        )
    if len(running) == 1:
        return f"{_HANDS_OFF} Somebody else moved it there; make a new plan."
    if idle and all(s.state == "incoming" for s in idle):
        return (
            f"{_HANDS_OFF} No copy runs; that on {idle[0].host} was still coming in and lacks memory: never resume it, "
            "libvirt there removes it. Start the guest anew by hand once it is certain that it runs nowhere."
        )
    if idle:
        places = " or ".join(s.host for s in idle if s.state != "incoming")
        return (
            f"{_HANDS_OFF} No copy runs: look at {places}, resume the one copy that holds the guest's memory (the "
            "source before the switchover, the target after it), then resume the run."
        )
    return (
        f"{_HANDS_OFF} No copy runs: look into QEMU's log of the guest on {move.source} and {move.target}; start it by "
        "hand once it is certain that it runs nowhere, then make a new plan."
    )
