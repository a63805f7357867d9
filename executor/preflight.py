"""Is the plan still true for this move? Asked of both ends just before it is made; pure, on what was seen."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from drsim.inventory import Host, Vm
from drsim.migration import DEFAULT, Options, predict
from drsim.plan import Move, Plan
from drsim.quiet import QuietTimes
from drsim.topology import Topology
from executor.ends import between
from executor.hypervisor.base import HostFacts, Line, Whereabouts
from executor.refusal import Refusal

MUCH_LESS = 0.8
"""A line that carries at least this share of what the plan took needs no second look."""

LEAST_MBIT_S = 0.1
"""A line on which nothing was carried is taken for this slow, Mbit/s."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Promised:
    """What moves admitted a moment before will take on the target: memory (MiB), vCPUs, disk space (MiB), ports."""

    memory_mib: float = 0.0
    vcpus: float = 0.0
    disk_mib: float = 0.0
    ports: int = 0


NOTHING_PROMISED = Promised()


def recheck(
    move: Move,
    plan: Plan,
    whereabouts: Whereabouts,
    facts: HostFacts,
    promised: Promised = NOTHING_PROMISED,
    *,
    source: HostFacts | None = None,
    now: datetime | None = None,
    line: Line | None = None,
) -> tuple[Refusal, ...]:
    """Compare one move with what both ends say now.

    Parameters
    ----------
    move : Move
        The move about to be made.
    plan : Plan
        Its plan: what the guest and the hosts were taken to be.
    whereabouts : Whereabouts
        Where the guest was seen just now.
    facts : HostFacts
        What the target says of itself just now.
    promised : Promised
        What other moves of the same wave, admitted before this one, will take there.
    source : HostFacts, optional
        What the source says of itself just now.
    now : datetime, optional
        By the controller's clock, timezone-aware; with both, what must fit between the ends is looked at.
    line : Line, optional
        The way from the source to the target, measured just now.

    Returns
    -------
    tuple of Refusal
        Everything that stands in the way; empty if the move may be made.
    """
    vm = plan.inventory.vm_by_name[move.vm]
    target = plan.inventory.host_by_name[move.target]
    refusals = [*_guest(move, whereabouts)]
    if facts.state != "up":
        note = f" ({facts.note})" if facts.note else ""
        refusals.append(
            Refusal(
                kind="host",
                text=f"'{move.target}' is in state {facts.state}{note}; the plan needs it up.",
                remedy="Bring it up, or make a new plan.",
            )
        )
        return tuple(refusals)
    if now is not None and (why := QuietTimes(plan.policy, plan.inventory).objection(move, now)):
        refusals.append(Refusal(kind="quiet", text=why, remedy="Make a plan for then: drsim plan --start."))
    if source is not None and now is not None and source.state != "unknown" and not move.storage_only:
        refusals += between(move, source, facts, plan.policy.limits, now, promised_ports=promised.ports, line=line)
    if move.storage_only:
        return (*refusals, *_room(move, vm, facts, promised))
    refusals += [
        *_capacity(vm, target, plan, facts, promised),
        *_cpu(vm, plan.inventory.host_by_name[move.source], target, facts),
        *_networks(vm, move.target, facts),
        *_storage(vm, move, facts, promised),
        *_rate(vm, move, plan, line),
    ]
    return tuple(refusals)


def way_between(move: Move, plan: Plan, line: Line, now: datetime) -> str:
    """Say in one sentence what lies between the hosts of a move: as measured now, else as known, and how long since."""
    if line.rtt_ms is not None and line.rate_mbit_s is not None:
        return f"The line was measured just before: {line.rtt_ms:.1f} ms, {line.rate_mbit_s:.0f} Mbit/s."
    path = Topology(plan.inventory).path(move.source, move.target)
    known = "nothing is known of it" if path is None else f"{path.rtt_ms:g} ms, {path.bandwidth_mbit_s:g} Mbit/s"
    age = _age(plan.inventory.captured_at, now)
    return f"The line was not measured ({line.note}); the plan's inventory{age} says: {known}."


