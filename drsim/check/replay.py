"""A plan, replayed instant by instant."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace

from drsim.check.movable import unlandable, unmovable
from drsim.check.placement import RESOURCES, breakers, loads, rooms, violations
from drsim.check.violation import SLACK, Violation
from drsim.placement import Placement
from drsim.plan import Move, Plan
from drsim.policy import Apart, select_vms
from drsim.topology import Topology


def plan_violations(plan: Plan) -> tuple[Violation, ...]:
    """Replay a plan and list what it would break at any instant, whatever the order and speed of the moves of a wave.

    What was broken before the plan and is made no worse is not the plan's doing and is left out.
    """
    return tuple(_Replay(plan).run())


class _Replay:
    """Loads and places of all guests as the waves go by."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._inventory, self._policy = plan.inventory, plan.policy
        self._topology = Topology(plan.inventory)
        self._place = {vm.name: vm.host for vm in plan.inventory.vms}
        self._loads = {name: list(load) for name, load in loads(plan.inventory, Placement.of(plan.inventory)).items()}
        self._rooms = {host.name: rooms(host, plan.policy) for host in plan.inventory.hosts}
        self._apart: dict[str, list[tuple[Apart, tuple[str, ...]]]] = defaultdict(list)
        for rule in plan.policy.rules:
            if rule.strength == "must" and isinstance(rule, Apart):
                names = tuple(vm.name for vm in select_vms(rule.vms, plan.inventory) if vm.state != "stopped")
                for name in names:
                    self._apart[name].append((rule, names))

    def run(self) -> Iterator[Violation]:
        limits = self._policy.limits
        real = [move for move in self._plan.moves if not move.stop_over]
        if limits.max_moves is not None and len(self._plan.moves) > limits.max_moves:
            yield self._say(
                "limit", "plan", f"{len(real)} moves are more than max_moves={limits.max_moves}.", "Move less.", 0
            )
        for number, wave in enumerate(self._plan.waves, 1):
            sound = []
            for move in wave:
                refusals = list(self._refusals(move, wave, number))
                yield from refusals
                if not refusals:
                    sound.append(move)
            yield from self._limits(wave, number)
            yield from self._play(sound, number)
        final = {(v.kind, v.subject): v for v in violations(self._inventory, self._policy, Placement(self._place))}
        before = {(v.kind, v.subject) for v in violations(self._inventory, self._policy)}
        worse = self._worse() if final else set()
        for key, violation in final.items():
            if key not in before or violation.subject in worse:
                yield violation

    def _worse(self) -> set[str]:
        """Names of the rules that more guests break in the end than before; of overfull hosts each wave tells."""
        then, now = Placement(self._place), Placement.of(self._inventory)
        return {
            rule.name
            for rule in self._policy.rules
            if len(breakers(rule, self._inventory, then)) > len(breakers(rule, self._inventory, now))
        }

    @staticmethod
    def _say(kind: str, subject: str, text: str, remedy: str, wave: int) -> Violation:
        return Violation(kind=kind, subject=subject, text=text, remedy=remedy, when=f"wave {wave}" if wave else "plan")

    def _refusals(self, move: Move, wave: Sequence[Move], number: int) -> Iterator[Violation]:
        vm = self._inventory.vm_by_name.get(move.vm)
        target = self._inventory.host_by_name.get(move.target)
        remedy = "Make a new plan."
        if vm is None or target is None:
            missing = move.vm if vm is None else move.target
            yield self._say("order", move.id, f"Move {move.id} names '{missing}', which is not known.", remedy, number)
            return
        if self._place[move.vm] != move.source or (move.source == move.target and not move.storage_only):
            text = f"Move {move.id} starts on {move.source}; '{move.vm}' is on {self._place[move.vm]} then."
            yield self._say("order", move.id, text, remedy, number)
        if sum(other.vm == move.vm for other in wave) > 1:
            yield self._say("order", move.id, f"'{move.vm}' is moved twice in wave {number}.", remedy, number)
        if why := unlandable(self._inventory, vm, move):
            yield self._say("target", move.id, f"Move {move.id} to {move.target}: {why}.", remedy, number)
        if move.storage_only:
            if vm.state != "running":
                text = f"Move {move.id}: '{vm.name}' is {vm.state}; only disks of running guests are moved live."
                yield self._say("target", move.id, text, remedy, number)
            return
        here = replace(vm, host=self._place[move.vm])  # a second leg begins where the first one ended
        if why := unmovable(self._inventory, self._policy, here, target, self._topology):
            yield self._say("target", move.id, f"Move {move.id} to {move.target}: {why}.", remedy, number)

    def _limits(self, wave: Sequence[Move], number: int) -> Iterator[Violation]:
        limits = self._policy.limits
        ends = Counter(end for move in wave for end in {move.source, move.target})
        for host, times in ends.items():
            if times > limits.moves_per_host:
                text = f"{times} migrations at once on '{host}'; the limit is {limits.moves_per_host}."
                yield self._say("limit", host, text, "Spread them over more waves.", number)
        if len(wave) > limits.moves_at_once:
            text = f"{len(wave)} migrations at once; the limit is {limits.moves_at_once}."
            yield self._say("limit", "plan", text, "Spread them over more waves.", number)
        lines: Counter[frozenset[str]] = Counter()
        for move in wave:
            path = self._topology.path(move.source, move.target)
            for edge in path.edges[1:-1] if path else ():
                lines[frozenset(edge.split("->"))] += 1
        for line, times in lines.items():
            if times > limits.moves_per_link:
                name = "--".join(sorted(line))
                text = f"{times} migrations at once on link {name}; the limit is {limits.moves_per_link}."
                yield self._say("limit", name, text, "Spread them over more waves.", number)

    def _play(self, wave: Sequence[Move], number: int) -> Iterator[Violation]:
        """Let the targets hold all that comes, then let the sources go."""
        wave = [move for move in wave if not move.storage_only]
        vms = self._inventory.vm_by_name
        present = {move.vm: {self._place[move.vm]} for move in wave}
        for move in wave:
            vm = vms[move.vm]
            for index, amount in enumerate((vm.memory_mib, vm.vcpus, vm.cpu_cores)):
                self._loads[move.target][index] += amount
            present.setdefault(move.vm, {move.source}).add(move.target)
        for host in dict.fromkeys(move.target for move in wave):
            for (kind, what), used, room in zip(RESOURCES, self._loads[host], self._rooms[host], strict=True):
                if used > room * (1 + SLACK) + SLACK:
                    text = f"During wave {number} '{host}' would hold {used:.5g} {what}; its limit is {room:.5g}."
                    yield self._say(kind, host, text, "Make a new plan.", number)
        hosts = self._inventory.host_by_name
        for move in wave:
            for rule, names in self._apart[move.vm]:
                area = rule.area(hosts[move.target])
                if area == rule.area(hosts[move.source]):
                    continue
                others = [
                    other
                    for other in names
                    if other != move.vm
                    and any(rule.area(hosts[host]) == area for host in present.get(other, {self._place[other]}))
                ]
                if len(others) >= rule.most:
                    met = ", ".join(f"'{name}'" for name in (move.vm, *others[:4]))
                    where = move.target if rule.per == "host" else f"the {rule.per} of {move.target}"
                    text = f"During wave {number} {met} meet on {where}; rule '{rule.name}' forbids it."
                    yield self._say("apart", rule.name, text, "Make a new plan.", number)
        for move in wave:
            vm = vms[move.vm]
            for index, amount in enumerate((vm.memory_mib, vm.vcpus, vm.cpu_cores)):
                self._loads[move.source][index] -= amount
            self._place[move.vm] = move.target
