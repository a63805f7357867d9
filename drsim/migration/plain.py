"""A plain pre-copy as rows of numbers: `Migration` without its choices, so that thousands of waves can be compiled.

What is here is pre-copy of memory alone, at full pace, ended by force if it does not come to rest. A law in the tests
holds both equal. The functions hold no objects; they run compiled or as they are. What a new column holds is said in
`drsim.migration.numbers`.
"""

from __future__ import annotations

import math

import numpy as np

from drsim.migration.dirty import Row, burst, late, look
from drsim.migration.first import left
from drsim.migration.leg import (
    CAPPED,
    CAPPED_TURN,
    KEEP,
    LEFT,
    MOST,
    PASSED,
    READY,
    TURN,
    UNTIL,
    WRITES,
    WRITES_SHARE,
    net_rate,
    over_s,
)
from drsim.units import MIB, PAGE_BYTES

# What a migration is made of.
(
    PREPARE_S, FIRST_RATE, LATER_RATE, LINE_RATE, STREAM_RATE, CAP_RATE, MOST_DOWN_S, FIRST_WIRE, OTHER_MIB, OTHER_WIRE,
    DATA_WIRE, CHUNKS, RESUME_S, QUEUED_S, CONFIRM_S, WINDOW_S, TURN_S, LAG_S, DEVICE_MIB, MOST_PASSES, WHOLE_PASSES,
    STOP_MIB, QEMU_S, FIRST_KEEP_S, FIRST_READY_S, FIRST_DOWN_S, MEMORY_MIB, DATA_MIB, RUN_MIB, TAIL_MIB, ZERO_WIRE,
    BODY_WIRE,
) = range(32)  # fmt: skip

# Of each page class: what it is made of, and where it stands.
SIZE, WRITES_S, IN_ORDER, OLDER, DIRTY = range(5)
OF_CLASS = 5

# Where it stands.
(
    PHASE, LIMIT, WAIT_S, WIRE, OTHER, GONE, PASS_S, MEMORY_S, LAST_REST, LAST_RATE, MEMORY_LIMIT, LEFT_MIB, PASSES,
    ELAPSED_S, DOWN_S, CONVERGES, SENT_MIB, QEMU_DOWN_S, WIRE_OF_OTHER,
) = range(19)  # fmt: skip
STATE = 19

PREPARE, MEMORY, SWITCHOVER, RESUME, CONFIRM, DONE = range(6)

PATIENCE = 20
"""Passes to wait for the rest to fit, if it goes on shrinking as it did in the last one and the guest dirties memory
faster than the shortest pass sends it: a guest that converges gets there in fewer, one that does not never does."""

ONE_PAGE_MIB = PAGE_BYTES / MIB
"""Less than this is nothing: QEMU's bitmap knows whole pages."""

SOON_S = 1e-9
"""Two instants closer than this are one."""


def begin(fixed: Row, classes: Row, state: Row) -> None:
    """Set a migration to its beginning."""
    state[:] = 0.0
    state[PHASE], state[WAIT_S], state[CONVERGES] = PREPARE, fixed[PREPARE_S], 1.0
    state[WIRE], state[OTHER], state[LAST_REST] = fixed[FIRST_WIRE], fixed[OTHER_MIB], math.inf
    state[WIRE_OF_OTHER] = fixed[OTHER_WIRE]
    classes[OLDER] = classes[SIZE]
    classes[DIRTY] = classes[SIZE]


def leg(fixed: Row, classes: Row, state: Row, found: Row) -> None:
    """Write down the numbers of the stretch that it is sending, as `drsim.migration.leg.Leg`."""
    found[:] = 0.0
    found[MOST] = found[CAPPED] = found[UNTIL] = math.inf
    if state[PHASE] != MEMORY:
        found[LEFT] = state[LEFT_MIB]
        return
    wire = state[WIRE]
    found[LEFT], found[WRITES], found[WRITES_SHARE] = (1.0 - state[GONE]) * wire, 0.0, 0.5
    found[MOST] = state[MEMORY_LIMIT]
    if fixed[WHOLE_PASSES] == 0.0:
        if state[PASSES] == 0.0:
            found[KEEP], found[READY] = fixed[FIRST_KEEP_S], fixed[FIRST_READY_S] - state[MEMORY_S]
        else:
            found[KEEP] = fixed[MOST_DOWN_S] * wire / (state[OTHER] + classes[DIRTY].sum())
            found[READY] = fixed[WINDOW_S] - state[MEMORY_S]
        found[PASSED] = state[PASS_S]
        found[TURN], found[CAPPED_TURN], found[CAPPED] = fixed[TURN_S], fixed[WINDOW_S], 0.999 * fixed[CAP_RATE]


def sent(state: Row, time_s: float, net_mib: float, last_mib_s: float, rose: bool) -> None:
    """Let time pass in which it sends, as `Migration.sent`."""
    state[ELAPSED_S] += time_s
    state[SENT_MIB] += net_mib
    if state[PHASE] == MEMORY:
        state[GONE] += net_mib / state[WIRE]
        state[PASS_S] += time_s
        state[MEMORY_S] += time_s
        if rose:
            state[LAST_REST] = math.inf
        state[LAST_RATE] = last_mib_s
    else:
        state[DOWN_S] += time_s
        state[QEMU_DOWN_S] += time_s
        state[LEFT_MIB] -= net_mib


def waited(state: Row) -> None:
    """Let the time of a phase pass that only takes time."""
    state[ELAPSED_S] += state[WAIT_S]
    if state[PHASE] == RESUME:
        state[DOWN_S] += state[WAIT_S]


