"""What to give up where no placement holds everything, and whether that is so.

CP-SAT is asked about guests and hosts as they stand in the inventory, not about the search's own arrays; what it
answers is replayed by the checker before anybody sees it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from drsim import check
from drsim.inventory import Inventory, Vm
from drsim.optimize.allowed import Bools, Reach, Selection
from drsim.optimize.verdict import Relaxation, Verdict, roomier, roomier_stores
from drsim.placement import Placement
from drsim.policy import Apart, Licence, NotOn, Objective, Pin, Policy, Pool, Rule, RunOn, Together
from drsim.resources import BASE, needs, resources, sizes
from drsim.space import disk_resources

if TYPE_CHECKING:
    from ortools.sat.python import cp_model

LARGEST = 40_000
"""Guests times hosts up to which the whole estate is asked about; beyond, the hosts that matter most are."""

CLOSE = 24
"""Hosts that are asked about in a larger estate."""

EFFORT_S = 1.0
"""CP-SAT's deterministic time for each question."""

RULES_ASKED = 12
"""Rules that are tried one by one."""

CENTI = 100
"""Integer steps of a MiB, a vCPU, a core, a device."""


def judge(
    inventory: Inventory,
    policy: Policy,
    objective: Objective,
    found: Placement,
    out_of_time: Callable[[], bool] = lambda: False,
) -> Verdict:
    """Look for a placement that holds everything, and if there is none for the least to give up.

    Parameters
    ----------
    inventory, policy, objective : Inventory, Policy, Objective
        Free of problems.
    found : Placement
        The best that a search has found; something that must hold does not.
    out_of_time : callable
        Whether to ask no more.

    Returns
    -------
    Verdict
        In an estate that is too large to ask about whole, nothing is proven: guests of hosts far from what is broken
        are held where they are.
    """
    scope = _scope(inventory, policy, objective, found)
    whole = len(scope) == len(inventory.hosts)
    question = _Question(inventory, policy, objective, found, scope)
    answer, proven = question.ask()
    if answer is not None and _holds(inventory, policy, objective, answer):
        return Verdict(placement=answer)
    relaxations: list[Relaxation] = []
    single = question.rules()[:RULES_ASKED]
    for name in single:
        if out_of_time():
            break
        relaxations.extend(question.relaxed(drop={name}))
    if len(single) > 1 and not relaxations and not out_of_time():
        relaxations.extend(question.relaxed(drop=set(question.rules())))
    if not out_of_time():
        relaxations.extend(question.relaxed(room=True))
    if objective.goal in ("evacuate", "place") and not out_of_time():
        relaxations.extend(question.relaxed(stay=True))
    if not relaxations and not out_of_time():
        relaxations.extend(question.relaxed(drop=set(question.rules()), room=True, stay=True))
    sound = tuple(one for one in relaxations if _sound(inventory, policy, objective, one))
    # NUMA nodes are asked about by shares that always fit, shared datastores by what is free on them now; ways
    # that need luck, or another guest's leaving, are not excluded.
    return Verdict(proven=proven and whole and not question.narrow, relaxations=sound)


def _holds(inventory: Inventory, policy: Policy, objective: Objective, placement: Placement) -> bool:
    left = objective.goal == "evacuate" and any(
        placement[vm.name] in objective.hosts for vm in inventory.vms if vm.state != "stopped"
    )
    broken = check.violations(inventory, policy, placement) or check.disk_violations(inventory, policy, placement)
    return not left and not broken


def _sound(inventory: Inventory, policy: Policy, objective: Objective, given_up: Relaxation) -> bool:
    """Replay a relaxation by the checker: with it, and only with it, everything holds."""
    rules = tuple(rule for rule in policy.rules if rule.name not in given_up.drop)
    hosts = tuple(roomier(host, policy, given_up.room) for host in inventory.hosts)
    larger = replace(inventory, hosts=hosts, datastores=roomier_stores(inventory, given_up.room))
    there, kept = given_up.placement.seated(larger), replace(policy, rules=rules)
    broken = check.violations(there, kept, given_up.placement)
    broken += check.disk_violations(there, kept, given_up.placement)
    if {vm.name for vm in inventory.vms if not given_up.placement[vm.name]} - set(given_up.out):
        return False
    left = objective.goal == "evacuate" and any(
        given_up.placement[vm.name] in objective.hosts and vm.name not in given_up.stay
        for vm in inventory.vms
        if vm.state != "stopped"
    )
    return not broken and not left


