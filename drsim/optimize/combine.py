"""Several goals: each sought alone first, then weighed against the others, one rank after the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from drsim.inventory import Inventory
from drsim.optimize import explain
from drsim.optimize.bound import aims
from drsim.optimize.clock import Budget, Clock
from drsim.optimize.defragment import flavour, slots_in_all
from drsim.optimize.even import MOVE_MIB
from drsim.optimize.mend import misplaced
from drsim.optimize.pack import least_hosts, least_left
from drsim.optimize.places import placement_of, taken_over
from drsim.optimize.problem import SPLIT, Group, compile_problem
from drsim.optimize.result import Result
from drsim.optimize.score import score, share_of, total
from drsim.optimize.secure import secured
from drsim.optimize.spread import spread_rules
from drsim.optimize.state import State
from drsim.optimize.stop import Progress, Stop
from drsim.optimize.weighed import COUNTED, STEPS_PER_S, Scales, load, sent_back, weighed
from drsim.placement import Placement
from drsim.plan import Score
from drsim.policy import Goal, Objective, Policy, Term
from drsim.terms import FIRST, ranked

ALONE = 0.5
"""Share of the time in which each goal is sought alone; what is found is where the others begin."""

MOVING = 0.05
"""What moving all memory once costs, as a share of one of each goal: what buys less is not worth its migrations."""

NEAR = 1e-9
"""What sums may be off by."""

Alone = Callable[..., Result]
"""`drsim.optimize.optimize`, for a single goal."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Found:
    """A placement, how good it is, and what it takes to get there, as a share of all memory."""

    placement: Placement
    score: Score
    moved: float


def combine(
    inventory: Inventory,
    policy: Policy,
    objective: Objective,
    alone: Alone,
    *,
    time_limit_s: float,
    seed: int,
    begin: Placement | None,
    stop: Stop | None,
    clock: Clock,
) -> Result:
    """Find a placement for several goals.

    The lower bound of a rank is the weighted sum of the bounds of its goals, each sought alone: no placement has a
    lower sum, for none has a lower part.

    Parameters
    ----------
    inventory, policy : Inventory, Policy
        Free of problems.
    objective : Objective
        With several terms, free of `drsim.terms.term_problems`.
    alone : callable
        Seeks one goal.
    time_limit_s, seed, begin, stop, clock
        As for `drsim.optimize.optimize`.
    """
    load()
    budget = Budget(limit_s=time_limit_s, clock=clock)
    terms = [term for rank in ranked(objective.terms) for term in rank]
    led = terms[0].goal in FIRST
    sought = terms[:1] if led else terms
    results = {
        term.goal: alone(
            inventory,
            policy,
            replace(objective, goal=term.goal, terms=()),
            time_limit_s=time_limit_s * ALONE / len(sought),
            seed=seed,
            begin=begin,
            stop=stop,
            clock=clock,
        )
        for term in sought
    }
    search = _Search(inventory, policy, objective, budget, seed, stop)
    bounds = search.bounds(terms, results)
    tried = [search.found(result.placement) for result in results.values()]
    best = search.best(tried, [])
    done: list[tuple[Term, ...]] = []
    stages = ranked(objective.terms)[1 if led else 0 :]
    for number, rank in enumerate(stages):
        least = total_bound(rank, bounds, search.shares)
        best = search.rank(rank, done, tried, best, least, len(stages), seed + number * len(terms))
        done.append(rank)
    return _answer(search, results[terms[0].goal], best, terms, bounds)


def total_bound(
    rank: Sequence[Term], bounds: Mapping[Goal, float], shares: Mapping[Goal, tuple[float, float]]
) -> float:
    """Return the bound of what the goals of a rank come to (`drsim.optimize.score.total`)."""
    if len(rank) == 1:
        return bounds[rank[0].goal]
    return sum(term.weight * (bounds[term.goal] - shares[term.goal][0]) / shares[term.goal][1] for term in rank)


