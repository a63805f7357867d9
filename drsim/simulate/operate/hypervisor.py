"""The simulated hypervisor: it carries plans out at their true cost, and lives through what fails meanwhile."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import simpy
from numpy.typing import NDArray

from drsim.migration import Migration, Options, Parameters, Phase, sender_mib_s, thread_cores
from drsim.plan import Move
from drsim.policy import Limits
from drsim.simulate.carry import Process, carry
from drsim.simulate.flows import Flow
from drsim.simulate.lines import Lines
from drsim.simulate.operate.estate import NOWHERE, Estate
from drsim.simulate.operate.result import Happened, Migrated, Outcome
from drsim.topology import Path, Topology

ARRIVED: tuple[Phase, ...] = ("push", "confirm", "done")
"""Phases in which the guest runs on the target."""


@dataclass(slots=True, eq=False)
class _Trip:
    """A migration under way, with its threads at either end, and what they manage at full CPU, MiB/s."""

    move: Move
    path: Path
    run: Migration
    threads: int
    sender_mib_s: float
    flow: Flow | None = None
    process: simpy.Process | None = None
    arrived: bool = False

    @property
    def torn(self) -> bool:
        """Whether either end has a part of the guest's memory that the other has not."""
        return self.run.phase == "push" or (self.run.phase == "resume" and self.run.on_target)


