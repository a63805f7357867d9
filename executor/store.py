"""Durable record of runs: every intent and every outcome is on the disk before and after acting.

One database holds the runs of an estate: a SQLite file by default, any SQLAlchemy URL if several machines share it.
A method returns when what it wrote is durable; if that cannot be had it raises `StoreError`, and nothing is done
without it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine, RowMapping, make_url
from sqlalchemy.exc import SQLAlchemyError

from drsim.errors import StoreError
from drsim.plan import Plan
from executor.audit import Record, seal
from executor.hypervisor.base import Outcome
from executor.lease import Holder
from executor.lifecycle import RUN_STEPS, MoveState, RunState, may_step
from executor.secret import masked

Clock = Callable[[], datetime]

_tables = sa.MetaData()
_runs = sa.Table(
    "runs",
    _tables,
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("id", sa.String(16), nullable=False, unique=True),
    sa.Column("estate", sa.Text, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("started_at", sa.String(40), nullable=False),
    sa.Column("ended_at", sa.String(40)),
    sa.Column("plan_hash", sa.String(64), nullable=False),
    sa.Column("plan", sa.Text, nullable=False),
)
_moves = sa.Table(
    "moves",
    _tables,
    sa.Column("run_id", sa.String(16), sa.ForeignKey("runs.id"), primary_key=True),
    sa.Column("move_id", sa.String(64), primary_key=True),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("reason", sa.Text, nullable=False, default=""),
    sa.Column("started_s", sa.Float),
    sa.Column("total_time_s", sa.Float),
    sa.Column("downtime_ms", sa.Float),
    sa.Column("sent_mib", sa.Float),
    sa.Column("rounds", sa.Integer),
)
_audit = sa.Table(
    "audit",
    _tables,
    sa.Column("sequence", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("at", sa.String(40), nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("event", sa.String(40), nullable=False),
    sa.Column("run_id", sa.String(16)),
    sa.Column("move_id", sa.String(64)),
    sa.Column("detail", sa.Text, nullable=False),
    sa.Column("previous", sa.String(64), nullable=False),
    sa.Column("hash", sa.String(64), nullable=False),
)
_leases = sa.Table(
    "leases",
    _tables,
    sa.Column("host", sa.String(255), primary_key=True),
    sa.Column("token", sa.String(64), nullable=False),
    sa.Column("machine", sa.Text, nullable=False),
    sa.Column("pid", sa.Integer, nullable=False),
    sa.Column("born", sa.Text, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("taken_at", sa.String(40), nullable=False),
    sa.Column("alive_at", sa.String(40), nullable=False),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRun:
    """A run as it is recorded; times are ISO 8601 in UTC."""

    id: str
    estate: str
    state: RunState
    actor: str
    started_at: str
    ended_at: str | None
    plan_hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredMove:
    """A move of a run as it is recorded; figures as in `executor.result.MoveReport`."""

    move_id: str
    state: MoveState
    reason: str
    started_s: float | None
    total_time_s: float | None
    downtime_ms: float | None
    sent_mib: float | None
    rounds: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A move goes to another state.

    Parameters
    ----------
    move_id : str
        The move.
    state : MoveState
        State that it goes to.
    reason : str
        Why.
    started_s : float or None
        Start, seconds after the start of the run; None leaves it as it is.
    outcome : Outcome or None
        Figures of the hypervisor.
    """

    move_id: str
    state: MoveState
    reason: str = ""
    started_s: float | None = None
    outcome: Outcome | None = None


def utc_now() -> datetime:
    """Return the time of this machine's clock, in UTC."""
    return datetime.now(UTC)