def _age(taken: str | None, now: datetime) -> str:
    """Return how old what was read at an instant (ISO 8601) is, as a clause; nothing if that is not known."""
    try:
        then = datetime.fromisoformat(taken or "")
    except ValueError:
        return ""
    then = then if then.tzinfo else then.replace(tzinfo=UTC)
    return f", {max(0.0, (now - then).total_seconds()) / 60:.0f} min old"


def _rate(vm: Vm, move: Move, plan: Plan, line: Line | None) -> Iterator[Refusal]:
    """Refuse a guest that comes to rest on the line of the plan, but not on the one that is there."""
    if line is None or line.rate_mbit_s is None or move.prediction is None or not move.prediction.converges:
        return
    path = Topology(plan.inventory).path(move.source, move.target)
    if path is None or line.rate_mbit_s >= MUCH_LESS * DEFAULT.goodput * path.bandwidth_mbit_s:
        return
    said = predict(
        vm,
        path,
        max_downtime_ms=move.max_downtime_ms,
        bandwidth_mbit_s=move.bandwidth_mbit_s,
        copy_disks=move.copy_disks,
        rate_mbit_s=max(line.rate_mbit_s / DEFAULT.goodput, LEAST_MBIT_S),
        options=Options.of(move.transfer, bandwidth_mbit_s=move.bandwidth_mbit_s),
    )
    if not said.converges:
        yield Refusal(
            kind="line",
            text=f"From '{move.source}' to '{move.target}' one connection carries {line.rate_mbit_s:.0f} Mbit/s, "
            f"measured just now; the plan took {path.bandwidth_mbit_s:g} Mbit/s. '{vm.name}' would not come to rest.",
            remedy="See what slows the line down or fills it, then resume; or collect anew and make a new plan.",
        )


def _guest(move: Move, whereabouts: Whereabouts) -> Iterator[Refusal]:
    again = "Make a new plan from a fresh inventory."
    seen = [s for s in whereabouts.sightings if s.state != "stopped"]
    if move.source in whereabouts.unreachable:
        yield Refusal(
            kind="guest", text=f"'{move.source}' cannot be asked for '{move.vm}'.", remedy="Bring it back in reach."
        )
    elif any(s.job for s in seen):
        yield Refusal(kind="guest", text=f"Somebody else is migrating '{move.vm}'.", remedy=again)
    elif not seen:
        stopped = any(s.host == move.source for s in whereabouts.sightings)
        what = "is stopped" if stopped else f"is not on {move.source}, and nowhere else either"
        yield Refusal(kind="guest", text=f"'{move.vm}' {what}.", remedy=again)
    elif len(seen) > 1 or seen[0].host != move.source:
        places = ", ".join(f"{s.state} on {s.host}" for s in seen)
        yield Refusal(kind="guest", text=f"'{move.vm}' is {places}, not on {move.source} alone.", remedy=again)
    elif seen[0].state != "running":
        yield Refusal(
            kind="guest",
            text=f"'{move.vm}' is {seen[0].state} on {move.source}.",
            remedy="Find out why; only running guests are migrated.",
        )
    elif seen[0].severed:
        yield Refusal(
            kind="guest",
            text=f"'{move.vm}' on {move.source} is what a post-copy that failed has left of it.",
            remedy="See how it is; stop it and start it anew, or, if it is well, suspend and resume it by hand.",
        )


def _capacity(vm: Vm, target: Host, plan: Plan, facts: HostFacts, promised: Promised) -> Iterator[Refusal]:
    room_mib = target.guest_memory_mib * (1.0 - plan.policy.limits.memory_headroom)
    wanted_mib = facts.guests_memory_mib + promised.memory_mib + vm.memory_mib
    if wanted_mib > room_mib + 1e-6:
        yield Refusal(
            kind="memory",
            text=f"'{target.name}' would hold {wanted_mib:.0f} MiB of configured guest memory; its limit is "
            f"{room_mib:.0f} MiB.",
            remedy="See which guests it holds that the plan did not expect, or make a new plan.",
        )
    # An overcommitted host is expected not to have all of it free.
    need_mib = vm.data_mib if target.memory_overcommit > 1.0 else float(vm.memory_mib)
    if facts.memory_free_mib is not None and need_mib + promised.memory_mib > facts.memory_free_mib:
        beside = f" beside {promised.memory_mib:.0f} MiB promised to this wave" if promised.memory_mib else ""
        yield Refusal(
            kind="memory",
            text=f"'{target.name}' has {facts.memory_free_mib:.0f} MiB free by its own figures; '{vm.name}' needs "
            f"{need_mib:.0f} MiB{beside}.",
            remedy="Free memory there, or make a new plan.",
        )
    vcpus = facts.guests_vcpus + promised.vcpus + vm.vcpus
    if vcpus > target.guest_vcpus + 1e-6:
        yield Refusal(
            kind="cpu",
            text=f"'{target.name}' would hold {vcpus:.0f} vCPUs; {target.guest_vcpus:.0f} are its limit.",
            remedy="See which guests it holds that the plan did not expect, or make a new plan.",
        )