class _Search:
    """What all ranks have in common."""

    def __init__(
        self,
        inventory: Inventory,
        policy: Policy,
        objective: Objective,
        budget: Budget,
        seed: int,
        stop: Stop | None,
    ) -> None:
        self.inventory, self.policy, self.objective = inventory, policy, objective
        self._budget, self._seed, self._stop = budget, seed, stop
        self.now = State(compile_problem(inventory, policy, objective))
        goals = [term.goal for term in objective.terms]
        self._enough = aims(self.now, None)[1] if "balance" in goals else 0.0
        self.shares = {goal: share_of(goal, inventory, policy, objective) for goal in goals}
        self._even = _groups(inventory, policy, objective) if "spread" in goals else ()
        self._flavour = flavour(inventory, objective) if "defragment" in goals else None
        limits = policy.limits
        self._most = np.inf if limits.max_moves is None else float(limits.max_moves)
        self._most_mib = np.inf if limits.max_gib is None else limits.max_gib * 1024.0
        where = Placement.of(inventory)
        self._slots = slots_in_all(where.seated(inventory), policy, objective, where) if self._flavour else 0.0
        self._cost = {vm.name: vm.data_mib + MOVE_MIB for vm in inventory.vms if vm.host}

    def bounds(self, terms: Sequence[Term], results: Mapping[Goal, Result]) -> dict[Goal, float]:
        """Return the lower bound of each goal: what the search for it alone says, or sums."""
        found = {}
        for term in terms:
            bound = 0.0
            if term.goal in results:
                bound = results[term.goal].lower_bound or 0.0
            elif term.goal == "balance":
                bound = aims(self.now, None)[0]
            elif term.goal == "consolidate":
                bound = max(least_hosts(self.now.problem), least_left(self.now, self._most, self._most_mib))
            found[term.goal] = bound
        return found

    def found(self, placement: Placement) -> _Found:
        """Judge a placement."""
        moved = {vm for vm, _, _ in Placement.of(self.inventory).changes(placement)}
        paid = sum(cost for name, cost in self._cost.items() if name in moved)
        said = score(self.inventory, self.policy, self.objective, placement)
        return _Found(placement=placement, score=said, moved=paid / max(sum(self._cost.values()), 1.0))

    def cost(self, found: _Found, rank: Sequence[Term]) -> float:
        """Return what a placement costs by the goals of a rank, moving included, in shares."""
        goals = {term.goal for term in rank}
        paid = MOVING * sum(term.weight for term in rank) * found.moved
        return paid + sum(
            part.weight * (max(part.share, self._enough - 1.0) if part.goal == "balance" else part.share)
            for part in found.score.parts
            if part.goal in goals
        )

    def best(self, tried: Sequence[_Found], rank: Sequence[Term]) -> _Found:
        """Return the cheapest of those that break least."""
        return min(tried, key=lambda one: (one.score.violations, one.score.penalty, self.cost(one, rank)))

    def keeps(self, one: _Found, best: _Found, done: Sequence[Sequence[Term]]) -> bool:
        """Whether a placement breaks no more than another and is no worse in the ranks before."""
        whole = one.score.violations <= best.score.violations and one.score.penalty <= best.score.penalty + NEAR
        return whole and all(
            sum(part.weight * part.share for part in one.score.parts if part.goal in goals)
            <= sum(part.weight * part.share for part in best.score.parts if part.goal in goals) + NEAR
            for goals in ({term.goal for term in rank} for rank in done)
        )

    def rank(
        self,
        rank: Sequence[Term],
        done: Sequence[tuple[Term, ...]],
        tried: list[_Found],
        best: _Found,
        least: float,
        stages: int,
        seed: int,
    ) -> _Found:
        """Seek the goals of one rank among placements that are no worse in those before."""
        whole = [one for one in tried if self.keeps(one, best, done)]
        best = self.best([best, *whole], rank)
        begun = list({tuple(sorted(one.placement.items())): one for one in [best, *whole]}.values())
        effort = STEPS_PER_S * self._budget.limit_s * (1.0 - ALONE) / (stages * len(begun))
        for number, start in enumerate(begun):
            if self._ends(best, rank, least):
                break
            state = taken_over(self.now, self.inventory, start.placement)
            then = weighed(
                state,
                self._scales(rank, done, best),
                effort,
                seed + number,
                lambda: self._ends(best, rank, least),  # noqa: B023 - asked before it changes
                most=self._most,
                most_mib=self._most_mib,
            )
            then, _ = secured(
                then, self.inventory, self.policy, lambda one: placement_of(self.inventory, one), self._budget
            )
            other = self.found(placement_of(self.inventory, then))
            tried.append(other)
            if self._affordable(then) and self.keeps(other, best, done):
                best = self.best([best, other], rank)
        return best

    def reasons(self, then: State, terms: Sequence[Term]) -> dict[int, str]:
        """Say for each unit that is moved what for."""
        goals = [term.goal for term in terms if term.goal in COUNTED]
        columns = [COUNTED.index(goal) for goal in goals]
        moved = [unit for unit in then.moved().tolist() if then.place[unit] != SPLIT]
        settled = [unit for unit in moved if self.now.place[unit] != SPLIT]
        here, back = sent_back(then, self._scales([], [], None), settled)
        rows = dict(zip(settled, back, strict=True))
        return {
            unit: explain.beside(self.now, then, unit, goals, here[columns], rows.get(unit, here)[columns])
            for unit in moved
        }

    def _affordable(self, state: State) -> bool:
        return state.moved_guests() <= self._most and state.moved_mib() <= self._most_mib + NEAR

    def _ends(self, best: _Found, rank: Sequence[Term], least: float) -> bool:
        """Whether the search should end: the time is up, or who was asked says so."""
        if self._budget.out():
            return True
        if self._stop is None:
            return False
        goals = {term.goal for term in rank}
        reached = total([part for part in best.score.parts if part.goal in goals])
        gap = (reached - least) / abs(reached) if reached else 0.0
        return self._stop(
            Progress(objective=reached, lower_bound=least, gap=gap, excess=0.0, elapsed_s=self._budget.elapsed_s)
        )

    def _scales(self, rank: Sequence[Term], done: Sequence[tuple[Term, ...]], best: _Found | None) -> Scales:
        rows = [*done, tuple(rank)]
        price = np.zeros((len(rows), len(COUNTED)))
        cap = np.full(len(rows), np.inf)
        value = {part.goal: part.value for part in best.score.parts} if best is not None else {}
        for number, row in enumerate(rows):
            for term in row:
                price[number, COUNTED.index(term.goal)] = term.weight / self.shares[term.goal][1]
            if number < len(done):
                cap[number] = NEAR + sum(price[number, COUNTED.index(term.goal)] * value[term.goal] for term in row)
        return Scales(
            price=price,
            cap=cap,
            moving=MOVING * sum(term.weight for term in rank),
            even=self._even,
            flavour=self._flavour,
            takes=np.array([host.takes_guests for host in self.inventory.hosts], dtype=np.bool_),
            slots=self._slots,
            floor=self._enough if any(term.goal == "balance" for term in rank) else 0.0,
        )


