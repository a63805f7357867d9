"""Placements for several goals, judged: what each costs in shares, moving included, and which is the best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from drsim.inventory import Inventory
from drsim.optimize.even import MOVE_MIB
from drsim.optimize.score import score, share_of
from drsim.placement import Placement
from drsim.plan import Score
from drsim.policy import Goal, Objective, Policy, Term

MOVING = 0.05
"""What moving all memory once costs, as a share of one of each goal: what buys less is not worth its migrations."""

NEAR = 1e-9
"""What sums may be off by."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Found:
    """A placement, how good it is, and what it takes to get there, as a share of all memory."""

    placement: Placement
    score: Score
    moved: float

    def value(self, goal: Goal) -> float:
        """Return what one of the goals counts."""
        return next(part.value for part in self.score.parts if part.goal == goal)


class Choice:
    """Judges placements of one estate.

    Parameters
    ----------
    inventory, policy, objective : Inventory, Policy, Objective
        As for `drsim.optimize.score.score`; several goals.
    enough : float
        Highest load below which evening out further is worth nothing.
    """

    def __init__(self, inventory: Inventory, policy: Policy, objective: Objective, enough: float) -> None:
        self._inventory, self._policy, self._objective, self._enough = inventory, policy, objective, enough
        self.shares = {term.goal: share_of(term.goal, inventory, policy, objective) for term in objective.terms}
        self._cost = {vm.name: vm.data_mib + MOVE_MIB for vm in inventory.vms if vm.host}

    def found(self, placement: Placement) -> Found:
        """Judge a placement."""
        moved = {vm for vm, _, _ in Placement.of(self._inventory).changes(placement)}
        paid = sum(cost for name, cost in self._cost.items() if name in moved)
        said = score(self._inventory, self._policy, self._objective, placement)
        return Found(placement=placement, score=said, moved=paid / max(sum(self._cost.values()), 1.0))

    def cost(self, found: Found, rank: Sequence[Term]) -> float:
        """Return what a placement costs by the goals of a rank, moving included, in shares."""
        paid = MOVING * sum(term.weight for term in rank) * found.moved
        return paid + _reached(found, rank, self._enough)

    def best(self, tried: Sequence[Found], rank: Sequence[Term]) -> Found:
        """Return the cheapest of those that break least; by moving alone where no goal is named."""
        return min(tried, key=lambda one: (one.score.violations, one.score.penalty, self.cost(one, rank)))

    def keeps(self, one: Found, best: Found, done: Sequence[Sequence[Term]]) -> bool:
        """Whether a placement breaks no more than another and is no worse in the ranks before.

        Loads that are even enough are no worse than others that are, too.
        """
        whole = one.score.violations <= best.score.violations and one.score.penalty <= best.score.penalty + NEAR
        return whole and all(
            any(_reached(one, rank, floor) <= _reached(best, rank, floor) + NEAR for floor in (0.0, self._enough))
            for rank in done
        )

    def bound(self, rank: Sequence[Term], bounds: Mapping[Goal, float]) -> float:
        """Return the bound of what the goals of a rank come to (`drsim.optimize.score.total`)."""
        if len(rank) == 1:
            return bounds[rank[0].goal]
        return sum(
            term.weight * (bounds[term.goal] - self.shares[term.goal][0]) / self.shares[term.goal][1] for term in rank
        )


def _reached(found: Found, rank: Sequence[Term], floor: float) -> float:
    """Return what the goals of a rank come to in shares, loads below a floor at that."""
    goals = {term.goal for term in rank}
    return sum(
        part.weight * (max(part.share, floor - 1.0) if part.goal == "balance" else part.share)
        for part in found.score.parts
        if part.goal in goals
    )
