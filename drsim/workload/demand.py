"""Demand of guests over time: recorded, or invented with the shape that clusters have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from drsim.errors import DataError, Problem
from drsim.inventory import Inventory

if TYPE_CHECKING:
    import pandas as pd

DAY_S = 86_400.0

PEAK_S, SPREAD_S = 14 * 3600.0, 2 * 3600.0
"""Time of day at which the mean guest is busiest, and the standard deviation of that over guests."""

SWING, WEEKEND = 0.45, 0.7
"""How far demand swings up and down in a day, and what is left of it on the sixth and seventh day. That interactive
guests have such a rhythm is known (Cortez et al., SOSP 2017, doi:10.1145/3132747.3132772); the sizes are assumed."""

NOISE, MEMORY_S = 0.25, 3600.0
"""Standard deviation of the logarithm of demand beside its rhythm, and the time after which it has forgotten itself."""

BURSTS_PER_DAY, BURST_S, BURST = 0.3, 1800.0, 3.0
"""How often a guest has a burst, how long the mean burst is, and what demand is multiplied with."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Demand:
    """CPU and memory demand of guests, constant from one sample to the next.

    Parameters
    ----------
    vms : tuple of str
        Guests.
    step_s : float
        Time between two samples; the first is at 0.
    cpu_cores : array of float, shape (samples, guests)
        What each guest would use if its host had enough.
    memory_mib : array of float, shape (samples, guests), optional
        Memory of each guest that holds data; by default what the inventory says, all the time.
    """

    vms: tuple[str, ...]
    step_s: float
    cpu_cores: NDArray[np.float32]
    memory_mib: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        problems = []
        if self.step_s <= 0.0:
            problems.append(("step_s", f"it is {self.step_s:g} s.", "Give the time between two samples."))
        samples = len(self.cpu_cores)
        for field, series in (("cpu_cores", self.cpu_cores), ("memory_mib", self.memory_mib)):
            if series is None:
                continue
            if series.ndim != 2 or series.shape != (samples, len(self.vms)) or not samples:
                shape = f"samples x {len(self.vms)} guests"
                problems.append((field, f"its shape is {series.shape}, not {shape}.", "A column a guest."))
            elif not np.isfinite(series).all() or (series < 0.0).any():
                problems.append((field, "some of it is negative or no number.", "Fill gaps before, e.g. by 0."))
        if problems:
            raise DataError(
                *(Problem(place="demand", field=field, expected=said, remedy=do) for field, said, do in problems)
            )

    @property
    def duration_s(self) -> float:
        """Time that the samples cover."""
        return self.step_s * len(self.cpu_cores)

    @classmethod
    def of_frame(cls, frame: pd.DataFrame) -> Demand:
        """Take demand from a table.

        Parameters
        ----------
        frame : DataFrame
            A row a guest and time, with columns ``time_s``, ``vm``, ``cpu_cores`` and, if known,
            ``memory_used_mib``; times in equal steps. A guest without a row at a time keeps what it had; before its
            first it has no CPU demand, and the memory of its first.

        Raises
        ------
        DataError
            If a column is missing, there is only one time, or the steps differ.
        """
        if missing := [name for name in ("time_s", "vm", "cpu_cores") if name not in frame.columns]:
            raise DataError(_problem(f"there is no column '{missing[0]}'.", "Name the columns time_s, vm, cpu_cores."))
        wide = frame.pivot_table(
            index="time_s", columns="vm", values="cpu_cores", aggfunc="last", sort=True, dropna=False
        )
        times = wide.index.to_numpy(dtype=np.float64)
        steps = np.diff(times)
        if not steps.size or not np.allclose(steps, steps[0], rtol=1e-6):
            raise DataError(_problem("its times are not in equal steps.", "Resample it, e.g. by DataFrame.resample."))
        filled = wide.ffill().fillna(0.0)
        memory = None
        if "memory_used_mib" in frame.columns:
            held = frame.pivot_table(
                index="time_s", columns="vm", values="memory_used_mib", aggfunc="last", sort=True, dropna=False
            )
            if missing := [str(name) for name in wide.columns if name not in held or held[name].isna().all()]:
                said = f"guest '{missing[0]}' has no memory_used_mib at any time."
                raise DataError(_problem(said, "Give at least one figure a guest, or leave the column away."))
            aligned = held.reindex(index=wide.index, columns=wide.columns).ffill().bfill()
            memory = np.ascontiguousarray(aligned.to_numpy(dtype=np.float32))
        return cls(
            vms=tuple(str(name) for name in wide.columns),
            step_s=float(steps[0]),
            cpu_cores=np.ascontiguousarray(filled.to_numpy(dtype=np.float32)),
            memory_mib=memory,
        )

    @classmethod
    def daily(
        cls, inventory: Inventory, *, days: float, step_s: float = 300.0, seed: int = 0, growth_per_day: float = 0.0
    ) -> Demand:
        """Invent demand with a daily and a weekly rhythm, noise that forgets itself, and bursts.

        Parameters
        ----------
        inventory : Inventory
            The guests; what each needs now is its mean.
        days : float
            How long.
        step_s : float
            Time between two samples.
        seed : int
            Same input and seed: same demand.
        growth_per_day : float
            Growth a day, as a share of the first.

        Returns
        -------
        Demand
            Never above a guest's vCPUs. The first sample is midnight of the first day, a Monday.
        """
        random = np.random.default_rng(seed)
        samples, guests = max(1, round(days * DAY_S / step_s)), len(inventory.vms)
        time_s = np.arange(samples) * step_s
        mean = np.array([vm.cpu_cores for vm in inventory.vms])
        most = np.array([float(vm.vcpus) for vm in inventory.vms], dtype=np.float32)
        peak_s = random.normal(PEAK_S, SPREAD_S, guests)
        week = np.where(time_s % (7 * DAY_S) >= 5 * DAY_S, WEEKEND, 1.0) * (1.0 + growth_per_day * time_s / DAY_S)
        keep = float(np.exp(-step_s / MEMORY_S))
        shock = NOISE * float(np.sqrt(1.0 - keep * keep))
        state = NOISE * random.standard_normal(guests, dtype=np.float32)
        burst_until = np.zeros(guests)
        cpu = np.empty((samples, guests), dtype=np.float32)
        for row in range(samples):
            now_s = row * step_s
            begins = np.flatnonzero(random.random(guests) < BURSTS_PER_DAY * step_s / DAY_S)
            burst_until[begins] = now_s + random.exponential(BURST_S, begins.size)
            rhythm = 1.0 + SWING * np.cos(2.0 * np.pi * (now_s - peak_s) / DAY_S)
            factor = np.exp(state) * np.where(burst_until > now_s, BURST, 1.0)
            cpu[row] = mean * (week[row] * rhythm) * factor
            state = keep * state + shock * random.standard_normal(guests, dtype=np.float32)
        np.minimum(cpu, most, out=cpu)
        return cls(vms=tuple(vm.name for vm in inventory.vms), step_s=step_s, cpu_cores=cpu)

    def of(self, names: Sequence[str]) -> Demand:
        """Return the demand of these guests in this order.

        Raises
        ------
        DataError
            If one of them is not in it.
        """
        index = {name: number for number, name in enumerate(self.vms)}
        if missing := [name for name in names if name not in index]:
            said = f"there is nothing of guest '{missing[0]}'" + (
                f" and {len(missing) - 1} others." if len(missing) > 1 else "."
            )
            raise DataError(_problem(said, "Give demand of every guest of the inventory, 0 for those that do nothing."))
        columns = [index[name] for name in names]
        if columns == list(range(len(self.vms))):
            return self
        return Demand(
            vms=tuple(names),
            step_s=self.step_s,
            cpu_cores=np.ascontiguousarray(self.cpu_cores[:, columns]),
            memory_mib=None if self.memory_mib is None else np.ascontiguousarray(self.memory_mib[:, columns]),
        )


def _problem(said: str, remedy: str) -> Problem:
    return Problem(place="demand", expected=said, remedy=remedy)
