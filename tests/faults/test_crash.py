"""The controller dies at every boundary; whoever comes next finds out and goes on."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Literal

import pytest

from drsim.formats import write_inventory
from executor.audit import verify
from executor.events import Event, MoveStarted
from executor.hypervisor.faults import ControllerKilled, Hang, Kill
from executor.hypervisor.simulated import SimulatedHypervisor
from executor.lifecycle import MoveState, RunState
from executor.result import RunReport
from executor.run import apply, resume
from executor.store import Store
from tests.executor.estates import assert_invariants, estate, plan, started_moves
from tests.faults.mortal import When, another_process, mortal

# take, begin, 3 waves of (intents, starts, outcomes: 2 + 1 + 1), end, release
WRITES = 2 + 3 * 2 + 4 + 2


def go_on(url: str, hypervisor: SimulatedHypervisor) -> tuple[RunReport, Store]:
    store = Store(url)
    if not store.runs():
        return apply(plan(), hypervisor, store, actor="bob"), store
    return resume("r0001", hypervisor, store, actor="bob"), store


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("fuse", range(1, WRITES + 1))
def test_killed_at_every_write(url: str, fuse: int, when: When) -> None:
    hypervisor = SimulatedHypervisor(estate())
    with another_process(), pytest.raises(ControllerKilled):
        apply(plan(), hypervisor, mortal(url, fuse, when), actor="ann")
    result, store = go_on(url, hypervisor)
    assert result.state in (RunState.DONE, RunState.NOTHING)
    assert_invariants(plan(), hypervisor, store, result)
    assert sorted(set(started_moves(store))) == ["m001", "m002", "m003", "m004"]


def test_no_write_is_left_out(url: str) -> None:
    survivor = mortal(url, WRITES + 1, "before")
    assert apply(plan(), SimulatedHypervisor(estate()), survivor, actor="ann").state is RunState.DONE


@pytest.mark.parametrize("when", ["before", "under_way", "after"])
@pytest.mark.parametrize("vm", ["c", "a", "e"])
def test_killed_around_every_call(url: str, vm: str, when: Literal["before", "under_way", "after"]) -> None:
    hypervisor = SimulatedHypervisor(estate(), faults=[Kill(vm=vm, when=when)])
    with another_process(), pytest.raises(ControllerKilled):
        apply(plan(), hypervisor, Store(url), actor="ann")
    result, store = go_on(url, hypervisor)
    assert result.state is RunState.DONE
    assert_invariants(plan(), hypervisor, store, result)


def test_a_migration_that_outlived_its_controller_is_adopted_not_repeated(url: str) -> None:
    hypervisor = SimulatedHypervisor(estate(), faults=[Hang(vm="c"), Kill(vm="c", when="under_way")])
    with another_process(), pytest.raises(ControllerKilled):
        apply(plan(), hypervisor, Store(url), actor="ann")
    deadline = time.monotonic() + 5
    while hypervisor.locate(estate().vm_by_name["a"]).sightings[0].job and time.monotonic() < deadline:
        time.sleep(0.01)
    abort, adopted, store = threading.Event(), [], Store(url)

    def listen(event: Event) -> None:
        if isinstance(event, MoveStarted):
            adopted.append((event.move.id, event.adopted))
            abort.set()

    result = resume("r0001", hypervisor, store, actor="bob", on_event=listen, abort=abort)
    assert adopted == [("m001", True)]
    assert [move.state for move in result.moves[:2]] == [MoveState.ABORTED, MoveState.DONE]
    assert started_moves(store).count("m001") == 1
    assert_invariants(plan(), hypervisor, store, result)


CONTROLLER = """
import sys
from executor.hypervisor.simulated import SimulatedHypervisor
from executor.run import apply
from executor.store import Store
from tests.executor.estates import plan
apply(plan(), SimulatedHypervisor(sys.argv[1], speed=10.0), Store(sys.argv[2]), actor="ann")
"""


def test_kill_9_in_the_middle_then_resume(url: str, tmp_path: Path) -> None:
    file = tmp_path / "estate.json"
    write_inventory(estate(), file)
    root = Path(__file__).parents[2]
    controller = subprocess.Popen([sys.executable, "-c", CONTROLLER, str(file), url], cwd=root)
    try:
        deadline = time.monotonic() + 30
        store = Store(url)
        while not (states := _states(store)) or states["m002"] is not MoveState.DONE:
            assert time.monotonic() < deadline, "the controller did not get to its first outcome"
            assert controller.poll() is None, "the controller ended by itself"
            time.sleep(0.05)
    finally:
        controller.kill()
        controller.wait()
    assert _states(store)["m001"] is MoveState.STARTED
    hypervisor = SimulatedHypervisor(file)
    result = resume("r0001", hypervisor, store, actor="bob")
    assert result.state is RunState.DONE
    assert_invariants(plan(), hypervisor, store, result)
    halves = {record.actor for record in store.audit() if record.event == "move_started"}
    assert halves == {"ann", "bob"}
    assert started_moves(store).count("m001") == 2
    assert started_moves(store).count("m002") == 1
    assert verify(store.audit(), store.head()) == ()


def _states(store: Store) -> dict[str, MoveState]:
    return {key: move.state for key, move in store.moves("r0001").items()}
