"""The Pareto front: how much balance how much moving buys."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from drsim.errors import DrsimError
from drsim.inventory import Inventory
from drsim.migration import DEFAULT, Calibration, Parameters
from drsim.plan import Plan
from drsim.planner import make_plan
from drsim.policy import Objective, Policy

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

MEASURES = ("objective", "gib", "moves", "minutes", "downtime_ms")
"""What plans are compared by, all the lower the better."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Front:
    """Plans of which none is better than another in everything, from the one that moves least to the most balanced.

    Parameters
    ----------
    plans : tuple of Plan
        At least one.
    knee : int
        Which of them is suggested: beyond it a little more balance costs much more moving.
    """

    plans: tuple[Plan, ...]
    knee: int

    @property
    def measures(self) -> Floats:
        """Figures of each plan, shape (plans, `MEASURES`)."""
        return np.array([measures(plan) for plan in self.plans])


def measures(plan: Plan) -> tuple[float, float, float, float, float]:
    """Return what a plan reaches and costs, in the order of `MEASURES`; traffic and longest standstill as predicted."""
    said = [move.prediction for move in plan.moves if move.prediction is not None]
    return (
        plan.after.objective,
        sum(each.sent_mib for each in said) / 1024.0,
        float(len(plan.moves)),
        plan.makespan_s / 60.0,
        max((each.downtime_ms for each in said), default=0.0),
    )


def pareto_front(
    inventory: Inventory,
    policy: Policy | None = None,
    *,
    points: int = 8,
    time_limit_s: float = 10.0,
    seed: int = 0,
    parameters: Parameters = DEFAULT,
    calibration: Calibration | None = None,
) -> Front:
    """Find plans between moving nothing that need not be moved and the best balance.

    The best balance is sought first; then loads between it and the present one are aimed at, each with as little
    memory moved as can be found. Every plan is ordered and simulated; what is no better in anything is left out.

    Parameters
    ----------
    inventory : Inventory
        What is where.
    policy : Policy, optional
        Rules and limits; all plans keep them.
    points : int
        Plans to make, two at least.
    time_limit_s : float
        Time for all searches together, seconds.
    seed : int
        Same input and seed: same front.
    parameters, calibration : Parameters, Calibration, optional
        As for `make_plan`.

    Raises
    ------
    DrsimError
        If fewer than two points are asked for.
    """
    if points < 2:
        raise DrsimError(f"points: {points}; a front has at least 2.")

    def toward(objective: Objective) -> Plan:
        return make_plan(
            inventory,
            policy,
            objective,
            time_limit_s=time_limit_s / points,
            seed=seed,
            parameters=parameters,
            calibration=calibration,
        )

    best = toward(Objective())
    low, high = best.after.objective, best.before.objective
    plans = [best]
    if high > low >= 1.0:
        # The last steps to balance are the dear ones: aims lie closer there.
        aims = low + (high - low) * (np.arange(1, points) / (points - 1)) ** 2
        plans += [toward(Objective(aim=float(aim))) for aim in aims]
    front = _undominated(plans)
    return Front(plans=front, knee=knee(np.array([measures(plan)[:2] for plan in front])))


def _undominated(plans: list[Plan]) -> tuple[Plan, ...]:
    figures = np.array([(plan.after.violations, plan.after.penalty, *measures(plan)) for plan in plans])
    no_better: Bools = np.all(figures[:, None] <= figures[None], axis=2)
    better = no_better & (figures[:, None] < figures[None]).any(axis=2)
    twin = no_better & ~better
    first = np.array([not twin[:number, number].any() for number in range(len(plans))])
    kept = [plan for plan, out in zip(plans, better.any(axis=0) | ~first, strict=True) if not out]
    return tuple(sorted(kept, key=lambda plan: measures(plan)[1]))


def knee(points: Floats) -> int:
    """Return the point of a falling curve that lies farthest below the line from its first to its last.

    Both axes are scaled to the range that the curve spans (Satopaa et al., "Finding a 'Kneedle' in a Haystack", 2011,
    doi:10.1109/ICDCSW.2011.20).

    Parameters
    ----------
    points : array of float, shape (n, 2)
        One at least; each coordinate the lower the better.
    """
    span = np.ptp(points, axis=0)
    scaled = (points - points.min(axis=0)) / np.where(span > 0.0, span, 1.0)
    return int((1.0 - scaled.sum(axis=1)).argmax())
