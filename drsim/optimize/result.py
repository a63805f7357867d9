"""What an optimisation found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from drsim.placement import Placement
from drsim.plan import Score


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A placement, how good it is, and how far from the best there can be.

    Parameters
    ----------
    placement : Placement
        Where every guest should be.
    before, after : Score
        Scores of the placement that is and of the one found.
    lower_bound : float or None
        No placement has a lower objective.
    status : str
        ``optimal`` if the bound is reached, ``feasible``, or ``nothing to do``.
    reasons : mapping of str to str
        Why, for each guest that is to be elsewhere.
    complete : bool
        Whether all that must hold does, and all that was asked for is reached.
    notes : tuple of str
        What stands in the way.
    """

    placement: Placement
    before: Score
    after: Score
    lower_bound: float | None
    status: str
    reasons: Mapping[str, str] = field(default_factory=dict)
    complete: bool = True
    notes: tuple[str, ...] = ()
