"""What a plan is worth: CPU time that guests will not have to wait for, against what its migrations cost them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from drsim.inventory import Inventory
from drsim.migration import THREAD_CORES
from drsim.placement import Placement
from drsim.plan import Move, Plan

Floats = NDArray[np.float64]

VARIATION = 0.8
"""Deviation of a guest's CPU demand in the next hour from what it is now, over what it is now. Measured on the
PlanetLab trace of 2011-03-03 (1,051 guests, 5-minute samples): 0.68 for single guests, 0.74 to 0.84 over the square
root of the number for sums of 5 to 50 of them; guests vary independently of each other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Worth:
    """What a plan saves and costs, in core-seconds that guests would wait.

    Parameters
    ----------
    saved_core_s : float
        CPU time that guests would have to wait for over the horizon, without the plan less with it.
    cost_core_s : float
        CPU time that they lose to its migrations: standing still, held back, and beside the migration threads.
    horizon_s : float
        Time over which the saving counts, seconds.
    """

    saved_core_s: float
    cost_core_s: float
    horizon_s: float

    @property
    def net_core_s(self) -> float:
        """What is left of the saving."""
        return self.saved_core_s - self.cost_core_s

    @property
    def pays(self) -> bool:
        """Whether the saving exceeds the cost."""
        return self.net_core_s > 0.0

    def __str__(self) -> str:
        hours = f"{self.horizon_s / 3600.0:.3g} h"
        return (
            f"over {hours} guests would wait {self.saved_core_s:.3g} core-seconds less for CPU; "
            f"its migrations cost them {self.cost_core_s:.3g}"
        )


def worth(plan: Plan, horizon_s: float) -> Worth:
    """Weigh a plan.

    Parameters
    ----------
    plan : Plan
        With predictions.
    horizon_s : float
        Time over which what it saves counts, seconds.
    """
    before = _Loads(plan.inventory, Placement.of(plan.inventory))
    after = _Loads(plan.inventory, plan.target)
    saved = (before.waiting().sum() - after.waiting().sum()) * horizon_s
    return Worth(saved_core_s=float(saved), cost_core_s=_cost(plan.inventory, plan.moves, before), horizon_s=horizon_s)


def waiting_cores(inventory: Inventory, placement: Mapping[str, str]) -> Floats:
    """Return how much CPU demand of each host's guests has to wait on average, cores, shape (hosts,).

    The demand of a host's guests is taken to be normal about what it is now, with `VARIATION`; what exceeds its cores
    waits: ``E max(X - C, 0) = s phi(z) + (m - C) Phi(z)`` with ``z = (m - C) / s``.
    """
    return _Loads(inventory, placement).waiting()


class _Loads:
    """CPU demand on every host: mean and standard deviation."""

    def __init__(self, inventory: Inventory, placement: Mapping[str, str]) -> None:
        self.index = {host.name: number for number, host in enumerate(inventory.hosts)}
        self._cores = np.array([float(host.cores) for host in inventory.hosts])
        works = [vm for vm in inventory.vms if vm.state == "running"]
        where = np.array([self.index[placement[vm.name]] for vm in works], dtype=np.int64)
        demand = np.array([vm.cpu_cores for vm in works])
        count = len(inventory.hosts)
        self._mean = np.bincount(where, demand, count)
        self._spread = VARIATION * np.sqrt(np.bincount(where, demand**2, count))

    def waiting(self, extra_cores: float = 0.0) -> Floats:
        """Return what waits on each host when so much more is asked of it, cores."""
        over = self._mean + extra_cores - self._cores
        spread = np.maximum(self._spread, 1e-12)
        z = over / spread
        waits: Floats = spread * np.exp(-0.5 * z**2) / np.sqrt(2.0 * np.pi) + over * _below(z)
        return np.maximum(waits, 0.0)


def _cost(inventory: Inventory, moves: Iterable[Move], now: _Loads) -> float:
    crowding = now.waiting(THREAD_CORES) - now.waiting()
    cost = 0.0
    for move in moves:
        said = move.prediction
        if said is not None:
            lost_s = said.downtime_ms / 1000.0 + said.held_back_s
            cost += lost_s * inventory.vm_by_name[move.vm].cpu_cores
            cost += said.total_time_s * float(crowding[now.index[move.source]] + crowding[now.index[move.target]])
    return cost


def _below(z: Floats) -> Floats:
    """Distribution function of the standard normal distribution."""
    return np.array([0.5 * math.erfc(-each / math.sqrt(2.0)) for each in z.tolist()])