def happen(fixed: Row, classes: Row, state: Row) -> None:
    """Do what is due, as `Migration.happen`."""
    phase = state[PHASE]
    if phase == PREPARE:
        state[PHASE] = MEMORY
        _limit(fixed, state, fixed[FIRST_RATE])
    elif phase == MEMORY:
        _end_pass(fixed, classes, state)
    elif phase == SWITCHOVER:
        state[PHASE], state[LIMIT], state[WAIT_S] = RESUME, 0.0, fixed[RESUME_S]
        state[DOWN_S] += fixed[QUEUED_S]
        state[QEMU_DOWN_S] += fixed[QEMU_S]
    elif phase == RESUME:
        state[PHASE], state[WAIT_S] = CONFIRM, fixed[CONFIRM_S]
    else:
        state[PHASE] = DONE


def _limit(fixed: Row, state: Row, rate_mib_s: float) -> None:
    state[MEMORY_LIMIT] = rate_mib_s
    state[LIMIT] = min(fixed[LINE_RATE], rate_mib_s)


def _end_pass(fixed: Row, classes: Row, state: Row) -> None:
    size, writes_s, in_order, dirty = classes[SIZE], classes[WRITES_S], classes[IN_ORDER], classes[DIRTY]
    state[PASSES] += 1.0
    gone = state[GONE] if state[GONE] < 1.0 - 1e-12 else 1.0
    most_down_s = fixed[MOST_DOWN_S]
    if state[PASSES] == 1.0:
        most_down_s = fixed[FIRST_DOWN_S]
    if state[PASSES] == 1.0 and fixed[RUN_MIB] > 0.0:
        share, other, state[WIRE_OF_OTHER] = left(
            *(fixed[MEMORY_MIB], fixed[DATA_MIB], fixed[RUN_MIB], fixed[TAIL_MIB], fixed[DATA_WIRE], fixed[ZERO_WIRE]),
            *(fixed[BODY_WIRE], size.sum(), (1.0 - gone) * state[WIRE]),
        )
        gone = 1.0 - share
        look(state[OTHER], classes[OLDER], dirty, size, writes_s * state[PASS_S], in_order, fixed[CHUNKS], gone)
    else:
        other = look(state[OTHER], classes[OLDER], dirty, size, writes_s * state[PASS_S], in_order, fixed[CHUNKS], gone)
    state[OTHER], state[GONE], state[PASS_S] = other, 0.0, 0.0
    written = dirty.sum()
    state[WIRE] = other * state[WIRE_OF_OTHER] + written * fixed[DATA_WIRE]
    rest, rate = other + written, state[LAST_RATE]
    known = state[MEMORY_S] >= fixed[WINDOW_S] - SOON_S
    over = rest - rate * most_down_s
    within = rest < ONE_PAGE_MIB or (known and over < 0.0)
    fits = rest < fixed[STOP_MIB] if fixed[STOP_MIB] > 0.0 else within
    stuck = False
    if known and fixed[STOP_MIB] == 0.0 and not fits and over > PATIENCE * (state[LAST_REST] - rest):
        shortest_s = fixed[MOST_DOWN_S]
        if fixed[WHOLE_PASSES] == 0.0:
            turn_s = fixed[WINDOW_S] if rate >= 0.999 * fixed[CAP_RATE] else fixed[TURN_S]
            shortest_s = min(shortest_s, turn_s)
        fresh = burst(size, writes_s, in_order, shortest_s) * fixed[DATA_WIRE]
        stuck = fresh >= rate * shortest_s
    state[LAST_REST] = rest
    if not (fits or stuck or state[PASSES] >= fixed[MOST_PASSES]):
        _limit(fixed, state, fixed[LATER_RATE])
        return
    state[CONVERGES] = 1.0 if within else 0.0
    owed = late(size, writes_s, in_order, dirty, fixed[LAG_S]) * fixed[DATA_WIRE]
    state[LEFT_MIB] = state[WIRE] + owed + fixed[DEVICE_MIB]
    state[PHASE], state[LIMIT] = SWITCHOVER, fixed[STREAM_RATE]


def play(fixed: Row, classes: Row) -> tuple[float, float, float, float, float, float]:
    """Play one alone on its path, as `drsim.migration.predict` does.

    Parameters
    ----------
    fixed : array of float
        What it is made of.
    classes : array of float, shape (3, classes)
        The first three rows of its page classes.

    Returns
    -------
    elapsed_s, downtime_s, qemu_downtime_s, sent_mib, passes, converges : float
    """
    own: Row = np.empty((OF_CLASS, classes.shape[1]))
    state: Row = np.empty(STATE)
    found: Row = np.empty(UNTIL + 1)
    own[: IN_ORDER + 1] = classes
    begin(fixed, own, state)
    while state[PHASE] != DONE:
        rate = state[LIMIT]
        if rate > 0.0:
            leg(fixed, own, state, found)
            net = net_rate(found, rate)
            time_s = over_s(found, 0.0, 0.0, net)
            sent(state, time_s, net * time_s, net, net > state[LAST_RATE])
        else:
            waited(state)
        happen(fixed, own, state)
    return (
        *(state[ELAPSED_S], state[DOWN_S], state[QEMU_DOWN_S]),
        *(state[SENT_MIB], state[PASSES], state[CONVERGES]),
    )


PARTS = (begin, leg, sent, waited, _limit, _end_pass, happen)
"""What a compiler has to know, in the order in which they call each other."""
