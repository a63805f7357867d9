"""Very many migrations at once: the model of `drsim.migration.predict` on arrays, each migration alone on its path."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import ArrayLike, NDArray

from drsim.errors import PlanError, Problem
from drsim.inventory import Vm
from drsim.migration.firsts import Layouts, socket_mib
from drsim.migration.guest import load, wire_of_data
from drsim.migration.options import PLAIN, Options
from drsim.migration.parameters import DEFAULT, Parameters
from drsim.migration.plain import ONE_PAGE_MIB, PATIENCE, SOON_S
from drsim.migration.postcopy import blackout_s, missing_pages, silence_s, waking_s
from drsim.migration.rates import sender_mbit_s
from drsim.units import MIB, MIB_S_PER_MBIT_S, PAGE_BYTES
from drsim.workload.curve import swept_share_array

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Guests:
    """What migrations have to carry, as arrays; one row a migration.

    Parameters
    ----------
    memory_mib, data_mib : array of float, shape (n,)
        All memory; what of it is not zero.
    class_size_mib, class_rate_mib_s : array of float, shape (n, classes)
        Page classes, filled up with classes of rate 0 and any positive size up to the memory that nobody writes to.
    class_in_order : array of bool, shape (n, classes)
        Which of them are written to from end to end.
    disk_mib, disk_write_mib_s, disks : array of float, shape (n,)
        Disk data to copy, writes to those disks, number of those disks.
    """

    memory_mib: Floats
    data_mib: Floats
    class_size_mib: Floats
    class_rate_mib_s: Floats
    class_in_order: Bools
    disk_mib: Floats
    disk_write_mib_s: Floats
    disks: Floats

    @classmethod
    def of(
        cls,
        vms: Sequence[Vm],
        copy_disks: Sequence[Collection[str]] | None = None,
        parameters: Parameters = DEFAULT,
    ) -> Guests:
        """Take the guests of an inventory, each with the disks that it takes along (none by default).

        What was measured of their memory becomes what is sent by the parameters of their hosts.

        Raises
        ------
        PlanError
            If a guest has no disk of a name.
        """
        along = [()] * len(vms) if copy_disks is None else copy_disks
        loads = [load(vm, disks, parameters, PLAIN) for vm, disks in zip(vms, along, strict=True)]
        width = max((len(one.classes) for one in loads), default=0)
        size, rate = np.zeros((len(loads), width)), np.zeros((len(loads), width))
        in_order = np.zeros((len(loads), width), dtype=np.bool_)
        for row, one in enumerate(loads):
            for column, c in enumerate(one.classes):
                size[row, column], rate[row, column] = c.size_mib, c.dirty_rate_mib_s
                in_order[row, column] = c.in_order
        return cls(
            memory_mib=np.array([one.memory_mib for one in loads], dtype=np.float64),
            data_mib=np.array([one.data_mib for one in loads], dtype=np.float64),
            class_size_mib=size,
            class_rate_mib_s=rate,
            class_in_order=in_order,
            disk_mib=np.array([one.disk_mib for one in loads], dtype=np.float64),
            disk_write_mib_s=np.array([one.disk_write_mib_s for one in loads], dtype=np.float64),
            disks=np.array([one.disks for one in loads], dtype=np.float64),
        )

    def take(self, rows: Ints) -> Guests:
        """Return the rows of these numbers, repeated as often as they are named."""
        return Guests(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """What migrations cost; one entry a migration, meanings as in `drsim.plan.Prediction`.

    Parameters
    ----------
    total_time_s, downtime_ms, sent_mib : array of float, shape (n,)
    rounds : array of int, shape (n,)
    converges : array of bool, shape (n,)
    client_gap_ms : array of float, shape (n,)
    """

    total_time_s: Floats
    downtime_ms: Floats
    client_gap_ms: Floats
    sent_mib: Floats
    rounds: Ints
    converges: Bools


def estimate(
    guests: Guests,
    *,
    line_mbit_s: ArrayLike,
    rtt_ms: ArrayLike = 0.0,
    loss: ArrayLike = 0.0,
    max_downtime_ms: ArrayLike,
    bandwidth_mbit_s: ArrayLike = np.inf,
    parameters: Parameters = DEFAULT,
    options: Options = PLAIN,
) -> Costs:
    """Return what each migration costs when nothing else uses its path.

    At a constant rate the passes of pre-copy are a recurrence; it is iterated for all migrations at once, so the result
    is that of `drsim.migration.predict` up to rounding.

    Parameters
    ----------
    guests : Guests
        What to carry, n rows.
    line_mbit_s, rtt_ms, loss : array, shape (n,), or float
        Line rate that each migration gets, round-trip time and loss of its path.
    max_downtime_ms : array, shape (n,), or float
        Downtime limit.
    bandwidth_mbit_s : array, shape (n,), or float
        Bandwidth cap; infinite for none.
    parameters : Parameters
        Constants of the hosts.
    options : Options
        Mode, channels, compression, encryption, of all of them.

    Raises
    ------
    PlanError
        For options whose course has to be played one by one: throttling, xbzrle, post-copy after a time.
    """
    if options.throttles or options.compression == "xbzrle" or options.postcopy_after_s is not None:
        raise PlanError(
            Problem(
                place="migration options",
                expected="throttling, xbzrle and post-copy after a time are not estimated for many migrations at once.",
                remedy="Call drsim.migration.predict for each.",
            )
        )
    p, n = parameters, guests.memory_mib.size
    rtt = _column(rtt_ms, n) / 1e3
    limit_s = _column(max_downtime_ms, n) / 1e3
    cap = _column(bandwidth_mbit_s, n) * MIB_S_PER_MBIT_S * p.cap_overshoot
    sender = sender_mbit_s(p, options)
    line = np.minimum(_column(line_mbit_s, n) * p.goodput, max(sender, p.stream_limit_mbit_s)) * MIB_S_PER_MBIT_S
    tcp = tcp_limit(rtt, _column(loss, n), p)
    stream = np.minimum(np.minimum(line, sender * MIB_S_PER_MBIT_S), tcp * options.channels)

    size, writes_s = guests.class_size_mib, guests.class_rate_mib_s / np.maximum(guests.class_size_mib, 1e-300)
    in_order = guests.class_in_order | p.linear_dirtying
    data_wire = wire_of_data(p, options)
    zero = guests.memory_mib - guests.data_mib
    first_mib = guests.data_mib * data_wire + zero * p.zero_page_bytes / PAGE_BYTES
    zero_scan_s = zero * (MIB / PAGE_BYTES) / (p.zero_scan_pages_s * options.channels)
    later_rate = np.minimum(stream, cap)
    first_rate = np.minimum(first_mib / (first_mib / stream + zero_scan_s), cap)
    ramp = slow_start(later_rate, rtt, first_mib + guests.disk_mib, p)

    time = p.prepare_s + p.prepare_rtts * rtt + ramp
    disk_time, sent, converges = copy_disks(guests, line, tcp, cap, rtt, p)
    converges = converges | options.synchronous_writes
    time = time + disk_time

    # Memory: `rows` are the migrations still in their passes; all state below is of these rows.
    rows = np.arange(n)
    other = guests.memory_mib - size.sum(axis=1)
    other_wire = (first_mib - size.sum(axis=1) * data_wire) / np.where(other > 0.0, other, np.inf)
    other_wire = np.maximum(other_wire, p.zero_page_bytes / PAGE_BYTES)
    dirty, older, wire, memory_s = size.copy(), size.copy(), first_mib.copy(), np.zeros(n)
    last_rest, last_rate = np.full(n, np.inf), np.zeros(n)
    chunks = guests.memory_mib / p.chunk_mib
    where = Layouts(guests.memory_mib, guests.data_mib, data_wire, p)
    first_s = where.first(first_rate, limit_s, cap, stream, rtt, p, options)
    left, passes = np.zeros(n), np.zeros(n, dtype=np.int64)
    pulled, pushed_s, stale = np.zeros(n, dtype=np.bool_), np.zeros(n), np.zeros(n)
    bitmap_mib = guests.memory_mib / PAGE_BYTES / 8.0 if p.stale_bitmap else np.zeros(n)
    unsent, handover_s = np.zeros(n), np.full(n, np.inf)
    done = 0
    if options.mode == "postcopy":
        unsent = np.ones(n)
        left = left + p.device_mib + guests.disk_write_mib_s * p.mirror_lag_s + bitmap_mib
        pulled, rows = ~pulled, rows[:0]
        all_mib = other * other_wire + size.sum(axis=1) * data_wire
        sent = sent + all_mib
        pushed_s = all_mib / _push_rate(stream, options) + zero_scan_s
    while rows.size:
        rate = (first_rate if done == 0 else later_rate)[rows]
        writes = guests.disk_write_mib_s[rows]
        flow = np.minimum(line[rows], rate + writes)
        rate = np.minimum(flow - np.minimum(writes, flow / 2.0), rate)
        rest = other + dirty.sum(axis=1)
        turn = np.where(rate >= 0.999 * cap[rows], p.window_s, p.turn_s)
        most_s = limit_s[rows]
        keep_s, ready_s = most_s * wire / rest, np.full_like(rate, p.window_s)
        if done == 0:
            keep_s, ready_s, most_s = first_s
        pass_s = _pass_time(wire, rate, keep_s, ready_s - memory_s, turn, p)
        cut = pass_s >= handover_s - SOON_S
        pass_s = np.minimum(pass_s, handover_s)
        handover_s = handover_s - pass_s
        gone = np.minimum(rate * pass_s / wire, 1.0)
        gone = np.where(gone > 1.0 - 1e-12, 1.0, gone)
        sent[rows] += flow * pass_s
        time[rows] += pass_s
        memory_s = memory_s + pass_s
        last_rest = np.where(rate > last_rate, np.inf, last_rest)
        last_rate = rate
        done += 1
        passes[rows] = done - cut

        if p.zero_run > 0.0 and done == 1:
            share, other, other_wire = where.left(size.sum(axis=1), (1.0 - gone) * wire)
            gone, older = 1.0 - share, dirty * share[:, None]
            kept = other + older.sum(axis=1)
        else:
            kept = rest * (1.0 - gone)
            other, older = _keep(other, older, dirty, gone)
        dirty = _dirtied(
            *(size[rows], writes_s[rows] * pass_s[:, None], older, dirty - older),
            *(chunks[rows, None] * gone[:, None], in_order[rows]),
        )
        wire = other * other_wire[rows] + dirty.sum(axis=1) * data_wire
        rest = other + dirty.sum(axis=1)
        over = rest - rate * most_s
        known = memory_s >= p.window_s - 1e-9
        within = (rest < ONE_PAGE_MIB) | (known & (over < 0.0))
        fits = rest < p.stop_pages * ONE_PAGE_MIB if p.stop_pages else within
        shortest = limit_s[rows] if p.full_passes else np.minimum(limit_s[rows], turn)
        nothing = np.zeros_like(dirty)
        of = (nothing, np.ones(1), in_order[rows])
        burst = _dirtied(size[rows], writes_s[rows] * shortest[:, None], nothing, *of)
        outrun = burst.sum(axis=1) * data_wire >= rate * shortest
        stuck = known & (over > PATIENCE * (last_rest - rest)) & outrun & (not p.stop_pages)
        stop = fits | stuck | (done >= p.most_passes)
        last_rest = rest

        lag = writes_s[rows] * p.stop_lag_ms / 1e3
        late = (_dirtied(size[rows], lag, dirty, *of) - dirty).sum(axis=1)
        owed = p.device_mib + writes * p.mirror_lag_s
        left[rows] = wire + late * data_wire + owed
        if options.mode == "hybrid":
            # What does not fit after its passes follows the guest; after the first, its part of the zeros too.
            over_to = cut | (stop if p.pull_rest else ~fits & stop)
            waiting = ~fits & ~over_to & (done >= options.precopy_passes) & np.isinf(handover_s)
            handover_s = np.where(waiting, p.handover_lag_s, handover_s)
            follow = rows[over_to]
            pulled[follow], left[follow], stop = True, owed[over_to] + bitmap_mib[follow], stop | over_to
            pushed_s[follow] = wire[over_to] / _push_rate(stream[follow], options)
            if done == 1:
                unsent[follow] = (1.0 - gone)[over_to]
                pushed_s[follow] += unsent[follow] * zero_scan_s[follow]
            sent[follow] += wire[over_to]
            stale[follow] = (rest - kept if done == 1 else dirty.sum(axis=1))[over_to]
        else:
            converges[rows] &= within | ~stop
        on = ~stop
        rows, other, dirty, older, wire = rows[on], other[on], dirty[on], older[on], wire[on]
        memory_s, last_rest, last_rate, handover_s = memory_s[on], last_rest[on], last_rate[on], handover_s[on]

    waking = np.where(pulled, waking_s(rtt, p), 0.0)
    still, held = p.switchover_ms / 1e3 + still_rtts(cap, stream, p) * rtt, socket_mib(cap, stream, rtt, p, options)
    if options.parallel_connections:
        still = still + p.multifd_rtts * rtt
        held = held + p.multifd_queue_mib * options.channels
    if options.mode == "postcopy":
        held = np.zeros(n)
    elif options.mode == "hybrid":
        held = np.where(pulled, socket_mib(cap, stream, rtt, p, options), held)
    queued = held / stream
    downtime = left / stream + np.where(pulled, blackout_s(stale, p), still)
    stood = downtime + waking + queued
    silent = silence_s(pushed_s, _push_rate(stream, options), rtt, missing_pages(unsent, p), p)
    return Costs(
        total_time_s=time + downtime + np.maximum(pushed_s, waking) + p.confirm_s + p.confirm_rtts * rtt,
        downtime_ms=stood * 1e3,
        client_gap_ms=(stood + np.where(pulled, silent, 0.0) + rtt / 2.0) * 1e3 + p.client_ms,
        sent_mib=sent + left,
        rounds=passes + 1,
        converges=converges,
    )


def _column(value: ArrayLike, n: int) -> Floats:
    return np.broadcast_to(np.asarray(value, dtype=np.float64), (n,))


def still_rtts(cap: Floats, stream: Floats, p: Parameters) -> Floats:
    """`drsim.migration.rates.still_rtts`."""
    empty = cap <= p.empty_share * stream
    return np.maximum(0.0, p.switchover_rtts - np.where(empty, p.socket_rtts, 0.0))


def tcp_limit(rtt: Floats, loss: Floats, p: Parameters) -> Floats:
    """`drsim.migration.rates.rates`, its limit of one connection."""
    far = rtt > 0.0
    lossy = far & (loss > 0.0)
    tcp = np.where(far, p.tcp_window_mib / np.where(far, rtt, 1.0), np.inf)
    mathis = p.tcp_segment_bytes / MIB / np.where(far, rtt, 1.0) * np.sqrt(1.5 / np.where(lossy, loss, 1.0))
    return np.where(lossy, np.minimum(tcp, mathis), tcp)


def slow_start(rate: Floats, rtt: Floats, data_mib: Floats, p: Parameters) -> Floats:
    """`drsim.migration.rates.slow_start_s`."""
    first = p.tcp_initial_segments * p.tcp_segment_bytes / MIB
    growth = np.maximum(1.0, np.minimum(rate * rtt / first, 1.0 + data_mib * np.log(2.0) / first))
    time: Floats = rtt * np.log2(growth) - (growth - 1.0) * first / np.log(2.0) / rate
    return time


def copy_disks(
    guests: Guests, line: Floats, tcp: Floats, cap: Floats, rtt: Floats, p: Parameters
) -> tuple[Floats, Floats, Bools]:
    """Time, traffic, and whether the mirrors become ready."""
    far = rtt > 0.0
    in_flight = np.where(far, p.mirror_window_mib / np.where(far, rtt, 1.0), np.inf)
    some = guests.disks > 0
    one = np.minimum(np.minimum(tcp, cap), in_flight)
    rate = np.minimum(line, one * np.where(some, guests.disks, 1.0))
    held_back = np.minimum(guests.disk_write_mib_s, p.mirror_share * rate)
    time = np.where(some, guests.disk_mib / (rate - held_back), 0.0)
    return time, rate * time, ~(some & (guests.disk_write_mib_s > p.mirror_share * rate))


def _pass_time(wire: Floats, rate: Floats, keep_s: Floats, ready_s: Floats, turn: Floats, p: Parameters) -> Floats:
    """`drsim.migration.leg.wait_s` at the start of a pass."""
    empty = wire / rate
    if p.full_passes:
        return empty
    fits = np.maximum(np.maximum(0.0, empty - keep_s), ready_s)
    turns: Floats = np.maximum(1.0, np.ceil(fits / turn - 1e-9)) * turn
    return np.minimum(turns, empty)


def _keep(other: Floats, older: Floats, dirty: Floats, gone: Floats) -> tuple[Floats, Floats]:
    """`drsim.migration.dirty.Bitmap`, what a pass leaves: of memory that nobody writes to, and of each class."""
    old = other + older.sum(axis=1)
    fresh = np.maximum(dirty - older, 0.0).sum(axis=1)
    amount = (old + fresh) * gone
    first = np.where(old > 0.0, np.minimum(1.0, amount / np.where(old > 0.0, old, 1.0)), 1.0)
    then = np.clip((amount - old) / np.where(fresh > 0.0, fresh, 1.0), 0.0, 1.0)
    left = older * (1.0 - first)[:, None] + (dirty - older) * (1.0 - then)[:, None]
    return other * (1.0 - first), left


def _push_rate(stream: Floats, options: Options) -> Floats:
    cap = np.inf if options.postcopy_bandwidth_mbit_s is None else options.postcopy_bandwidth_mbit_s
    rate: Floats = np.minimum(stream, cap * MIB_S_PER_MBIT_S)
    return rate


def _dirtied(
    size: Floats, writes_per_page: Floats, kept: Floats, sent: Floats, chunks: Floats, in_order: Bools
) -> Floats:
    """`drsim.migration.dirty.Bitmap`, its count of a page class after a pass."""
    ordered = in_order.any()
    if ordered:
        watched = np.where(chunks > 1.0, (chunks + 1.0) / (2.0 * np.maximum(chunks, 1.0)), 1.0)
        new = size - kept * np.minimum(1.0, (kept + sent) / np.maximum(size, 1e-300)) ** 2
        straight: Floats = np.minimum(size, kept + new * np.minimum(1.0, writes_per_page) * watched)
        if in_order.all():
            return straight
    again = sent * swept_share_array(writes_per_page, chunks)
    result: Floats = kept + again - (size - kept - sent) * np.expm1(-writes_per_page)
    return np.where(in_order, straight, result) if ordered else result
