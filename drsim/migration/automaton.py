"""One migration under way: QEMU's loop, exact between events.

The migration is an automaton that knows what it could send now (`Migration.limit_mib_s`) and, told the rate that it
gets, when the next thing happens to it. Who drives it decides the rate: `drsim.migration.predict` gives it the whole
path, the simulation gives it its fair share. Both therefore play the same model.

The loop follows QEMU's migration/migration.c and migration/ram.c (7.2 and 10.0): memory is sent until what is left in
the bitmap fits the downtime limit at the measured rate; only then are newly dirtied pages looked for; if all that is
left still fits, the guest is stopped and the rest is sent without a bandwidth cap. QEMU looks only when a turn ends
(50 ms, or 100 ms under a cap) and does not know its rate during the first 100 ms. Post-copy begins where it was asked
for: the guest is stopped with whatever is left, runs on the target, and the rest follows it, each page once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from typing import Literal

from drsim.inventory import Vm
from drsim.migration.dirty import Bitmap
from drsim.migration.first import first, layout
from drsim.migration.guest import load
from drsim.migration.leg import MIRROR_SHARE, Leg, net_rate, wait_s
from drsim.migration.options import PLAIN, Options
from drsim.migration.parameters import Parameters
from drsim.migration.plain import ONE_PAGE_MIB, PATIENCE, SOON_S
from drsim.migration.postcopy import Pull, blackout_s, missing_pages, pull, silence_s, waking_s
from drsim.migration.rates import client_gap_s, confirm_s, memory_rates, prepare_s, rates, socket_mib, waking
from drsim.migration.throttle import Throttle
from drsim.topology import Path
from drsim.units import PAGE_BYTES

Phase = Literal["prepare", "disks", "memory", "stalled", "switchover", "resume", "push", "confirm", "done"]

STALLED_S = 45.0
"""Time after which the executor gives up a migration whose passes get no shorter, at its last rung, seconds."""


class Migration:
    """A migration that has begun; the driver's loop is ``advance(wait_s(rate), rate)``, ``happen()`` until done.

    Parameters
    ----------
    vm : Vm
        The guest.
    path : Path
        What lies between the hosts.
    max_downtime_ms : float
        Downtime limit given to the hypervisor, ms.
    bandwidth_mbit_s : float or None
        Bandwidth cap given to the hypervisor.
    copy_disks : collection of str
        Disks that move along.
    parameters : Parameters
        Constants of the hosts.
    line_mbit_s : float
        Line rate that it may use at most.
    options : Options
        Mode, channels, compression, encryption, throttling.
    most_downtime_ms : float, optional
        It is steered as the executor steers it: when passes get no shorter, its downtime limit is raised up to this,
        and beyond that it is given up. By default it is brought to its end by force.
    burst : callable, optional
        Asked at each look how much more the guest dirtied than it does on average, MiB; 0 by default.

    Attributes
    ----------
    phase : Phase
        In ``stalled`` it sends in vain until it is given up; ``prepare`` and ``confirm`` send nothing; the guest
        stands still in ``switchover`` and ``resume``; it runs on the target from ``push`` on.
    limit_mib_s : float
        Data rate that it could use now; 0 while it sends nothing.
    elapsed_s, sent_mib : float
        Since its start.
    dirtied_mib : float
        What memory found dirty again takes to send, each time it was found.
    passes : int
        Passes over dirty memory completed.
    downtime_s : float
        Standstill of the guest up to now, as libvirt measures it.
    qemu_downtime_s : float
        Part of it that QEMU counts.
    held_back_s : float
        Time that the guest lost beside it, to throttling and to pages that it had to wait for.
    faults : float
        Pages that it had to ask for.
    silent_s : float
        Time that it answered nobody on the target, for want of pages.
    last_rate_mib_s : float
        Rate at which memory was sent last.
    gave_up : bool
        It is done without having moved: the guest goes on on its source.
    converges : bool
        False as soon as it is clear that pre-copy alone cannot keep the downtime limit, unless post-copy ends it.
    """

    __slots__ = (
        "_bitmap", "_burst", "_first", "_first_rate", "_fresh", "_gone", "_last_rest", "_later_rate", "_left_mib",
        "_left_s", "_load", "_looks", "_max_downtime_s", "_memory_limit", "_memory_mib", "_memory_s", "_missing",
        "_most_downtime_s", "_on_target", "_options", "_parameters", "_pass_s", "_push_mib", "_push_rate", "_push_s",
        "_rates", "_switch_s", "_throttle", "_tick_rest", "_zero_left", "converges", "dirtied_mib", "downtime_s",
        "elapsed_s", "faults", "gave_up", "held_back_s", "last_rate_mib_s", "limit_mib_s", "passes", "phase",
        "qemu_downtime_s", "sent_mib", "silent_s",
    )  # fmt: skip

    def __init__(
        self,
        vm: Vm,
        path: Path,
        *,
        max_downtime_ms: float,
        bandwidth_mbit_s: float | None,
        copy_disks: Collection[str],
        parameters: Parameters,
        line_mbit_s: float,
        options: Options = PLAIN,
        most_downtime_ms: float | None = None,
        burst: Callable[[], float] | None = None,
    ) -> None:
        p = self._parameters = parameters
        self._options = options
        self._burst = burst
        guest = self._load = load(vm, copy_disks, p, options)
        limits = self._rates = rates(path, bandwidth_mbit_s, line_mbit_s, p, options)
        self._max_downtime_s = max_downtime_ms / 1e3
        self._most_downtime_s = None if most_downtime_ms is None else most_downtime_ms / 1e3
        self._first_rate, self._later_rate = memory_rates(guest.first_mib, guest.zero_scan_s, limits)

        # Of a phase that only takes time.
        self._left_s = prepare_s(self._later_rate, guest.first_mib + guest.disk_mib, limits, p)
        self._left_mib = 0.0  # of a phase that only sends
        where = layout(guest, p)
        self._bitmap = Bitmap(guest, where, p, options)
        self._first = first(where, self._first_rate, self._max_downtime_s, limits, p, options)
        self._throttle = Throttle(options, p, guest)
        self._gone = 0.0  # share of the pass that was sent
        self._pass_s = self._memory_s = self._memory_mib = 0.0
        self._looks = 0
        self._last_rest = self._tick_rest = math.inf
        self.last_rate_mib_s = 0.0
        self._zero_left = 0.0  # share of the zeros that the first pass has not looked at
        self._fresh = 0.0  # found newly dirty at the last look, MiB
        self._on_target = False
        self._push_mib = self._push_s = self._push_rate = 0.0
        self._missing = [0.0] * len(guest.classes)  # of each class, as the guest goes on on the target
        self._switch_s = math.inf  # time of memory transfer at which post-copy was asked for
        if options.postcopy_after_s is not None and options.postcopy:
            self._switch_s = options.postcopy_after_s
        elif options.mode == "postcopy":
            self._switch_s = 0.0

        self.phase: Phase = "prepare"
        self.limit_mib_s = 0.0
        self.elapsed_s = self.sent_mib = self.dirtied_mib = 0.0
        self.passes = 0
        self.downtime_s = self.qemu_downtime_s = 0.0
        self.held_back_s = self.faults = self.silent_s = 0.0
        self.gave_up = False
        self.converges = True

    @property
    def done(self) -> bool:
        """Whether nothing is left to happen."""
        return self.phase == "done"

    @property
    def on_target(self) -> bool:
        """Whether the guest goes on on the target before all its memory is there: post-copy has begun."""
        return self._on_target

    @property
    def throttle(self) -> float:
        """Share of their time that vCPUs are held back now."""
        return self._throttle.held

    @property
    def client_gap_s(self) -> float:
        """Silence that a client sees who is sent to all the time.

        Standstill, pages that the guest waits for before it can answer, announcement, half a round trip.
        """
        return client_gap_s(self.downtime_s + self.silent_s, self._rates.rtt_s, self._parameters)

    @property
    def remaining_mib(self) -> float:
        """Memory and disk data known to be left to send, MiB."""
        match self.phase:
            case "prepare":
                return self._load.first_mib + self._load.disk_mib
            case "disks":
                return self._load.first_mib + self._left_mib
            case "memory":
                return self._bitmap.wire_mib * (1.0 - self._gone)
            case "stalled":
                return self._bitmap.wire_mib
            case _:
                sends = self.phase in ("switchover", "push") or (self.phase == "resume" and self._on_target)
                return self._left_mib if sends else 0.0

    @property
    def leg(self) -> Leg:
        """What is being sent now, as plain numbers; only while `limit_mib_s` is positive."""
        writes = self._load.disk_write_mib_s
        match self.phase:
            case "memory":
                return self._memory_leg(writes)
            case "disks":
                return Leg(self._left_mib, writes, self._parameters.mirror_share)
            case _:
                return Leg(self._left_mib)

    def wait_s(self, rate_mib_s: float) -> float:
        """Return the time until the next thing happens if the rate stays as it is, seconds.

        Parameters
        ----------
        rate_mib_s : float
            Data rate granted, positive and not above `limit_mib_s` where that is positive; unused elsewhere.
        """
        return wait_s(self.leg, 0.0, 0.0, rate_mib_s) if self.limit_mib_s > 0.0 else self._left_s

    def advance(self, time_s: float, rate_mib_s: float) -> None:
        """Let time pass in which nothing happens; `rate_mib_s` as for `wait_s`."""
        if self.limit_mib_s > 0.0:
            net = net_rate(self.leg, rate_mib_s)
            rose = self.phase == "memory" and net > self.last_rate_mib_s
            self.sent(time_s, rate_mib_s * time_s, net * time_s, rate_mib_s, net, rose)
            return
        self.elapsed_s += time_s
        self._left_s -= time_s
        if self.phase == "resume":
            self.downtime_s += time_s

    def sent(
        self, time_s: float, sent_mib: float, net_mib: float, least_mib_s: float, last_mib_s: float, rose: bool
    ) -> None:
        """Let time pass in which it sends and nothing happens, at rates that may have changed meanwhile.

        Parameters
        ----------
        time_s : float
            How long.
        sent_mib, net_mib : float
            What was sent, and its part of what the leg is about.
        least_mib_s : float
            Lowest rate that it had.
        last_mib_s : float
            Rate at which the leg went at the end.
        rose : bool
            Whether that rate ever became higher than it was before.
        """
        self.elapsed_s += time_s
        self.sent_mib += sent_mib
        match self.phase:
            case "memory":
                self._gone += net_mib / self._bitmap.wire_mib
                self._pass_s += time_s
                self._memory_s += time_s
                self._memory_mib += net_mib
                self.held_back_s += (1.0 - self._throttle.pace) * time_s
                if rose:
                    self._last_rest = math.inf  # What did not shrink at a lower rate may shrink at this one.
                self.last_rate_mib_s = last_mib_s
            case "disks":
                self._left_mib -= net_mib
                if self._load.disk_write_mib_s > self._parameters.mirror_share * least_mib_s:
                    # Writes that end on both ends hold the guest back instead.
                    self.converges = self.converges and self._options.synchronous_writes
            case "switchover":
                self.downtime_s += time_s
                self.qemu_downtime_s += time_s
                self._left_mib -= net_mib
            case _:
                self._left_mib -= net_mib
                self._push_s += time_s

    def happen(self) -> None:
        """Do what was due after `wait_s`: end the pass or the phase."""
        p, limits = self._parameters, self._rates
        match self.phase:
            case "prepare" if self._load.disks:
                self.phase = "disks"
                self._left_mib = self._load.disk_mib
                in_flight = p.mirror_window_mib / limits.rtt_s if limits.rtt_s > 0.0 else math.inf
                one_disk = min(limits.tcp_mib_s, limits.cap_mib_s, in_flight)
                self.limit_mib_s = min(limits.line_mib_s, one_disk * self._load.disks)
            case "prepare" | "disks":
                self.phase = "memory"
                self._limit_memory(self._first_rate)
            case "memory":
                self._turn()
            case "stalled":
                self.phase, self.limit_mib_s, self.gave_up = "done", 0.0, True
            case "switchover":
                self.phase = "resume"
                self.limit_mib_s = 0.0
                self._resume()
            case "resume" if self._on_target:
                self.phase = "push"
                self._left_mib = self._push_mib
                self.limit_mib_s = self._push_rate
            case "resume" | "push":
                if self.phase == "push":
                    self._arrived()
                self.phase = "confirm"
                self.limit_mib_s = 0.0
                self._left_s = confirm_s(limits, p)
                if self._on_target:  # what little was left to push arrived before the guest woke up
                    self._left_s += max(0.0, float(waking_s(limits.rtt_s, p)) - self._push_s)
            case "confirm":
                self.phase = "done"

    def _limit_memory(self, rate_mib_s: float) -> None:
        # Mirrors go on beside memory over connections of their own, in the same network share.
        self._memory_limit = rate_mib_s
        self.limit_mib_s = min(self._rates.line_mib_s, rate_mib_s + self._load.disk_write_mib_s)

    def _memory_leg(self, writes: float) -> Leg:
        p, wire, memory_s = self._parameters, self._bitmap.wire_mib, self._memory_s
        until_s = min(self._switch_s, self._throttle.next_tick_s) - memory_s
        left_mib = (1.0 - self._gone) * wire
        if p.full_passes:
            return Leg(left_mib, writes, MIRROR_SHARE, self._memory_limit, until_s=until_s)
        if self._looks:
            keep_s, ready_s = self._max_downtime_s * wire / self._bitmap.rest_mib, p.window_s
        else:
            keep_s, ready_s = self._first.keep_s, self._first.ready_s
        return Leg(
            *(left_mib, writes, MIRROR_SHARE, self._memory_limit),
            *(keep_s, ready_s - memory_s, self._pass_s),
            *(p.turn_s, p.window_s, 0.999 * self._rates.cap_mib_s, until_s),
        )

    def _turn(self) -> None:
        """Do what is due during memory transfer: post-copy, a look by the timer, or the end of a pass."""
        if self._memory_s >= self._switch_s - SOON_S:
            self._look()
            self._start_postcopy()
        elif self._memory_s >= self._throttle.next_tick_s - SOON_S:
            if self._throttle.tick(self._looks):
                self._look()
                self._mind_tick()
        else:
            self._end_pass()

    def _mind_tick(self) -> None:
        """End what looks by the timer show to be hopeless: passes that grow faster than they are sent never end."""
        rest = self._bitmap.rest_mib
        if self._throttle.exhausted and rest >= self._tick_rest:
            if self._options.postcopy:
                self._start_postcopy()
            else:
                self._climb()
        self._tick_rest = rest

    def _look(self) -> None:
        gone = self._gone if self._gone < 1.0 - 1e-12 else 1.0
        burst = 0.0 if self._burst is None else self._burst()
        left_mib = self._bitmap.wire_mib * (1.0 - gone)
        fresh = self._fresh = self._bitmap.look(gone, self._pass_s, self._throttle.pace, burst)
        self.dirtied_mib += self._bitmap.wire_mib - left_mib
        self._looks += 1
        self._zero_left = 1.0 - gone if self._looks == 1 else 0.0
        self._gone = self._pass_s = 0.0
        if self._options.throttles:
            self._throttle.count(self._memory_s, fresh, self._memory_mib)

    def _end_pass(self) -> None:
        """Look for newly dirtied pages; stop the guest if what is left fits, or if it never will."""
        p = self._parameters
        self.passes += 1
        self._look()
        rest = self._bitmap.rest_mib
        rate_known = self._memory_s >= p.window_s - SOON_S
        over = rest - self.last_rate_mib_s * (self._max_downtime_s if self._looks > 1 else self._first.limit_s)
        within = rest < ONE_PAGE_MIB or (rate_known and over < 0.0)
        fits = rest < p.stop_pages * ONE_PAGE_MIB if p.stop_pages else within
        stuck = rate_known and not p.stop_pages and over > PATIENCE * (self._last_rest - rest) and self._outrun()
        hopeless = stuck and (self._throttle.exhausted or rest <= 0.0)
        last = self.passes >= p.most_passes
        self._last_rest = rest
        handover = self._switch_s == math.inf and self.passes >= self._options.precopy_passes
        if self._options.postcopy and (p.pull_rest if fits else hopeless or last):
            self._start_postcopy()
        elif handover and self._options.postcopy and not fits:
            self._switch_s = self._memory_s + p.handover_lag_s
            self._limit_memory(self._later_rate)
        elif fits or last:
            self.converges = self.converges and within
            self._stop_guest()
        elif hopeless:
            self._climb()
        else:
            self._limit_memory(self._later_rate)

    def _climb(self) -> None:
        """Do what is done about passes that get no shorter."""
        most_s = self._most_downtime_s
        if most_s is not None and self._max_downtime_s < most_s:
            self._max_downtime_s = min(2.0 * self._max_downtime_s, most_s)
            self._last_rest = math.inf
            self._limit_memory(self._later_rate)
            return
        self.converges = False
        if most_s is None:
            self._stop_guest()
        else:
            self.phase = "stalled"
            self.limit_mib_s = self._later_rate
            self._left_mib = self._later_rate * STALLED_S

    def _outrun(self) -> bool:
        """Whether the guest dirties memory at least as fast as it is sent, even over the shortest pass.

        Unique dirtying is concave in time, so passes shrink down to the shortest one if this is false; if it is true
        they settle where a pass sends as much as is dirtied in it, which may or may not fit the downtime limit.
        """
        shortest_s = self._max_downtime_s
        if not self._parameters.full_passes:
            shortest_s = min(shortest_s, self._turn_s(self.last_rate_mib_s))
        return self._bitmap.burst_mib(shortest_s, self._throttle.pace) >= self.last_rate_mib_s * shortest_s

    def _turn_s(self, memory_rate: float) -> float:
        """Time between two looks of QEMU at what is left."""
        p = self._parameters
        return p.window_s if memory_rate >= 0.999 * self._rates.cap_mib_s else p.turn_s

    def _stop_guest(self) -> None:
        p = self._parameters
        late = self._bitmap.late_mib(p.stop_lag_ms / 1e3, self._throttle.pace)
        owed = self._load.disk_write_mib_s * p.mirror_lag_s
        self._left_mib = self._bitmap.wire_mib + late + p.device_mib + owed
        self.dirtied_mib += late
        self.phase = "switchover"
        self.limit_mib_s = self._rates.stream_mib_s

    def _start_postcopy(self) -> None:
        p, bitmap, limits = self._parameters, self._bitmap, self._rates
        self._on_target = True
        self._missing = list(bitmap.dirty_mib)
        # One thread looks for zeros and pushes; what the first pass left holds its part of the zeros.
        scan_s = self._zero_left * self._load.zero_scan_s
        self._push_mib = bitmap.wire_mib
        push_s = self._push_mib / limits.push_mib_s + scan_s
        self._push_rate = self._push_mib / push_s if push_s > 0.0 else limits.push_mib_s
        self._left_mib = p.device_mib + self._load.disk_write_mib_s * p.mirror_lag_s
        if p.stale_bitmap:
            self._left_mib += self._load.memory_mib / PAGE_BYTES / 8.0
        self.phase = "switchover"
        self.limit_mib_s = limits.stream_mib_s

    def _resume(self) -> None:
        """Begin what is left of the standstill after the state of the devices has been sent."""
        p, rtt_s = self._parameters, self._rates.rtt_s
        if self._on_target:
            stale = self._fresh if self._looks == 1 else sum(self._missing)
            self._left_s = float(blackout_s(stale, p))
            self.qemu_downtime_s += self._left_s + min(p.qemu_rtts, p.switchover_rtts) * rtt_s
            # The push is under way before the guest runs on the target.
            self.downtime_s += float(waking_s(rtt_s, p))
            if self._memory_s > 0.0:  # the state of the devices waits behind what lies in the socket
                self.downtime_s += socket_mib(self._rates, p, self._options) / self._rates.stream_mib_s
        else:
            self._left_s, queued_s, qemu_s = waking(self._rates, p, self._options)
            self.downtime_s += queued_s  # it stopped that much earlier than its data was out
            self.qemu_downtime_s += qemu_s

    def _arrived(self) -> None:
        """All memory has followed: what the guest went through meanwhile."""
        result: Pull = pull(
            self._missing,
            self._load,
            self._push_s,
            self._push_mib / self._push_s if self._push_s > 0.0 else math.inf,
            self._rates.rtt_s,
            self._parameters,
            self._options,
        )
        pages = missing_pages(self._zero_left, self._parameters)
        of = (pages, self._parameters)
        self.silent_s = float(silence_s(self._push_s, self._rates.push_mib_s, self._rates.rtt_s, *of))
        self.faults = result.faults
        self.held_back_s += result.stalled_s