class Store:
    """Runs, their moves, the audit trail, and who holds which hosts.

    Parameters
    ----------
    url : str
        SQLAlchemy URL, e.g. ``sqlite:////var/lib/drsim/runs.sqlite``; the folder of a SQLite file is made.
    clock : callable
        Returns the time in UTC.

    Raises
    ------
    StoreError
        Here and from every method: the database cannot be read or written.
    """

    def __init__(self, url: str, *, clock: Clock = utc_now) -> None:
        self._clock = clock
        self.url = masked(url)
        with _told(self.url):
            self._engine = _engine(url)
            _tables.create_all(self._engine)

    def close(self) -> None:
        """Let go of the database."""
        self._engine.dispose()

    # Runs

    def begin(self, plan: Plan, plan_json: str, *, estate: str, actor: str) -> str:
        """Record a run about to begin, with its whole plan; return its id."""
        with self._write() as connection:
            number = (connection.scalar(sa.select(sa.func.max(_runs.c.number))) or 0) + 1
            run_id, at = f"r{number:04d}", self._now()
            connection.execute(
                sa.insert(_runs).values(
                    number=number,
                    id=run_id,
                    estate=estate,
                    state=RunState.RUNNING,
                    actor=actor,
                    started_at=at,
                    plan_hash=plan.hash,
                    plan=plan_json,
                )
            )
            if plan.moves:
                rows = [{"run_id": run_id, "move_id": move.id, "state": MoveState.PENDING} for move in plan.moves]
                connection.execute(sa.insert(_moves), rows)
            detail = {"estate": estate, "plan_hash": plan.hash, "moves": len(plan.moves)}
            self._append(connection, at, actor, "run_started", run_id, None, detail)
        return run_id

    def step(self, run_id: str, steps: Sequence[Step], *, actor: str) -> None:
        """Let moves go to other states, all or none, each with its audit record.

        Raises
        ------
        StoreError
            Also if a move is not there or may not take that step (`executor.lifecycle.MOVE_STEPS`).
        """
        with self._write() as connection:
            for step in steps:
                self._step(connection, run_id, step, actor)

    def _step(self, connection: Connection, run_id: str, step: Step, actor: str) -> None:
        key = (_moves.c.run_id == run_id) & (_moves.c.move_id == step.move_id)
        old = connection.scalar(sa.select(_moves.c.state).where(key))
        if old is None or not may_step(MoveState(old), step.state):
            raise StoreError(
                f"Run {run_id}, move {step.move_id}: it is {old or 'not recorded'} and cannot become {step.state}. "
                "Two controllers may be at work on this run: see 'drsim runs', then resume it with one of them."
            )
        values: dict[str, Any] = {"state": step.state, "reason": step.reason}
        if step.started_s is not None:
            values["started_s"] = step.started_s
        figures: dict[str, Any] = {}
        if step.outcome is not None:
            names = ("total_time_s", "downtime_ms", "sent_mib", "rounds")
            figures = {name: getattr(step.outcome, name) for name in names}
        connection.execute(sa.update(_moves).where(key).values(**values, **figures))
        event = _MOVE_EVENTS.get(step.state, "move_ended")
        detail = {key: value for key, value in {**values, **figures}.items() if value not in (None, "")}
        self._append(connection, self._now(), actor, event, run_id, step.move_id, detail)

    def set_state(self, run_id: str, state: RunState, *, actor: str, text: str = "") -> None:
        """Let a run go to another state (its end, or ``running`` again), with its audit record."""
        with self._write() as connection:
            old = connection.scalar(sa.select(_runs.c.state).where(_runs.c.id == run_id))
            if old is None or state not in RUN_STEPS[RunState(old)]:
                raise StoreError(f"Run {run_id} is {old or 'not recorded'} and cannot become {state}.")
            at = self._now()
            ended_at = None if state is RunState.RUNNING else at
            connection.execute(sa.update(_runs).where(_runs.c.id == run_id).values(state=state, ended_at=ended_at))
            event = "run_resumed" if state is RunState.RUNNING else "run_ended"
            self._append(connection, at, actor, event, run_id, None, {"state": state, "text": text})

    def note(self, event: str, *, actor: str, run_id: str | None = None, detail: Mapping[str, Any]) -> None:
        """Put something into the audit trail that changes no run, e.g. a refusal."""
        with self._write() as connection:
            self._append(connection, self._now(), actor, event, run_id, None, detail)

    def runs(self) -> tuple[StoredRun, ...]:
        """List all runs, the oldest first."""
        columns = [column for column in _runs.c if column.name not in ("number", "plan")]
        with self._read() as connection:
            rows = connection.execute(sa.select(*columns).order_by(_runs.c.number)).mappings().all()
        return tuple(StoredRun(**{**row, "state": RunState(row["state"])}) for row in rows)

    def run(self, run_id: str) -> StoredRun:
        """Return one run."""
        runs = self.runs()
        for run in runs:
            if run.id == run_id:
                return run
        known = ", ".join(run.id for run in runs[-5:]) or "none"
        raise StoreError(f"There is no run '{run_id}' in {self.url}. The latest are: {known}. See 'drsim runs'.")

    def plan_json(self, run_id: str) -> str:
        """Return the plan of a run, as it was given."""
        self.run(run_id)
        with self._read() as connection:
            return str(connection.scalar(sa.select(_runs.c.plan).where(_runs.c.id == run_id)))

    def moves(self, run_id: str) -> dict[str, StoredMove]:
        """Return the moves of a run by their ids."""
        columns = [column for column in _moves.c if column.name != "run_id"]
        with self._read() as connection:
            rows = connection.execute(sa.select(*columns).where(_moves.c.run_id == run_id)).mappings().all()
        return {row["move_id"]: StoredMove(**{**row, "state": MoveState(row["state"])}) for row in rows}

    # Audit

    def audit(self) -> tuple[Record, ...]:
        """Return the whole audit trail."""
        with self._read() as connection:
            rows = connection.execute(sa.select(_audit).order_by(_audit.c.sequence)).mappings().all()
        return tuple(_record(row) for row in rows)

    def head(self) -> str:
        """Return the last hash of the audit trail, empty if there is none yet."""
        with self._read() as connection:
            return str(connection.scalar(sa.select(_audit.c.hash).order_by(_audit.c.sequence.desc()).limit(1)) or "")

    def _append(
        self,
        connection: Connection,
        at: str,
        actor: str,
        event: str,
        run_id: str | None,
        move_id: str | None,
        detail: Mapping[str, Any],
    ) -> None:
        row = connection.execute(sa.select(_audit).order_by(_audit.c.sequence.desc()).limit(1)).mappings().first()
        last = None if row is None else _record(row)
        record = seal(last, at=at, actor=actor, event=event, run_id=run_id, move_id=move_id, detail=detail)
        values = {name: getattr(record, name) for name in _COLUMNS if name != "detail"}
        text = json.dumps(record.detail, sort_keys=True)
        connection.execute(sa.insert(_audit).values(**values, detail=text))

    # Leases

    def take(self, hosts: Sequence[str], holder: Holder) -> None:
        """Take hosts for one controller, all or none; those of a process of this machine that is dead are taken over.

        Raises
        ------
        StoreError
            Also if another controller holds one of them: who, since when, and what to do if it is gone.
        """
        at = self._now()
        with self._write() as connection:
            for row in connection.execute(sa.select(_leases).where(_leases.c.host.in_(hosts))).mappings().all():
                other = Holder(**{name: row[name] for name in ("token", "machine", "pid", "born", "actor")})
                if not holder.outlived(other):
                    raise StoreError(
                        f"{other} has been working on '{row['host']}' since {row['taken_at']} (last sign of life "
                        f"{row['alive_at']}). Wait for it to end. If that process is certainly gone, give its hosts "
                        f"free with 'drsim unlock {other.token}'."
                    )
                detail = {"host": row["host"], "from": str(other)}
                self._append(connection, at, holder.actor, "lease_taken_over", None, None, detail)
            connection.execute(sa.delete(_leases).where(_leases.c.host.in_(hosts)))
            rows = [
                {
                    "host": host,
                    "token": holder.token,
                    "machine": holder.machine,
                    "pid": holder.pid,
                    "born": holder.born,
                    "actor": holder.actor,
                    "taken_at": at,
                    "alive_at": at,
                }
                for host in hosts
            ]
            if rows:
                connection.execute(sa.insert(_leases), rows)

    def beat(self, hosts: Sequence[str], holder: Holder) -> None:
        """Leave a sign of life.

        Raises
        ------
        StoreError
            Also if somebody gave the hosts free meanwhile.
        """
        with self._write() as connection:
            mine = _leases.c.token == holder.token
            beaten = connection.execute(sa.update(_leases).where(mine).values(alive_at=self._now())).rowcount
        if beaten != len(hosts):
            raise StoreError("Somebody gave the hosts of this run free: another controller may be at work. Stopping.")

    def release(self, holder: Holder) -> None:
        """Give the hosts of a controller free."""
        with self._write() as connection:
            connection.execute(sa.delete(_leases).where(_leases.c.token == holder.token))

    def unlock(self, token: str, *, actor: str) -> tuple[str, ...]:
        """Give the hosts of a controller free that is certainly gone; return them. Recorded in the audit trail."""
        with self._write() as connection:
            mine = _leases.c.token == token
            hosts = tuple(connection.scalars(sa.select(_leases.c.host).where(mine).order_by(_leases.c.host)))
            if not hosts:
                raise StoreError(f"No hosts are held under '{token}': nothing to give free.")
            connection.execute(sa.delete(_leases).where(mine))
            self._append(connection, self._now(), actor, "lease_broken", None, None, {"token": token, "hosts": hosts})
        return hosts

    # Transactions

    def _now(self) -> str:
        return self._clock().astimezone(UTC).isoformat(timespec="milliseconds")

    @contextmanager
    def _write(self) -> Iterator[Connection]:
        """One transaction: durable when it is left, or undone."""
        with _told(self.url), self._engine.execution_options(writes=True).begin() as connection:
            yield connection

    @contextmanager
    def _read(self) -> Iterator[Connection]:
        with _told(self.url), self._engine.connect() as connection:
            yield connection


