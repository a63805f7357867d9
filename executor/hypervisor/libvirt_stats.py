"""Job statistics of libvirt into the executor's words; pure.

The keys are those of ``virDomainGetJobStats`` (libvirt, include/libvirt/libvirt-domain.h, VIR_DOMAIN_JOB_*).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from drsim.units import MIB
from executor.hypervisor.base import Phase, Progress


def progress_of(move_id: str, stats: Mapping[str, Any]) -> Progress:
    """Return how far a running job is.

    Parameters
    ----------
    move_id : str
        The move.
    stats : mapping
        Statistics of the running job; absent keys count as zero.
    """
    memory, left = float(stats.get("memory_processed", 0)), float(stats.get("memory_remaining", 0))
    disk, disk_left = float(stats.get("disk_processed", 0)), float(stats.get("disk_remaining", 0))
    rounds = int(stats.get("memory_iteration", 0))
    phase: Phase = "starting"
    if disk_left > 0:
        phase = "disks"
    elif rounds or memory:
        # Iteration counts from 1 and memory is never quite empty while QEMU still iterates.
        phase = "memory" if left > 0 else "switchover"
    rate = float(stats.get("memory_bps", 0)) + float(stats.get("disk_bps", 0))
    dirty = stats.get("memory_dirty_rate") if rounds > 1 else None  # pages/s; the first pass measures none
    return Progress(
        move_id=move_id,
        phase=phase,
        sent_mib=(memory + disk) / MIB,
        remaining_mib=(left + disk_left) / MIB,
        memory_left_mib=left / MIB,
        rate_mib_s=rate / MIB if rate else None,
        dirty_rate_mib_s=None if dirty is None else float(dirty) * float(stats.get("memory_page_size", 4096)) / MIB,
        elapsed_s=float(stats.get("time_elapsed", 0)) / 1000,
        rounds=rounds,
    )


def figures_of(stats: Mapping[str, Any]) -> dict[str, float | int | None]:
    """Return the figures of a completed job by the names of `Outcome`'s fields; None for what was not measured."""
    elapsed, downtime, rounds = (stats.get(key) for key in ("time_elapsed", "downtime", "memory_iteration"))
    zero_pages, page_bytes = stats.get("memory_constant"), float(stats.get("memory_page_size", 4096))
    sent = [stats[key] for key in ("memory_processed", "disk_processed") if key in stats]
    return {
        "total_time_s": None if elapsed is None else elapsed / 1000,
        "downtime_ms": None if downtime is None else float(downtime),
        "sent_mib": sum(sent) / MIB if sent else None,
        "zero_mib": None if zero_pages is None else zero_pages * page_bytes / MIB,
        "rounds": None if rounds is None else int(rounds),
    }
