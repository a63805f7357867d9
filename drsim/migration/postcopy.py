"""Post-copy: the guest runs on the target while its memory follows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

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


def blackout_s(sent_dirty_mib: ArrayLike, parameters: Parameters) -> NDArray[np.float64]:
    """Return the standstill until the push begins: naming the pages that were sent but are stale, seconds."""
    pages = np.asarray(sent_dirty_mib, dtype=np.float64) * (MIB / PAGE_BYTES)
    blackout: NDArray[np.float64] = parameters.postcopy_ms / 1e3 + pages * (parameters.discard_us / 1e6)
    return blackout


def waking_s(rtt_s: ArrayLike, parameters: Parameters) -> NDArray[np.float64]:
    """Return the rest of the standstill, during which memory is pushed already, seconds.

    The source goes on sending as soon as it has written the state of the devices (``postcopy_start`` in QEMU
    migration/migration.c); meanwhile libvirt's daemons talk and the target loads that state.
    """
    p = parameters
    waking: NDArray[np.float64] = (
        p.libvirt_ms / 1e3 + p.postcopy_resume_s + p.switchover_rtts * np.asarray(rtt_s, dtype=np.float64)
    )
    return waking


def missing_pages(unsent: ArrayLike, parameters: Parameters) -> NDArray[np.float64]:
    """Return how many of the pages that the guest needs to answer are not on the target when it starts there.

    Parameters
    ----------
    unsent : array of float, or float
        Share of memory that the first pass has not sent.
    parameters : Parameters
        Constants.
    """
    always = min(parameters.serve_written_pages, parameters.serve_pages)
    pages: NDArray[np.float64] = always + (parameters.serve_pages - always) * np.asarray(unsent, dtype=np.float64)
    return pages


def silence_s(
    push_s: ArrayLike, rate_mib_s: ArrayLike, rtt_s: ArrayLike, pages: ArrayLike, parameters: Parameters
) -> NDArray[np.float64]:
    """Return how long the guest answers nobody after it went on on the target, seconds.

    It touches `pages` one after the other before it can answer, and waits for each that the push has not brought yet. A
    share ``t / push_s`` is there after ``t``, so it gets on at ``1 / (f (1 - t / push_s))`` pages a second, f being
    the time that one takes, and has them all after ``push_s (1 - exp(-pages f / push_s))``. What was pushed while it
    was waking counts as standstill.

    Parameters
    ----------
    push_s, rate_mib_s, rtt_s : array of float, or float
        Time that the push takes, its rate, round-trip time.
    pages : array of float, or float
        Pages that were not on the target when it started there.
    parameters : Parameters
        Constants.
    """
    p = parameters
    page_s = np.asarray(rtt_s) + p.fault_ms / 1e3 + (p.fault_lead_mib + PAGE_BYTES / MIB) / np.asarray(rate_mib_s)
    push = np.maximum(np.asarray(push_s, dtype=np.float64) - waking_s(rtt_s, p), 1e-9)
    silent: NDArray[np.float64] = -push * np.expm1(-np.asarray(pages) * page_s / push)
    return silent


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
    run_s = push_s - float(waking_s(rtt_s, p))
    if run_s <= 0.0 or push_s <= 0.0:
        return Pull(faults=0.0, stalled_s=0.0)
    queue_s = (p.fault_lead_mib if options.postcopy_preempt else p.fault_queue_mib) / rate_mib_s
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
