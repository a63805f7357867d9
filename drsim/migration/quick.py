"""A million migrations a second: pre-copy in closed form, for searches and for random draws.

The first pass, a few passes by the recurrence of `drsim.migration.estimate`, and the rest as a geometric series.
Nothing is iterated until it converges, so the cost of a row does not depend on the guest.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from drsim.errors import PlanError, Problem
from drsim.migration.estimate import Costs, Guests, copy_disks, slow_start, still_rtts, tcp_limit
from drsim.migration.firsts import Layouts, socket_mib
from drsim.migration.guest import wire_of_data
from drsim.migration.options import PLAIN
from drsim.migration.parameters import DEFAULT, Parameters
from drsim.migration.plain import ONE_PAGE_MIB, PATIENCE
from drsim.units import MIB, MIB_S_PER_MBIT_S, PAGE_BYTES
from drsim.workload.curve import swept_share_array

Floats = NDArray[np.float64]

PASSES = 8
"""Passes taken by the recurrence; of 3,000 random guests the three that took 25 or more were over 2 % off."""

BLOCK = 4096
"""Rows worked on at once: their numbers stay in a core's cache."""


def quick(
    guests: Guests,
    *,
    line_mbit_s: ArrayLike,
    rtt_ms: ArrayLike = 0.0,
    loss: ArrayLike = 0.0,
    max_downtime_ms: ArrayLike,
    bandwidth_mbit_s: ArrayLike = np.inf,
    parameters: Parameters = DEFAULT,
) -> Costs:
    """Return what each migration costs by pre-copy over one stream; arguments as for `drsim.migration.estimate`.

    Notes
    -----
    Within 2 % of it in total time where both say that a migration converges. `Costs.rounds` counts at most the passes
    taken by the recurrence, the last one included, and one for the rest.

    Raises
    ------
    PlanError
        For parameters that stop at a fixed number of dirty pages (Xen).
    """
    if parameters.stop_pages:
        raise PlanError(
            Problem(
                place="migration parameters",
                field="stop_pages",
                expected="passes down to a fixed number of dirty pages have no closed form here.",
                remedy="Call drsim.migration.estimate.",
            )
        )
    n = guests.memory_mib.size
    columns = [
        np.ascontiguousarray(np.broadcast_to(np.asarray(value, dtype=np.float64), (n,)))
        for value in (line_mbit_s, rtt_ms, loss, max_downtime_ms, bandwidth_mbit_s)
    ]
    parts = [
        _block(_slice(guests, start), *(column[start : start + BLOCK] for column in columns), p=parameters)
        for start in range(0, max(n, 1), BLOCK)
    ]
    return Costs(
        total_time_s=np.concatenate([part.total_time_s for part in parts]),
        downtime_ms=np.concatenate([part.downtime_ms for part in parts]),
        sent_mib=np.concatenate([part.sent_mib for part in parts]),
        client_gap_ms=np.concatenate([part.client_gap_ms for part in parts]),
        rounds=np.concatenate([part.rounds for part in parts]),
        converges=np.concatenate([part.converges for part in parts]),
    )


def _slice(guests: Guests, start: int) -> Guests:
    of = slice(start, start + BLOCK)
    return Guests(
        memory_mib=guests.memory_mib[of],
        data_mib=guests.data_mib[of],
        class_size_mib=guests.class_size_mib[of],
        class_rate_mib_s=guests.class_rate_mib_s[of],
        class_in_order=guests.class_in_order[of],
        disk_mib=guests.disk_mib[of],
        disk_write_mib_s=guests.disk_write_mib_s[of],
        disks=guests.disks[of],
    )


