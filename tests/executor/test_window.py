"""A maintenance window: waiting for it, and beginning nothing that might outlast it."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from drsim.errors import DrsimError, PlanError
from drsim.policy import Quiet
from executor.events import Event, MoveStarted, OutOfTime
from executor.hypervisor.simulated import SimulatedHypervisor
from executor.lifecycle import MoveState, RunState
from executor.run import apply, rehearse, resume
from executor.store import Store
from executor.window import Window, wait_for
from tests.executor.estates import assert_invariants, estate, plan, started_moves

NOW = datetime(2026, 11, 28, 20, tzinfo=UTC)


def until(seconds: float) -> Window:
    return Window(end=NOW + timedelta(seconds=seconds))


def test_both_ends_are_read_with_their_offset() -> None:
    window = Window.read("2026-11-28T22:00+01:00", "2026-11-29T02:00+01:00", NOW)
    assert window == Window(begin=NOW + timedelta(hours=1), end=NOW + timedelta(hours=5))
    assert Window.read(None, None, NOW) == Window()


@pytest.mark.parametrize(
    ("begin", "end", "what"),
    [
        ("Saturday", None, "--at Saturday: expected an instant"),
        ("2026-11-28T22:00", None, "--at 2026-11-28T22:00: expected an instant with its offset"),
        ("2026-11-28T20:59+01:00", None, "--at .* lies in the past: it is 2026-11-28 20:00:00 UTC"),
        (None, "2026-11-28T20:00+00:00", "--until .* lies in the past"),
        ("2026-11-28T22:00+00:00", "2026-11-28T21:00+00:00", "--until .* is not after --at"),
    ],
)
def test_a_window_that_cannot_be_is_refused(begin: str | None, end: str | None, what: str) -> None:
    with pytest.raises(DrsimError, match=what):
        Window.read(begin, end, NOW)


def test_a_move_is_late_if_the_upper_end_of_its_band_is() -> None:
    move = plan().moves[0]
    assert move.prediction is not None
    lasts_s = move.prediction.total_time_s
    assert until(lasts_s).late([move], NOW) == ()
    assert until(lasts_s - 0.01).late([move], NOW) == (move,)
    banded = replace(move, prediction=replace(move.prediction, total_time_high_s=lasts_s + 10.0))
    assert until(lasts_s + 9.0).late([banded], NOW) == (banded,)
    assert Window().late([banded], NOW) == ()


def test_the_outlook_says_whether_the_plan_fits() -> None:
    the_plan = replace(plan(), makespan_s=600.0)
    assert "ends at 2026-11-28 20:10 UTC, 5 min 00 s before" in until(900.0).outlook(the_plan, NOW)
    assert "after its window (20:05)" in until(300.0).outlook(the_plan, NOW)
    assert Window().outlook(the_plan, NOW) == ""


def test_what_does_not_fit_is_left_for_the_next_window(store: Store) -> None:
    the_plan, hypervisor, events = plan(), SimulatedHypervisor(estate(), noise=0.0), list[Event]()
    first, second, *_ = the_plan.waves
    ends = [max(move.prediction.end_s for move in wave if move.prediction) for wave in (first, second)]
    # In the middle of the second wave: those of the first fit, those of the second might not.
    window = until(sum(ends) / 2.0)
    stopped = apply(the_plan, hypervisor, store, actor="ann", on_event=events.append, clock=lambda: NOW, window=window)
    assert (stopped.state, stopped.exit_code) == (RunState.STOPPED, 3)
    assert {report.move.id: report.state for report in stopped.moves} == {
        move.id: MoveState.DONE if move in first else MoveState.PENDING for move in the_plan.moves
    }
    assert [event.late for event in events if isinstance(event, OutOfTime)] == [second]
    assert {event.move for event in events if isinstance(event, MoveStarted)} == set(first)
    (note,) = [record for record in store.audit() if record.event == "window_ended"]
    assert note.detail["late"] == [move.id for move in second]
    assert_invariants(the_plan, hypervisor, store, stopped)
    # A week later: time that was played before does not count.
    later = NOW + timedelta(days=7)
    wide = Window(end=later + timedelta(hours=1))
    done = resume(str(stopped.run_id), hypervisor, store, actor="ann", clock=lambda: later, window=wide)
    assert done.state is RunState.DONE
    assert started_moves(store) == [move.id for move in the_plan.moves]


def test_a_window_too_short_for_anything_moves_nothing(store: Store) -> None:
    hypervisor = SimulatedHypervisor(estate())
    stopped = apply(plan(), hypervisor, store, actor="ann", clock=lambda: NOW, window=until(0.1))
    assert stopped.state is RunState.STOPPED
    assert hypervisor.inventory().vms == estate().vms


def test_waiting_ends_at_the_instant_or_when_asked_to() -> None:
    times = iter([NOW, NOW + timedelta(milliseconds=1), NOW + timedelta(seconds=1)])
    wait_for(NOW + timedelta(milliseconds=2), threading.Event(), lambda: next(times))
    stop = threading.Event()
    stop.set()
    with pytest.raises(DrsimError, match="nothing was done"):
        wait_for(NOW + timedelta(hours=1), stop, lambda: NOW)


def test_a_rehearsal_finds_what_apply_would_refuse_and_leaves_no_trace(store: Store) -> None:
    now, the_plan = estate(), plan()
    rehearse(the_plan, SimulatedHypervisor(now), NOW)
    moved = replace(now, vms=(*now.vms[:3], replace(now.vms[3], host="h1")))
    with pytest.raises(PlanError, match="guest 'e' moved from h3 to h1"):
        rehearse(the_plan, SimulatedHypervisor(moved), NOW)
    with pytest.raises(PlanError, match="applyable"):
        rehearse(replace(the_plan, applyable=False), SimulatedHypervisor(now), NOW)
    quiet = replace(the_plan, policy=replace(the_plan.policy, quiet=(Quiet(vms=("e",), begin="21:00", end="23:00"),)))
    rehearse(quiet, SimulatedHypervisor(now), NOW)
    with pytest.raises(PlanError, match="move of e"):
        rehearse(quiet, SimulatedHypervisor(now), NOW + timedelta(hours=2))
    assert store.audit() == ()
