"""The verb: from an inventory and a wish to the best placement found, with a bound and reasons."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from drsim.inventory import Inventory
from drsim.optimize import exact, explain
from drsim.optimize.bound import SMALL, aims
from drsim.optimize.cells import HOSTS as CELL
from drsim.optimize.clock import Budget, Clock
from drsim.optimize.combine import combine
from drsim.optimize.defragment import defragment, flavour
from drsim.optimize.engine.load import load as load_engine
from drsim.optimize.few import few
from drsim.optimize.few import load as load_few
from drsim.optimize.level import descend
from drsim.optimize.mend import mend, please
from drsim.optimize.pack import least_hosts, least_left, pack
from drsim.optimize.places import placement_of, settled
from drsim.optimize.problem import SPLIT, Ints, compile_problem
from drsim.optimize.relax import judge
from drsim.optimize.result import Result
from drsim.optimize.score import score
from drsim.optimize.secure import secured, without_survival
from drsim.optimize.spread import spread_rules
from drsim.optimize.state import SLACK, State
from drsim.optimize.stop import Progress, Stop
from drsim.optimize.trade import load, trade
from drsim.optimize.verdict import Verdict
from drsim.placement import Placement
from drsim.policy import Limits, Objective, Policy
from drsim.sharing import entitled

IN_ONE_CELL, IN_MANY = (0.88, 0.9, 0.98), (0.82, 0.88, 0.97)
"""Shares of the time by which barter ends, single steps that mend what it leaves above the aim, and barter in those
cells where anything is still above: with many cells there is often one."""

NEARBY = 0.2
"""Share of the time for single steps from a placement that is good but for a little; then that is bartered for."""

SPARE = 1.5
"""A search for balance is not begun if not even so many times the fewest moves are allowed that any balance takes."""

JUDGED_FROM_S = 1.0
"""Time limit from which what cannot be had is proven, and what would do is looked for: that takes seconds of its own.
Who asks for less, as a balancer does every five minutes, wants the best there is at once."""

EFFORT_S, EFFORT, ROUNDS = 2.0, 0.3, 8
"""CP-SAT's work on a whole small problem, deterministic seconds, but this share of the time limit at most; it gets a
tenth of that on each neighbourhood; rounds."""


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
        Time of the search, seconds of work of this process: beside others it takes longer, and finds the same.
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
    most = policy.limits.max_moves
    bound = 0.0
    if objective.goal == "balance":
        bound, aim = aims(now, objective.load_to_reach)
        enough = most is None or most >= SPARE * _least_moves(now, aim)
        (load if enough else load_few)()
    elif objective.goal == "consolidate":
        load_engine()
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
    start = then.copy()
    if objective.goal == "balance":
        if enough:
            told = _Told(budget, bound, aim, on_progress, stop)
            bound = _balance(then, budget, seed, told, near=begin is not None, bound=bound, aim=aim)
            if budget.ended and then.peak() > start.peak():
                then = start.copy()
        limited = most is not None or policy.limits.max_gib is not None
        if limited and (then.peak() > aim or not _affordable(then, policy.limits)):
            then = start.copy()
            few(then, problem.units if most is None else most, budget, seed, most_mib=_most_mib(policy.limits))
            then = then if then.peak() <= start.peak() else start
    elif objective.goal == "consolidate":
        limits = (np.inf if most is None else float(most), _most_mib(policy.limits))
        pack(then, budget, seed, *limits)
        bound = max(least_hosts(problem), least_left(now, *limits))
    elif objective.goal == "evacuate":
        stays = [vm for vm in range(len(inventory.vms)) if inventory.vms[vm].host in objective.hosts]
        held = {
            vm for unit in range(problem.units) if not problem.allowed([unit]).any() for vm in problem.members[unit]
        }
        held = set() if problem.narrowed else held
        bound = float(sum(inventory.vms[vm].memory_mib for vm in stays if vm in held))
    elif objective.goal == "defragment" and (one := flavour(inventory, objective)) is not None:
        takes = np.array([host.takes_guests for host in inventory.hosts], dtype=np.bool_)
        limited = most is not None or policy.limits.max_gib is not None
        defragment(then, one, budget, takes, seed, freely=not limited)
    elif objective.goal == "spread":
        please(then)
    notes = list(verdict.notes)
    spare = then
    if not homeless:
        then, verdict = secured(then, inventory, policy, lambda state: placement_of(inventory, state), budget)
        notes.extend(verdict.notes)
    then = _within_limit(now, then, policy.limits, homeless)
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


class _Told:
    """Passes on how far a search is, and asks whether it should end."""

    def __init__(
        self,
        budget: Budget,
        bound: float,
        aim: float,
        on_progress: Callable[[Progress], None] | None,
        stop: Stop | None,
    ) -> None:
        self._budget, self._bound, self._aim, self._pass_on = budget, bound, aim, on_progress
        self._peak = self._excess = float("inf")
        if stop is not None:
            budget.ask = lambda: stop(self._now())

    def __call__(self, peak: float, excess: float) -> None:
        """Note how far it is."""
        better = peak < self._peak
        self._peak, self._excess = min(peak, self._peak), min(excess, self._excess)
        if better and self._pass_on is not None:
            self._pass_on(self._now())

    def state(self, state: State) -> None:
        """Note a placement."""
        self(state.peak(), float(np.maximum(state.levels().max(axis=1) - self._aim, 0.0).sum()))

    def _now(self) -> Progress:
        peak = self._peak
        gap = (peak - self._bound) / peak if peak else 0.0
        return Progress(
            objective=peak, lower_bound=self._bound, gap=gap, excess=self._excess, elapsed_s=self._budget.elapsed_s
        )


def _balance(state: State, budget: Budget, seed: int, told: _Told, *, near: bool, bound: float, aim: float) -> float:
    """Bring every load below the aim, in place; returns what is known of the bound then."""
    told.state(state)
    searched, stepped, again = IN_ONE_CELL if state.hosts <= CELL else IN_MANY
    if near:
        descend(state, aim, budget, share=NEARBY)
    barters = not near or state.hosts > CELL  # in one cell nothing would stay as it was
    if barters and state.peak() > aim:
        trade(state, aim, budget, seed, after=NEARBY if near else 0.0, share=searched, tell=told)
    descend(state, aim, budget, share=stepped)
    if barters and state.peak() > aim and not budget.out(stepped):
        trade(state, aim, budget, seed, after=stepped, share=again, tell=told)
        descend(state, aim, budget)
    told.state(state)
    if state.problem.units * state.hosts <= SMALL and not budget.out(0.9):
        answer = exact.solve(state, np.arange(state.hosts), _effort_s(budget), seed, budget.left_s)
        if answer.place is not None and answer.peak < state.peak() - 1e-6 and state.peak() > aim:
            _place(state, exact.units_on(state, np.arange(state.hosts)), answer.place)
        if not state.priced.any() and not state.problem.narrowed and not np.any(state.place == SPLIT):
            bound = max(bound, answer.bound)
        told.state(state)
    else:
        _neighbourhoods(state, aim, budget, seed, lambda: told.state(state))
    return bound


def _least_moves(state: State, aim: float) -> int:
    """Bound the moves from below that bring every load below an aim: the guests that need most leave first."""
    problem, least = state.problem, 0
    for host in np.flatnonzero((state.levels() > aim).any(axis=1)).tolist():
        units = np.flatnonzero(state.place == host)
        fewest = 0
        for column in np.flatnonzero(problem.weight[host]).tolist():
            much = float(state.use[host, column] - aim / problem.weight[host, column])
            needs = np.cumsum(np.sort(problem.demand[units, column])[::-1])
            fewest = max(fewest, int(np.searchsorted(needs, much - SLACK)) + 1 if much > SLACK else 0)
        least += fewest
    return least


def _affordable(state: State, limits: Limits) -> bool:
    """Whether so many moves, and so much memory moved, may be."""
    few_moves = limits.max_moves is None or state.moved_guests() <= limits.max_moves
    return few_moves and state.moved_mib() <= _most_mib(limits)


def _most_mib(limits: Limits) -> float:
    return np.inf if limits.max_gib is None else limits.max_gib * 1024.0


def _neighbourhoods(state: State, aim: float, budget: Budget, seed: int, tell: Callable[[], None]) -> None:
    """Let CP-SAT rearrange the worst host among a few others, again and again, while that lowers the peak."""
    random = np.random.default_rng(seed)
    for _ in range(ROUNDS):
        levels = state.levels().max(axis=1)
        if levels.max(initial=0.0) <= aim or budget.out(0.9):
            return
        worst = int(levels.argmax())
        cool = np.flatnonzero(levels < aim)
        others = random.choice(cool, size=min(3, len(cool)), replace=False) if len(cool) else cool
        hosts = np.unique(np.append(others, worst))
        answer = exact.solve(state, hosts, _effort_s(budget) / 10, seed, max(budget.left_s, 0.0))
        if answer.place is not None and answer.peak < levels[worst] - 1e-6:
            _place(state, exact.units_on(state, hosts), answer.place)
            tell()


def _effort_s(budget: Budget) -> float:
    return min(EFFORT_S, EFFORT * budget.limit_s)


def _place(state: State, units: Ints, place: Ints) -> None:
    for unit, host in zip(units.tolist(), place.tolist(), strict=True):
        if state.place[unit] != host:
            state.shift(unit, host)


def _within_limit(now: State, then: State, limits: Limits, homeless: tuple[int, ...]) -> State:
    """Keep what may be moved: what must be mended first, then what takes most off the most loaded hosts."""
    if limits.max_moves is None and limits.max_gib is None:
        return then
    moved = then.moved()
    moves = np.array([sum(host != then.place[u] for _, host in now.seats(u)) for u in moved.tolist()], dtype=np.float64)
    mib = np.array([now.problem.cost_mib(u)[then.place[u]] for u in moved.tolist()])
    most = np.inf if limits.max_moves is None else limits.max_moves
    most_mib = _most_mib(limits)
    if moves.sum() <= most and mib.sum() <= most_mib:
        return then
    kept, used, carried = now.copy(), 0.0, 0.0
    levels = now.levels().max(axis=1)
    heat = np.array([np.inf if now.place[u] == SPLIT else levels[now.place[u]] for u in moved.tolist()])
    broken = np.array([_broken(now, unit) for unit in moved.tolist()])
    for index in np.lexsort((moved, -heat, ~broken)).tolist():
        unit = int(moved[index])
        fits = used + moves[index] <= most and carried + mib[index] <= most_mib
        fits = fits and bool(kept.rooms([unit])[0, then.place[unit]])
        if fits and unit not in homeless:
            kept.shift(unit, int(then.place[unit]))
            used += moves[index]
            carried += mib[index]
    return kept


def _broken(state: State, unit: int) -> bool:
    place = int(state.place[unit])
    if place == SPLIT or not state.problem.allowed([unit])[0, place]:
        return True
    return bool(state.crowded(np.array([unit]))[0, place] or state.over()[place].any())


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
