"""The lines of an estate under load: who flows where, what each flow gets, and when what it sends is over."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import simpy
from simpy.events import Event as SimEvent

from drsim.migration import Migration
from drsim.migration.leg import Leg
from drsim.simulate.compiled import kernel_for
from drsim.simulate.kernel import (
    FLOW_COLUMNS,
    LAST,
    LEAST,
    NET,
    REAL,
    ROSE,
    SENT,
    SOON_S,
    SPENT,
    Tables,
)
from drsim.simulate.network import NOBODY, Floats, Ints
from drsim.simulate.use import LinkUses
from drsim.units import MIB_S_PER_MBIT_S

ENDLESS = Leg(math.inf)

ROOM = 64
"""Flows that there is room for at first."""


class Flow:
    """The way of one migration over some lines.

    Parameters
    ----------
    number : int
        Its row in the tables.

    Attributes
    ----------
    limit_mib_s : float
        Data rate that it could use; 0 while it sends nothing.
    over : simpy.Event or None
        Succeeds when what it sends is over.
    """

    __slots__ = ("limit_mib_s", "number", "over")

    def __init__(self, number: int) -> None:
        self.number = number
        self.limit_mib_s = 0.0
        self.over: SimEvent | None = None


class Lines:
    """Directed lines shared max-min fairly; shares are settled anew when a flow starts, ends or changes its limit.

    Parameters
    ----------
    env : simpy.Environment
        The simulation.
    capacity_mbit_s : mapping of str to float
        Line rate of each directed line.
    goodput : float
        Share of the line rate left for data.
    return_share : float
        What a flow keeps of its share while the uplink of the host that it goes to is full. A receiver's
        acknowledgements leave by its uplink; while that is full they wait in its queue, and the sender with them.
        Measured on Grid'5000 (kherbache_g5k): a migration into a host that sends at its full rate takes 10 to 20 %
        longer, one into a host that sends at less than that takes no longer.
    longest : int
        Most lines that a flow crosses.
    fast : bool
        Whether to use the compiled kernel.
    """

    def __init__(
        self,
        env: simpy.Environment,
        capacity_mbit_s: Mapping[str, float],
        goodput: float,
        return_share: float = 1.0,
        *,
        longest: int = 2,
        fast: bool = False,
    ) -> None:
        self._env = env
        self._kernel = kernel_for(fast)
        self._return_share = return_share
        self._names = tuple(capacity_mbit_s)
        self._index = {edge: number for number, edge in enumerate(self._names)}
        self._per_mbit = MIB_S_PER_MBIT_S * goodput
        self._capacity_mbit_s = np.array(list(capacity_mbit_s.values()), dtype=np.float64)
        count = len(self._names)
        self._tables = Tables(
            flow=np.zeros((ROOM, FLOW_COLUMNS)),
            due=np.full(ROOM, np.inf),
            ways=np.full((ROOM, longest), NOBODY),
            after=np.full(ROOM * longest, NOBODY),
            before=np.full(ROOM * longest, NOBODY),
            on=np.zeros(ROOM, dtype=np.int64),
            back=np.full(ROOM, NOBODY),
            capacity=self._capacity_mbit_s * self._per_mbit,
            used=np.zeros(count),
            first=np.full(count, NOBODY),
        )
        self._free = list(range(ROOM - 1, -1, -1))
        self._flows: dict[int, Flow] = {}
        self._changed: dict[int, float] = {}
        self._alarm_s = np.inf
        self._noted: list[tuple[float, Ints, Floats]] = []

    def open(self, edges: tuple[str, ...]) -> Flow:
        """Return a way over some lines, on which nothing is sent yet; without a leg it has no end."""
        if not self._free:
            self._grow()
        number = self._free.pop()
        tables = self._tables
        tables.ways[number] = NOBODY
        tables.ways[number, : len(edges)] = [self._index[edge] for edge in edges]
        # The uplink of the target: its card, sending.
        back = f"{edges[-1].removeprefix('>')}>" if edges else ""
        tables.back[number] = self._index.get(back, NOBODY)
        tables.flow[number] = 0.0
        tables.flow[number, : len(ENDLESS)] = ENDLESS
        flow = self._flows[number] = Flow(number)
        return flow

    def close(self, flow: Flow) -> None:
        """Give up a way."""
        self.limit(flow, 0.0)
        if flow.number in self._changed:
            self._settle(None)  # its row must be free before somebody else gets it
        del self._flows[flow.number]
        self._free.append(flow.number)

    def limit(self, flow: Flow, limit_mib_s: float) -> None:
        """Say what a flow could use from now on; 0 ends it."""
        if limit_mib_s == flow.limit_mib_s:
            return
        flow.limit_mib_s = limit_mib_s
        if not self._changed:
            # SimPy takes events of one instant in the order of their making: what is due now comes before this one.
            self._env.timeout(0).callbacks.append(self._settle)
        self._changed[flow.number] = limit_mib_s

    def send(self, flow: Flow, run: Migration) -> SimEvent:
        """Let a migration send what it has to; return an event for when that is over. `sent` must be called then."""
        flow.over = SimEvent(self._env)
        due_s = self._kernel.begin(self._tables, flow.number, run.leg, run.last_rate_mib_s, self._env.now)
        self._wake(due_s)
        return flow.over

    def sent(self, flow: Flow, run: Migration) -> None:
        """Tell a migration what it has sent since `send`."""
        self._kernel.end(self._tables, flow.number, self._env.now)
        flow.over = None
        row = self._tables.flow[flow.number].tolist()
        run.sent(row[SPENT], row[SENT], row[NET], row[LEAST], row[LAST], row[ROSE] > 0.0)

    def rate_mib_s(self, flow: Flow) -> float:
        """Return the rate that a flow has now."""
        return float(self._tables.flow[flow.number, REAL])

    def uses(self) -> LinkUses:
        """Return the use of the lines up to now."""
        return LinkUses.of(self._names, self._capacity_mbit_s, self._per_mbit, self._noted)

    def _settle(self, _: SimEvent | None) -> None:
        if not self._changed:
            return
        numbers = np.array(list(self._changed), dtype=np.int64)
        limits = np.array(list(self._changed.values()), dtype=np.float64)
        self._changed.clear()
        now_s = self._env.now
        lines, used, next_s = self._kernel.settle(self._tables, numbers, limits, now_s, self._return_share)
        if lines.size:
            self._noted.append((now_s, lines, used))
        self._wake(next_s)

    def _wake(self, at_s: float) -> None:
        """See to it that somebody looks at that time; who looks too early looks again."""
        if at_s < self._alarm_s:
            self._alarm_s = at_s
            self._env.timeout(max(0.0, at_s - self._env.now), at_s).callbacks.append(self._ring)

    def _ring(self, alarm: SimEvent) -> None:
        if alarm.value != self._alarm_s:
            return  # somebody looked before
        self._alarm_s = np.inf
        due = self._tables.due
        for number in np.flatnonzero(due <= self._env.now + SOON_S).tolist():
            due[number] = np.inf
            over = self._flows[number].over
            assert over is not None  # a leg that is due has been begun
            over.succeed()
        self._wake(float(due.min()))

    def _grow(self) -> None:
        tables, rows = self._tables, self._tables.on.size
        longest = tables.ways.shape[1]
        self._tables = tables._replace(
            flow=np.vstack((tables.flow, np.zeros((rows, FLOW_COLUMNS)))),
            due=np.concatenate((tables.due, np.full(rows, np.inf))),
            ways=np.vstack((tables.ways, np.full((rows, longest), NOBODY))),
            after=np.concatenate((tables.after, np.full(rows * longest, NOBODY))),
            before=np.concatenate((tables.before, np.full(rows * longest, NOBODY))),
            on=np.concatenate((tables.on, np.zeros(rows, dtype=np.int64))),
            back=np.concatenate((tables.back, np.full(rows, NOBODY))),
        )
        self._free.extend(range(2 * rows - 1, rows - 1, -1))
