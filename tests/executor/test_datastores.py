"""Plans that even out or empty datastores, carried out on simulated hosts, taken up again, and made anew."""

from __future__ import annotations

from pathlib import Path

import pytest

from drsim.planner import make_plan
from drsim.policy import Objective, Policy
from drsim.storage import landed
from executor.hypervisor.faults import ControllerKilled, Kill
from executor.hypervisor.simulated import SimulatedHypervisor
from executor.lifecycle import RunState
from executor.run import apply, resume
from executor.store import Store
from tests.faults.mortal import another_process
from tests.planner.test_datastores import OLD, STORAGE, estate, where


@pytest.mark.parametrize("wish", [STORAGE, OLD], ids=["storage", "evacuate"])
def test_a_plan_of_disks_is_carried_out(tmp_path: Path, wish: Objective) -> None:
    made = estate(["h1:/old"] * 10 + ["h2:/old"])
    plan = make_plan(made, Policy(), wish)
    hypervisor, store = SimulatedHypervisor(made), Store(f"sqlite:///{tmp_path / 'runs.db'}")
    assert apply(plan, hypervisor, store, actor="ann").state is RunState.DONE
    reached = hypervisor.inventory()
    assert where(reached) == where(landed(made, plan.moves))
    assert [vm.host for vm in reached.vms] == [vm.host for vm in made.vms]
    assert make_plan(reached, Policy(), wish).moves == ()
    assert apply(plan, hypervisor, store, actor="ann").state is RunState.NOTHING


def test_a_plan_of_disks_whose_controller_died_is_taken_up_again(tmp_path: Path) -> None:
    made, url = estate(["h1:/old"] * 10), f"sqlite:///{tmp_path / 'runs.db'}"
    plan = make_plan(made, Policy(), STORAGE)
    hypervisor = SimulatedHypervisor(made, faults=[Kill(vm=plan.moves[0].vm, when="after")])
    with another_process(), pytest.raises(ControllerKilled):
        apply(plan, hypervisor, Store(url), actor="ann")
    assert resume("r0001", hypervisor, Store(url), actor="bob").state is RunState.DONE
    assert where(hypervisor.inventory()) == where(landed(made, plan.moves))