def _block(
    guests: Guests,
    line_mbit_s: Floats,
    rtt_ms: Floats,
    loss: Floats,
    limit_ms: Floats,
    cap_mbit_s: Floats,
    *,
    p: Parameters,
) -> Costs:
    rtt, limit_s = rtt_ms / 1e3, limit_ms / 1e3
    cap = cap_mbit_s * (MIB_S_PER_MBIT_S * p.cap_overshoot)
    line = np.minimum(line_mbit_s * p.goodput, p.stream_limit_mbit_s) * MIB_S_PER_MBIT_S
    far = bool(rtt.any())
    tcp = tcp_limit(rtt, loss, p) if far else np.full_like(rtt, np.inf)
    stream = np.minimum(line, tcp)
    later = np.minimum(stream, cap)

    wire_of = wire_of_data(p, PLAIN)
    zero = guests.memory_mib - guests.data_mib
    first_mib = guests.data_mib * wire_of + zero * (p.zero_page_bytes / PAGE_BYTES)
    scan_s = zero * (MIB / PAGE_BYTES / p.zero_scan_pages_s)
    rate = first_rate = np.minimum(first_mib / (first_mib / stream + scan_s), cap)

    time = np.full_like(rtt, p.prepare_s)
    if far:
        time += p.prepare_rtts * rtt + slow_start(later, rtt, first_mib + guests.disk_mib, p)
    sent, ready = np.zeros_like(rtt), np.ones(rtt.size, dtype=np.bool_)
    writes = guests.disk_write_mib_s
    if guests.disks.any():
        disk_s, sent, ready = copy_disks(guests, line, tcp, cap, rtt, p)
        time += disk_s
        flow = np.minimum(line, rate + writes)
        rate = np.minimum(flow - np.minimum(writes, flow / 2.0), rate)
        flow = np.minimum(line, later + writes)
        later = np.minimum(flow - np.minimum(writes, flow / 2.0), later)

    # One row a class: sums over classes are then sums of rows.
    size = np.ascontiguousarray(guests.class_size_mib.T)
    writes_s = np.ascontiguousarray(guests.class_rate_mib_s.T) / np.maximum(size, 1e-300)
    ordered = np.ascontiguousarray((guests.class_in_order | p.linear_dirtying).T)
    turn = np.where(later >= 0.999 * cap, p.window_s, p.turn_s)
    chunks = guests.memory_mib / p.chunk_mib

    other = guests.memory_mib - size.sum(axis=0)
    other_wire = np.maximum(
        (first_mib - size.sum(axis=0) * wire_of) / np.where(other > 0.0, other, np.inf), p.zero_page_bytes / PAGE_BYTES
    )
    # Only rows still open are worked on: their numbers, where they stand, and both again for each class.
    flow, again = rate + np.minimum(writes, line - rate), later + np.minimum(writes, line - later)
    known = np.stack([later, limit_s, turn, other_wire, chunks, again, *size, *writes_s])
    stands = np.stack([guests.memory_mib, first_mib, guests.memory_mib, np.zeros_like(rtt), other, *size, *size])
    rows, straight, width = np.arange(rtt.size), ordered, len(size)
    dirty, wire, memory_s = np.empty_like(size), np.empty_like(rtt), np.empty_like(rtt)
    passes = np.empty(rtt.size, dtype=np.int64)
    where = Layouts(guests.memory_mib, guests.data_mib, wire_of, p) if p.zero_run or p.socket_sample else None
    for number in range(PASSES):
        pace, limit, look_s, plain_wire, blocks, out = known[:6]
        before, load_mib, rest, spent_s, kept = stands[:5]
        older, found = stands[5 : 5 + width], stands[5 + width :]
        now, out = (pace, out) if number else (rate, flow)
        most_s = limit
        if number or where is None:
            pass_s = _pass_s(load_mib, rest, now, limit, spent_s, look_s, p)
        else:
            keep_s, ready_s, most_s = where.first(first_rate, limit, cap, stream, rtt, p, PLAIN)
            pass_s = _until(load_mib / now, keep_s, ready_s, look_s, p)
        gone = np.minimum(now * pass_s / load_mib, 1.0)
        spent_s = spent_s + pass_s
        sent[rows] += out * pass_s
        if number or where is None or not p.zero_run:
            kept, older = _keep(kept, older, found, rest, gone)
        else:
            share, kept, plain_wire = where.left(found.sum(axis=0), (1.0 - gone) * load_mib)
            gone, older, known[3] = 1.0 - share, found * share, plain_wire
        part = known[6 : 6 + width], known[6 + width :] * pass_s
        found = _dirtied(*part, older, found - older, blocks * gone, straight)
        dirty_mib = found.sum(axis=0)
        before, rest = rest, kept + dirty_mib
        load_mib = kept * plain_wire + dirty_mib * wire_of
        dirty[:, rows], wire[rows], memory_s[rows], passes[rows] = found, load_mib, spent_s, number + 1
        short = (rest >= pace * most_s) | (spent_s < p.window_s - 1e-9)
        on = np.flatnonzero(short & (rest >= ONE_PAGE_MIB))
        rows, known, straight = rows[on], known.take(on, axis=1), straight.take(on, axis=1)
        stands = np.stack([before, load_mib, rest, spent_s, kept, *older, *found]).take(on, axis=1)
        if not rows.size:
            break

    # What is still open goes on as it did in its last pass; it never ends if the shortest pass brings as much as it
    # sends and passes hardly shrink.
    pace, limit, look_s, _, _, out = known[:6]
    before, load_mib, rest, spent_s = stands[:4]
    their_size, their_writes = known[6 : 6 + width], known[6 + width :]
    over = np.maximum(rest - pace * limit, 0.0)
    shrunk = before - rest
    shortest = limit if p.full_passes else np.minimum(limit, look_s)
    touched = their_writes * shortest
    burst = np.where(straight, np.minimum(their_size, their_size * touched), -their_size * np.expm1(-touched))
    stuck = (burst.sum(axis=0) * wire_of >= pace * shortest) & (over > PATIENCE * shrunk)
    more = np.where(~stuck & (shrunk > 0.0), np.ceil(over / np.maximum(shrunk, 1e-9)), 0.0)
    pass_s = np.maximum(_pass_s(load_mib, rest, pace, limit, spent_s, look_s, p), look_s)
    least_s = np.minimum(pass_s, look_s)
    # Passes shrink in proportion to what is over the limit, down to a turn.
    share = np.clip(shrunk / np.maximum(shrunk + over, 1e-9), 0.02, 1.0)
    tail_s = np.where(more > 0.0, np.minimum(pass_s / share, pass_s * more + least_s), 0.0)
    memory_s[rows] += tail_s
    sent[rows] += out * tail_s
    wire[rows] = np.where(more > 0.0, np.minimum(load_mib, pace * limit), load_mib)
    passes[rows] += more > 0.0
    ready[rows] &= ~stuck

    late = (size - dirty) * np.where(ordered, 0.0, -np.expm1(-writes_s * (p.stop_lag_ms / 1e3)))
    left = wire + late.sum(axis=0) * wire_of + p.device_mib + writes * p.mirror_lag_s
    downtime = left / stream + p.switchover_ms / 1e3 + still_rtts(cap, stream, p) * rtt
    stood = downtime + socket_mib(cap, stream, rtt, p, PLAIN) / stream if far else downtime
    return Costs(
        total_time_s=time + memory_s + downtime + p.confirm_s + p.confirm_rtts * rtt,
        downtime_ms=stood * 1e3,
        client_gap_ms=(stood + rtt / 2.0) * 1e3 + p.client_ms,
        sent_mib=sent + left,
        rounds=passes + 1,
        converges=ready,
    )