def _scope(inventory: Inventory, policy: Policy, objective: Objective, found: Placement) -> tuple[int, ...]:
    """Return the hosts to ask about: all, or those of what is broken and the emptiest others."""
    if len(inventory.vms) * len(inventory.hosts) <= LARGEST:
        return tuple(range(len(inventory.hosts)))
    inventory = found.seated(inventory)
    index = {host.name: number for number, host in enumerate(inventory.hosts)}
    wanted: dict[int, None] = {}
    totals, kinds = check.loads(inventory, found), resources(inventory)
    for number, host in enumerate(inventory.hosts):
        room = check.rooms(host, policy, kinds)
        if any(used > limit + check.SLACK for used, limit in zip(totals[host.name], room, strict=True)):
            wanted[number] = None
    for rule in policy.rules:
        if rule.strength == "must":
            for vm in check.breakers(rule, inventory, found, policy):
                wanted[index[found[vm.name]]] = None
    for vm in inventory.vms:
        if objective.goal == "evacuate" and found[vm.name] in objective.hosts and vm.state != "stopped":
            wanted[index[found[vm.name]]] = None
    fill = {
        number: max(
            used / max(limit, 1e-9) for used, limit in zip(totals[h.name], check.rooms(h, policy, kinds), strict=True)
        )
        for number, h in enumerate(inventory.hosts)
        if h.takes_guests and number not in wanted
    }
    for number in sorted(fill, key=lambda one: (fill[one], one)):
        if len(wanted) >= CLOSE:
            break
        wanted[number] = None
    return tuple(sorted(wanted))


