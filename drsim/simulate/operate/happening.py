"""What happens to a cluster from outside, and when; seconds since the start."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from drsim.inventory import Inventory
from drsim.plan import Plan

Planner = Callable[[Inventory], Plan]
"""What is in charge: told what is where, it says what to move. The same function makes plans for real hosts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFailure:
    """A host loses power, and its guests with it.

    Parameters
    ----------
    at_s : float
        When.
    host : str
        Which.
    back_after_s : float
        How long until it is up again, empty; never by default.
    """

    at_s: float
    host: str
    back_after_s: float = math.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkFailure:
    """A line between two sites or switches is cut; migrations go on over another way, if there is one.

    Parameters
    ----------
    at_s : float
        When.
    link : str
        Which; its name in the inventory, e.g. ``paris--lyon``.
    back_after_s : float
        How long until it carries traffic again; never by default.
    """

    at_s: float
    link: str
    back_after_s: float = math.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class Maintenance:
    """A window in which a host takes no guests; who empties it is a matter of a `Call`.

    Parameters
    ----------
    at_s : float
        When it begins.
    host : str
        Which.
    for_s : float
        How long.
    """

    at_s: float
    host: str
    for_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A planner is called once, whatever else is under way.

    Parameters
    ----------
    at_s : float
        When.
    planner : callable
        From the whole inventory as it is then to a plan.
    why : str
        For the record.
    """

    at_s: float
    planner: Planner
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Abort:
    """The migration of a guest is broken off, if it is under way and can be; the guest goes on on its source.

    Parameters
    ----------
    at_s : float
        When.
    vm : str
        Whose.
    """

    at_s: float
    vm: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """A move that really happened, replayed: the guest is on the other host at once, at no cost.

    Parameters
    ----------
    at_s : float
        When.
    vm, host : str
        Who went where.
    """

    at_s: float
    vm: str
    host: str


Happening = HostFailure | LinkFailure | Maintenance | Call | Abort | Recorded