def _groups(inventory: Inventory, policy: Policy, objective: Objective) -> tuple[Group, ...]:
    """Return the groups of an even spread, in the units that a search has."""
    even = spread_rules(inventory, policy)
    names = {rule.name for rule in even}
    problem = compile_problem(inventory, replace(policy, rules=policy.rules + even), objective)
    return tuple(group for group in problem.should_apart if group.name in names)


def _answer(
    search: _Search, first: Result, best: _Found, terms: Sequence[Term], bounds: Mapping[Goal, float]
) -> Result:
    """Say what was found, how far from the bounds it is, and why each guest goes where it goes."""
    inventory, objective = search.inventory, search.objective
    before = score(inventory, search.policy, objective, Placement.of(inventory))
    then = taken_over(search.now, inventory, best.placement)
    reasons = dict[str, str]()
    for unit, why in search.reasons(then, terms).items():
        members = [inventory.vms[vm] for vm in then.problem.members[unit]]
        reasons |= {vm.name: why for vm in members if best.placement[vm.name] != vm.host}
    reached = all(
        total([part for part in best.score.parts if part.rank == rank[0].rank])
        <= total_bound(rank, bounds, search.shares) + 1e-6
        for rank in ranked(terms)
    )
    homeless = bool(len(misplaced(then)))
    undone = terms[0].goal in FIRST and best.score.parts[0].value > 0.0
    return Result(
        placement=best.placement,
        before=_with(before, bounds),
        after=_with(best.score, bounds),
        lower_bound=total_bound(ranked(terms)[0], bounds, search.shares),
        status="nothing to do" if not reasons else "optimal" if reached else "feasible",
        reasons=reasons,
        complete=not homeless and not undone and best.score.violations == 0,
        notes=first.notes,
    )


def _with(said: Score, bounds: Mapping[Goal, float]) -> Score:
    return replace(said, parts=tuple(replace(part, lower_bound=bounds[part.goal]) for part in said.parts))
