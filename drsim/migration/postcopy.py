"""Post-copy: the guest runs on the target while its memory follows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from drsim.migration.guest import Load
from drsim.migration.options import Options
from drsim.migration.parameters import Parameters
from drsim.units import MIB, PAGE_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class Pull:
    """What the guest asked for while memory followed it.

    Parameters
    ----------
    faults : float
        Pages that it touched before they had been pushed, as far as they were asked for.
    stalled_s : float
        Time that a vCPU stood still for them, on average, seconds.
    """

    faults: float
    stalled_s: float


def blackout_s(sent_dirty_mib: float, parameters: Parameters) -> float:
    """Return the standstill beside that of the device state: naming the pages that were sent but are stale, seconds."""
    pages = sent_dirty_mib * MIB / PAGE_BYTES
    return (parameters.postcopy_ms + parameters.libvirt_ms) / 1e3 + pages * parameters.discard_us / 1e6


def pull(
    missing_mib: Sequence[float],
    guest: Load,
    push_s: float,
    rate_mib_s: float,
    rtt_s: float,
    parameters: Parameters,
    options: Options,
) -> Pull:
    """Return what faults cost while memory is pushed.

    A page of a class is pushed at a random time of `push_s`, and touched at random at the rate of its class from the
    moment at which the guest runs on the target; it is asked for if it is touched first. Who waits does not touch: the
    pace at which touching and waiting are in balance is sought.

    Parameters
    ----------
    missing_mib : sequence of float
        Memory of each page class that was not on the target when it started there, MiB.
    guest : Load
        Its classes and vCPUs.
    push_s : float
        Time that the push took, seconds.
    rate_mib_s : float
        Its rate.
    rtt_s : float
        Round-trip time, seconds.
    parameters, options : Parameters, Options
        Constants and choices.
    """
    p = parameters
    run_s = push_s - p.postcopy_resume_s
    if run_s <= 0.0 or push_s <= 0.0:
        return Pull(faults=0.0, stalled_s=0.0)
    queue_s = 0.0 if options.postcopy_preempt else p.fault_queue_mib / rate_mib_s
    fault_s = rtt_s + p.fault_ms / 1e3 + queue_s + PAGE_BYTES / MIB / rate_mib_s

    def faults(pace: float) -> float:
        touched = 0.0
        for c, missing in zip(guest.classes, missing_mib, strict=True):
            touches = c.dirty_rate_mib_s / c.size_mib * pace * run_s
            if touches > 0.0:
                touched += missing * (1.0 + math.expm1(-touches) / touches)
        return p.fault_share * touched * run_s / push_s * MIB / PAGE_BYTES

    low, high = 0.0, 1.0
    for _ in range(40):
        pace = (low + high) / 2.0
        if faults(pace) * fault_s > guest.vcpus * run_s * (1.0 - pace):
            high = pace
        else:
            low = pace
    return Pull(faults=faults(high), stalled_s=run_s * (1.0 - high))
