"""How memory is moved, as the model needs it: what QEMU and libvirt leave to whoever asks for a migration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, get_args

from drsim.errors import PlanError, Problem
from drsim.transfer import Mode, Transfer
from drsim.units import About

Compression = Literal["none", "xbzrle", "zlib", "zstd"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Choices of one migration, `drsim.transfer.Transfer` and what only QEMU knows; the defaults are libvirt's.

    Raises
    ------
    PlanError
        If a value is unknown, out of its range, or contradicts another.
    """

    mode: Annotated[Mode, About("precopy, postcopy or hybrid, as in a plan.")] = "precopy"
    precopy_passes: Annotated[int, About("Hybrid: passes over memory before post-copy begins.")] = 2
    auto_converge: Annotated[bool, About("Whether vCPUs are slowed step by step while passes do not shrink.")] = False
    dirty_limit_mib_s: Annotated[
        float | None, About("Dirty rate that each vCPU is held to while passes do not shrink.", "MiB/s")
    ] = None
    stun: Annotated[bool, About("Whether the guest is held back to what can be sent, at each pass (vMotion).")] = False
    parallel_connections: Annotated[int, About("multifd streams; 0 is one ordinary stream.")] = 0
    compression: Annotated[Compression, About("none; xbzrle: pages sent before; zlib, zstd: over multifd.")] = "none"
    tls: Annotated[bool, About("Whether the traffic is encrypted.")] = False
    tunnelled: Annotated[bool, About("Whether it goes through libvirt's own connection.")] = False
    synchronous_writes: Annotated[bool, About("Copied disks: whether writes end on both ends.")] = False
    postcopy_after_s: Annotated[
        float | None, About("Time in pre-copy before post-copy is asked for; unset: as the mode says.", "s")
    ] = None
    postcopy_preempt: Annotated[bool, About("Whether pages asked for have a connection of their own.")] = True
    postcopy_bandwidth_mbit_s: Annotated[float | None, About("Cap while post-copy pushes pages.", "Mbit/s")] = None

    @classmethod
    def of(cls, transfer: Transfer, *, bandwidth_mbit_s: float | None = None) -> Options:
        """Take the settings of a move; a bandwidth cap holds for the push of post-copy as well."""
        return cls(
            mode=transfer.mode,
            precopy_passes=transfer.precopy_passes,
            auto_converge=transfer.auto_converge,
            parallel_connections=transfer.parallel_connections,
            compression=transfer.compression,
            tls=transfer.tls,
            tunnelled=transfer.transport == "tunnelled",
            synchronous_writes=transfer.synchronous_writes,
            postcopy_bandwidth_mbit_s=bandwidth_mbit_s if transfer.may_postcopy else None,
        )

    def __post_init__(self) -> None:
        if self.mode not in get_args(Mode):
            raise _wrong("mode", f"'{self.mode}' is unknown.", f"Name one of {', '.join(get_args(Mode))}.")
        if self.compression not in get_args(Compression):
            known = ", ".join(get_args(Compression))
            raise _wrong("compression", f"'{self.compression}' is unknown.", f"Name one of {known}.")
        if not 0 <= self.parallel_connections <= 255:
            raise _wrong("parallel_connections", f"{self.parallel_connections} is out of range.", "Name 0 to 255.")
        if self.precopy_passes < 1:
            raise _wrong("precopy_passes", f"{self.precopy_passes} is out of range.", "Name 1 or more.")
        if self.compression in ("zlib", "zstd") and not self.parallel_connections:
            raise _wrong("compression", f"{self.compression} needs multifd.", "Set parallel_connections to 1 or more.")
        if self.compression == "xbzrle" and self.parallel_connections:
            raise _wrong("compression", "QEMU does not combine xbzrle and multifd.", "Drop one of them.")
        for field in ("dirty_limit_mib_s", "postcopy_after_s", "postcopy_bandwidth_mbit_s"):
            value = getattr(self, field)
            if value is not None and not (value > 0.0 or (value == 0.0 and field == "postcopy_after_s")):
                raise _wrong(field, f"{value} is not positive.", "Name a positive number, or leave it out.")
        if self.auto_converge and self.dirty_limit_mib_s is not None:
            raise _wrong("dirty_limit_mib_s", "QEMU does not combine it with auto_converge.", "Drop one of them.")
        if self.stun and (self.auto_converge or self.dirty_limit_mib_s is not None):
            raise _wrong("stun", "it is not combined with auto_converge or a dirty limit.", "Drop one of them.")

    @property
    def channels(self) -> int:
        """Connections that carry memory."""
        return max(1, self.parallel_connections)

    @property
    def throttles(self) -> bool:
        """Whether the guest may be slowed."""
        return self.auto_converge or self.stun or self.dirty_limit_mib_s is not None

    @property
    def postcopy(self) -> bool:
        """Whether the guest may go on on the target before all its memory is there."""
        return self.mode != "precopy"


def _wrong(field: str, expected: str, remedy: str) -> PlanError:
    return PlanError(Problem(place="migration options", field=field, expected=expected, remedy=remedy))


PLAIN = Options()
"""Pre-copy over one stream, as libvirt does it by default."""
