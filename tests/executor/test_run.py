"""Applying a plan where nothing goes wrong, and telling the truth about it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from drsim.errors import PlanError, StoreError
from drsim.formats import write_inventory
from drsim.policy import Quiet
from executor.events import Event, MoveEnded, MoveProgress, MoveStarted, RunEnded, RunStarted, WaveStarted
from executor.hypervisor.simulated import SimulatedHypervisor
from executor.lifecycle import RunState
from executor.run import apply, report, resume
from executor.store import Store
from tests.executor.estates import assert_invariants, estate, moves, plan, started_moves


def test_a_plan_is_carried_out_as_it_was_reviewed(store: Store) -> None:
    the_plan, hypervisor, events = plan(), SimulatedHypervisor(estate()), []
    result = apply(the_plan, hypervisor, store, actor="ann", on_event=events.append)
    assert result.state is RunState.DONE
    assert {vm.name: vm.host for vm in hypervisor.inventory().vms} == dict(the_plan.target)
    assert started_moves(store) == ["m001", "m002", "m003", "m004"]
    assert_invariants(the_plan, hypervisor, store, result)


def test_events_tell_the_run_in_order(store: Store) -> None:
    events: list[Event] = []
    apply(plan(), SimulatedHypervisor(estate()), store, actor="ann", on_event=events.append)
    assert isinstance(events[0], RunStarted)
    assert isinstance(events[-1], RunEnded)
    assert [e.number for e in events if isinstance(e, WaveStarted)] == [1, 2, 3]
    for move in moves():
        mine = [
            type(e) for e in events if isinstance(e, MoveStarted | MoveProgress | MoveEnded) and e.move.id == move.id
        ]
        assert mine[0] is MoveStarted
        assert mine[-1] is MoveEnded
        assert mine.count(MoveEnded) == 1


def test_without_noise_reality_is_the_prediction(store: Store) -> None:
    hypervisor = SimulatedHypervisor(estate(), noise=0.0)
    rows = apply(plan(), hypervisor, store, actor="ann").compare()
    for row in rows:
        for field in ("start_s", "total_time_s", "downtime_ms", "sent_mib", "rounds"):
            assert row[f"actual_{field}"] == pytest.approx(row[f"predicted_{field}"], rel=1e-6, abs=1e-6), field


def test_with_noise_reality_differs_and_repeats_itself(tmp_path: Path) -> None:
    def rows(seed: int, name: str) -> list[dict[str, object]]:
        store = Store(f"sqlite:///{tmp_path / name}")
        return apply(plan(), SimulatedHypervisor(estate(), seed=seed), store, actor="ann").compare()

    first, same, other = rows(1, "1"), rows(1, "2"), rows(2, "3")
    assert first == same
    assert first != other
    assert all(row["actual_total_time_s"] != row["predicted_total_time_s"] for row in first)


def test_an_empty_plan_is_nothing_to_do(store: Store) -> None:
    result = apply(plan(of=()), SimulatedHypervisor(estate()), store, actor="ann")
    assert (result.state, result.exit_code, result.run_id) == (RunState.NOTHING, 0, None)


def test_applying_twice_moves_nothing_twice(store: Store) -> None:
    the_plan, hypervisor = plan(), SimulatedHypervisor(estate())
    apply(the_plan, hypervisor, store, actor="ann")
    again = apply(the_plan, hypervisor, store, actor="ann")
    assert again.state is RunState.NOTHING
    assert len(started_moves(store)) == len(the_plan.moves)


def test_resuming_a_run_that_has_ended_only_reports_it(store: Store) -> None:
    hypervisor = SimulatedHypervisor(estate())
    result = apply(plan(), hypervisor, store, actor="ann")
    records = len(store.audit())
    assert result.run_id is not None
    assert resume(result.run_id, hypervisor, store, actor="ann") == result == report(store, result.run_id)
    assert len(store.audit()) == records


def test_a_run_is_resumed_only_where_it_was_made(store: Store, tmp_path: Path) -> None:
    result = apply(plan(), SimulatedHypervisor(estate()), store, actor="ann")
    file = tmp_path / "other.json"
    write_inventory(estate(), file)
    with pytest.raises(StoreError, match="Resume it there"):
        resume(str(result.run_id), SimulatedHypervisor(file), store, actor="ann")


def test_a_run_that_is_not_there_is_named_with_those_that_are(store: Store) -> None:
    apply(plan(), SimulatedHypervisor(estate()), store, actor="ann")
    with pytest.raises(StoreError, match=r"no run 'r0009'.*r0001"):
        report(store, "r0009")


def test_a_plan_that_says_it_must_not_be_applied_is_refused(store: Store) -> None:
    unfit = replace(plan(), applyable=False, notes=("Something was broken.",))
    with pytest.raises(PlanError, match="Something was broken"):
        apply(unfit, SimulatedHypervisor(estate()), store, actor="ann")
    assert store.runs() == ()


def test_a_plan_edited_by_hand_into_an_overfull_host_is_refused(store: Store) -> None:
    wrong = plan(of=[replace(moves()[2], wave=1)])  # e to h2 while c is there
    with pytest.raises(PlanError, match="h2"):
        apply(wrong, SimulatedHypervisor(estate()), store, actor="ann")
    assert store.runs() == ()


def test_a_stale_plan_is_refused_with_what_changed(store: Store) -> None:
    now = estate()
    changed = replace(now, vms=(*now.vms[:3], replace(now.vms[3], host="h1")))
    hypervisor = SimulatedHypervisor(changed)
    with pytest.raises(PlanError, match="guest 'e' moved from h3 to h1"):
        apply(plan(), hypervisor, store, actor="ann")
    assert hypervisor.inventory() == changed
    assert [record.event for record in store.audit()] == ["apply_refused"]


def test_the_state_file_carries_a_run_across_processes(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "estate.json"
    write_inventory(estate(), file)
    the_plan = plan()
    apply(the_plan, SimulatedHypervisor(file), store, actor="ann")
    fresh = SimulatedHypervisor(file)
    assert {vm.name: vm.host for vm in fresh.inventory().vms} == dict(the_plan.target)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_plan_is_not_begun_while_it_would_disturb_a_quiet_time(store: Store) -> None:
    quiet = Quiet(vms=("e",), begin="08:00", end="18:00")
    the_plan, hypervisor = replace(plan(), policy=replace(plan().policy, quiet=(quiet,))), SimulatedHypervisor(estate())
    with pytest.raises(PlanError, match=r"move of e.*may begin at 2026-11-25 18:00 UTC"):
        apply(the_plan, hypervisor, store, actor="ann", clock=lambda: datetime(2026, 11, 25, 12, tzinfo=UTC))
    assert store.runs() == ()
    assert {vm.name: vm.host for vm in hypervisor.inventory().vms} == {vm.name: vm.host for vm in estate().vms}
    done = apply(the_plan, hypervisor, store, actor="ann", clock=lambda: datetime(2026, 11, 25, 18, tzinfo=UTC))
    assert done.state is RunState.DONE