def _pass_s(
    wire: Floats, rest: Floats, rate: Floats, limit_s: Floats, memory_s: Floats, turn: Floats, p: Parameters
) -> Floats:
    """`drsim.migration.estimate`, its time of a pass."""
    return _until(wire / rate, limit_s * wire / rest, p.window_s - memory_s, turn, p)


def _until(empty: Floats, keep_s: Floats, ready_s: Floats, turn: Floats, p: Parameters) -> Floats:
    if p.full_passes:
        return empty
    fits = np.maximum(np.maximum(0.0, empty - keep_s), ready_s)
    turns: Floats = np.maximum(1.0, np.ceil(fits / turn - 1e-9)) * turn
    return np.minimum(turns, empty)


def _keep(other: Floats, older: Floats, dirty: Floats, rest: Floats, gone: Floats) -> tuple[Floats, Floats]:
    """`drsim.migration.dirty.Bitmap`, what a pass leaves: of memory that nobody writes to, and of each class."""
    old, amount = other + older.sum(axis=0), rest * gone
    fresh = np.maximum(rest - old, 0.0)
    first = np.minimum(1.0, amount / np.maximum(old, 1e-12))
    then = np.clip((amount - old) / np.maximum(fresh, 1e-12), 0.0, 1.0)
    return other * (1.0 - first), older * (1.0 - first) + (dirty - older) * (1.0 - then)


def _dirtied(
    size: Floats,
    writes: Floats,
    kept: Floats,
    sent: Floats,
    passed: Floats,
    ordered: NDArray[np.bool_],
) -> Floats:
    """Dirty memory of each class after a pass: what was kept, and what was written to since."""
    touched = -np.expm1(-writes)
    result: Floats = kept + sent * swept_share_array(writes, passed, touched) + (size - kept - sent) * touched
    if not ordered.any():
        return result
    seen = 0.5 + 0.5 / np.maximum(passed, 1.0)
    new = size - kept * np.minimum(1.0, (kept + sent) / np.maximum(size, 1e-300)) ** 2
    straight = np.minimum(size, kept + new * np.minimum(1.0, writes) * seen)
    return np.where(ordered, straight, result)
