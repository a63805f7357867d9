"""Real hosts through libvirt: look, migrate, look again."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

from drsim.errors import HypervisorError
from drsim.inventory import Inventory, Vm
from drsim.plan import Move
from drsim.transfer import contradictions
from executor.collect import collect_estate
from executor.estate import estate_of
from executor.hypervisor.base import (
    HostFacts,
    Line,
    Outcome,
    Progress,
    ProgressListener,
    Sighting,
    Verdict,
    Whereabouts,
    judge,
)
from executor.hypervisor.libvirt_bounded import Call, Failed, run_bounded
from executor.hypervisor.libvirt_connect import OPEN_TIMEOUT_S, Connections, load_libvirt, message
from executor.hypervisor.libvirt_facts import host_facts
from executor.hypervisor.libvirt_files import read_files
from executor.hypervisor.libvirt_flags import migration_flags, migration_parameters
from executor.hypervisor.libvirt_objections import objections
from executor.hypervisor.libvirt_read import domain_state, is_postcopied, is_severed, plain_state
from executor.hypervisor.libvirt_recover import heals, reconnect
from executor.hypervisor.libvirt_relocate import (
    cancel,
    disk_places,
    ended,
    landed_mib,
    look,
    sizes_differ,
    start_copies,
    switch_over,
)
from executor.hypervisor.libvirt_stats import figures_of, progress_of
from executor.hypervisor.libvirt_target import target_xml
from executor.hypervisor.libvirt_volumes import make_volumes, volumes_of
from executor.lines import address_of, measure_shortly
from executor.refusal import Refusal
from executor.steer import Sight, Steering

POLL_S = 0.2
"""Time between two looks at a job, seconds."""

LOOK_TIMEOUT_S = OPEN_TIMEOUT_S + 20.0
"""Time for a host to say what it has, seconds: to let us in, or for keepalive to find that it is gone."""

GLANCE_S = 5.0
"""Time for one look at somebody else's migration, seconds."""

HUNG_S = 30.0
"""How long a QEMU may answer nobody before its migration is no longer waited for, seconds. One whose line died while it
wrote the last of a stopped guest hears nobody until TCP gives up (``net.ipv4.tcp_retries2``), up to fifteen minutes."""

SETTLE_S = 15.0
"""How long an unclear picture may last after a migration before it is reported as unknown, seconds. libvirtd on the
target removes an incoming copy within a second of losing the source; a restarted libvirtd needs about as long."""

WATCH_S = 6 * 3600.0
"""How long somebody else's migration is followed, seconds."""


