"""The durable record."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
import sqlalchemy as sa

from drsim.errors import StoreError
from executor.audit import verify
from executor.hypervisor.base import Outcome
from executor.lifecycle import MOVE_STEPS, MoveState, RunState, may_step, run_state
from executor.settings import Settings
from executor.store import Step, Store
from tests.executor.estates import plan


def begin(store: Store) -> str:
    return store.begin(plan(), "{}", estate="simulated", actor="ann")


def test_what_was_written_is_read_by_another_process(store: Store, url: str) -> None:
    run_id = begin(store)
    outcome = Outcome(status="moved", total_time_s=1.5, downtime_ms=42.0, sent_mib=100.0, rounds=3)
    for step in (
        Step(move_id="m001", state=MoveState.INTENDED),
        Step(move_id="m001", state=MoveState.STARTED, started_s=0.5),
        Step(move_id="m001", state=MoveState.DONE, outcome=outcome),
    ):
        store.step(run_id, [step], actor="ann")
    store.set_state(run_id, RunState.STOPPED, actor="ann", text="stopped")
    other = Store(url)
    assert other.run(run_id).state is RunState.STOPPED
    move = other.moves(run_id)["m001"]
    assert (move.state, move.started_s, move.total_time_s, move.downtime_ms) == (MoveState.DONE, 0.5, 1.5, 42.0)
    assert (move.sent_mib, move.rounds) == (100.0, 3)
    assert other.moves(run_id)["m002"].state is MoveState.PENDING
    assert [record.event for record in other.audit()] == [
        "run_started",
        "move_intended",
        "move_started",
        "move_ended",
        "run_ended",
    ]
    assert verify(other.audit(), other.head()) == ()


def test_runs_are_numbered(store: Store) -> None:
    assert [begin(store), begin(store)] == ["r0001", "r0002"]
    assert [run.id for run in store.runs()] == ["r0001", "r0002"]


@pytest.mark.parametrize("new", [MoveState.STARTED, MoveState.DONE, MoveState.FAILED, MoveState.PENDING])
def test_a_step_that_is_not_allowed_changes_nothing(store: Store, new: MoveState) -> None:
    run_id = begin(store)
    before = store.audit()
    with pytest.raises(StoreError, match=f"it is pending and cannot become {new}"):
        store.step(
            run_id, [Step(move_id="m002", state=MoveState.INTENDED), Step(move_id="m001", state=new)], actor="ann"
        )
    assert store.moves(run_id)["m002"].state is MoveState.PENDING
    assert store.audit() == before


def test_a_run_that_has_ended_stays_ended(store: Store) -> None:
    run_id = begin(store)
    store.set_state(run_id, RunState.DONE, actor="ann")
    with pytest.raises(StoreError, match="cannot become running"):
        store.set_state(run_id, RunState.RUNNING, actor="ann")


def test_a_record_changed_in_the_database_shows(store: Store, url: str) -> None:
    begin(store)
    with sa.create_engine(url).begin() as connection:
        connection.execute(sa.text("UPDATE audit SET actor = 'eve'"))
    assert "changed" in verify(store.audit())[0].expected


def test_sqlite_is_durable_and_its_folder_private(store: Store, tmp_path: Path) -> None:
    with store._engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2  # FULL
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700


@pytest.mark.parametrize("url", ["sqlite:////proc/nowhere/runs.sqlite", "nonsense", "sqlite:////dev/null/x.sqlite"])
def test_a_store_that_cannot_be_opened_says_what_to_do(url: str) -> None:
    with pytest.raises(StoreError, match="DRSIM_STORE"):
        Store(url)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "runs.sqlite"
    file.write_text("this is not a database, and long enough to be looked at as one" * 20)
    with pytest.raises(StoreError, match="not a database"):
        Store(f"sqlite:///{file}")


def test_a_password_is_not_told() -> None:
    with pytest.raises(StoreError) as caught:
        Store("postgresql+psycopg://drsim:hunter2@127.0.0.1:1/runs?connect_timeout=1")
    assert "hunter2" not in str(caught.value)


def test_settings_name_the_store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("DRSIM_STORE", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert Settings().store_url == f"sqlite:///{tmp_path}/drsim/runs.sqlite"
    monkeypatch.setenv("DRSIM_STORE", "sqlite:////tmp/other.sqlite")
    assert Settings().store_url == "sqlite:////tmp/other.sqlite"


def test_nothing_is_migrated_without_an_intent_before_it() -> None:
    assert [old for old in MoveState if may_step(old, MoveState.STARTED)] == [
        MoveState.INTENDED,
        MoveState.ABORTED,
        MoveState.UNKNOWN,
    ]
    assert not may_step(MoveState.PENDING, MoveState.STARTED)
    assert all(MOVE_STEPS[final] == frozenset() for final in (MoveState.DONE, MoveState.FAILED, MoveState.REFUSED))


@pytest.mark.parametrize(
    ("moves", "state"),
    [
        ([], RunState.NOTHING),
        (["done", "done"], RunState.DONE),
        (["done", "failed"], RunState.PARTIAL),
        (["done", "skipped"], RunState.PARTIAL),
        (["refused", "failed"], RunState.FAILED),
        (["done", "pending"], RunState.STOPPED),
        (["aborted"], RunState.STOPPED),
        (["done", "unknown", "pending"], RunState.UNKNOWN),
        (["done", "started"], RunState.RUNNING),
    ],
)
def test_a_run_is_never_better_than_its_moves(moves: list[str], state: RunState) -> None:
    assert run_state([MoveState(move) for move in moves]) is state
