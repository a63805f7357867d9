"""What a run came to: prediction beside outcome, move by move."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from drsim.plan import Move
from executor.lifecycle import EXIT_CODES, MoveState, RunState

if TYPE_CHECKING:
    from drsim.report.actual import Actual


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveReport:
    """One move as it was planned and as it went.

    Parameters
    ----------
    move : Move
        As planned, its prediction included.
    state : MoveState
        Where it stands.
    reason : str
        Why, if it is not simply done.
    started_s : float or None
        Start, seconds after the start of the run.
    total_time_s, downtime_ms, sent_mib : float or None
        As the hypervisor measured them.
    rounds : int or None
        Passes over dirty memory.
    """

    move: Move
    state: MoveState
    reason: str = ""
    started_s: float | None = None
    total_time_s: float | None = None
    downtime_ms: float | None = None
    sent_mib: float | None = None
    rounds: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
    """The truth about a run.

    Parameters
    ----------
    run_id : str or None
        None if there was nothing to do and no run was begun.
    state : RunState
        Result.
    moves : tuple of MoveReport
        All moves of the plan, in its order.
    audit_head : str
        Last hash of the audit trail: keep it elsewhere, and a trail that was cut off later shows.
    text : str
        The result in one or two sentences.
    """

    run_id: str | None
    state: RunState
    moves: tuple[MoveReport, ...]
    audit_head: str
    text: str

    @property
    def exit_code(self) -> int:
        """0 done or nothing to do, 1 nothing was moved, 3 applied in part or stopped on request."""
        return EXIT_CODES[self.state]

    @property
    def counts(self) -> dict[str, int]:
        """Number of moves by state, states without moves left out."""
        return dict(Counter(str(report.state) for report in self.moves))

    @property
    def actuals(self) -> tuple[Actual, ...]:
        """Outcomes as `drsim.report` takes them; moves that were never tried are left out."""
        from drsim.report.actual import (
            Actual,
        )  # Its package loads matplotlib, which a run without a report does not need.

        return tuple(
            Actual(
                move_id=report.move.id,
                status=str(report.state),
                started_s=report.started_s,
                total_time_s=report.total_time_s,
                downtime_ms=report.downtime_ms,
                sent_mib=report.sent_mib,
                rounds=report.rounds,
                reason=report.reason,
            )
            for report in self.moves
            if report.state is not MoveState.PENDING
        )

    def compare(self) -> list[dict[str, Any]]:
        """Return a row a move, predicted beside actual, as ``pandas.DataFrame`` takes them.

        Returns
        -------
        list of dict
            Keys: move_id, vm, source, target, wave, state, reason, and ``predicted_``/``actual_`` of start_s,
            total_time_s (s), downtime_ms, sent_mib, rounds; None where nothing is known.
        """
        rows: list[dict[str, Any]] = []
        for report in self.moves:
            move, expected = report.move, report.move.prediction
            row: dict[str, Any] = {
                "move_id": move.id,
                "vm": move.vm,
                "source": move.source,
                "target": move.target,
                "wave": move.wave,
                "state": str(report.state),
                "reason": report.reason,
                "predicted_start_s": None if expected is None else expected.start_s,
                "actual_start_s": report.started_s,
            }
            for name in ("total_time_s", "downtime_ms", "sent_mib", "rounds"):
                row[f"predicted_{name}"] = None if expected is None else getattr(expected, name)
                row[f"actual_{name}"] = getattr(report, name)
            rows.append(row)
        return rows


def tell(state: RunState, moves: tuple[MoveReport, ...], run_id: str | None) -> str:
    """Say the result of a run in one or two sentences."""
    done = sum(report.state is MoveState.DONE for report in moves)
    share = f"{done} of {len(moves)} moves reached their target"
    match state:
        case RunState.NOTHING:
            return "There was nothing to do."
        case RunState.DONE:
            return f"All {len(moves)} moves reached their target." if len(moves) > 1 else "The move reached its target."
        case RunState.UNKNOWN:
            names = ", ".join(sorted({f"'{r.move.vm}'" for r in moves if r.state is MoveState.UNKNOWN}))
            return f"{share}; it is not known what became of {names}. Clear that up, then resume run {run_id}."
        case RunState.STOPPED:
            return f"Stopped before its end: {share}. Resume run {run_id} to go on."
        case RunState.RUNNING:
            return f"{share}; the run has not ended. Resume run {run_id} if its controller is gone."
        case RunState.PARTIAL:
            return f"{share}; the other guests stayed where they were. Make a new plan for the rest."
        case RunState.FAILED:
            return "No move was made; every guest is where it was. See the reasons, then make a new plan."
