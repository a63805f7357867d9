"""Demand in the time ahead, part by part, as high as it is only seldom exceeded."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from drsim.errors import DataError, DrsimError, Problem
from drsim.inventory import Inventory
from drsim.workload.demand import DAY_S, Demand

Floats = NDArray[np.float64]
Method = Literal["profile", "ets"]

SEASONS = 2
"""Days that a forecast has to have seen."""


def foresee(
    inventory: Inventory,
    demand: Demand,
    *,
    quantile: float = 0.95,
    parts: int = 24,
    method: Method = "profile",
    horizon_s: float = DAY_S,
) -> Inventory:
    """Say of every guest what CPU it will want in each part of the time ahead.

    Guests that demand tells nothing of keep what was measured. What a host will have to carry is taken to be the sum
    of its guests' quantiles: safe, and the more on the safe side the more guests vary independently of each other;
    a lower quantile packs tighter.

    Parameters
    ----------
    inventory : Inventory
        What is where.
    demand : Demand
        What was measured, in equal steps.
    quantile : float
        Between 0 and 1: in that share of the time demand is no higher.
    parts : int
        Parts that the time ahead is divided into.
    method : {"profile", "ets"}
        ``profile``: quantiles of what was measured at that time of all days, for the next day. ``ets``: a forecast by
        exponential smoothing with a daily season, fitted to each guest by statsmodels (extra ``forecast``).
    horizon_s : float
        For ``ets``: how far ahead, seconds.

    Returns
    -------
    Inventory
        With ``cpu_ahead_cores``, never above a guest's vCPUs. Balance evens out every part beside the present, and
        capacity holds in each.

    Raises
    ------
    DataError
        If demand is too short.
    DrsimError
        If a figure makes no sense, or statsmodels is not installed.
    """
    if not 0.0 < quantile < 1.0:
        raise DrsimError(f"quantile {quantile:g}: expected more than 0 and less than 1, e.g. 0.95.")
    if parts < 1:
        raise DrsimError(f"parts {parts}: the time ahead has at least one.")
    known = {name: number for number, name in enumerate(demand.vms)}
    columns = [known[vm.name] for vm in inventory.vms if vm.name in known]
    seen = demand.cpu_cores[:, columns].astype(np.float64)
    ahead = _profile(seen, demand.step_s, quantile, parts)
    if method == "ets":
        ahead = _ets(seen, demand.step_s, quantile, parts, horizon_s)
    rows = iter(ahead.T.tolist())
    vms = tuple(
        replace(vm, cpu_ahead_cores=tuple(min(max(value, 0.0), float(vm.vcpus)) for value in next(rows)))
        if vm.name in known
        else replace(vm, cpu_ahead_cores=())
        for vm in inventory.vms
    )
    return replace(inventory, vms=vms)


def _profile(seen: Floats, step_s: float, quantile: float, parts: int) -> Floats:
    """Return the quantile of each guest in each part of the day, shape (parts, guests)."""
    covered_s = min(DAY_S, step_s * len(seen))
    part = np.floor((np.arange(len(seen)) * step_s) % covered_s / covered_s * parts).astype(np.int64)
    if len(np.unique(part)) < parts:
        said = f"{len(seen)} samples do not reach into {parts} parts."
        raise _short(said, "Give more samples, or fewer --parts.")
    return np.array([np.quantile(seen[part == number], quantile, axis=0) for number in range(parts)])


def _ets(seen: Floats, step_s: float, quantile: float, parts: int, horizon_s: float) -> Floats:
    """Return the upper ends of the forecast's intervals, the highest in each part, shape (parts, guests)."""
    season, steps = max(1, round(DAY_S / step_s)), max(parts, round(horizon_s / step_s))
    if len(seen) < SEASONS * season:
        said = f"it covers {len(seen) * step_s / DAY_S:.2g} days; a forecast needs {SEASONS}."
        raise _short(said, "Give more days, or use the profile.")
    values = np.array([_forecast(column, season, steps, quantile) for column in seen.T])
    return np.array([block.max(axis=1) for block in np.array_split(values, parts, axis=1)])


def _forecast(seen: Floats, season: int, steps: int, quantile: float) -> Floats:
    """Return the quantile of one guest's demand in each step to come."""
    import pandas as pd

    try:
        from statsmodels.tsa.exponential_smoothing.ets import ETSModel
    except ImportError as error:
        raise DrsimError("Forecasts need statsmodels: pip install 'drsim[forecast]', or use the profile.") from error
    if np.ptp(seen) == 0.0:  # nothing varies, so there is nothing to fit
        return np.full(steps, seen[0])
    seasonal = "add" if season > 1 else None
    model = ETSModel(
        pd.Series(seen),
        error="add",
        seasonal=seasonal,
        seasonal_periods=season if seasonal else None,
        initialization_method="heuristic",
    )
    said = model.fit(disp=False).get_prediction(start=len(seen), end=len(seen) + steps - 1)
    # The interval's ends are symmetric about the mean; at a level of 2 |q - 1/2| one of them is the quantile.
    ends = np.asarray(said.pred_int(alpha=min(1.0, 2.0 * min(quantile, 1.0 - quantile))), dtype=np.float64)
    end: Floats = ends[:, 1 if quantile >= 0.5 else 0]
    return end


def _short(said: str, remedy: str) -> DataError:
    return DataError(Problem(place="demand", expected=said, remedy=remedy))
