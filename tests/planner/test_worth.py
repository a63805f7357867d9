"""What a plan saves against what it costs, and plans that are not proposed because they do not pay."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from drsim.inventory import Host, Inventory, Site, Vm
from drsim.placement import Placement
from drsim.planner import make_plan
from drsim.policy import Objective
from drsim.synthetic import cluster
from drsim.worth import VARIATION, waiting_cores, worth


def two_hosts(demands: list[float], cores: int = 8, write_mib_s: float = 0.0) -> Inventory:
    """Make a host with guests of these demands, and an empty one."""
    hosts = tuple(Host(name=name, site="s", cores=cores, memory_mib=65536) for name in ("h1", "h2"))
    vms = tuple(
        Vm(name=f"vm{n}", host="h1", vcpus=2, memory_mib=2048, cpu_demand_cores=demand)
        for n, demand in enumerate(demands)
    )
    return Inventory(sites=(Site(name="s"),), hosts=hosts, vms=vms)


@pytest.mark.parametrize("demands", [[1.0] * 4, [2.0] * 4, [2.0] * 6, [0.5, 7.0]])
def test_the_waiting_time_is_that_of_normal_demand(demands: list[float]) -> None:
    inventory = two_hosts(demands)
    random = np.random.default_rng(0)
    drawn = np.array(demands) * (1.0 + VARIATION * random.standard_normal((400_000, len(demands))))
    waits = np.maximum(drawn.sum(axis=1) - 8.0, 0.0).mean()
    first, second = waiting_cores(inventory, Placement.of(inventory))
    assert first == pytest.approx(waits, rel=0.02, abs=1e-3)
    assert second == 0.0


def test_relief_of_a_crowded_host_pays_and_of_an_idle_one_does_not() -> None:
    hot, cold = two_hosts([2.0] * 5), two_hosts([0.05] * 5)
    wish = Objective(horizon_s=3600.0)
    relieved = make_plan(hot, objective=wish)
    assert relieved.moves
    assert any("It pays" in note for note in relieved.notes)
    assert worth(relieved, 3600.0).pays
    left = make_plan(cold, objective=wish)
    assert not left.moves
    assert any("does not pay" in note for note in left.notes)
    assert make_plan(cold).moves, "without a horizon it is balanced"
    assert left.objective == relieved.objective == wish


def test_what_must_hold_is_mended_whether_or_not_it_pays() -> None:
    inventory = two_hosts([0.01] * 5)
    hosts = (replace(inventory.hosts[0], memory_mib=8192), inventory.hosts[1])
    plan = make_plan(replace(inventory, hosts=hosts), objective=Objective(horizon_s=1.0))
    assert plan.before.violations
    assert not plan.after.violations


def test_a_longer_horizon_saves_more_and_costs_the_same() -> None:
    plan = make_plan(cluster(6, 60, seed=3), time_limit_s=1.0)
    hour, day = worth(plan, 3600.0), worth(plan, 86400.0)
    assert day.saved_core_s == pytest.approx(24 * hour.saved_core_s)
    assert day.cost_core_s == hour.cost_core_s > 0.0