_MOVE_EVENTS = {
    MoveState.PENDING: "move_reset",
    MoveState.INTENDED: "move_intended",
    MoveState.STARTED: "move_started",
}


_COLUMNS = tuple(column.name for column in _audit.c)


def _record(row: RowMapping) -> Record:
    return Record(**{**row, "detail": json.loads(row["detail"])})


def _engine(url: str) -> Engine:
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        # Serializable: the number of a run and the end of the chain are read and then written.
        return sa.create_engine(parsed, isolation_level="SERIALIZABLE")
    if parsed.database not in (None, "", ":memory:"):
        Path(str(parsed.database)).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    engine = sa.create_engine(parsed)

    @sa.event.listens_for(engine, "connect")
    def _settings(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # The driver must not begin transactions by itself.
        for pragma in ("busy_timeout=10000", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}").close()

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # Take the write lock at once: two writers then wait for each other instead of failing half way.
        connection.exec_driver_sql("BEGIN IMMEDIATE" if connection.get_execution_options().get("writes") else "BEGIN")

    return engine


@contextmanager
def _told(url: str) -> Iterator[None]:
    """Turn what a database may raise into a refusal."""
    try:
        yield
    except (SQLAlchemyError, OSError, ImportError) as error:
        cause = getattr(error, "orig", None) or error
        raise StoreError(
            f"The record of runs {url} cannot be used: {' '.join(str(cause).split())}. Nothing is done without it: see "
            "that its folder exists, can be written and has space, or name another with DRSIM_STORE."
        ) from None
