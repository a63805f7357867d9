"""The first pass over memory: what lies where, and what QEMU takes for its rate while sockets fill.

A kernel keeps what it needs for itself at the end of memory, programs fill it from the beginning, and between both may
lie a run of zeros, which QEMU passes in no time: the last pages are then data, however much of the guest is zero.

What a socket takes while it fills is for QEMU as good as sent (`migration_transferred_bytes` in its
migration/migration-stats.c), so over a line with latency its first samples of the rate are too high, and what they say
would fit the downtime limit does not.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from drsim.migration.guest import Load
from drsim.migration.options import Options
from drsim.migration.parameters import Parameters
from drsim.migration.rates import Rates, socket_mib
from drsim.units import PAGE_BYTES


class Layout(NamedTuple):
    """Memory in the order of the first pass: a body of data and zeros, a run of zeros, a tail of data.

    Parameters
    ----------
    memory_mib, data_mib : float
        All memory, and what of it is not zero.
    run_mib, tail_mib : float
        Zeros in one run, and data behind them; both 0 if data and zeros are taken as evenly mixed.
    data_wire, zero_wire : float
        MiB sent for each MiB of data, of zeros.
    body_wire : float
        What sending the body takes, MiB.
    """

    memory_mib: float
    data_mib: float
    run_mib: float
    tail_mib: float
    data_wire: float
    zero_wire: float
    body_wire: float


class First(NamedTuple):
    """When QEMU looks for the first time.

    Parameters
    ----------
    keep_s : float
        What need not be sent before, as time (`drsim.migration.leg.Leg`); infinite if nothing need be.
    ready_s : float
        Time until the rate is known, seconds.
    limit_s : float
        The downtime limit that it amounts to at the rate that the line has, seconds.
    """

    keep_s: float
    ready_s: float
    limit_s: float


def layout(guest: Load, parameters: Parameters) -> Layout:
    """Return the layout of a guest."""
    p = parameters
    zero_mib = guest.memory_mib - guest.data_mib
    run_mib = p.zero_run * zero_mib
    tail_mib = min(p.tail_mib, guest.data_mib) if run_mib > 0.0 else 0.0
    zero_wire = p.zero_page_bytes / PAGE_BYTES
    body_wire = (guest.data_mib - tail_mib) * guest.data_wire + (zero_mib - run_mib) * zero_wire
    return Layout(guest.memory_mib, guest.data_mib, run_mib, tail_mib, guest.data_wire, zero_wire, body_wire)


def first(
    of: Layout, rate_mib_s: float, max_downtime_s: float, limits: Rates, parameters: Parameters, options: Options
) -> First:
    """Return when QEMU looks for the first time.

    Parameters
    ----------
    of : Layout
        The guest's.
    rate_mib_s : float
        Rate of the first pass.
    max_downtime_s : float
        Downtime limit, seconds.
    limits, parameters, options : Rates, Parameters, Options
        Of the migration.

    Notes
    -----
    While TCP's slow start doubles what is on its way each round trip, the socket grows with it: over the last window
    ``w`` before the line is full they take ``1 - 2^(-w / RTT)`` of all that they hold in the end, beside what the line
    carries.
    """
    p = parameters
    held_mib, window_s = socket_mib(limits, p, options), p.window_s
    taken_mib = p.socket_sample * held_mib
    if taken_mib > 0.0 and not (p.full_passes or p.stop_pages):
        filling_mib = taken_mib + p.socket_sample * limits.stream_mib_s * limits.rtt_s
        seen = rate_mib_s + filling_mib * (1.0 - 2.0 ** (-window_s / limits.rtt_s)) / window_s
        seen = min(seen, limits.cap_mib_s)
        gone = (rate_mib_s * window_s + held_mib) / of.body_wire if of.body_wire > 0.0 else 1.0
        if of.memory_mib - min(1.0, gone) * (of.memory_mib - of.run_mib - of.tail_mib) < seen * max_downtime_s:
            return First(math.inf, window_s + held_mib / rate_mib_s, max_downtime_s * seen / rate_mib_s)
    return First(last_wire(of, max_downtime_s * rate_mib_s) / rate_mib_s, window_s, max_downtime_s)


def last_wire(of: Layout, last_mib: float) -> float:
    """Return what sending so much of the end of memory takes, MiB."""
    tail = min(last_mib, of.tail_mib)
    run = min(last_mib - tail, of.run_mib)
    body_mib = of.memory_mib - of.tail_mib - of.run_mib
    body = (last_mib - tail - run) / body_mib if body_mib > 0.0 else 0.0
    return tail * of.data_wire + run * of.zero_wire + body * of.body_wire


def left(
    memory_mib: float,
    data_mib: float,
    run_mib: float,
    tail_mib: float,
    data_wire: float,
    zero_wire: float,
    body_wire: float,
    written_mib: float,
    wire_mib: float,
) -> tuple[float, float, float]:
    """Return what the first pass leaves; only numbers, so that it can be compiled.

    Parameters
    ----------
    memory_mib, data_mib, run_mib, tail_mib, data_wire, zero_wire, body_wire : float
        As in `Layout`.
    written_mib : float
        Memory that the guest writes to; it holds data before all other does.
    wire_mib : float
        What sending all that is left takes.

    Returns
    -------
    share : float
        What is left of data, as a share of it.
    other_mib, other_wire : float
        What is left of memory that nobody writes to, and MiB sent for each MiB of it.
    """
    tail = min(wire_mib, tail_mib * data_wire)
    run = min(wire_mib - tail, run_mib * zero_wire)
    body = (wire_mib - tail - run) / body_wire if body_wire > 0.0 else 0.0
    zero_mib = run / zero_wire if zero_wire > 0.0 else run_mib * body
    zero_mib += body * (memory_mib - data_mib - run_mib)
    if data_mib > 0.0:
        share = min(1.0, (tail / data_wire + body * (data_mib - tail_mib)) / data_mib)
    else:
        share = zero_mib / memory_mib
    if written_mib > data_mib:
        zero_mib *= (memory_mib - written_mib) / (memory_mib - data_mib)
    plain_mib = share * max(0.0, data_mib - written_mib)
    other_mib = plain_mib + zero_mib
    if other_mib <= 0.0:
        return share, 0.0, 0.0
    return share, other_mib, (plain_mib * data_wire + zero_mib * zero_wire) / other_mib
