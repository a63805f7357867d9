"""What holding vCPUs back does to a guest."""

from __future__ import annotations


def slowed(held: float, busy: float) -> float:
    """Return the speed at which a guest goes on while its vCPUs are held back, of its own; 0 to 1.

    Parameters
    ----------
    held : float
        Share of their time that vCPUs are not let run.
    busy : float
        Share of its vCPUs' time that the guest wants. What it leaves idle can be taken without slowing it: a guest that
        wants three quarters is not slowed by holding back a fifth.
    """
    return min(1.0, (1.0 - held) / busy) if busy > 0.0 else 1.0
