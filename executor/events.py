"""What a run tells while it goes on, as data: the terminal, a log or a web page draws it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from drsim.plan import Move, Plan
from executor.hypervisor.base import Outcome, Progress
from executor.lifecycle import MoveState
from executor.result import RunReport


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted:
    """A run begins or goes on.

    Parameters
    ----------
    run_id : str
        Name of the run, e.g. ``r0001``.
    plan : Plan
        What it carries out.
    states : mapping of str to MoveState
        States of the moves by id; not all ``pending`` if the run was resumed.
    resumed : bool
        Whether it was begun before.
    remarks : tuple of str
        What has changed since the plan was made, but does not forbid it.
    """

    run_id: str
    plan: Plan
    states: Mapping[str, MoveState]
    resumed: bool
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class WaveStarted:
    """A wave begins: its number, how many there are, and its moves that are left to do."""

    number: int
    of: int
    moves: tuple[Move, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveStarted:
    """A migration is asked of the hypervisor; `adopted` if it was already under way."""

    move: Move
    adopted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveProgress:
    """How far a migration is."""

    move: Move
    progress: Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveEnded:
    """A move reached a state that this run leaves it in; `outcome` is None if no migration was made."""

    move: Move
    state: MoveState
    reason: str
    outcome: Outcome | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StopAsked:
    """Somebody asked to stop: nothing new is started; `aborting` if migrations under way are stopped, too."""

    aborting: bool
    under_way: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class OutOfTime:
    """The window is about to end: these moves of the wave might outlast it, and nothing after it is begun either."""

    end: datetime
    late: tuple[Move, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEnded:
    """The run has ended."""

    report: RunReport


Event = RunStarted | WaveStarted | MoveStarted | MoveProgress | MoveEnded | StopAsked | OutOfTime | RunEnded
EventListener = Callable[[Event], None]
