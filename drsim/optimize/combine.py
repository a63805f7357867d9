"""Several goals: each sought alone, then one where the others are held, then all weighed; one rank after the other."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

import numpy as np

from drsim.inventory import Inventory
from drsim.optimize import explain
from drsim.optimize.balance import enough
from drsim.optimize.bound import aims
from drsim.optimize.bound_rooms import least_lost
from drsim.optimize.bound_spread import least_uneven
from drsim.optimize.choice import MOVING, NEAR, Choice, Found
from drsim.optimize.clock import Budget, Clock
from drsim.optimize.defragment import asked, flavour, slots_in_all
from drsim.optimize.held import held, together
from drsim.optimize.mend import misplaced
from drsim.optimize.pack import least_hosts, least_left
from drsim.optimize.places import placement_of, taken_over
from drsim.optimize.problem import SPLIT, Group, compile_problem
from drsim.optimize.result import Result
from drsim.optimize.score import score, total
from drsim.optimize.secure import secured
from drsim.optimize.seek import Quest, ready, seek
from drsim.optimize.spread import spread_rules
from drsim.optimize.state import State
from drsim.optimize.stop import Progress, Stop
from drsim.optimize.weighed import COUNTED, STEPS_PER_S, Scales, load, sent_back, weighed
from drsim.optimize.within import most_moved, within
from drsim.placement import Placement
from drsim.plan import Score
from drsim.policy import Goal, Objective, Policy, Term
from drsim.resources import resources
from drsim.terms import FIRST, ranked

ALONE, IN_TURN = 0.3, 0.5
"""Shares of the time in which each goal is sought alone, and in which one is sought after the other, those before held;
in the rest they are weighed."""

EVEN = 4.0
"""Times what another goal gets that balance gets of the time."""

Alone = Callable[..., Result]
"""`drsim.optimize.optimize`, for a single goal."""


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

    What is made for each goal finds it with few moves; so each is sought by that, from where the others have come to
    and with what they have reached held. Weighing comes last, for what only some of each would gain.

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
    alone_found = {goal: search.choice.found(result.placement) for goal, result in results.items()}
    best = search.choice.best(list(alone_found.values()), [])
    done: list[tuple[Term, ...]] = []
    stages = ranked(objective.terms)[1 if led else 0 :]
    for number, rank in enumerate(stages):
        last, count = number + 1 == len(stages), sum(len(row) > 1 for row in stages[:-1]) + 1
        best = search.rank(rank, done, alone_found, best, bounds, count, seed + number * len(terms), last=last)
        done.append(rank)
    return _answer(search, results[terms[0].goal], best, terms, bounds)


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
        self._enough = aims(self.now.problem, None)[1] if "balance" in goals else 0.0
        self.choice = Choice(inventory, policy, objective, self._enough)
        self._even = _groups(inventory, policy, objective) if "spread" in goals else ()
        self._flavour = flavour(inventory, objective) if "defragment" in goals else None
        self._need = None if self._flavour is None else asked(self.now.problem, self._flavour)
        self._takes = np.array([host.takes_guests for host in inventory.hosts], dtype=np.bool_)
        self._most, self._most_mib = most_moved(policy.limits)
        where = Placement.of(inventory)
        self._slots = slots_in_all(where.seated(inventory), policy, objective, where) if self._flavour else 0.0

    def bounds(self, terms: Sequence[Term], results: Mapping[Goal, Result]) -> dict[Goal, float]:
        """Return the lower bound of each goal: what the search for it alone says, or sums."""
        found = {}
        for term in terms:
            bound = 0.0
            if term.goal in results:
                bound = results[term.goal].lower_bound or 0.0
            elif term.goal == "balance":
                bound = aims(self.now.problem, None)[0]
            elif term.goal == "consolidate":
                bound = max(least_hosts(self.now.problem), least_left(self.now, self._most, self._most_mib))
            elif term.goal == "spread":
                bound = least_uneven(self.now, self._even, most=self._most, most_mib=self._most_mib)
            elif self._need is not None:
                columns = len(resources(self.inventory))
                limits = {"most": self._most, "most_mib": self._most_mib}
                bound = least_lost(self.now, self._need, self._takes, columns=columns, **limits)
            found[term.goal] = bound
        return found

    def rank(
        self,
        rank: Sequence[Term],
        done: Sequence[tuple[Term, ...]],
        alone: Mapping[Goal, Found],
        best: Found,
        bounds: Mapping[Goal, float],
        stages: int,
        seed: int,
        *,
        last: bool,
    ) -> Found:
        """Seek the goals of one rank among placements that are no worse in those before."""
        least = self.choice.bound(rank, bounds)
        best = self.choice.best([best, *(one for one in alone.values() if self.choice.keeps(one, best, done))], rank)
        turns = self._turns(rank, done, alone, best)
        parts = sum(_part(goal, [*kept, *rest[:n]]) for _, kept, rest in turns for n, goal in enumerate(rest))
        for begin, goals, rest in turns:
            start, kept = begin, list(goals)
            for goal in rest:
                if self._ends(best, rank, least):
                    break
                limit_s = self._budget.limit_s * IN_TURN / stages * _part(goal, kept) / parts
                other = self._sought(start, kept, goal, bounds[goal], seed, limit_s)
                if not self.choice.keeps(other, start, done) and not self._budget.out():
                    other = self._restored(other, done, bounds, seed, limit_s)
                if other.value(goal) < start.value(goal) and self.choice.keeps(other, start, done):
                    start = other
                kept.append(goal)
            if self.choice.keeps(start, best, done):
                best = self.choice.best([best, start], rank)
        reached = len(rank) == 1 and best.value(rank[0].goal) <= least + NEAR
        if (reached and not last) or self._ends(best, rank, least):
            return best
        return self._weighed(rank, done, best, stages, seed, least)

    def _turns(
        self, rank: Sequence[Term], done: Sequence[Sequence[Term]], alone: Mapping[Goal, Found], best: Found
    ) -> list[tuple[Found, list[Goal], list[Goal]]]:
        """Return in which orders the goals of a rank are sought: from which placement, what is held, what is sought.

        From the best so far, each first in turn; and from what each has reached alone, all others after it.
        """
        before, goals = [term.goal for row in done for term in row], [term.goal for term in rank]
        turns: list[tuple[Found, list[Goal], list[Goal]]] = []
        for number, goal in enumerate(goals):
            others = [*goals[number + 1 :], *goals[:number]]
            if set(goals) == {"balance", "spread"} and goal != "spread":
                continue  # sought together, whichever comes first
            if done or goal not in alone:
                turns.append((best, before, [goal, *others]))
            if goal in alone:
                turns.append((alone[goal], [goal], [*before, *others]))
        return turns

    def _restored(
        self, found: Found, done: Sequence[Sequence[Term]], bounds: Mapping[Goal, float], seed: int, limit_s: float
    ) -> Found:
        """Seek the goals of the ranks before once more, where little of them was given up for much of another."""
        for goal in (term.goal for row in done for term in row):
            found = self._sought(found, (), goal, bounds[goal], seed, limit_s)
        return found

    def _sought(
        self, start: Found, kept: Collection[Goal], goal: Goal, bound: float, seed: int, limit_s: float
    ) -> Found:
        """Seek one goal from a placement by what is made for it, with what others have reached held."""
        plain = taken_over(self.now, self.inventory, start.placement)
        holds = held(
            plain,
            kept,
            goal,
            peak=max(start.value("balance") if "balance" in kept else 0.0, self._enough),
            even=self._even,
            need=self._need if goal == "defragment" or "defragment" in kept else None,
            takes=self._takes,
        )
        goal = "balance" if together(kept, goal) else goal
        barters = goal != "balance" or enough(holds.state, holds.aim, self._most - plain.moved_guests())
        ready(goal, barters=barters)
        quest = Quest(
            goal=goal,
            seed=seed,
            takes=self._takes,
            most=self._most,
            most_mib=self._most_mib,
            aim=holds.aim,
            bound=bound,
            barters=barters,
            finish=False,
            need=holds.need,
        )
        budget = Budget(limit_s=limit_s, clock=self._budget.clock)
        then, _ = seek(holds.state, quest, budget, stop=self._stop if goal == "balance" else None)
        for unit in np.flatnonzero(then.place[: len(plain.place)] != plain.place).tolist():
            plain.shift(unit, int(then.place[unit]))
        return self._judged(plain)

    def _judged(self, then: State) -> Found:
        """Judge a state, brought within what may be moved and with room to start again."""
        then, _ = secured(
            then, self.inventory, self.policy, lambda one: placement_of(self.inventory, one), self._budget
        )
        then = within(self.now, then, self._most, self._most_mib)
        return self.choice.found(placement_of(self.inventory, then))

    def _weighed(
        self,
        rank: Sequence[Term],
        done: Sequence[tuple[Term, ...]],
        best: Found,
        stages: int,
        seed: int,
        least: float,
    ) -> Found:
        """Weigh the goals of a rank, from the best that was found."""
        state = taken_over(self.now, self.inventory, best.placement)
        then = weighed(
            state,
            self._scales(rank, done, best),
            STEPS_PER_S * self._budget.limit_s * (1.0 - ALONE - IN_TURN) / stages,
            seed,
            lambda: self._ends(best, rank, least),
            most=self._most,
            most_mib=self._most_mib,
        )
        other = self._judged(then)
        return self.choice.best([best, other], rank) if self.choice.keeps(other, best, done) else best

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

    def _ends(self, best: Found, rank: Sequence[Term], least: float) -> bool:
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

    def _scales(self, rank: Sequence[Term], done: Sequence[tuple[Term, ...]], best: Found | None) -> Scales:
        rows = [*done, tuple(rank)]
        price = np.zeros((len(rows), len(COUNTED)))
        cap = np.full(len(rows), np.inf)
        for number, row in enumerate(rows):
            for term in row:
                price[number, COUNTED.index(term.goal)] = term.weight / self.choice.shares[term.goal][1]
            if number < len(done) and best is not None:
                cap[number] = NEAR + sum(
                    price[number, COUNTED.index(term.goal)]
                    * max(best.value(term.goal), self._enough if term.goal == "balance" else 0.0)
                    for term in row
                )
        return Scales(
            price=price,
            cap=cap,
            moving=MOVING * sum(term.weight for term in rank),
            even=self._even,
            flavour=self._flavour,
            takes=self._takes,
            slots=self._slots,
            floor=self._enough,
        )


def _part(goal: Goal, kept: Collection[Goal]) -> float:
    """Return how much of the time a goal gets beside others."""
    return EVEN if goal == "balance" or together(kept, goal) else 1.0


def _groups(inventory: Inventory, policy: Policy, objective: Objective) -> tuple[Group, ...]:
    """Return the groups of an even spread, in the units that a search has."""
    even = spread_rules(inventory, policy)
    names = {rule.name for rule in even}
    problem = compile_problem(inventory, replace(policy, rules=policy.rules + even), objective)
    return tuple(group for group in problem.should_apart if group.name in names)


def _answer(search: _Search, first: Result, best: Found, terms: Sequence[Term], bounds: Mapping[Goal, float]) -> Result:
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
        <= search.choice.bound(rank, bounds) + 1e-6
        for rank in ranked(terms)
    )
    homeless = bool(len(misplaced(then)))
    undone = terms[0].goal in FIRST and best.score.parts[0].value > 0.0
    return Result(
        placement=best.placement,
        before=_with(before, bounds),
        after=_with(best.score, bounds),
        lower_bound=search.choice.bound(ranked(terms)[0], bounds),
        status="nothing to do" if not reasons else "optimal" if reached else "feasible",
        reasons=reasons,
        complete=not homeless and not undone and best.score.violations == 0,
        notes=first.notes,
    )


def _with(said: Score, bounds: Mapping[Goal, float]) -> Score:
    return replace(said, parts=tuple(replace(part, lower_bound=bounds[part.goal]) for part in said.parts))
