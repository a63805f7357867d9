"""What a plan is worth: CPU time that guests will not have to wait for, against what its migrations cost them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from drsim.check import counted
from drsim.inventory import Inventory
from drsim.migration import DEFAULT, Options, Parameters, sender_mib_s, thread_cores
from drsim.placement import Placement
from drsim.plan import Plan

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
EVERYWHERE = slice(None)

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


def worth(plan: Plan, horizon_s: float, parameters: Parameters = DEFAULT) -> Worth:
    """Weigh a plan.

    Parameters
    ----------
    plan : Plan
        With predictions.
    horizon_s : float
        Time over which what it saves counts, seconds.
    parameters : Parameters
        They say how much CPU a migration takes.
    """
    inventory, _ = counted(plan.inventory, plan.policy, plan.objective)
    before = _Loads(inventory, Placement.of(inventory))
    after = _Loads(inventory, plan.target)
    saved = (before.waiting().sum() - after.waiting().sum()) * horizon_s
    return Worth(saved_core_s=float(saved), cost_core_s=_cost(plan, before, parameters), horizon_s=horizon_s)


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

    def waiting(self, extra_cores: Floats | float = 0.0, on: Ints | slice = EVERYWHERE) -> Floats:
        """Return what waits on hosts, all by default, when so much more is asked of them, cores."""
        over = self._mean[on] + extra_cores - self._cores[on]
        spread = np.maximum(self._spread[on], 1e-12)
        z = over / spread
        waits: Floats = spread * np.exp(-0.5 * z**2) / np.sqrt(2.0 * np.pi) + over * _below(z)
        return np.maximum(waits, 0.0)


def _cost(plan: Plan, now: _Loads, parameters: Parameters) -> float:
    made = [(move, move.prediction) for move in plan.moves if move.prediction is not None]
    guests = plan.inventory.vm_by_name
    still = sum((said.downtime_ms / 1e3 + said.held_back_s) * guests[move.vm].cpu_cores for move, said in made)
    time_s = np.array([said.total_time_s for _, said in made])
    cores = np.array(
        [
            thread_cores(
                said.sent_mib / max(said.total_time_s, 1e-9), sender_mib_s(parameters, options), options.channels
            )
            for (_, said), options in zip(made, (Options.of(move.transfer) for move, _ in made), strict=True)
        ]
    )
    beside = 0.0
    for end in ("source", "target"):
        hosts = np.array([now.index[getattr(move, end)] for move, _ in made], dtype=np.int64)
        beside += float(((now.waiting(cores, hosts) - now.waiting(0.0, hosts)) * time_s).sum())
    return still + beside


def _below(z: Floats) -> Floats:
    """Distribution function of the standard normal distribution."""
    return np.array([0.5 * math.erfc(-each / math.sqrt(2.0)) for each in z.tolist()])
