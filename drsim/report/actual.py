"""What really happened to a move, as a report needs it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Actual:
    """Outcome of one move; whoever carries a plan out fills it in, ``None`` where nothing was measured.

    Parameters
    ----------
    move_id : str
        Move of the plan.
    status : str
        ``"done"`` if the guest arrived; any other word is shown as it is and counts as not arrived.
    started_s : float or None
        Start, seconds after the start of the run.
    total_time_s, downtime_ms, sent_mib : float or None
        As the hypervisor measured them.
    rounds : int or None
        Passes over dirty memory, the first included.
    reason : str
        Why it did not arrive, or what else should be known; may be empty.
    """

    move_id: str
    status: str
    started_s: float | None = None
    total_time_s: float | None = None
    downtime_ms: float | None = None
    sent_mib: float | None = None
    rounds: int | None = None
    reason: str = ""

    @property
    def arrived(self) -> bool:
        """Whether the guest runs on its target."""
        return self.status == "done"