class LibvirtKvm:
    """Hosts of an inventory, reached by their libvirt URIs; implements `Hypervisor`.

    Migrations are peer to peer: libvirtd of the source carries them out, so that one that has begun is carried on when
    this process dies, and `watch` finds it again. Guests are looked at and migrated, nothing else.

    Parameters
    ----------
    inventory : Inventory
        Hosts with `uri` (for this process) and `peer_uri` (for the source's libvirtd).
    clock : callable
        Gives the present time, timezone-aware; stamps inventories.
    shells : mapping of str to str
        Words that, with a script behind them, run it on a host (`DeclaredHost.shell`), where its URI is not one of ssh.

    Raises
    ------
    HypervisorError
        If libvirt's Python binding is missing, a URI carries a password, or no host has a URI.
    """

    def __init__(
        self,
        inventory: Inventory,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        shells: Mapping[str, str] | None = None,
    ) -> None:
        self.name = "libvirt"
        self._inventory = inventory
        self._clock = clock
        self._declared = {
            host.name or "": replace(host, shell=(shells or {}).get(host.name or ""))
            for host in estate_of(inventory).hosts
        }
        self._libvirt = load_libvirt()
        self._reading = {host.name: threading.Lock() for host in inventory.hosts}
        self._connections = Connections({host.name: host.uri for host in inventory.hosts if host.uri})
        if not any(host.uri for host in inventory.hosts):
            raise HypervisorError(
                f"No host of inventory '{inventory.name}' has a libvirt URI. Collect it ('drsim collect'), or apply "
                "the plan to the simulated hypervisor."
            )

    def inventory(self) -> Inventory:
        """Read the estate as it is now; see `Hypervisor.inventory`."""
        return collect_estate(
            estate_of(self._inventory), clock=self._clock, name=self._inventory.name, previous=self._inventory
        ).inventory

    def close(self) -> None:
        """Close the connections; migrations under way carry on."""
        self._connections.close()

    # Looking

    def locate(self, vm: Vm) -> Whereabouts:
        """Ask every host for the guest; see `Hypervisor.locate`.

        The hosts are asked one after the other in time, however close, and a guest may pass from one to the other in
        between. Anything but a single copy at rest is therefore looked at again until two looks agree.
        """
        before = self._look(vm)
        for _ in range(4):
            if len(before.sightings) == 1 and before.sightings[0].state == "running":
                at_rest = not (before.sightings[0].job or before.sightings[0].severed)
                return self._look_at_disks(vm, before) if at_rest else before
            time.sleep(POLL_S)
            now = self._look(vm)
            if now == before:
                return now
            before = now
        return before

    def _look(self, vm: Vm, hosts: tuple[str, ...] | None = None) -> Whereabouts:
        names = tuple(host.name for host in self._inventory.hosts) if hosts is None else hosts
        answers = run_bounded({host: partial(self._sight, host, vm) for host in names}, timeout_s=LOOK_TIMEOUT_S)
        return Whereabouts(
            vm=vm.name,
            sightings=tuple(answer for answer in answers.values() if isinstance(answer, Sighting)),
            unreachable=tuple(host for host, answer in answers.items() if isinstance(answer, Failed)),
        )

    def _look_at_disks(self, vm: Vm, seen: Whereabouts) -> Whereabouts:
        """Add where the disks of a guest at rest lie; one whose QEMU hangs on a dead connection is not asked."""
        (sighting,) = seen.sightings
        answer = run_bounded({"disks": partial(self._with_disks, sighting, vm)}, timeout_s=LOOK_TIMEOUT_S)["disks"]
        return seen if isinstance(answer, Failed) else replace(seen, sightings=(answer,))

    def _with_disks(self, sighting: Sighting, vm: Vm) -> Sighting:
        domain = self._domain(sighting.host, vm)
        places = {} if domain is None else disk_places(domain)
        return replace(
            sighting,
            disks=tuple((name, path) for name, (path, _, _) in places.items()),
            copying=tuple(name for name, (_, there, _) in places.items() if there is not None),
        )

    def _sight(self, host: str, vm: Vm) -> Sighting | None:
        domain = self._domain(host, vm)
        if domain is None:
            return None
        try:
            if is_severed(domain):  # its QEMU may hang on the dead connection: ask it nothing
                return Sighting(host=host, state=plain_state(domain), severed=True)
            state, incoming, job = domain_state(domain)
            severed = not job and is_postcopied(domain)
        except self._libvirt.libvirtError as error:
            if error.get_error_code() == self._libvirt.VIR_ERR_NO_DOMAIN:
                return None  # it left between the two questions
            stuck = error.get_error_code() == self._libvirt.VIR_ERR_OPERATION_TIMEOUT
            if stuck and (state := plain_state(domain)) != "running":
                # Its QEMU hangs on a dead connection and answers nobody, but the daemon knows that it does not run.
                return Sighting(host=host, state=state)
            raise
        return Sighting(host=host, state="incoming" if incoming else state, job=job, severed=severed)

    def _domain(self, host: str, vm: Vm) -> Any | None:
        connection = self._connections.get(host)
        try:
            return connection.lookupByUUIDString(vm.uuid) if vm.uuid else connection.lookupByName(vm.name)
        except self._libvirt.libvirtError as error:
            if error.get_error_code() == self._libvirt.VIR_ERR_NO_DOMAIN:
                return None
            raise

    def facts(self, host: str) -> HostFacts:
        """Ask one host about itself; see `Hypervisor.facts`."""
        answer = run_bounded({host: partial(self._facts, host)}, timeout_s=LOOK_TIMEOUT_S)[host]
        if isinstance(answer, Failed):
            return HostFacts(host=host, state="unknown", note=message(answer.error))
        return answer

    def _facts(self, host: str) -> HostFacts:
        connection = self._connections.get(host)
        with self._reading[host]:  # two pools of one folder exclude each other
            files = read_files(connection)
        return host_facts(connection, self._inventory, host, files)

    def line(self, source: str, target: str) -> Line:
        """Measure the way between two hosts; see `Hypervisor.line`."""
        return measure_shortly(self._declared[source], self._declared[target], address_of(self._inventory, target))

    def objections(self, move: Move, vm: Vm) -> tuple[Refusal, ...]:
        """Ask both ends what they have against a move; see `Hypervisor.objections`."""
        domain = self._domain(move.source, vm)
        if domain is None:
            return ()  # that it is not there is seen by `locate`
        return objections(domain, self._connections.get(move.target), move)

    # Acting

    def migrate(self, move: Move, vm: Vm, on_progress: ProgressListener) -> Outcome:
        """Migrate a guest, or move its disks; see `Hypervisor.migrate`."""
        if move.storage_only:
            return self._relocate(move, vm, on_progress, begin=True)
        steering = Steering(move)
        try:
            call, domain = self._begin(move, vm, steering)
        except (HypervisorError, self._libvirt.libvirtError) as error:
            return self._follow(move, vm, on_progress, cause=message(error))
        last: list[Progress] = []

        def tell(progress: Progress) -> None:
            last[:] = [progress]
            on_progress(progress)

        given_up: list[str] = []
        answered_s = [time.monotonic()]

        def heard() -> None:
            answered_s[0] = time.monotonic()

        def look_and_steer() -> None:
            if why := self._steer(steering, domain, self._report(move, domain, tell, heard)):
                given_up.append(why)

        # Post-copy begins when it is told to: look often, so that not much more than its passes are sent before.
        poll_s = POLL_S / 4 if move.transfer.may_postcopy else POLL_S
        began = time.monotonic()
        # A QEMU whose connection has died may answer nobody; that must not keep us from hearing the call's end.
        glance = Call(look_and_steer)
        while not call.wait(poll_s):
            if glance.wait(0.0):
                glance = Call(look_and_steer)
            if time.monotonic() - answered_s[0] > HUNG_S:
                return Outcome(status="unknown", reason=_hanging(move, handed_over=steering.handed_over))
        wall_s = time.monotonic() - began
        # The call tells why, the looking tells what: an error may be raised after the guest has moved.
        cause = given_up[0] if given_up else ("" if call.error is None else message(call.error))
        outcome = self._follow(move, vm, tell, cause=cause)
        if outcome.status == "moved" and outcome.total_time_s is None:  # no hypervisor kept count: post-copy
            outcome = replace(outcome, total_time_s=wall_s, **({} if not last else _counted(last[0])))
        return outcome

    def _begin(self, move: Move, vm: Vm, steering: Steering) -> tuple[Call, Any]:
        """Start the migration; raise what keeps it from starting."""
        if wrong := contradictions(move.transfer, copies_disks=bool(move.copy_disks)):
            raise HypervisorError("; ".join(wrong))
        target = self._inventory.host_by_name.get(move.target)
        peer_uri = (target.peer_uri or target.uri) if target else None
        if peer_uri is None:
            raise HypervisorError(f"host '{move.target}' has no URI by which '{move.source}' could reach it")
        domain = self._domain(move.source, vm)
        if domain is None:
            raise HypervisorError(f"there is no guest '{vm.name}' on {move.source}")
        places = {landing.disk: landing.path for landing in move.landings}
        if move.copy_disks:
            peer = self._connections.get(move.target)
            found = volumes_of(domain, move.copy_disks, top=move.transfer.disk_layers == "top")
            volumes = [
                replace(volume, path=places.get(disk, volume.path))
                for disk, volume in zip(move.copy_disks, found, strict=True)
            ]
            make_volumes(peer, volumes, host=move.target, replace=move.transfer.replace_leftovers)
        flags = migration_flags(self._libvirt, move, persistent=bool(domain.isPersistent()))
        there = target_xml(domain, self._bridges_over(move), places)
        parameters = migration_parameters(self._libvirt, move, vm, target_xml=there)
        # Set before the start so that it holds from the first pass on; QEMU keeps it for the migration to come.
        with contextlib.suppress(self._libvirt.libvirtError):
            domain.migrateSetMaxDowntime(round(steering.downtime_ms))
        if move.transfer.transport == "direct":
            peer = self._connections.get(move.target)
            return Call(lambda: domain.migrate3(peer, parameters, flags)), domain
        return Call(lambda: domain.migrateToURI3(peer_uri, parameters, flags)), domain

    def _relocate(self, move: Move, vm: Vm, on_progress: ProgressListener, *, begin: bool) -> Outcome:
        """Move disks of a guest on its host, or go on with what a dead controller began: since when, nobody knows."""
        cause, began, landed = "", time.monotonic(), None
        try:
            domain = self._domain(move.source, vm)
            if domain is None:
                raise HypervisorError(f"there is no guest '{vm.name}' on {move.source}")
            if begin:
                start_copies(domain, self._connections.get(move.source), move)
            while not switch_over(domain, move):
                progress = look(domain, move, time.monotonic() - began)
                on_progress(progress)
                limit_s = move.transfer.timeout_s
                if limit_s is not None and progress.elapsed_s > limit_s:
                    cancel(domain, move)
                    raise HypervisorError(f"it was given up after {limit_s:g} s, as planned")
                time.sleep(POLL_S)
            cause, landed = sizes_differ(domain, vm, move), landed_mib(domain, move)
        except (HypervisorError, self._libvirt.libvirtError) as error:
            cause = message(error)
        seconds = time.monotonic() - began if begin else None
        return ended(move, vm, self._settled(move, vm), cause, seconds, landed)

    def _settled(self, move: Move, vm: Vm) -> Verdict:
        """Judge where disks lie, once no copy is under way any more or the picture stays unclear."""
        limit = time.monotonic() + SETTLE_S
        while True:
            seen = self._look(vm, (move.source,))
            if len(seen.sightings) == 1:
                seen = self._look_at_disks(vm, seen)
            verdict = judge(move, seen)
            if verdict.status in ("moved", "stayed") or time.monotonic() > limit:
                break
            time.sleep(POLL_S)
        if verdict.status == "under_way":
            text = f"{verdict.text} The copy goes on; resume the run, which switches over when it is done."
            return Verdict(status="unknown", text=text)
        return verdict

    def _bridges_over(self, move: Move) -> dict[str, str]:
        """Bridges of the source that are called otherwise on the target: what they are called there."""
        pairs = (
            (network.bridge_on(move.source), network.bridge_on(move.target)) for network in self._inventory.networks
        )
        return {here: there for here, there in pairs if here and there and here != there}

    def _steer(self, steering: Steering, domain: Any, progress: Progress | None) -> str:
        """Do what the migration needs now; return why it was given up, if it was."""
        if progress is None:
            return ""
        sight = Sight(
            elapsed_s=progress.elapsed_s,
            rounds=progress.rounds,
            remaining_mib=progress.memory_left_mib,
            sent_mib=progress.sent_mib,
        )
        step = steering.next(sight)
        if step is None:
            return ""
        # It may have ended since the look; then there is nothing to steer.
        with contextlib.suppress(self._libvirt.libvirtError):
            if step.kind == "downtime":
                domain.migrateSetMaxDowntime(round(step.downtime_ms))
            elif step.kind == "postcopy":
                domain.migrateStartPostCopy(0)
            else:
                domain.abortJob()
                return step.why
        return ""

    def watch(self, move: Move, vm: Vm, on_progress: ProgressListener) -> Outcome:
        """Follow a migration that its controller left behind; see `Hypervisor.watch`."""
        if move.storage_only:
            return self._relocate(move, vm, on_progress, begin=False)
        return self._follow(move, vm, on_progress, cause="")

    def recover(self, move: Move, vm: Vm, on_progress: ProgressListener) -> Outcome:
        """Bring a severed post-copy to its end; see `Hypervisor.recover`."""
        try:
            source, target = self._domain(move.source, vm), self._domain(move.target, vm)
            if source is None or target is None or not is_severed(source) or plain_state(source) == "running":
                return self._follow(move, vm, on_progress, cause="there is no severed post-copy to recover")
            if heals(lambda: self._verdict(move, vm).status == "moved"):
                return self._follow(move, vm, on_progress, cause="")
            target_host = self._inventory.host_by_name[move.target]
            reconnect(source, target, target_host.peer_uri or target_host.uri or "", move)
        except (HypervisorError, self._libvirt.libvirtError) as error:
            return self._follow(move, vm, on_progress, cause=message(error))
        return self._follow(move, vm, on_progress, cause="")

    def abort(self, move: Move, vm: Vm) -> None:
        """Cancel the migration on its source; see `Hypervisor.abort`.

        Raises
        ------
        HypervisorError
            If the source cannot be asked, or refuses although a migration is running.
        """
        answer = run_bounded({"abort": partial(self._abort, move, vm)}, timeout_s=LOOK_TIMEOUT_S)["abort"]
        if isinstance(answer, Failed):
            raise HypervisorError(f"Move {move.id}: {move.source} did not abort: {message(answer.error)}.")

    def _abort(self, move: Move, vm: Vm) -> None:
        try:
            domain = self._domain(move.source, vm)
            if domain is not None and move.storage_only:
                cancel(domain, move)
            elif domain is not None and domain_state(domain)[2]:
                domain.abortJob()
        except self._libvirt.libvirtError as error:
            gone = (self._libvirt.VIR_ERR_NO_DOMAIN, self._libvirt.VIR_ERR_OPERATION_INVALID)
            if error.get_error_code() not in gone:  # else it ended by itself meanwhile
                raise

    def _report(
        self, move: Move, domain: Any, on_progress: ProgressListener, heard: Callable[[], None] = lambda: None
    ) -> Progress | None:
        """Tell how far a migration is, and that its host has answered; None if there is nothing to tell."""
        try:
            stats = domain.jobStats()
        except self._libvirt.libvirtError:
            return None  # it has just gone; the look at both ends decides
        heard()
        if stats.get("type", 0) == self._libvirt.VIR_DOMAIN_JOB_NONE:
            return None
        progress = progress_of(move.id, stats)
        on_progress(progress)
        return progress

    def _follow(self, move: Move, vm: Vm, on_progress: ProgressListener, *, cause: str) -> Outcome:
        """Look at both ends until the migration has ended and the picture is clear, then say what it is."""
        limit = time.monotonic() + WATCH_S
        unclear_since: float | None = None
        while True:
            verdict = self._verdict(move, vm)
            now = time.monotonic()
            if verdict.status in ("moved", "stayed"):
                return self._outcome(move, vm, verdict, cause)
            if verdict.status == "under_way" and now < limit:
                unclear_since = None
                run_bounded({"look": partial(self._glance, move, vm, on_progress)}, timeout_s=GLANCE_S)
            else:
                unclear_since = now if unclear_since is None else unclear_since
                if now - unclear_since > SETTLE_S:
                    verdict = judge(move, self.locate(vm))  # it may be on a third host
                    return Outcome(status="unknown", reason=" ".join(filter(None, (verdict.text, cause))))
            time.sleep(POLL_S)

    def _glance(self, move: Move, vm: Vm, on_progress: ProgressListener) -> None:
        domain = self._domain(move.source, vm)
        if domain is not None:
            self._report(move, domain, on_progress)

    def _verdict(self, move: Move, vm: Vm) -> Verdict:
        """Judge by two looks that agree: the guest may pass from host to host while they are asked."""
        ends = (move.target, move.source)
        before = judge(move, self._look(vm, ends))
        if before.status == "under_way":
            return before
        now = judge(move, self._look(vm, ends))
        return now if now.status == before.status else Verdict(status="under_way", text=now.text)

    def _outcome(self, move: Move, vm: Vm, verdict: Verdict, cause: str) -> Outcome:
        if verdict.status == "stayed":
            why = cause.rstrip(".") or "the migration ended without having moved it"
            return Outcome(status="stayed", reason=f"'{vm.name}' stayed on {move.source}: {why}.")
        lv = self._libvirt
        stats: dict[str, Any] = {}
        with contextlib.suppress(HypervisorError, lv.libvirtError):
            domain = self._domain(move.target, vm)
            if domain is not None:
                stats = domain.jobStats(lv.VIR_DOMAIN_JOB_STATS_COMPLETED | lv.VIR_DOMAIN_JOB_STATS_KEEP_COMPLETED)
        notes = [f"It moved although libvirt reported: {cause.rstrip('.')}."] if cause else []
        figures: dict[str, Any] = figures_of(stats)
        stood_ms = figures["downtime_ms"]
        if stood_ms is not None and stood_ms > move.max_downtime_ms:
            notes.append(f"It stood still for {stood_ms:.0f} ms, longer than its limit of {move.max_downtime_ms:g} ms.")
        return Outcome(status="moved", reason=" ".join(notes), **figures)


def _hanging(move: Move, *, handed_over: bool) -> str:
    """Say what is known of a migration whose QEMU answers nobody; looking at it once more would take as long again."""
    if handed_over:
        return (
            f"QEMU of '{move.vm}' on {move.source} has answered nobody for {HUNG_S:g} s since the guest was handed "
            f"over to {move.target}. drsim keeps its hands off. Neither copy may be stopped or started. Restore the "
            "line between them, then resume the run."
        )
    return (
        f"QEMU of '{move.vm}' on {move.source} has answered nobody for {HUNG_S:g} s while it was migrated. drsim keeps "
        "its hands off. If the line died just as the guest stood still, it runs again there once the line has healed "
        "or TCP has given it up (net.ipv4.tcp_retries2 of the host); resume the run then."
    )


def _counted(last: Progress) -> dict[str, Any]:
    """Return the figures of an outcome as far as the last look at a migration tells them."""
    return {"sent_mib": last.sent_mib, "rounds": last.rounds}
