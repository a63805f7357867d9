"""The lines of an estate under load, whoever keeps the time: who flows where, and what each flow gets."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from drsim.migration import Course
from drsim.migration.leg import Leg
from drsim.simulate.compiled import kernel_for, rusher
from drsim.simulate.kernel import FLOW_COLUMNS, LAST, LEAST, NET, REAL, ROSE, SENT, SOON_S, SPENT, Tables
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
    most_mib_s : float
        What its hosts have the CPU for; infinite if nobody has said so.
    """

    __slots__ = ("limit_mib_s", "most_mib_s", "number")

    def __init__(self, number: int) -> None:
        self.number = number
        self.limit_mib_s = 0.0
        self.most_mib_s = math.inf


class Flows:
    """Directed lines shared max-min fairly; shares are settled anew when a flow starts, ends or changes its limit.

    Parameters
    ----------
    capacity_mbit_s : mapping of str to float
        Line rate of each directed line.
    goodput : float
        Share of the line rate left for data.
    return_share : float
        What a flow keeps of its share while the uplink of the host that it goes to is full. A receiver's
        acknowledgements leave by its uplink; while that is full they wait in its queue, and the sender with them.
        Measured on Grid'5000 (kherbache_g5k): a migration into a host that sends at its full rate takes 10 to 20 %
        longer, one into a host that sends at less than that takes no longer.
    fast : bool
        Whether to use the compiled kernel.
    disks_mib_s : mapping of str to float, optional
        Rates of further lines, of data alone (`drsim.disk_lines.DiskLines`).

    Attributes
    ----------
    tables : Tables
        All flows and lines.
    """

    def __init__(
        self,
        capacity_mbit_s: Mapping[str, float],
        goodput: float,
        return_share: float = 1.0,
        *,
        fast: bool = False,
        disks_mib_s: Mapping[str, float] | None = None,
    ) -> None:
        disks = disks_mib_s or {}
        self._kernel = kernel_for(fast)
        self._return_share = return_share
        self._names = (*capacity_mbit_s, *disks)
        self._index = {edge: number for number, edge in enumerate(self._names)}
        self._per_mbit = MIB_S_PER_MBIT_S * np.array([goodput] * len(capacity_mbit_s) + [1.0] * len(disks))
        rates = [*capacity_mbit_s.values(), *(rate / MIB_S_PER_MBIT_S for rate in disks.values())]
        self._capacity_mbit_s = np.array(rates, dtype=np.float64)
        count, longest = len(self._names), 2
        self.tables = Tables(
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
        self._changed: dict[int, float] = {}
        self._noted: list[tuple[float, Ints, Floats]] = []

    def open(self, edges: tuple[str, ...]) -> Flow:
        """Return a way over some lines, on which nothing is sent yet; without a leg it has no end."""
        if not self._free:
            self._grow()
        if len(edges) > self.tables.ways.shape[1]:
            self._widen(len(edges))
        number = self._free.pop()
        tables = self.tables
        tables.ways[number] = NOBODY
        tables.ways[number, : len(edges)] = [self._index[edge] for edge in edges]
        # The uplink of the target: its card, sending.
        back = f"{edges[-1].removeprefix('>')}>" if edges else ""
        tables.back[number] = self._index.get(back, NOBODY)
        tables.flow[number] = 0.0
        tables.flow[number, : len(ENDLESS)] = ENDLESS
        return Flow(number)

    def close(self, flow: Flow, now_s: float) -> float | None:
        """Give up a way; return when the next leg is over if shares had to be settled for it."""
        self.limit(flow, 0.0)
        next_s = self.settle(now_s) if flow.number in self._changed else None
        self._free.append(flow.number)  # its row is free before somebody else gets it
        return next_s

    def limit(self, flow: Flow, limit_mib_s: float) -> bool:
        """Say what a flow could use from now on, 0 ends it; return whether `settle` is to be called for it."""
        if limit_mib_s == flow.limit_mib_s:
            return False
        flow.limit_mib_s = limit_mib_s
        return self._change(flow)

    def slow(self, flow: Flow, most_mib_s: float) -> bool:
        """Say what a flow's hosts have the CPU for from now on; return whether `settle` is to be called for it."""
        if most_mib_s == flow.most_mib_s:
            return False
        flow.most_mib_s = most_mib_s
        return self._change(flow)

    def _change(self, flow: Flow) -> bool:
        first = not self._changed
        self._changed[flow.number] = min(flow.limit_mib_s, flow.most_mib_s)
        return first

    def begin(self, flow: Flow, run: Course, now_s: float) -> float:
        """Let a migration send what it has to; return when that is over at the rate that it has."""
        due_s: float = self._kernel.begin(self.tables, flow.number, run.leg, run.last_rate_mib_s, now_s)
        return due_s

    def end(self, flow: Flow, run: Course, now_s: float) -> None:
        """Tell a migration what it has sent since `begin`."""
        self._kernel.end(self.tables, flow.number, now_s)
        row = self.tables.flow[flow.number].tolist()
        run.sent(row[SPENT], row[SENT], row[NET], row[LEAST], row[LAST], row[ROSE] > 0.0)

    def settle(self, now_s: float) -> float:
        """Give every flow its share; return when the next leg is over, infinite if there is none."""
        numbers = np.array(list(self._changed), dtype=np.int64)
        limits = np.array(list(self._changed.values()), dtype=np.float64)
        self._changed.clear()
        lines, used, next_s = self._kernel.settle(self.tables, numbers, limits, now_s, self._return_share)
        if lines.size:
            self._noted.append((now_s, lines, used))
        return float(next_s)

    def rush(
        self, numbers: Sequence[int], fixed: Floats, classes: Floats, counts: Ints, state: Floats, now_s: float
    ) -> float:
        """Let plain pre-copies over these ways run to their ends (`drsim.simulate.rush`); return the last one's."""
        rows = np.array(numbers, dtype=np.int64)
        return rusher()(self.tables, rows, fixed, classes, counts, state, now_s, self._return_share)

    @property
    def unsettled(self) -> bool:
        """Whether a limit has changed since `settle`."""
        return bool(self._changed)

    def due(self, now_s: float) -> list[int]:
        """Return the rows of the flows whose leg is over now; none of them is returned again."""
        due = self.tables.due
        numbers = np.flatnonzero(due <= now_s + SOON_S)
        due[numbers] = np.inf
        return numbers.tolist()

    def next_s(self) -> float:
        """Return when the next leg is over; infinite if nobody sends."""
        return float(self.tables.due.min())

    def rate_mib_s(self, flow: Flow) -> float:
        """Return the rate that a flow has now."""
        return float(self.tables.flow[flow.number, REAL])

    def uses(self) -> LinkUses:
        """Return the use of the lines up to now."""
        return LinkUses.of(self._names, self._capacity_mbit_s, self._per_mbit, self._noted)

    def _widen(self, longest: int) -> None:
        """Make room for longer ways: crossing k of flow f gets the number ``f * longest + k``."""
        tables, (rows, before) = self.tables, self.tables.ways.shape
        ways = np.full((rows, longest), NOBODY)
        ways[:, :before] = tables.ways

        def renumbered(crossings: Ints) -> Ints:
            flows, places = np.divmod(crossings, before)
            return np.where(crossings == NOBODY, NOBODY, flows * longest + places)

        def spread(chain: Ints) -> Ints:
            wide = np.full((rows, longest), NOBODY)
            wide[:, :before] = renumbered(chain).reshape(rows, before)
            return wide.ravel()

        self.tables = tables._replace(
            ways=ways, after=spread(tables.after), before=spread(tables.before), first=renumbered(tables.first)
        )

    def _grow(self) -> None:
        tables, rows = self.tables, self.tables.on.size
        longest = tables.ways.shape[1]
        self.tables = tables._replace(
            flow=np.vstack((tables.flow, np.zeros((rows, FLOW_COLUMNS)))),
            due=np.concatenate((tables.due, np.full(rows, np.inf))),
            ways=np.vstack((tables.ways, np.full((rows, longest), NOBODY))),
            after=np.concatenate((tables.after, np.full(rows * longest, NOBODY))),
            before=np.concatenate((tables.before, np.full(rows * longest, NOBODY))),
            on=np.concatenate((tables.on, np.zeros(rows, dtype=np.int64))),
            back=np.concatenate((tables.back, np.full(rows, NOBODY))),
        )
        self._free.extend(range(2 * rows - 1, rows - 1, -1))
