"""From a target to waves of moves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from drsim import check
from drsim.inventory import Inventory
from drsim.migration import copied_disks
from drsim.placement import Placement
from drsim.plan import Move
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
    guests are in each other's way: the lightest goes to a third host and on from there.

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
        self._stopped: set[str] = set()
        self._unreached: dict[str, str] = {}

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
            if not wave:
                wave = self._stop_over()
            if not wave:
                for vm, host in self._left.items():
                    why = self._room.refusal(vm, host)
                    self._unreached[vm] = (
                        f"'{vm}' cannot get to {host}: {why}, and no third host has room for a stop-over."
                    )
                break
            self._waves.append(wave)
            made += len(wave)
            for step in wave:
                self._room.leave(step.vm, step.source, step.target)
        return Schedule(moves=self._moves(), unreached=self._unreached, notes=self._notes())

    def _forbidden(self, vm: str, host: str) -> str | None:
        guest = self._inventory.vm_by_name[vm]
        return check.unmovable(self._inventory, self._policy, guest, self._inventory.host_by_name[host], self._topology)

    def _wave(self, room_for: int | None) -> list[_Step]:
        limits = self._policy.limits
        wave: list[_Step] = []
        ends: Counter[str] = Counter()
        lines: Counter[frozenset[str]] = Counter()
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
            ends.update((source, host))
            lines.update(crossed)
            self._room.enter(vm, host)
            wave.append(_Step(vm=vm, source=source, target=host, reason=self._reasons.get(vm, "part of the placement")))
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
            if vm in self._stopped or not waiting:
                continue
            for host in hosts:
                if host in (source, goal) or self._room.refusal(vm, host) or self._forbidden(vm, host):
                    continue
                self._stopped.add(vm)
                self._room.enter(vm, host)
                reason = f"makes room on {source} for '{waiting[0]}'; moves on to {goal} later"
                return [_Step(vm=vm, source=source, target=host, reason=reason, stop_over=True)]
        return []

    def _moves(self) -> tuple[Move, ...]:
        moves: list[Move] = []
        limits = self._policy.limits
        for number, wave in enumerate(self._waves, 1):
            for step in wave:
                vm = self._inventory.vm_by_name[step.vm]
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
                        copy_disks=copied_disks(vm, self._inventory.host_by_name[step.target], self._inventory),
                    )
                )
        return tuple(moves)

    def _notes(self) -> tuple[str, ...]:
        if not self._stopped:
            return ()
        return (f"{len(self._stopped)} guests make a stop-over on a third host, because hosts are full on the way.",)