class Hypervisor:
    """Every host's hypervisor, as one.

    Parameters
    ----------
    env, estate, lines : simpy.Environment, Estate, Lines
        Where.
    limits : Limits
        Bandwidth cap of moves that name none.
    parameters : Parameters
        Constants of the migration model.
    tell : callable
        Told what happened: kind, who, text.
    """

    def __init__(
        self,
        env: simpy.Environment,
        estate: Estate,
        lines: Lines,
        limits: Limits,
        parameters: Parameters,
        tell: Callable[[Happened, str, str], None],
    ) -> None:
        self._env, self._estate, self._lines = env, estate, lines
        self._limits, self._parameters, self._tell = limits, parameters, tell
        self._cut: set[str] = set()
        self._mended = env.event()
        self._trips: dict[str, _Trip] = {}
        self._topology = Topology(estate.base)
        self.migrated: list[Migrated] = []

    def carry_out(self, plan: int, moves: Sequence[Move]) -> Process:
        """Carry moves out wave by wave; a move that is not possible any more is left out, and said so."""
        waves: dict[int, list[Move]] = defaultdict(list)
        for move in moves:
            waves[move.wave].append(move)
        for _, members in sorted(waves.items()):
            yield self._env.all_of([self._env.process(self._move(plan, move)) for move in members])

    def fail_host(self, host: int) -> tuple[int, ...]:
        """Cut a host's power; return the guests that ran on it."""
        estate, name = self._estate, self._estate.base.hosts[host].name
        estate.settle()
        estate.up[host] = estate.open[host] = False
        lost = [vm for vm in range(len(estate.place)) if estate.place[vm] == host]
        for vm in lost:
            estate.stop(vm)
        # A guest between its hosts is on the source until it runs on the target; in post-copy it then needs both.
        for trip in list(self._trips.values()):
            if name not in (trip.move.source, trip.move.target) or trip.process is None:
                continue
            vm = estate.vms[trip.move.vm]
            if trip.torn and estate.place[vm] != NOWHERE:
                estate.stop(vm)
                lost.append(vm)
            trip.process.interrupt("host")
        return tuple(sorted(set(lost)))

    def pace(self) -> None:
        """Let every migration be as slow as the CPU that its hosts have for it, from now on."""
        if not self._trips:
            return
        shares = self._estate.shares()
        for trip in self._trips.values():
            if trip.flow is not None:
                self._slow(trip, trip.flow, shares)

    def meter(self) -> None:
        """Let every migration take the CPU that the rate it has costs, from now on: a thread rests while it waits."""
        cores = np.zeros(len(self._estate.hosts))
        for trip in self._trips.values():
            if trip.flow is not None:
                busy = thread_cores(self._lines.rate_mib_s(trip.flow), trip.sender_mib_s, trip.threads)
                for name in (trip.move.source, trip.move.target):
                    cores[self._estate.hosts[name]] += busy
        self._estate.send(cores)

    def _slow(self, trip: _Trip, flow: Flow, shares: NDArray[np.float64]) -> None:
        ends = [self._estate.hosts[name] for name in (trip.move.source, trip.move.target)]
        share = float(shares[ends].min())
        self._lines.slow(flow, math.inf if share == 1.0 else share * trip.sender_mib_s)

    def cut_link(self, link: str) -> None:
        """Cut a line between two sites or switches."""
        self._cut.add(link)
        self._reroute()
        a, b = next((one.a, one.b) for one in self._estate.base.links if one.name == link)
        edges = {f"{a}->{b}", f"{b}->{a}"}
        for trip in list(self._trips.values()):
            if edges & set(trip.path.edges) and trip.process is not None:
                trip.process.interrupt("link")

    def mend_link(self, link: str) -> None:
        """Let a line carry traffic again."""
        self._cut.discard(link)
        self._reroute()
        mended, self._mended = self._mended, self._env.event()
        mended.succeed()

    def abort(self, vm: str) -> bool:
        """Break off the migration of a guest, which goes on on its source; False if none can be broken off."""
        trip = self._trips.get(vm)
        if trip is None or trip.process is None or trip.arrived or trip.torn:
            return False
        trip.process.interrupt("order")
        return True

    def _reroute(self) -> None:
        base = self._estate.base
        self._topology = Topology(replace(base, links=tuple(link for link in base.links if link.name not in self._cut)))

    def _refusal(self, move: Move) -> str | None:
        """Say why a move is not possible now: the preflight of the real executor, as far as it is simulated."""
        estate = self._estate
        vm, source, target = estate.vms[move.vm], estate.hosts[move.source], estate.hosts[move.target]
        if estate.place[vm] != source or estate.halted[vm]:
            return f"'{move.vm}' does not run on {move.source} any more"
        if move.vm in self._trips:
            return f"'{move.vm}' is under way already"
        if move.storage_only:
            return "it moves disks on one host, and disks are not played"
        if not estate.open[target]:
            return f"{move.target} takes no guests now"
        if not estate.fits(vm, target):
            return f"{move.target} has no memory for it any more"
        if self._topology.path(move.source, move.target) is None:
            return f"no line joins {move.source} and {move.target} now"
        return None

    def _move(self, plan: int, move: Move) -> Process:
        if why := self._refusal(move):
            self._tell("refused", move.vm, f"{move.vm} stays on {move.source}: {why}")
            self._note(plan, move, None, self._env.now, "refused")
            return
        estate, started_s = self._estate, self._env.now
        vm, source, target = estate.vms[move.vm], estate.hosts[move.source], estate.hosts[move.target]
        path = self._topology.path(move.source, move.target)
        assert path is not None  # the preflight has asked
        cap = self._limits.bandwidth_mbit_s if move.bandwidth_mbit_s is None else move.bandwidth_mbit_s
        options = Options.of(move.transfer, bandwidth_mbit_s=cap)
        run = Migration(
            estate.guest(vm),
            path,
            max_downtime_ms=move.aim_downtime_ms,
            bandwidth_mbit_s=cap,
            copy_disks=move.copy_disks,
            parameters=self._parameters,
            line_mbit_s=path.bandwidth_mbit_s,
            options=options,
            most_downtime_ms=move.max_downtime_ms,
        )
        trip = _Trip(
            move=move,
            path=path,
            run=run,
            threads=options.channels,
            sender_mib_s=sender_mib_s(self._parameters, options),
            process=self._env.active_process,
        )
        self._trips[move.vm] = trip
        if move.transfer.timeout_s is not None:
            self._env.process(self._deadline(trip, move.transfer.timeout_s))
        estate.reserve(vm, target)
        for host in (source, target):
            estate.thread(host, trip.threads)
        outcome = yield from self._travel(trip)
        for host in (source, target):
            estate.thread(host, -trip.threads)
        if not trip.arrived:
            estate.free(vm, target)
        del self._trips[move.vm]
        self._note(plan, move, run, started_s, outcome)

    def _deadline(self, trip: _Trip, timeout_s: float) -> Process:
        yield self._env.timeout(timeout_s)
        if self._trips.get(trip.move.vm) is trip:
            self.abort(trip.move.vm)

    def _travel(self, trip: _Trip) -> Generator[simpy.Event, Any, Outcome]:
        """Live a migration to its end, whatever fails; return how it ended."""
        estate, move, run = self._estate, trip.move, trip.run
        vm, source, target = estate.vms[move.vm], estate.hosts[move.source], estate.hosts[move.target]

        def became(phase: Phase) -> None:
            if phase in ARRIVED and not trip.arrived and not run.gave_up:
                trip.arrived = True
                estate.run(vm, target)
                estate.free(vm, source)
                estate.bring(vm, target, move.copy_disks)

        def opened(flow: Flow) -> None:
            trip.flow = flow
            self._slow(trip, flow, estate.shares())

        while True:
            try:
                if trip.run.phase != "done":
                    try:
                        yield from carry(self._env, self._lines, trip.path.edges, run, became, opened)
                    finally:
                        trip.flow = None
                if run.gave_up:
                    why = "its passes over memory got no shorter"
                    self._tell("aborted", move.vm, f"{move.vm} goes on on {move.source}: {why}")
                    return "aborted"
                self._tell("moved", move.vm, f"{move.vm} runs on {move.target}")
                return "done"
            except simpy.Interrupt as interrupt:
                detour = self._topology.path(move.source, move.target)
                if interrupt.cause == "link" and detour is not None:
                    trip.path = detour  # connections outlive a change of way
                    continue
                if trip.arrived and run.phase != "push":
                    self._tell("moved", move.vm, f"{move.vm} runs on {move.target}; what came after it was cut short")
                    return "done" if estate.place[vm] == target else "lost"
                if estate.place[vm] == NOWHERE:
                    self._tell("lost", move.vm, f"{move.vm} is lost between {move.source} and {move.target}")
                    return "lost"
                if interrupt.cause == "host" or not trip.torn:
                    self._tell("aborted", move.vm, f"{move.vm} goes on on {move.source}")
                    return "aborted"
            # Either end has a part of its memory: it stands still until the line is back, and nobody touches it.
            self._tell("paused", move.vm, f"{move.vm} stands still: the line broke in post-copy; it waits for it")
            estate.halt(vm, still=True)
            try:
                while self._topology.path(move.source, move.target) is None:
                    yield self._mended
            except simpy.Interrupt:
                self._tell("lost", move.vm, f"{move.vm} is lost between {move.source} and {move.target}")
                return "lost"
            path = self._topology.path(move.source, move.target)
            assert path is not None
            trip.path = path
            estate.halt(vm, still=False)
            self._tell("recovered", move.vm, f"{move.vm} goes on: its line is back")

    def _note(self, plan: int, move: Move, run: Migration | None, started_s: float, outcome: Outcome) -> None:
        self.migrated.append(
            Migrated(
                plan=plan,
                move_id=move.id,
                vm=move.vm,
                source=move.source,
                target=move.target,
                start_s=started_s,
                end_s=self._env.now,
                outcome=outcome,
                downtime_ms=run.downtime_s * 1e3 if run else 0.0,
                sent_mib=run.sent_mib if run else 0.0,
                held_back_s=run.held_back_s if run else 0.0,
                converges=run.converges if run else True,
            )
        )
