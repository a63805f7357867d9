"""What must hold and does not."""

from __future__ import annotations

from dataclasses import dataclass

SLACK = 1e-6
"""Rounding allowed when sums of floats are compared with a capacity."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """One thing that must hold and does not.

    Parameters
    ----------
    kind : str
        ``memory``, ``vcpus``, ``cpu``, a kind of rule, ``order``, ``limit`` or ``target``.
    subject : str
        Host, guest, rule or move that it is about.
    text : str
        What is wrong, with figures.
    remedy : str
        What to do about it.
    when : str
        ``now``, or the wave of the plan.
    """

    kind: str
    subject: str
    text: str
    remedy: str
    when: str = "now"