def _cpu(vm: Vm, source: Host, target: Host, facts: HostFacts) -> Iterator[Refusal]:
    if facts.arch is not None and facts.arch != source.arch:
        yield Refusal(
            kind="cpu",
            text=f"'{facts.host}' is {facts.arch}, '{vm.name}' runs on {source.arch}.",
            remedy="A running guest cannot change its architecture; choose another target.",
        )
    elif vm.cpu_model is not None and target.cpu_models:
        if not target.gives_cpu(vm.cpu_model, source):  # else its libvirt is asked itself
            yield Refusal(
                kind="cpu",
                text=f"'{target.name}' cannot give CPU {vm.cpu_model}, which '{vm.name}' sees.",
                remedy="Choose another target, or give it a CPU that both hosts have and restart it once.",
            )
    elif source.cpu_model and facts.cpu_model and source.cpu_model != facts.cpu_model:
        yield Refusal(
            kind="cpu",
            text=f"'{facts.host}' has CPU model {facts.cpu_model}, '{source.name}' has {source.cpu_model}.",
            remedy="Choose a target of the same model, or give both hosts the same baseline.",
        )


def _networks(vm: Vm, target: str, facts: HostFacts) -> Iterator[Refusal]:
    missing = sorted({nic.network for nic in vm.nics} - set(facts.networks))
    if missing:
        yield Refusal(
            kind="network",
            text=f"'{target}' lacks {', '.join(missing)}, which '{vm.name}' is plugged into.",
            remedy="Create it there, then make a new plan or resume.",
        )


def _room(move: Move, vm: Vm, facts: HostFacts, promised: Promised) -> Iterator[Refusal]:
    """See that the datastores that disks go to are there and have room."""
    sizes = {disk.name: disk.size_mib for disk in vm.disks}
    for store in dict.fromkeys(landing.datastore for landing in move.landings):
        needed_mib = sum(sizes[each.disk] for each in move.landings if each.datastore == store) + promised.disk_mib
        free_mib = facts.datastores.get(store)
        if store not in facts.datastores:
            text = f"'{move.target}' does not see {store}, where disks of '{vm.name}' are to go."
            yield Refusal(kind="disk", text=text, remedy="Mount it there, or make a new plan.")
        elif free_mib is not None and free_mib < needed_mib:
            text = f"{store} on '{move.target}' has {free_mib:.0f} MiB free; {needed_mib:.0f} MiB are needed."
            yield Refusal(kind="disk", text=text, remedy="Free space there, or make a new plan.")


def _storage(vm: Vm, move: Move, facts: HostFacts, promised: Promised) -> Iterator[Refusal]:
    missing = sorted({d.datastore for d in vm.disks if d.name not in move.copy_disks} - set(facts.datastores))
    if missing:
        yield Refusal(
            kind="disk",
            text=f"'{move.target}' does not see {', '.join(missing)}, which holds disks of '{vm.name}'.",
            remedy="Mount it there, or make a new plan that copies the disks.",
        )
    if move.landings:
        yield from _room(move, vm, facts, promised)
        return
    copied_mib = sum(disk.size_mib for disk in vm.disks if disk.name in move.copy_disks)
    free = list(facts.datastores.values())
    if copied_mib and free and all(mib is not None and mib < copied_mib + promised.disk_mib for mib in free):
        yield Refusal(
            kind="disk",
            text=f"No datastore of '{move.target}' has {copied_mib + promised.disk_mib:.0f} MiB free for copied disks.",
            remedy="Free space there, or make a new plan.",
        )
