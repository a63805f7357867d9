"""The verb: let a cluster live through its demand, with a planner in charge."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np
import simpy
from simpy.events import Event as SimEvent

from drsim.errors import DataError, DrsimError, Problem
from drsim.inventory import Inventory
from drsim.migration import DEFAULT, Parameters
from drsim.policy import Limits, Rule
from drsim.sharing import Tree
from drsim.simulate.carry import Process
from drsim.simulate.lines import Lines
from drsim.simulate.operate.estate import Estate
from drsim.simulate.operate.happening import (
    Abort,
    Call,
    Happening,
    HostFailure,
    LinkFailure,
    Maintenance,
    Planner,
    Recorded,
)
from drsim.simulate.operate.hypervisor import Hypervisor
from drsim.simulate.operate.result import Happened, Incident, Operation
from drsim.simulate.operate.watch import Watch
from drsim.topology import Topology
from drsim.workload import Demand

Restart = Callable[[Inventory, Inventory], Mapping[str, str]]
"""From the inventory before and after a loss to where the guests lost are started again."""

NOTICE_S = 60.0
"""Time until a cluster manager takes a silent host for dead and starts its guests elsewhere."""

OWN: frozenset[Happened] = frozenset(("planned", "failed", "refused"))
"""What a planner brings about at the instant when it is called."""

BOOT_S, BOOTS_AT_ONCE = 45.0, 4
"""How long a guest starts, with all its vCPUs busy, and how many a host starts at once."""


def operate(
    inventory: Inventory,
    demand: Demand,
    planner: Planner | None = None,
    *,
    every_s: float = 300.0,
    watch: Watch | None = None,
    on: Collection[Happened] = (),
    happenings: Sequence[Happening] = (),
    restart: Restart | None = None,
    limits: Limits | None = None,
    rules: Sequence[Rule] = (),
    parameters: Parameters = DEFAULT,
    on_progress: Callable[[float], None] | None = None,
) -> Operation:
    """Let a cluster live through its demand.

    Parameters
    ----------
    inventory : Inventory
        What is where at the start; checked (`drsim.check`).
    demand : Demand
        Of every guest; it also says how long.
    planner : callable, optional
        From an inventory to a plan, called on a period; nobody is in charge by default. While a plan of its is under
        way it is not called.
    every_s : float
        The period; infinite: only on events.
    watch : Watch, optional
        When it is called, and about which hosts; every time and about all by default.
    on : collection of str
        Kinds of incidents after which it is called at once, e.g. ``host_up``, ``open``, ``started``, ``link_down``.
    happenings : sequence
        Failures, maintenance, calls of other planners, recorded moves.
    restart : callable, optional
        Where guests of a dead host are started again; by default they wait for their host.
    limits : Limits, optional
        Bandwidth cap of moves that name none.
    rules : sequence of rules
        By those of kind `shares`, and by the shares that the inventory knows, guests divide the CPU of a host that is
        short; without any, all wait for the same part of what they ask for.
    parameters : Parameters
        Constants of the migration model.
    on_progress : callable, optional
        Told the share of the time that is over.

    Returns
    -------
    Operation
        The same for the same input, to the last bit.

    Raises
    ------
    DataError
        If demand of a guest is missing, something happens to a host, link or guest that there is not, or the planner is
        to be called after what it does itself.
    """
    wanted = demand.of([vm.name for vm in inventory.vms])
    problems = _strays(inventory, happenings)
    if own := sorted(set(on) & OWN):
        remedy = "Name what others do: host_down, host_up, link_down, link_up, maintenance, open, started, ..."
        expected = f"'{own[0]}' is the planner's own doing: it would be called without end."
        problems.append(Problem(place="operate", field="on", expected=expected, remedy=remedy))
    if problems:
        raise DataError(*problems)
    shared = inventory.has_cpu_shares or any(rule.kind == "shares" for rule in rules)
    tree = Tree.of(inventory, rules) if shared else None
    return _World(inventory, wanted, limits or Limits(), parameters, restart, tree).run(
        planner, every_s, watch, frozenset(on), happenings, on_progress
    )


def _strays(inventory: Inventory, happenings: Sequence[Happening]) -> list[Problem]:
    """List what happens to things that there are not."""
    known = {
        "host": set(inventory.host_by_name),
        "link": {link.name for link in inventory.links},
        "vm": set(inventory.vm_by_name),
    }
    problems = []
    for number, happening in enumerate(happenings, 1):
        for field, names in known.items():
            name = getattr(happening, field, None)
            if name is not None and name not in names:
                remedy = f"Name one of {', '.join(sorted(names)[:5]) or 'none: there is none'}, ..."
                place = f"happening {number} ({type(happening).__name__})"
                problems.append(Problem(place=place, field=field, expected=f"there is no '{name}'.", remedy=remedy))
    return problems


class _World:
    """One run."""

    def __init__(
        self,
        inventory: Inventory,
        demand: Demand,
        limits: Limits,
        parameters: Parameters,
        restart: Restart | None,
        tree: Tree | None,
    ) -> None:
        self._env = env = simpy.Environment()
        self._steps, self._step_s, self._restart = len(demand.cpu_cores), demand.step_s, restart
        self._estate = Estate(inventory, demand, lambda: env.now, self._pace_soon, tree)
        capacity = Topology(inventory).capacity_mbit_s
        self._lines = Lines(env, capacity, parameters.goodput, parameters.return_share, fast=True)
        self._incidents: list[Incident] = []
        self._hypervisor = Hypervisor(env, self._estate, self._lines, limits, parameters, self._tell)
        self._lines.settled = self._hypervisor.meter
        self._boots = [simpy.Resource(env, BOOTS_AT_ONCE) for _ in inventory.hosts]
        self._plans = 0
        self._starting: set[int] = set()
        self._on: frozenset[Happened] = frozenset()
        self._news, self._why = env.event(), ""
        self._pacing = False

    def _pace_soon(self) -> None:
        """Have the migrations paced anew, once for all that happens at this instant."""
        if not self._pacing:
            self._pacing = True
            self._env.timeout(0).callbacks.append(self._pace)

    def _pace(self, _: SimEvent) -> None:
        self._pacing = False
        self._hypervisor.pace()

    def _tell(self, kind: Happened, subject: str, text: str) -> None:
        self._incidents.append(Incident(time_s=self._env.now, kind=kind, subject=subject, text=text))
        if kind in self._on and not self._news.triggered:
            self._why = text
            self._news.succeed()

    def run(
        self,
        planner: Planner | None,
        every_s: float,
        watch: Watch | None,
        on: frozenset[Happened],
        happenings: Sequence[Happening],
        on_progress: Callable[[float], None] | None,
    ) -> Operation:
        env, estate = self._env, self._estate
        env.process(self._clock(on_progress))
        for happening in sorted(happenings, key=lambda one: one.at_s):
            env.process(self._live(happening))
        self._on = on
        if planner is not None:
            env.process(self._in_charge(planner, every_s, watch))
        env.run(until=self._steps * self._step_s)
        estate.begin(self._steps)
        return Operation(
            hosts=tuple(estate.hosts),
            vms=tuple(estate.vms),
            cores=estate.cores,
            vcpus=np.array([float(vm.vcpus) for vm in estate.base.vms]),
            step_s=self._step_s,
            used_cores=estate.used_cores,
            ready_cores=estate.ready_cores,
            memory_mib=estate.memory_mib,
            memory_held_mib=estate.memory_held_mib,
            memory_short_mib=estate.short_mib,
            guests=estate.guests,
            ready_s=estate.ready_s,
            swap_s=estate.swap_s,
            down_s=estate.down_s,
            place=estate.place,
            migrations=tuple(self._hypervisor.migrated),
            incidents=tuple(self._incidents),
            link_use=self._lines.uses(),
        )

    def _clock(self, on_progress: Callable[[float], None] | None) -> Process:
        for step in range(self._steps):
            self._estate.begin(step)
            if on_progress is not None:
                on_progress(step / self._steps)
            yield self._env.timeout(self._step_s)

    def _in_charge(self, planner: Planner, every_s: float, watch: Watch | None) -> Process:
        while True:
            yield self._env.timeout(every_s - self._env.now % every_s) | self._news
            estate, why, hosts = self._estate, "on its period", None
            if self._news.triggered:
                why, self._news = self._why, self._env.event()
            if watch is not None:
                hosts = watch.scope(estate.demand() / estate.cores, estate.up & estate.open, estate.site)
                if not hosts.size:
                    continue
            yield from self._call(planner, estate.inventory(hosts), why)

    def _call(self, planner: Planner, inventory: Inventory, why: str) -> Process:
        try:
            plan = planner(inventory)
        except DrsimError as error:
            # In a real cluster, too, a planner that fails leaves everything as it is until it is called again.
            self._tell("failed", "planner", f"{why}: {error}")
            return
        if not plan.moves:
            return
        self._plans += 1
        number = self._plans
        self._tell("planned", f"plan {number}", f"{why}: {len(plan.moves)} moves, {plan.objective.goal}")
        yield from self._hypervisor.carry_out(number, plan.moves)

    def _live(self, happening: Happening) -> Process:
        yield self._env.timeout(happening.at_s)
        match happening:
            case HostFailure():
                yield from self._lose(happening)
            case LinkFailure(link=link):
                self._tell("link_down", link, f"{link} carries nothing")
                self._hypervisor.cut_link(link)
                if math.isfinite(happening.back_after_s):
                    yield self._env.timeout(happening.back_after_s)
                    self._tell("link_up", link, f"{link} carries traffic again")
                    self._hypervisor.mend_link(link)
            case Maintenance(host=host):
                number = self._estate.hosts[host]
                self._estate.open[number] = False
                self._tell("maintenance", host, f"{host} takes no guests")
                yield self._env.timeout(happening.for_s)
                self._estate.open[number] = self._estate.up[number]
                self._tell("open", host, f"{host} takes guests again")
            case Call():
                yield from self._call(happening.planner, self._estate.inventory(), happening.why)
            case Abort(vm=vm):
                if not self._hypervisor.abort(vm):
                    self._tell("refused", vm, f"no migration of {vm} can be broken off now")
            case Recorded(vm=vm, host=host):
                self._replay(self._estate.vms[vm], self._estate.hosts[host])

    def _replay(self, vm: int, host: int) -> None:
        estate = self._estate
        source = int(estate.place[vm])
        if source >= 0 and source != host:
            estate.settle()
            estate.reserve(vm, host)
            estate.run(vm, host)
            estate.free(vm, source)

    def _lose(self, failure: HostFailure) -> Process:
        env, estate = self._env, self._estate
        host = estate.hosts[failure.host]
        before = estate.inventory()
        lost = self._hypervisor.fail_host(host)
        self._tell("host_down", failure.host, f"{failure.host} has lost power, and {len(lost)} guests with it")
        if self._restart is not None:
            env.process(self._start_elsewhere(before, lost))
        if math.isfinite(failure.back_after_s):
            yield env.timeout(failure.back_after_s)
            estate.up[host] = estate.open[host] = True
            self._tell("host_up", failure.host, f"{failure.host} is up again")
            for vm in lost:
                if estate.place[vm] < 0 and vm not in self._starting:
                    env.process(self._boot(vm, host))

    def _start_elsewhere(self, before: Inventory, lost: Sequence[int]) -> Process:
        assert self._restart is not None
        yield self._env.timeout(NOTICE_S)
        estate = self._estate
        places = self._restart(before, estate.inventory())
        for vm in lost:
            name = estate.base.vms[vm].name
            if estate.place[vm] >= 0 or vm in self._starting:
                continue
            if name in places:
                self._env.process(self._boot(vm, estate.hosts[places[name]]))
            else:
                self._tell("left", name, f"{name} has no host to be started on")

    def _boot(self, vm: int, host: int) -> Process:
        estate, name, where = self._estate, self._estate.base.vms[vm].name, self._estate.base.hosts[host].name
        if not estate.fits(vm, host):
            self._tell("left", name, f"{name} cannot start: {where} has no memory for it any more")
            return
        self._starting.add(vm)
        estate.reserve(vm, host)
        cores = float(estate.base.vms[vm].vcpus)
        with self._boots[host].request() as turn:
            yield turn
            estate.load(host, cores)
            yield self._env.timeout(BOOT_S)
            estate.load(host, -cores)
        self._starting.discard(vm)
        if not estate.up[host]:
            estate.free(vm, host)
            self._tell("left", name, f"{name} did not start: {where} failed as well")
            return
        estate.run(vm, host)
        self._tell("started", name, f"{name} runs again, on {where}")
