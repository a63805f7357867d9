"""One plan in two worlds: ``python -m tests.kvm.twins [--moves 200]``.

A long plan is carried out by the simulated hypervisor and by real ones in the lab, with the same trouble at the same
moves: migrations that break, a hypervisor that refuses, somebody else who moves a guest, a controller that is killed
and resumed. Both must end in the same states. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NoReturn

from drsim.errors import HypervisorError
from drsim.inventory import Inventory, Vm
from drsim.plan import Move, Plan, Score
from executor.hypervisor.base import (
    HostFacts,
    Hypervisor,
    Line,
    Outcome,
    Progress,
    ProgressListener,
    Whereabouts,
)
from executor.hypervisor.faults import ControllerKilled
from executor.hypervisor.libvirt_kvm import LibvirtKvm
from executor.hypervisor.simulated import SimulatedHypervisor
from executor.lab.lab import Lab, take_down
from executor.lab.state import lab_names, labs_root
from executor.lab.topology import LabGuest, LabHost, LabTopology
from executor.refusal import Refusal
from executor.run import apply, resume
from executor.store import Store
from tests.faults.mortal import another_process
from tests.kvm.matrix import read

NAME = "twins"
SLOW_MBIT_S = 100.0
"""Cap at which a guest is on its way for some seconds: long enough to be troubled."""

PACE = 20.0
"""Simulated seconds per second: slow enough for trouble to find a migration under way."""

Trouble = Literal["break", "kill", "refuse", "elsewhere"]


class Troubled:
    """A hypervisor on which things go wrong at given moves.

    ``break``: the migration is aborted on the way. ``kill``: the controller dies meanwhile. ``refuse``: the hypervisor
    does not take the order. ``elsewhere``: somebody else moves the guest on as soon as it has arrived.
    """

    def __init__(self, inner: Hypervisor, troubles: Mapping[str, Trouble], hosts: Sequence[str]) -> None:
        self._inner, self._troubles, self._hosts = inner, dict(troubles), hosts
        self.name = inner.name

    def inventory(self) -> Inventory:
        return self._inner.inventory()

    def locate(self, vm: Vm) -> Whereabouts:
        return self._inner.locate(vm)

    def line(self, source: str, target: str) -> Line:
        return self._inner.line(source, target)

    def facts(self, host: str) -> HostFacts:
        return self._inner.facts(host)

    def objections(self, move: Move, vm: Vm) -> tuple[Refusal, ...]:
        return self._inner.objections(move, vm)

    def watch(self, move: Move, vm: Vm, on_progress: ProgressListener) -> Outcome:
        return self._inner.watch(move, vm, on_progress)

    def recover(self, move: Move, vm: Vm, on_progress: ProgressListener) -> Outcome:
        return self._inner.recover(move, vm, on_progress)

    def abort(self, move: Move, vm: Vm) -> None:
        self._inner.abort(move, vm)

    def close(self) -> None:
        self._inner.close()

    def migrate(self, move: Move, vm: Vm, on_progress: ProgressListener) -> Outcome:
        trouble = self._troubles.pop(move.id, None)
        if trouble == "refuse":
            raise HypervisorError("the hypervisor is out of sorts")
        if trouble == "kill":
            self._abandon(move, vm)
        done = False

        def look(progress: Progress) -> None:
            nonlocal done
            if trouble == "break" and progress.sent_mib > 0.0 and not done:
                done = True
                self._inner.abort(move, vm)
            on_progress(progress)

        outcome = self._inner.migrate(move, vm, look)
        if trouble == "elsewhere":
            third = next(host for host in self._hosts if host not in (move.source, move.target))
            stray = Move(id=f"{move.id}-stray", vm=move.vm, source=move.target, target=third, reason="somebody else")
            self._inner.migrate(stray, vm, lambda progress: None)
        return outcome

    def _abandon(self, move: Move, vm: Vm) -> NoReturn:
        """Die while a migration is under way; it goes on without its controller, as a real one does."""
        under_way = threading.Event()

        def go() -> None:
            try:
                self._inner.migrate(move, vm, lambda progress: under_way.set() if progress.sent_mib > 0.0 else None)
            finally:
                under_way.set()

        threading.Thread(target=go, daemon=True).start()
        under_way.wait()
        raise ControllerKilled(move.id)


def ring(inventory: Inventory, guests: Sequence[str], count: int, slow: Sequence[str], at_once: int) -> Plan:
    """Plan `count` moves that take the guests round and round; the moves named in `slow` have a cap."""
    hosts = [host.name for host in inventory.hosts]
    # Guests that lie side by side on the ring: no host of three takes part in more than two moves of a wave.
    where = {vm: hosts.index(inventory.vm_by_name[vm].host) for vm in guests}
    last = {guests[number % len(guests)]: number for number in range(count)}
    moves = []
    for number in range(count):
        vm = guests[number % len(guests)]
        here, there = where[vm], (where[vm] + 1) % len(hosts)
        where[vm] = there
        name = f"m{number + 1:03}"
        # A wave never holds two moves of one guest.
        per_round = -(-len(guests) // at_once)
        wave = number // len(guests) * per_round + number % len(guests) // at_once + 1
        moves.append(
            Move(
                id=name,
                vm=vm,
                source=hosts[here],
                target=hosts[there],
                reason="round and round",
                wave=wave,
                stop_over=number != last[vm],
                max_downtime_ms=1000.0,
                bandwidth_mbit_s=SLOW_MBIT_S if name in slow else None,
            )
        )
    nothing = Score(violations=0, penalty=0.0, objective=0.0)
    return Plan(inventory=inventory, moves=tuple(moves), before=nothing, after=nothing)


def carry_out(plan: Plan, inner: Hypervisor, troubles: Mapping[str, Trouble], folder: Path) -> dict[str, object]:
    """Apply the plan, resume it whenever the controller dies, and return the states that it ended in."""
    door = Troubled(inner, troubles, [host.name for host in plan.inventory.hosts])
    store = Store(f"sqlite:///{folder / 'runs.sqlite'}")
    deaths, report = 0, None
    started = time.monotonic()
    while report is None:
        try:
            with another_process():
                if deaths:
                    report = resume(store.runs()[0].id, door, store, actor="twins", brake=len(plan.moves))
                else:
                    report = apply(plan, door, store, actor="twins", brake=len(plan.moves))
        except ControllerKilled:
            deaths += 1
    assert report.run_id is not None
    guests = {move.vm for move in plan.moves}
    sightings = {vm: door.locate(plan.inventory.vm_by_name[vm]).sightings for vm in sorted(guests)}
    return {
        "run": str(report.state),
        "moves": {move: str(stored.state) for move, stored in store.moves(report.run_id).items()},
        "reasons": {move: stored.reason for move, stored in store.moves(report.run_id).items()},
        "guests": {vm: [(seen.host, seen.state) for seen in where] for vm, where in sightings.items()},
        "deaths": deaths,
        "seconds": round(time.monotonic() - started, 1),
    }


def troubles_of(count: int, guests: int) -> dict[str, Trouble]:
    """Spread each kind of trouble over the plan, each at another guest, late enough that most moves are made."""
    rounds = count // guests
    kinds: tuple[Trouble, ...] = ("kill", "break", "elsewhere", "refuse", "kill", "break")
    found: dict[str, Trouble] = {}
    for number, kind in enumerate(kinds[: guests if guests < len(kinds) else None]):
        at = max(1, rounds * (number + 2) // (len(kinds) + 2)) if kind == "kill" else max(1, rounds - 2 - number % 3)
        found[f"m{at * guests + number % guests + 1:03}"] = kind
    return found


def compare(lab: Lab, guests: Sequence[str], count: int, *, at_once: int) -> dict[str, object]:
    """Carry one plan out in both worlds."""
    inventory = read(lab)
    troubles = troubles_of(count, len(guests))
    plan = ring(inventory, guests, count, list(troubles), at_once)
    with tempfile.TemporaryDirectory() as real, tempfile.TemporaryDirectory() as dreamt:
        simulated = carry_out(plan, SimulatedHypervisor(inventory, speed=PACE), troubles, Path(dreamt))
        with lab.probe(guests) as probe:
            lived = carry_out(plan, LibvirtKvm(inventory), troubles, Path(real))
            time.sleep(1.0)
            seen = probe.report()
    harm: Counter[str] = Counter()
    for guest in guests:
        with lab.control(guest) as control:
            verdict = control.verify()
        harm["bad_pages"] += verdict.bad_pages
        harm["bad_blocks"] += verdict.bad_blocks
        harm["broken"] += seen[guest].broken
        harm["lost"] += seen[guest].lost
        harm["repeated"] += seen[guest].repeated
    differ = [key for key in ("run", "moves", "guests", "deaths") if simulated[key] != lived[key]]
    assert isinstance(lived["moves"], dict)
    assert isinstance(simulated["moves"], dict)
    assert isinstance(lived["reasons"], dict)
    apart = {
        move: {"simulated": simulated["moves"][move], "lab": state, "why": lived["reasons"][move]}
        for move, state in lived["moves"].items()
        if state != simulated["moves"][move]
    }
    return {
        "moves": count,
        "troubles": troubles,
        "states": dict(Counter(lived["moves"].values())),
        "same": not differ,
        "differ": {key: apart if key == "moves" else (simulated[key], lived[key]) for key in differ},
        "deaths": lived["deaths"],
        "harm": dict(harm),
        "lab_s": lived["seconds"],
        "simulated_s": simulated["seconds"],
    }


def main(words: Sequence[str]) -> int:
    """Run it; 0 if both worlds ended alike and nothing was harmed."""
    parser = argparse.ArgumentParser(prog="twins", description=__doc__)
    parser.add_argument("--moves", type=int, default=200)
    parser.add_argument("--guests", type=int, default=8)
    arguments = parser.parse_args(words)
    if NAME in lab_names():
        take_down(labs_root() / NAME)
    hosts = tuple(LabHost(name=f"h{number}") for number in (1, 2, 3))
    names = [f"g{number}" for number in range(1, arguments.guests + 1)]
    guests = tuple(
        LabGuest(
            name=name,
            host=hosts[number % 3].name,
            memory_mib=192,
            working_set_mib=8,
            dirty_rate_mib_s=1,
            disk_write_kib_s=10,
        )
        for number, name in enumerate(names)
    )
    lab = Lab.up(LabTopology(name=NAME, hosts=hosts, guests=guests))
    try:
        result = compare(lab, names, arguments.moves, at_once=3)
    finally:
        lab.down()
    sys.stdout.write(json.dumps(result, indent=1) + "\n")
    harm = result["harm"]
    assert isinstance(harm, dict)
    return 0 if result["same"] and not any(harm.values()) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
