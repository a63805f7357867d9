"""From a target to waves of moves."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from drsim import check
from drsim.inventory import Inventory
from drsim.placement import Placement
from drsim.plan import Landing, Move
from drsim.policy import Policy
from drsim.schedule.room import Room
from drsim.topology import Topology
from drsim.units import MIB_S_PER_MBIT_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Moves in waves.

    Parameters
    ----------
    moves : tuple of Move
        In the order of their waves, without predictions.
    unreached : mapping of str to str
        Guests that cannot get to where they should, and why.
    notes : tuple of str
        What a person should know.
    """

    moves: tuple[Move, ...]
    unreached: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    """One leg of a guest's way."""

    vm: str
    source: str
    target: str
    reason: str
    stop_over: bool = False


def schedule(inventory: Inventory, policy: Policy, target: Placement, reasons: Mapping[str, str]) -> Schedule:
    """Order the moves that lead to a placement.

    Within a wave a moving guest counts on both hosts and the moves may be under way in any order. The longest moves are
    admitted first, so that a wave is not prolonged by one that could have gone earlier. When nothing fits any more,
    guests are in each other's way: the lightest goes to a third host and on from there, and if no host has room for any
    of them, guests that do not move make room for one and come home when it has passed.

    Parameters
    ----------
    inventory, policy : Inventory, Policy
        Free of problems.
    target : Placement
        Where every guest should be.
    reasons : mapping of str to str
        Why, for each guest that moves.

    Returns
    -------
    Schedule
        Deterministic for the same input.
    """
    return _Ordering(inventory, policy, target, reasons).run()