class _Question:
    """The same question to CP-SAT, asked with this or that given up."""

    def __init__(
        self, inventory: Inventory, policy: Policy, objective: Objective, found: Placement, scope: Sequence[int]
    ) -> None:
        self._inventory, self._policy, self._found = inventory, policy, found
        self._kinds = (*resources(inventory), *disk_resources(inventory, policy))
        self._seated = found.seated(inventory)
        self.narrow = inventory.has_numa or any(kind.narrow for kind in self._kinds)
        self._hosts = [inventory.hosts[number] for number in scope]
        names = {host.name for host in self._hosts}
        self._leave = [host.name in objective.hosts and objective.goal == "evacuate" for host in self._hosts]
        self._vms = [vm for vm in inventory.vms if vm.state != "stopped" and found[vm.name] in names | {""}]
        self._number = {vm.name: number for number, vm in enumerate(self._vms)}
        reach = Reach(inventory, policy)
        self._open = np.array([self._row(reach, vm, scope) for vm in self._vms], dtype=np.bool_).reshape(
            len(self._vms), len(scope)
        )
        self._selection = Selection(inventory)
        self._must = [rule for rule in policy.rules if rule.strength == "must"]

    def _row(self, reach: Reach, vm: Vm, scope: Sequence[int]) -> Bools:
        row = reach.row(vm)[list(scope)]
        for number, host in enumerate(self._hosts):
            if host.name == vm.host:
                row[number] = host.has_nodes(vm)
        return row

    def rules(self) -> list[str]:
        """Names of the rules that have a guest here, those that are broken now first."""
        mine = [rule for rule in self._must if self._guests(rule)]
        broken = {rule.name for rule in mine if check.breakers(rule, self._seated, self._found, self._policy)}
        return [rule.name for rule in sorted(mine, key=lambda rule: rule.name not in broken)]

    def _guests(self, rule: Rule) -> list[int]:
        names = (self._inventory.vms[vm].name for vm in self._selection.vms(rule.vms))
        return [self._number[name] for name in names if name in self._number]

    def ask(self) -> tuple[Placement | None, bool]:
        """Return a placement that holds everything, for the least memory moved; or whether there is none."""
        model, place, _ = self._model(drop=set(), room=False, stay=False)
        homes = [self._home(vm) for vm in self._vms]
        model.minimize(
            sum(
                int(vm.data_mib) * variable
                for (number, host), variable in place.items()
                for vm in (self._vms[number],)
                if homes[number] != host
            )
        )
        status, solver = _solve(model)
        if status in ("OPTIMAL", "FEASIBLE"):
            return self._placement(place, solver), False
        return None, status == "INFEASIBLE"

    def _home(self, vm: Vm) -> int:
        return next((number for number, host in enumerate(self._hosts) if host.name == vm.host), -1)

    def relaxed(self, *, drop: Collection[str] = (), room: bool = False, stay: bool = False) -> tuple[Relaxation, ...]:
        """Return the least of these to give up, if giving up of them helps at all."""
        model, place, prices = self._model(drop=set(drop), room=room, stay=stay)
        model.minimize(sum(weight * variable for variable, weight, _ in prices))
        status, solver = _solve(model)
        if status not in ("OPTIMAL", "FEASIBLE"):
            return ()
        given = [(what, solver.value(variable)) for variable, _, what in prices if solver.value(variable)]
        return (
            Relaxation(
                drop=tuple(what[1] for what, _ in given if what[0] == "rule"),
                room=tuple(
                    (what[1], self._kinds[what[2]], amount / CENTI) for what, amount in given if what[0] == "room"
                ),
                stay=tuple(what[1] for what, _ in given if what[0] == "stay"),
                out=tuple(what[1] for what, _ in given if what[0] == "out"),
                placement=self._placement(place, solver),
            ),
        )

    def _placement(self, place: Mapping[tuple[int, int], Any], solver: cp_model.CpSolver) -> Placement:
        where = dict(self._found) | {vm.name: "" for vm in self._vms if not vm.host}
        for (vm, host), variable in place.items():
            if solver.value(variable):
                where[self._vms[vm].name] = self._hosts[host].name
        return Placement(where)

    def _model(
        self, *, drop: set[str], room: bool, stay: bool
    ) -> tuple[cp_model.CpModel, dict[tuple[int, int], Any], list[tuple[Any, int, tuple[Any, ...]]]]:
        """Make the model: where each guest is, and what is given up at which price."""
        from ortools.sat.python import cp_model

        model = cp_model.CpModel()
        place = {(u, h): model.new_bool_var("") for u, h in np.argwhere(self._open).tolist()}
        by_vm: dict[int, list[tuple[int, Any]]] = {u: [] for u in range(len(self._vms))}
        by_host: dict[int, list[tuple[int, Any]]] = {h: [] for h in range(len(self._hosts))}
        for (u, h), variable in place.items():
            by_vm[u].append((h, variable))
            by_host[h].append((u, variable))
            model.add_hint(variable, int(self._hosts[h].name == self._found[self._vms[u].name]))
        prices: list[tuple[Any, int, tuple[Any, ...]]] = []
        for u, vm in enumerate(self._vms):
            options = [variable for _, variable in by_vm[u]]
            if stay and not vm.host:
                options.append(model.new_bool_var(""))
                prices.append((options[-1], int(vm.memory_mib), ("out", vm.name)))
            model.add_exactly_one(options)
            for h, variable in by_vm[u]:
                if self._leave[h] and stay and self._hosts[h].name == vm.host:
                    prices.append((variable, int(vm.memory_mib), ("stay", vm.name)))
                elif self._leave[h]:
                    model.add(variable == 0)
        self._add_room(model, by_host, prices, room=room)
        for rule in self._must:
            dropped: Any = 0
            if rule.name in drop:
                dropped = model.new_bool_var("")
                prices.append((dropped, 1_000_000, ("rule", rule.name)))
            self._add_rule(model, rule, place, dropped)
        return model, place, prices

    def _add_room(
        self,
        model: cp_model.CpModel,
        by_host: Mapping[int, Sequence[tuple[int, Any]]],
        prices: list[tuple[Any, int, tuple[Any, ...]]],
        *,
        room: bool,
    ) -> None:
        need = np.array([needs(vm, self._kinds) for vm in self._vms], dtype=np.float64)
        steps = np.ceil(need.reshape(-1, len(self._kinds)) * CENTI - 1e-6).astype(np.int64)
        # A MiB costs 1, and a vCPU, a core, a device what memory comes with them in the estate.
        totals = np.maximum(steps.sum(axis=0), 1)
        for h, host in enumerate(self._hosts):
            limits = check.rooms(host, self._policy, self._kinds)
            for resource in range(len(self._kinds)):
                more: Any = 0
                if room:
                    most = int(steps[:, resource].sum())
                    more = model.new_int_var(0, most, "")
                    weight = max(1, round(float(totals[0] / totals[resource])))
                    prices.append((more, weight, ("room", host.name, resource)))
                used = sum(int(steps[u, resource]) * variable for u, variable in by_host[h])
                model.add(used <= int(limits[resource] * CENTI + 1e-6) + more)

    def _add_rule(
        self, model: cp_model.CpModel, rule: Rule, place: Mapping[tuple[int, int], Any], dropped: Any
    ) -> None:
        guests = self._guests(rule)
        hosts = range(len(self._hosts))
        match rule:
            case RunOn() | NotOn():
                named = {self._inventory.hosts[number].name for number in self._selection.hosts(rule.hosts)}
                wrong = [h for h in hosts if (self._hosts[h].name in named) is isinstance(rule, NotOn)]
                for u in guests:
                    model.add(sum(place[u, h] for h in wrong if (u, h) in place) <= dropped)
            case Pin():
                for u in guests:
                    home = self._home(self._vms[u])
                    model.add(sum(place[u, h] for h in hosts if h != home and (u, h) in place) <= dropped)
            case Apart():
                areas: dict[tuple[str, ...], list[Any]] = {}
                for h in hosts:
                    there = [place[u, h] for u in guests if (u, h) in place]
                    areas.setdefault(rule.area(self._hosts[h]), []).extend(there)
                for there in areas.values():
                    if len(there) > rule.most:
                        model.add(sum(there) <= rule.most + (len(there) - rule.most) * dropped)
            case Pool():
                for kind in resources(self._inventory, (rule,))[len(resources(self._inventory)) :]:
                    need = [math.ceil(needs(vm, (*BASE, kind))[-1] * CENTI - 1e-6) for vm in self._vms]
                    for h in hosts:
                        room = int(sizes(self._hosts[h], (*BASE, kind))[-1] * CENTI + 1e-6)
                        there = sum(need[u] * place[u, h] for u in range(len(need)) if (u, h) in place)
                        model.add(there <= room + sum(need) * dropped)
            case Licence():
                licensed: dict[tuple[str, ...], Any] = {}
                for h in hosts:
                    area = rule.area(self._hosts[h])
                    if area not in licensed:
                        licensed[area] = model.new_bool_var("")
                    for u in guests:
                        if (u, h) in place:
                            model.add(place[u, h] <= licensed[area])
                model.add(sum(licensed.values()) <= rule.most + len(licensed) * dropped)
            case Together():
                if len(guests) < 2:
                    return
                chosen = [model.new_bool_var("") for _ in hosts]
                model.add_exactly_one(chosen)
                for u in guests:
                    for h in hosts:
                        if (u, h) in place:
                            model.add(place[u, h] <= chosen[h] + dropped)


def _solve(model: cp_model.CpModel) -> tuple[str, cp_model.CpSolver]:
    from ortools.sat.python import cp_model

    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    solver.parameters.max_deterministic_time = EFFORT_S
    return solver.status_name(solver.solve(model)), solver
