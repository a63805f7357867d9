"""A plan, replayed instant by instant."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace

from drsim.check.datastores import landing_violations
from drsim.check.movable import unlandable, unmovable, unstartable
from drsim.check.numa import fits_nodes
from drsim.check.placement import breakers, loads, rooms, violations
from drsim.check.shares import counted
from drsim.check.violation import SLACK, Violation
from drsim.inventory import Inventory, Vm
from drsim.placement import Placement
from drsim.plan import Move, Plan, Start
from drsim.policy import Apart, select_vms
from drsim.quiet import QuietTimes, instant
from drsim.resources import needs, present
from drsim.storage import Stores
from drsim.topology import Topology


def plan_violations(plan: Plan) -> tuple[Violation, ...]:
    """Replay a plan and list what it would break at any instant, whatever the order and speed of the moves of a wave.

    What was broken before the plan and is made no worse is not the plan's doing and is left out.
    """
    return tuple(_Replay(_counted(plan)).run())


def _counted(plan: Plan) -> Plan:
    """Let guests count with what they are entitled to, new ones beside those that are there."""
    there, new = plan.inventory, plan.objective.newcomers
    inventory, policy = counted(replace(there, vms=there.vms + new) if new else there, plan.policy, plan.objective)
    if policy is plan.policy:
        return plan
    number = len(there.vms)
    return replace(
        plan,
        inventory=replace(inventory, vms=inventory.vms[:number]),
        policy=policy,
        objective=replace(plan.objective, newcomers=inventory.vms[number:]),
    )


def judged(plan: Plan) -> Plan:
    """Return a plan as it is if nothing is wrong with it; else one that must not be applied and says why."""
    said = tuple(f"This plan must not be applied: {violation.text}" for violation in plan_violations(plan))
    return replace(plan, applyable=False, notes=plan.notes + said) if said else plan


class _Replay:
    """Loads and places of all guests as the waves go by."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._inventory, self._policy = plan.inventory, plan.policy
        self._topology = Topology(plan.inventory)
        self._place = {vm.name: vm.host for vm in plan.inventory.vms}
        self._stores = Stores(plan.inventory, plan.policy)
        self._kinds = present(plan.inventory, plan.policy.rules)
        now = loads(plan.inventory, Placement.of(plan.inventory), self._kinds)
        self._loads = {name: list(load) for name, load in now.items()}
        self._rooms = {host.name: rooms(host, plan.policy, self._kinds) for host in plan.inventory.hosts}
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
        yield from self._sums()
        yield from landing_violations(self._plan)
        if self._plan.objective.start_at is not None:
            times = QuietTimes(self._policy, self._inventory)
            for vm, why in times.objections(self._plan.moves, instant(self._plan.objective.start_at)).items():
                yield self._say("quiet", vm, why, "Let the plan start at another time, or move less.", 0)
        for number, wave in enumerate(self._plan.waves, 1):
            sound = []
            for move in wave:
                refusals = list(self._refusals(move, wave, number))
                yield from refusals
                if not refusals:
                    sound.append(move)
            yield from self._limits(wave, number)
            yield from self._play(sound, number)
        for start in self._plan.starts:
            yield from self._start(start)
        there, where = self._outcome()
        final = {(v.kind, v.subject): v for v in violations(there, self._policy, where)}
        before = {(v.kind, v.subject) for v in violations(self._inventory, self._policy)}
        worse = self._worse() if final else set()
        for key, violation in final.items():
            if key not in before or violation.subject in worse:
                yield violation

    def _worse(self) -> set[str]:
        """Names of the rules that more guests break in the end than before; of overfull hosts each wave tells."""
        there, then = self._outcome()
        now = Placement.of(self._inventory)
        return {
            rule.name
            for rule in self._policy.rules
            if len(breakers(rule, there, then, self._policy)) > len(breakers(rule, self._inventory, now, self._policy))
        }

    def _nodes(self, wave: Sequence[Move], number: int) -> Iterator[Violation]:
        """Judge the NUMA nodes of the targets, guests under way there already."""
        if not self._inventory.has_numa:
            return
        coming = {(move.vm, move.target) for move in wave}
        for name in dict.fromkeys(move.target for move in wave):
            vms = [
                vm
                for vm in self._inventory.vms
                if vm.state != "stopped" and (self._place[vm.name] == name or (vm.name, name) in coming)
            ]
            host = self._inventory.host_by_name[name]
            if any((vm.name, name) in coming and vm.numa_nodes for vm in vms) and not fits_nodes(host, vms):
                text = f"During wave {number} guests of '{name}' do not fit into its {host.nodes} NUMA nodes."
                yield self._say("numa", name, text, "Make a new plan.", number)

    def _land(self, wave: Sequence[Move], number: int) -> Iterator[Violation]:
        """Let copied disks land; while they are copied they count on both ends."""
        vms, hosts = self._inventory.vm_by_name, self._inventory.host_by_name
        copied = {move.id: self._stores.of_move(vms[move.vm], hosts[move.target], move) for move in wave}
        for disks, where in copied.values():
            self._stores.enter(disks, where)
        for store in sorted({name for _, where in copied.values() for name in where if name}):
            for kind, used, limit in self._stores.over(store):
                text = (
                    f"During wave {number} datastore '{store}' would hold {used:.5g} {kind}; its limit is {limit:.5g}."
                )
                yield self._say("disk", store, text, "Make a new plan.", number)
        for move in wave:
            self._stores.leave(vms[move.vm], *copied[move.id])

    def _outcome(self) -> tuple[Inventory, Placement]:
        """Return the inventory with the new guests that were started, and where everything is."""
        hosts = {start.vm: start.host for start in self._plan.starts if start.host in self._inventory.host_by_name}
        new = tuple(vm for vm in self._plan.objective.newcomers if vm.name in hosts)
        return replace(self._inventory, vms=self._inventory.vms + new), Placement({**self._place, **hosts})

    def _start(self, start: Start) -> Iterator[Violation]:
        vm = next((vm for vm in self._plan.objective.newcomers if vm.name == start.vm), None)
        host = self._inventory.host_by_name.get(start.host)
        if vm is None or host is None:
            text = f"'{start.vm if vm is None else start.host}' is to be started and is not known."
            yield self._say("order", start.vm, text, "Make a new plan.", 0)
        elif why := unstartable(self._inventory, self._policy, vm, host):
            yield self._say("target", start.vm, f"'{start.vm}' on {start.host}: {why}.", "Make a new plan.", 0)

    def _sums(self) -> Iterator[Violation]:
        """Judge what the plan as a whole may use."""
        limits, vms = self._policy.limits, self._inventory.vm_by_name
        gib = sum(_carried_mib(move, vms[move.vm]) for move in self._plan.moves if move.vm in vms) / 1024.0
        if limits.max_gib is not None and gib > limits.max_gib * (1 + SLACK):
            text = f"{gib:.4g} GiB are moved, more than max_gib={limits.max_gib:g}."
            yield self._say("limit", "plan", text, "Move less.", 0)
        if limits.max_minutes is not None:
            for move in self._plan.moves:
                if move.prediction is None:
                    text = f"Move {move.id}: how long it takes is not predicted, and max_minutes is to be kept."
                    yield self._say("limit", move.id, text, "Make a new plan.", move.wave)
        ends_s = (move.prediction.end_s for move in self._plan.moves if move.prediction is not None)
        minutes = max([self._plan.makespan_s, *ends_s]) / 60.0
        if limits.max_minutes is not None and minutes > limits.max_minutes * (1 + SLACK):
            text = f"It takes {minutes:.4g} minutes, more than max_minutes={limits.max_minutes:g}."
            yield self._say("limit", "plan", text, "Move less.", 0)

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
        travelling = self._stores.travelling(vm, target)
        if tuple(disk.name for disk in travelling) != move.copy_disks:
            names = ", ".join(disk.name for disk in travelling) or "none"
            text = f"Move {move.id}: disks that {move.target} does not see are {names}; the plan says otherwise."
            yield self._say("disk", move.id, text, remedy, number)

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
        yield from self._land(wave, number)
        wave = [move for move in wave if not move.storage_only]
        vms = self._inventory.vm_by_name
        present = {move.vm: {self._place[move.vm]} for move in wave}
        for move in wave:
            for index, amount in enumerate(needs(vms[move.vm], self._kinds)):
                self._loads[move.target][index] += amount
            present.setdefault(move.vm, {move.source}).add(move.target)
        for host in dict.fromkeys(move.target for move in wave):
            for kind, used, room in zip(self._kinds, self._loads[host], self._rooms[host], strict=True):
                if kind.kind != "numa" and used > room * (1 + SLACK) + SLACK:
                    text = f"During wave {number} '{host}' would hold {used:.5g} {kind.what}; its limit is {room:.5g}."
                    yield self._say(kind.kind, host, text, "Make a new plan.", number)
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
        yield from self._nodes(wave, number)
        for move in wave:
            for index, amount in enumerate(needs(vms[move.vm], self._kinds)):
                self._loads[move.source][index] -= amount
            self._place[move.vm] = move.target


def _carried_mib(move: Move, vm: Vm) -> float:
    """Return what a move counts: the memory of its guest, or its disks where they move alone."""
    if move.storage_only:
        return sum(disk.data_mib for disk in vm.disks if disk.name in move.copy_disks)
    return vm.data_mib
