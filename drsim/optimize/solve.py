"""The verb: from an inventory and a wish to the best placement found, with a bound and reasons."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from drsim.inventory import Inventory
from drsim.optimize import explain
from drsim.optimize.balance import enough
from drsim.optimize.bound import aims
from drsim.optimize.bound_rooms import least_lost
from drsim.optimize.bound_spread import least_uneven
from drsim.optimize.clock import Budget, Clock
from drsim.optimize.combine import combine
from drsim.optimize.defragment import asked, flavour
from drsim.optimize.mend import mend
from drsim.optimize.pack import least_hosts, least_left
from drsim.optimize.places import placement_of, settled
from drsim.optimize.problem import SPLIT, compile_problem
from drsim.optimize.relax import judge
from drsim.optimize.result import Result
from drsim.optimize.score import score
from drsim.optimize.secure import secured, without_survival
from drsim.optimize.seek import Quest, ready, seek
from drsim.optimize.spread import spread_rules
from drsim.optimize.state import State
from drsim.optimize.stop import Progress, Stop
from drsim.optimize.verdict import Verdict
from drsim.optimize.within import most_moved, within
from drsim.placement import Placement
from drsim.policy import Objective, Policy
from drsim.resources import resources
from drsim.sharing import entitled

JUDGED_FROM_S = 1.0
"""Time limit from which what cannot be had is proven, and what would do is looked for: that takes seconds of its own.
Who asks for less, as a balancer does every five minutes, wants the best there is at once."""


def optimize(
    inventory: Inventory,
    policy: Policy,
    objective: Objective,
    *,
    time_limit_s: float = 10.0,
    seed: int = 0,
    begin: Placement | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    stop: Stop | None = None,
    clock: Clock = time.process_time,
) -> Result:
    """Find a placement.

    Everything is counted work in a fixed order, and CP-SAT runs on one worker with deterministic time: the same
    input and seed give the same placement. Only if the time limit cuts the search short does it depend on the machine.

    Parameters
    ----------
    inventory, policy : Inventory, Policy
        Free of problems (`drsim.check`). Where CPU is divided by shares guests count with what these entitle them to.
    objective : Objective
        What to reach.
    time_limit_s : float
        Time of the search, seconds of work of this process: beside others it takes longer, and finds the same. Balance
        leaves a part of it to the rest of a plan.
    seed : int
        Seed of the search.
    begin : Placement, optional
        A good placement to begin from, such as one found before something changed; it need not keep the rules.
    on_progress : callable, optional
        Told how far the search for balance is.
    stop : Stop, optional
        Asked now and then whether the best that was found is good enough.
    clock : callable
        Seconds; only differences count.

    Returns
    -------
    Result
        Not complete, with notes, if something that must hold cannot be had.
    """
    shared = entitled(inventory, policy, objective)
    inventory, policy = shared.inventory, shared.policy
    if objective.terms:
        return combine(
            inventory,
            policy,
            objective,
            optimize,
            time_limit_s=time_limit_s,
            seed=seed,
            begin=begin,
            stop=stop,
            clock=clock,
        )
    wishes = policy
    if objective.goal == "spread":
        wishes = replace(policy, rules=policy.rules + spread_rules(inventory, policy))
    problem = compile_problem(inventory, wishes, objective)
    now = State(problem)
    one = flavour(inventory, objective) if objective.goal == "defragment" else None
    bound, aim, barters = 0.0, 0.0, True
    most, most_mib = most_moved(policy.limits)
    if objective.goal == "balance":
        bound, aim = aims(problem, objective.load_to_reach)
        barters = enough(now, aim, most)
    ready(objective.goal, barters=barters)
    budget = Budget(limit_s=time_limit_s, clock=clock)
    then = now.copy()
    if begin is not None:
        _take_over(then, inventory, begin)
    homeless = mend(then, budget)
    verdict = Verdict()
    if (homeless or _broken_rules(then)) and time_limit_s >= JUDGED_FROM_S:
        verdict = judge(inventory, without_survival(policy), objective, placement_of(inventory, then), budget.out)
        if verdict.placement is not None:
            then = settled(now, inventory, verdict.placement)
            homeless = ()
    quest = Quest(
        goal=objective.goal,
        seed=seed,
        takes=np.array([host.takes_guests for host in inventory.hosts], dtype=np.bool_),
        most=most,
        most_mib=most_mib,
        aim=aim,
        bound=bound,
        barters=barters,
        near=begin is not None,
        need=None if one is None else asked(problem, one),
    )
    then, bound = seek(then, quest, budget, on_progress=on_progress, stop=stop)
    if objective.goal == "consolidate":
        bound = max(least_hosts(problem), least_left(now, most, most_mib))
    elif objective.goal == "spread":
        even = {rule.name for rule in wishes.rules[len(policy.rules) :]}
        groups = [group for group in problem.should_apart if group.name in even]
        bound = least_uneven(now, groups, most=most, most_mib=most_mib)
    elif quest.need is not None:
        columns = len(resources(inventory))
        bound = least_lost(now, quest.need, quest.takes, columns=columns, most=most, most_mib=most_mib)
    elif objective.goal == "evacuate":
        stays = [vm for vm in range(len(inventory.vms)) if inventory.vms[vm].host in objective.hosts]
        held = {
            vm for unit in range(problem.units) if not problem.allowed([unit]).any() for vm in problem.members[unit]
        }
        held = set() if problem.narrowed else held
        bound = float(sum(inventory.vms[vm].memory_mib for vm in stays if vm in held))
    notes = list(verdict.notes)
    spare = then
    if not homeless:
        then, verdict = secured(then, inventory, policy, lambda state: placement_of(inventory, state), budget)
        notes.extend(verdict.notes)
    then = within(now, then, most, most_mib, homeless)
    return _report(inventory, policy, objective, now, then, homeless, bound, notes, spare)


def _broken_rules(state: State) -> bool:
    """Whether anything that must hold does not, units without a host apart."""
    return bool(state.over().any() or state.crowds().any())


def _take_over(state: State, inventory: Inventory, begin: Placement) -> None:
    """Bring units to where they are in another placement, as far as they may be there; it fits when all have come."""
    problem = state.problem
    index = {name: number for number, name in enumerate(problem.hosts)}
    for unit, members in enumerate(problem.members):
        places = {index.get(begin[inventory.vms[vm].name], SPLIT) for vm in members}
        host = places.pop()
        if not places and state.movable[unit] and host != state.place[unit] and problem.allowed([unit])[0, host]:
            state.shift(unit, host)


def _report(
    inventory: Inventory,
    policy: Policy,
    objective: Objective,
    now: State,
    then: State,
    homeless: tuple[int, ...],
    bound: float | None,
    remarks: Sequence[str],
    spare: State,
) -> Result:
    problem, vms = now.problem, inventory.vms
    hosts = {vm.name: vm.host for vm in vms}
    reasons = {}
    for unit in then.moved().tolist():
        if then.place[unit] == SPLIT:
            continue
        why = explain.reason(now, then, unit, objective.goal)
        if then.place[unit] != spare.place[unit] and spare.place[unit] == now.place[unit]:
            why = f"leaves room where guests could not start again; {why}"
        target = problem.hosts[int(then.place[unit])]
        for vm in problem.members[unit]:
            if hosts[vms[vm].name] != target:
                hosts[vms[vm].name] = target
                reasons[vms[vm].name] = why
    placement = Placement(hosts)
    before = score(inventory, policy, objective, Placement.of(inventory))
    after = score(inventory, policy, objective, placement)
    if bound is not None and after.violations:
        bound = min(bound, after.objective)  # what breaks rules may be better than all that keeps them
    notes = []
    for unit in homeless:
        names = ", ".join(f"'{vms[vm].name}'" for vm in problem.members[unit])
        unmovable = [vms[vm] for vm in problem.members[unit] if vms[vm].unmovable_reason or vms[vm].state != "running"]
        if unmovable:
            why = unmovable[0].unmovable_reason or f"it is {unmovable[0].state}"
            notes.append(f"{names} stays on {unmovable[0].host}: {why}.")
        else:
            notes.append(explain.blocked(then, unit, names))
    unfinished = objective.goal in ("evacuate", "place")
    reached = bound is not None and after.objective <= bound + 1e-6
    status = "nothing to do" if not reasons else "optimal" if reached else "feasible"
    return Result(
        placement=placement,
        before=before,
        after=after,
        lower_bound=bound,
        status=status,
        reasons=reasons,
        complete=not homeless and after.violations == 0 and not (unfinished and after.objective > 0.0),
        notes=(*notes, *remarks),
    )
