"""What drsim refuses, and how it says so: the place, the expectation, the remedy."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong, with its place and its remedy.

    Parameters
    ----------
    place : str
        Where the fault sits: file, table and record, e.g. ``inventory.json: vms 'db-1'``.
    field : str or None
        The field at fault, if one field is.
    expected : str
        What stands there and what was expected instead, in one sentence.
    remedy : str
        What to do about it, in the imperative.
    """

    place: str
    field: str | None = None
    expected: str
    remedy: str

    def __str__(self) -> str:
        where = f"{self.place}, field '{self.field}'" if self.field else self.place
        return f"{where}: {self.expected} {self.remedy}"


class DrsimError(Exception):
    """Base of everything that drsim raises on purpose; its text is meant for the user as it is."""


class DataError(DrsimError):
    """Input that cannot be used; carries every problem found, not only the first.

    Parameters
    ----------
    problems : tuple of Problem
        At least one.
    """

    def __init__(self, *problems: Problem) -> None:
        self.problems = problems
        super().__init__("\n".join(str(problem) for problem in problems))

    def at(self, place: str) -> Self:
        """Return the same problems, found in a place such as a file."""
        return type(self)(*(replace(problem, place=f"{place}: {problem.place}") for problem in self.problems))


class InventoryError(DataError):
    """An inventory that contradicts itself or cannot be read."""


class PolicyError(DataError):
    """A policy that contradicts itself, its inventory, or cannot be read."""


class PlanError(DataError):
    """A plan that cannot be read, is stale, or would break something on its way."""


class HypervisorError(DrsimError):
    """A hypervisor refused, or could not be reached."""


class StoreError(DrsimError):
    """The durable record of runs cannot be read or written; nothing is done without it."""


class LabError(DrsimError):
    """The lab cannot be brought up, found or taken down."""