class _Ordering:
    def __init__(self, inventory: Inventory, policy: Policy, target: Placement, reasons: Mapping[str, str]) -> None:
        self._inventory, self._policy, self._target, self._reasons = inventory, policy, target, reasons
        self._topology = Topology(inventory)
        self._room = Room(inventory, policy)
        changes = Placement.of(inventory).changes(target)
        length = {vm: self._duration(vm, source, host) for vm, source, host in changes}
        # The longest first; what is taken out leaves the order as it is.
        self._left = {vm: host for vm, _, host in sorted(changes, key=lambda change: (-length[change[0]], change[0]))}
        self._waves: list[list[_Step]] = []
        self._disks: dict[tuple[int, str], tuple[tuple[str, ...], tuple[Landing, ...]]] = {}
        self._stopped: set[str] = set()
        self._unreached: dict[str, str] = {}
        gib = policy.limits.max_gib
        self._spare_mib = math.inf if gib is None else gib * 1024.0 * (1 + check.SLACK)

    def _duration(self, vm: str, source: str, host: str) -> float:
        path = self._topology.path(source, host)
        rate = path.bandwidth_mbit_s * MIB_S_PER_MBIT_S if path else 1.0
        return self._inventory.vm_by_name[vm].data_mib / rate

    def run(self) -> Schedule:
        for vm, host in list(self._left.items()):
            if why := self._forbidden(vm, host):
                self._unreached[vm] = f"'{vm}' cannot go to {host}: {why}."
                del self._left[vm]
        limit, made = self._policy.limits.max_moves, 0
        while self._left:
            wave = self._wave(None if limit is None else limit - made)
            if not wave and limit is not None and made >= limit:
                for vm in self._left:
                    self._unreached[vm] = f"'{vm}' stays: the plan may hold {limit} moves."
                break
            # Without a limit nothing is too dear; thousands of guests need not be asked at every wave.
            limited = math.isfinite(self._spare_mib)
            dear = [vm for vm in self._left if self._carried_mib(vm) > self._spare_mib] if limited else []
            for vm in dear:
                gib = self._policy.limits.max_gib
                self._unreached[vm] = f"'{vm}' stays: the plan may move {gib:g} GiB of memory."
                del self._left[vm]
            if dear and not wave:
                continue
            if not wave:
                wave = self._stop_over()
            if not wave and limit is None and self._policy.limits.max_gib is None and self._make_room():
                continue
            if not wave:
                for vm, host in self._left.items():
                    why = self._room.refusal(vm, host)
                    self._unreached[vm] = (
                        f"'{vm}' cannot get to {host}: {why}, and no third host has room for a stop-over."
                    )
                break
            self._carry_out(wave)
            made += len(wave)
        return Schedule(moves=self._moves(), unreached=self._unreached, notes=self._notes())

    def _carry_out(self, wave: list[_Step]) -> None:
        self._waves.append(wave)
        for step in wave:
            self._spare_mib -= self._carried_mib(step.vm)
            self._disks[len(self._waves), step.vm] = self._room.travelling(step.vm, step.target)
            self._room.leave(step.vm, step.source, step.target)

    def _carried_mib(self, vm: str) -> float:
        return self._inventory.vm_by_name[vm].data_mib

    def _forbidden(self, vm: str, host: str) -> str | None:
        guest = self._inventory.vm_by_name[vm]
        return check.unmovable(self._inventory, self._policy, guest, self._inventory.host_by_name[host], self._topology)

    def _wave(self, room_for: int | None) -> list[_Step]:
        limits = self._policy.limits
        wave: list[_Step] = []
        ends: Counter[str] = Counter()
        lines: Counter[frozenset[str]] = Counter()
        mib = 0.0
        for vm in self._left:
            if len(wave) >= limits.moves_at_once or (room_for is not None and len(wave) >= room_for):
                break
            source, host = self._room.place[vm], self._left[vm]
            path = self._topology.path(source, host)
            crossed = [frozenset(edge.split("->")) for edge in path.edges[1:-1]] if path else []
            if ends[source] >= limits.moves_per_host or ends[host] >= limits.moves_per_host:
                continue
            if any(lines[line] >= limits.moves_per_link for line in crossed) or self._room.refusal(vm, host):
                continue
            if mib + self._carried_mib(vm) > self._spare_mib:
                continue
            mib += self._carried_mib(vm)
            ends.update((source, host))
            lines.update(crossed)
            self._room.enter(vm, host)
            wave.append(_Step(vm=vm, source=source, target=host, reason=self._why(vm)))
        for step in wave:
            del self._left[step.vm]
        return wave

    def _stop_over(self) -> list[_Step]:
        """Send the lightest guest that is in somebody's way to a third host."""
        hosts = [host.name for host in self._inventory.hosts if host.takes_guests]
        vms = self._inventory.vm_by_name
        for vm in sorted(self._left, key=lambda vm: (vms[vm].data_mib, vm)):
            source, goal = self._room.place[vm], self._left[vm]
            waiting = [other for other, host in self._left.items() if host == source]
            if vm in self._stopped or not waiting or 2.0 * self._carried_mib(vm) > self._spare_mib:
                continue
            for host in hosts:
                if host in (source, goal) or self._room.refusal(vm, host) or self._forbidden(vm, host):
                    continue
                self._stopped.add(vm)
                self._room.enter(vm, host)
                reason = f"makes room on {source} for '{waiting[0]}'; moves on to {goal} later"
                return [_Step(vm=vm, source=source, target=host, reason=reason, stop_over=True)]
        return []

    def _make_room(self) -> bool:
        """Let guests that do not move step aside for one that nobody else can let in; say whether that was possible."""
        lack = {vm: max(self._room.lack(vm, host)[0], 0.0) for vm, host in self._left.items()}
        for vm in sorted(self._left, key=lambda vm: (lack[vm], vm)):
            source, goal = self._room.place[vm], self._left[vm]
            aside = [] if self._room.kept_off(vm, goal) else self._aside(vm, goal)
            if not aside:
                continue
            at_once = self._policy.limits.moves_per_host
            for begin in range(0, len(aside), at_once):
                self._carry_out(aside[begin : begin + at_once])
            self._room.enter(vm, goal)
            self._carry_out([_Step(vm=vm, source=source, target=goal, reason=self._why(vm))])
            del self._left[vm]
            self._left |= {step.vm: goal for step in aside}
            return True
        return False

    def _aside(self, vm: str, goal: str) -> list[_Step]:
        """Find guests of a host that others have room for, until one more fits; none if that is not to be had."""
        vms = self._inventory.vm_by_name
        staying = sorted(
            (name for name, host in self._room.place.items() if host == goal and name not in self._left),
            key=lambda name: (-vms[name].memory_mib, name),
        )
        spare = sorted(
            (host.name for host in self._inventory.hosts if host.takes_guests and host.name != goal),
            key=lambda host: (self._room.lack(vm, host)[0], host),
        )
        steps: list[_Step] = []
        for name in staying:
            if name in self._stopped or vms[name].state != "running":
                continue
            gone = np.sum([self._room.needs(step.vm) for step in steps], axis=0)
            lack = np.array(self._room.lack(vm, goal)) - gone
            if not (lack > check.SLACK).any():
                break
            # Who frees little of what lacks, while those after it free enough, need not move.
            rest = [
                self._room.needs(other) for other in staying[staying.index(name) + 1 :] if other not in self._stopped
            ]
            if rest and bool(np.all(lack <= np.array(rest[0]))):
                continue
            host = next((h for h in spare if not self._room.refusal(name, h) and not self._forbidden(name, h)), None)
            if host is not None and not self._forbidden(name, goal):
                self._room.enter(name, host)
                reason = f"makes room on {goal} for '{vm}'; comes home later"
                steps.append(_Step(vm=name, source=goal, target=host, reason=reason, stop_over=True))
        freed = np.sum([self._room.needs(step.vm) for step in steps], axis=0)
        if steps and not (np.array(self._room.lack(vm, goal)) - freed > check.SLACK).any():
            self._stopped.update(step.vm for step in steps)
            return steps
        for step in steps:
            self._room.withdraw(step.vm, step.target)
        return []

    def _why(self, vm: str) -> str:
        return self._reasons.get(vm, "part of the placement")

    def _moves(self) -> tuple[Move, ...]:
        moves: list[Move] = []
        limits = self._policy.limits
        for number, wave in enumerate(self._waves, 1):
            for step in wave:
                vm = self._inventory.vm_by_name[step.vm]
                disks, landings = self._disks[number, step.vm]
                moves.append(
                    Move(
                        id=f"m{len(moves) + 1:03d}",
                        vm=step.vm,
                        source=step.source,
                        target=step.target,
                        reason=step.reason,
                        wave=number,
                        stop_over=step.stop_over,
                        max_downtime_ms=vm.max_downtime_ms or limits.max_downtime_ms,
                        bandwidth_mbit_s=limits.bandwidth_mbit_s,
                        copy_disks=disks,
                        landings=landings,
                    )
                )
        return tuple(moves)

    def _notes(self) -> tuple[str, ...]:
        if not self._stopped:
            return ()
        return (f"{len(self._stopped)} guests make a stop-over on a third host, because hosts are full on the way.",)
