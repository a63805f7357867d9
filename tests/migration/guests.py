"""Guests and paths that the tests of the migration model share."""

from __future__ import annotations

from drsim.inventory import Disk, PageClass, Vm
from drsim.topology import Path

QUIET = (PageClass(size_mib=1.0, dirty_rate_mib_s=0.0),)
"""A guest that is known to dirty nothing (an empty tuple means that nobody measured)."""


def guest(
    memory_mib: int = 4096,
    dirty: tuple[PageClass, ...] = QUIET,
    used_mib: float | None = None,
    disks: tuple[Disk, ...] = (),
) -> Vm:
    return Vm(name="vm", host="h1", vcpus=2, memory_mib=memory_mib, memory_used_mib=used_mib, dirty=dirty, disks=disks)


def line(mbit_s: float = 1000.0, rtt_ms: float = 0.0, loss: float = 0.0) -> Path:
    return Path(edges=("h1>", ">h2"), bandwidth_mbit_s=mbit_s, rtt_ms=rtt_ms, loss=loss)


def disk(used_mib: float | None = 1000.0, write_rate_mib_s: float = 0.0, name: str = "vda") -> Disk:
    return Disk(name=name, datastore="local", size_mib=2000.0, used_mib=used_mib, write_rate_mib_s=write_rate_mib_s)
