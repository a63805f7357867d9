"""A stretch of a migration during which nothing happens to it but sending, as plain numbers.

What is sent meanwhile, and when the stretch is over, are functions of these numbers and of the rate alone. A driver of
many migrations can therefore follow them without asking the migrations themselves; the functions below hold no objects,
so that they can be compiled as they are.
"""

from __future__ import annotations

import math
from typing import NamedTuple


class Leg(NamedTuple):
    """Numbers of one stretch.

    Parameters
    ----------
    left_mib : float
        What is left to send of what the stretch is about.
    writes_mib_s, writes_share, most_mib_s : float
        Guest writes to copied disks travel beside it: they take that rate, that share of the whole at most; what the
        stretch is about goes no faster than `most_mib_s`.
    keep_s : float
        What need not be sent before QEMU looks, as time: what fits the downtime limit at whatever rate there is.
    ready_s : float
        Time until the rate is known.
    passed_s : float
        Time since QEMU looked last.
    turn_s, capped_turn_s, capped_mib_s : float
        QEMU looks when a turn ends: after `turn_s`, or `capped_turn_s` from that rate on; 0 if nobody looks.
    until_s : float
        Time until something happens whatever has been sent; infinite if nothing does.
    """

    left_mib: float
    writes_mib_s: float = 0.0
    writes_share: float = 0.0
    most_mib_s: float = math.inf
    keep_s: float = 0.0
    ready_s: float = 0.0
    passed_s: float = 0.0
    turn_s: float = 0.0
    capped_turn_s: float = 0.0
    capped_mib_s: float = math.inf
    until_s: float = math.inf


LEFT, WRITES, WRITES_SHARE, MOST, KEEP, READY, PASSED, TURN, CAPPED_TURN, CAPPED, UNTIL = range(11)


MIRROR_SHARE = 0.5
"""Two connections share fairly, so a mirror beside memory takes no more than half."""


def net_rate(leg: tuple[float, ...], rate_mib_s: float) -> float:
    """Return the part of a rate that what the stretch is about gets, MiB/s."""
    writes, most = leg[WRITES], leg[MOST]
    if writes > 0.0:
        rate_mib_s -= min(writes, leg[WRITES_SHARE] * rate_mib_s)
    return rate_mib_s if rate_mib_s < most else most


def wait_s(leg: tuple[float, ...], net_mib: float, spent_s: float, rate_mib_s: float) -> float:
    """Return the time until the stretch is over if the rate stays as it is, seconds.

    Parameters
    ----------
    leg : Leg
        The stretch, or its numbers in their order.
    net_mib, spent_s : float
        What has been sent of `Leg.left_mib`, and how long that took.
    rate_mib_s : float
        The rate, positive.
    """
    return over_s(leg, net_mib, spent_s, net_rate(leg, rate_mib_s))


def over_s(leg: tuple[float, ...], net_mib: float, spent_s: float, net_mib_s: float) -> float:
    """Return `wait_s` for what the stretch is about gets (`net_rate`) instead of the whole rate."""
    wait = (leg[LEFT] - net_mib) / net_mib_s
    turn = leg[TURN]
    if turn > 0.0:
        # The rate, and so what fits, is not known before the first window has ended.
        fits, ready = wait - leg[KEEP], leg[READY] - spent_s
        if fits < 0.0:
            fits = 0.0
        if fits < ready:
            fits = ready
        if net_mib_s >= leg[CAPPED]:
            turn = leg[CAPPED_TURN]
        # The first end of a turn, counted from the last look, at which it fits.
        passed = leg[PASSED] + spent_s
        turns = math.ceil((passed + fits) / turn - 1e-9)
        ends = (turns if turns > 1.0 else 1.0) * turn - passed
        if ends < wait:
            wait = ends
    until = leg[UNTIL] - spent_s
    if until < wait:
        wait = until
    return wait if wait > 0.0 else 0.0
