"""What a simulation found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from drsim.plan import Move, Prediction
from drsim.simulate.use import LinkUses

if TYPE_CHECKING:
    import pandas as pd

EventKind = Literal["wave_start", "start", "switchover", "end", "wave_end"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened.

    Parameters
    ----------
    time_s : float
        Seconds after the start of the plan.
    kind : EventKind
        ``switchover`` is the moment when the guest stops on its source.
    move_id : str or None
        The move; None for waves.
    text : str
        For people.
    """

    time_s: float
    kind: EventKind
    move_id: str | None
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulation:
    """A plan as it was played.

    Parameters
    ----------
    moves : tuple of Move
        What was played, in the order given.
    predictions : mapping of str to Prediction
        Outcome of each move by its id, in the order given; starts are seconds after the start of the plan.
    makespan_s : float
        End of the last migration.
    events : tuple of Event
        In the order of time.
    link_use : sequence of LinkUse
        A sample of each line whenever its use changed, in the order of time.
    """

    moves: tuple[Move, ...]
    predictions: Mapping[str, Prediction]
    makespan_s: float
    events: tuple[Event, ...]
    link_use: LinkUses

    def to_frames(self) -> dict[str, pd.DataFrame]:
        """Return the simulation as tables.

        Returns
        -------
        dict of str to DataFrame
            ``migrations``: a row a move, in the order given, with start and end, ready for a Gantt chart;
            ``events``: a row an event; ``link_use``: a row a sample. Units are in the names of the columns.
        """
        import pandas as pd

        migrations = pd.DataFrame(
            [
                (
                    *(move.id, move.vm, move.source, move.target, move.wave),
                    *(p.start_s, p.end_s, p.total_time_s, p.downtime_ms, p.sent_mib, p.rounds, p.converges),
                )
                for move in self.moves
                for p in (self.predictions[move.id],)
            ],
            columns=[
                *("move_id", "vm", "source", "target", "wave"),
                *("start_s", "end_s", "total_time_s", "downtime_ms", "sent_mib", "rounds", "converges"),
            ],
        )
        events = pd.DataFrame(
            [(e.time_s, e.kind, e.move_id, e.text) for e in self.events],
            columns=["time_s", "kind", "move_id", "text"],
        )
        return {"migrations": migrations, "events": events, "link_use": self.link_use.to_frame()}
