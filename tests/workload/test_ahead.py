"""Demand in the time ahead: quantiles by time of day, forecasts by a library, and what plans make of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from drsim import check
from drsim.errors import DataError, DrsimError
from drsim.inventory import Inventory
from drsim.planner import make_plan
from drsim.policy import Policy
from drsim.workload import Demand, foresee
from tests.rules.estates import estate

HOUR_S = 3600.0


def days(inventory: Inventory, count: int, *, noise: float = 0.0, seed: int = 0) -> Demand:
    """Even guests are busy in the first half of the day, odd ones in the second; 5 cores and 1."""
    hour = np.arange(24 * count) % 24
    first = np.where(hour < 12, 5.0, 1.0)[:, None]
    turns = np.arange(len(inventory.vms)) % 2 == 0
    cpu = np.where(turns, first, 6.0 - first)
    cpu = cpu * np.exp(noise * np.random.default_rng(seed).standard_normal(cpu.shape))
    return Demand(vms=tuple(vm.name for vm in inventory.vms), step_s=HOUR_S, cpu_cores=cpu.astype(np.float32))


def busy(places: str) -> Inventory:
    made = estate(places, hosts=2)
    return replace(made, vms=tuple(replace(vm, vcpus=8, cpu_demand_cores=2.0) for vm in made.vms))


def test_a_profile_is_the_quantile_at_that_time_of_all_days() -> None:
    inventory = busy("1")
    cpu = np.array([[1.0], [4.0], [2.0], [6.0], [3.0], [8.0]], dtype=np.float32)
    demand = Demand(vms=("v1",), step_s=43_200.0, cpu_cores=cpu)
    assert foresee(inventory, demand, quantile=0.5, parts=2).vms[0].cpu_ahead_cores == (2.0, 6.0)
    assert foresee(inventory, demand, quantile=0.75, parts=2).vms[0].cpu_ahead_cores == (2.5, 7.0)
    assert foresee(inventory, demand, quantile=0.5, parts=1).vms[0].cpu_ahead_cores == (3.5,)


def test_demand_never_exceeds_vcpus_and_unknown_guests_keep_what_was_measured() -> None:
    inventory = busy("12")
    demand = Demand(vms=("v1", "other"), step_s=HOUR_S, cpu_cores=np.full((24, 2), 20.0, dtype=np.float32))
    known, unknown = foresee(inventory, demand, parts=3).vms
    assert (known.cpu_ahead_cores, unknown.cpu_ahead_cores) == ((8.0,) * 3, ())


def test_peaks_that_meet_are_parted_although_the_present_is_even() -> None:
    inventory = foresee(busy("1212"), days(busy("1212"), 3), parts=2)
    assert {found.kind for found in check.violations(inventory, Policy())} == {"cpu_ahead"}
    plan = make_plan(inventory, Policy())
    assert plan.after.violations == 0
    assert plan.target["v1"] != plan.target["v3"]
    assert plan.target["v2"] != plan.target["v4"]
    # Without demand ahead there is nothing to do: now every host carries the same.
    assert make_plan(busy("1212"), Policy()).moves == ()


def test_a_plan_for_a_high_quantile_is_exceeded_less_often_in_days_that_it_has_not_seen() -> None:
    made = estate("11111111222", hosts=3)
    inventory = replace(made, vms=tuple(replace(vm, vcpus=8, cpu_demand_cores=1.0) for vm in made.vms))
    seen = days(inventory, 20, noise=0.5, seed=1)
    small = Demand(vms=seen.vms, step_s=seen.step_s, cpu_cores=seen.cpu_cores / 4.0)
    share = {}
    for quantile in (0.5, 0.95):
        planned = foresee(inventory, small, quantile=quantile, parts=24)
        fresh = days(inventory, 50, noise=0.5, seed=2).cpu_cores / 4.0
        said = np.array([vm.cpu_ahead_cores for vm in planned.vms]).T
        share[quantile] = float((fresh > said[np.arange(len(fresh)) % 24]).mean())
    assert share[0.5] == pytest.approx(0.5, abs=0.06)
    assert share[0.95] < 0.12


def test_what_makes_no_sense_is_refused() -> None:
    inventory = busy("1")
    with pytest.raises(DrsimError, match="expected more than 0 and less than 1"):
        foresee(inventory, days(inventory, 1), quantile=1.5)
    with pytest.raises(DataError, match="do not reach into 48 parts"):
        foresee(inventory, days(inventory, 1), parts=48)
    with pytest.raises(DataError, match="a forecast needs 2"):
        foresee(inventory, days(inventory, 1), method="ets")


def test_a_forecast_knows_the_time_of_day() -> None:
    inventory = busy("12")
    ahead = foresee(inventory, days(inventory, 4, noise=0.02), parts=2, method="ets", quantile=0.9)
    first, second = (vm.cpu_ahead_cores for vm in ahead.vms)
    assert first[0] == pytest.approx(5.0, rel=0.15)
    assert first[1] == pytest.approx(1.0, rel=0.3)
    assert second[0] < second[1]


def test_a_quantile_of_a_forecast_is_its_own_share() -> None:
    """Of the day that follows about one step in ten lies above what is foreseen at 90 %, half of them at 50 %."""
    inventory = busy("12")
    past, later = days(inventory, 6, noise=0.1), days(inventory, 7, noise=0.1)
    coming = later.cpu_cores[len(past.cpu_cores) :]
    steps = len(coming)
    above = {}
    for quantile in (0.5, 0.9):
        ahead = foresee(inventory, past, parts=steps, method="ets", quantile=quantile)
        said = np.array([vm.cpu_ahead_cores for vm in ahead.vms]).T
        above[quantile] = float((coming > said).mean())
    assert 0.3 < above[0.5] < 0.7
    assert 0.02 < above[0.9] < 0.25


def test_demand_that_never_varies_goes_on_as_it_is() -> None:
    inventory = busy("1")
    flat = days(inventory, 3)
    flat = replace(flat, cpu_cores=np.full_like(flat.cpu_cores, 1.5))
    (vm,) = foresee(inventory, flat, parts=4, method="ets").vms
    assert vm.cpu_ahead_cores == pytest.approx((1.5,) * 4)
