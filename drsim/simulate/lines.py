"""Flows in SimPy's time: events for when what a migration sends is over."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import simpy
from simpy.events import Event as SimEvent

from drsim.migration import Course
from drsim.simulate.flows import Flow, Flows
from drsim.simulate.use import LinkUses


class Lines:
    """Lines of an estate shared by processes of SimPy.

    Parameters
    ----------
    env : simpy.Environment
        The simulation.
    capacity_mbit_s, goodput, return_share, fast, disks_mib_s
        As for `Flows`.

    Attributes
    ----------
    settled : callable
        Told whenever shares were settled anew.
    """

    def __init__(
        self,
        env: simpy.Environment,
        capacity_mbit_s: Mapping[str, float],
        goodput: float,
        return_share: float = 1.0,
        *,
        fast: bool = False,
        disks_mib_s: Mapping[str, float] | None = None,
    ) -> None:
        self._env = env
        self.flows = Flows(capacity_mbit_s, goodput, return_share, fast=fast, disks_mib_s=disks_mib_s)
        self._over: dict[int, SimEvent] = {}
        self._alarm_s = np.inf
        self.settled: Callable[[], None] = lambda: None

    def open(self, edges: tuple[str, ...]) -> Flow:
        """Return a way over some lines, on which nothing is sent yet."""
        return self.flows.open(edges)

    def close(self, flow: Flow) -> None:
        """Give up a way."""
        next_s = self.flows.close(flow, self._env.now)
        if next_s is not None:
            self._wake(next_s)
            self.settled()

    def limit(self, flow: Flow, limit_mib_s: float) -> None:
        """Say what a flow could use from now on; 0 ends it."""
        if self.flows.limit(flow, limit_mib_s):
            self._settle_soon()

    def slow(self, flow: Flow, most_mib_s: float) -> None:
        """Say what a flow's hosts have the CPU for from now on."""
        if self.flows.slow(flow, most_mib_s):
            self._settle_soon()

    def send(self, flow: Flow, run: Course) -> SimEvent:
        """Let a migration send what it has to; return an event for when that is over. `sent` must be called then."""
        over = self._over[flow.number] = SimEvent(self._env)
        self._wake(self.flows.begin(flow, run, self._env.now))
        return over

    def sent(self, flow: Flow, run: Course) -> None:
        """Tell a migration what it has sent since `send`."""
        self.flows.end(flow, run, self._env.now)
        del self._over[flow.number]

    def rate_mib_s(self, flow: Flow) -> float:
        """Return the rate that a flow has now."""
        return self.flows.rate_mib_s(flow)

    def uses(self) -> LinkUses:
        """Return the use of the lines up to now."""
        return self.flows.uses()

    def _settle_soon(self) -> None:
        # SimPy takes events of one instant in the order of their making: what is due now comes before this one.
        self._env.timeout(0).callbacks.append(self._settle)

    def _settle(self, _: SimEvent) -> None:
        if self.flows.unsettled:
            self._wake(self.flows.settle(self._env.now))
            self.settled()

    def _wake(self, at_s: float) -> None:
        """See to it that somebody looks at that time; who looks too early looks again."""
        if at_s < self._alarm_s:
            self._alarm_s = at_s
            self._env.timeout(max(0.0, at_s - self._env.now), at_s).callbacks.append(self._ring)

    def _ring(self, alarm: SimEvent) -> None:
        if alarm.value != self._alarm_s:
            return  # somebody looked before
        self._alarm_s = np.inf
        for number in self.flows.due(self._env.now):
            self._over[number].succeed()
        self._wake(self.flows.next_s())
