"""Faults to order from the simulated hypervisor: what goes wrong on real hosts, when and where one wants it.

Faults that strike in the middle of a plan name after how many completed migrations they do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from drsim.inventory import HostState
from executor.hypervisor.base import Sighting


class ControllerKilled(BaseException):
    """The controller dies here, as by ``kill -9``: no handler for ordinary errors may catch it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refuse:
    """The hypervisor refuses to migrate a guest."""

    vm: str
    text: str = "the hypervisor refused: internal error: unable to execute QEMU command 'migrate'"


@dataclass(frozen=True, slots=True, kw_only=True)
class Break:
    """A migration fails once it has sent this fraction of what it had to send at its start."""

    vm: str
    fraction: float = 0.5
    text: str = "operation failed: migration out job: unexpectedly failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hang:
    """A migration stops making progress at this fraction, until it is aborted."""

    vm: str
    fraction: float = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Unclear:
    """When its migration ends, the guest is seen like this until `SimulatedHypervisor.mend` is called."""

    vm: str
    sightings: tuple[Sighting, ...] = ()
    unreachable: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class HostBecomes:
    """A host goes to another state, e.g. ``maintenance`` or ``down``."""

    host: str
    state: HostState
    after_moves: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Elsewhere:
    """Somebody else moves a guest; to `host` None, it is gone altogether."""

    vm: str
    host: str | None
    after_moves: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryTaken:
    """Something else takes memory on a host, MiB."""

    host: str
    memory_mib: float
    after_moves: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """The controller dies: before it asks for the migration of a guest, while that is under way, or after it."""

    vm: str
    when: Literal["before", "under_way", "after"] = "under_way"


Fault = Refuse | Break | Hang | Unclear | HostBecomes | Elsewhere | MemoryTaken | Kill
