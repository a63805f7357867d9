"""States of a run and of its moves, and the only ways from one to the next."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import StrEnum


class RunState(StrEnum):
    """Where a run stands; all but ``running`` are results that a report may tell."""

    RUNNING = "running"
    """Under way, or its controller died: then it can be resumed."""
    DONE = "done"
    """Every move reached its target."""
    PARTIAL = "partial"
    """Some moves reached their target, the other guests stayed where they were."""
    FAILED = "failed"
    """No move reached its target; every guest is where it was."""
    UNKNOWN = "unknown"
    """What became of at least one guest is not known; it can be resumed once that is cleared up."""
    STOPPED = "stopped"
    """Ended on request, or with its window, with moves left to do; it can be resumed."""
    NOTHING = "nothing"
    """There was nothing to do."""


class MoveState(StrEnum):
    """Where a move stands."""

    PENDING = "pending"
    """Its turn has not come."""
    INTENDED = "intended"
    """Written down, not asked of the hypervisor yet."""
    STARTED = "started"
    """Asked of the hypervisor, or about to be."""
    DONE = "done"
    """The guest runs on its target."""
    FAILED = "failed"
    """The migration failed; the guest runs on its source."""
    ABORTED = "aborted"
    """Stopped on request; the guest runs on its source. A resumed run makes it again."""
    REFUSED = "refused"
    """The last look before it found that it must not be made."""
    SKIPPED = "skipped"
    """Not tried, because of what happened before it."""
    UNKNOWN = "unknown"
    """What became of the guest is not clear; nothing is done about it."""


_S = MoveState

MOVE_STEPS: Mapping[MoveState, frozenset[MoveState]] = {
    _S.PENDING: frozenset({_S.INTENDED, _S.SKIPPED}),
    _S.INTENDED: frozenset({_S.STARTED, _S.REFUSED, _S.SKIPPED, _S.PENDING, _S.DONE, _S.UNKNOWN}),
    _S.STARTED: frozenset({_S.DONE, _S.FAILED, _S.ABORTED, _S.UNKNOWN, _S.PENDING}),
    _S.ABORTED: frozenset({_S.PENDING, _S.STARTED, _S.DONE, _S.UNKNOWN}),
    _S.UNKNOWN: frozenset({_S.DONE, _S.PENDING, _S.STARTED}),
    _S.DONE: frozenset(),
    _S.FAILED: frozenset(),
    _S.REFUSED: frozenset(),
    _S.SKIPPED: frozenset(),
}
"""Allowed steps of a move. Back to ``pending`` leads only resuming, and only for a guest seen running on its source."""

RUN_STEPS: Mapping[RunState, frozenset[RunState]] = {
    RunState.RUNNING: frozenset(RunState) - {RunState.NOTHING},
    RunState.STOPPED: frozenset({RunState.RUNNING}),
    RunState.UNKNOWN: frozenset({RunState.RUNNING}),
    RunState.DONE: frozenset(),
    RunState.PARTIAL: frozenset(),
    RunState.FAILED: frozenset(),
    RunState.NOTHING: frozenset(),
}
"""Allowed steps of a run; from ``running`` to ``running`` leads the adoption of a run whose controller died."""

OPEN_MOVES = frozenset({_S.INTENDED, _S.STARTED, _S.UNKNOWN, _S.ABORTED})
"""Moves whose guest has to be looked for when a run is resumed."""

EXIT_CODES: Mapping[RunState, int] = {
    RunState.DONE: 0,
    RunState.NOTHING: 0,
    RunState.FAILED: 1,
    RunState.RUNNING: 1,
    RunState.PARTIAL: 3,
    RunState.UNKNOWN: 3,
    RunState.STOPPED: 3,
}
"""For scripts: 0 done or nothing to do, 1 nothing was moved, 3 applied in part or stopped before its end."""


def may_step(old: MoveState, new: MoveState) -> bool:
    """Whether a move may go from one state to another."""
    return new in MOVE_STEPS[old]


def run_state(moves: Collection[MoveState]) -> RunState:
    """Return the result of a run from the states of its moves; never better than the worst of them."""
    states = set(moves)
    if _S.UNKNOWN in states:
        return RunState.UNKNOWN
    if states & {_S.INTENDED, _S.STARTED}:
        return RunState.RUNNING
    if states & {_S.PENDING, _S.ABORTED}:
        return RunState.STOPPED
    if not states:
        return RunState.NOTHING
    if states == {_S.DONE}:
        return RunState.DONE
    return RunState.PARTIAL if _S.DONE in states else RunState.FAILED
