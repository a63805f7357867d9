"""The lines of an estate under load: who flows where, and what each flow gets."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import simpy
from simpy.events import Event as SimEvent

from drsim.simulate.network import behind_returns, fair_share
from drsim.simulate.result import LinkUse
from drsim.units import MIB_S_PER_MBIT_S


class Flow:
    """Data on its way over some lines; the process that sends it is interrupted whenever its rate changes.

    Parameters
    ----------
    edges : tuple of str
        Lines crossed.
    process : simpy.Process
        Who sends.

    Attributes
    ----------
    limit_mib_s : float
        Data rate that it could use; 0 while it sends nothing.
    rate_mib_s : float
        Data rate that it has; 0 until the shares are settled.
    """

    def __init__(self, edges: tuple[str, ...], process: simpy.Process) -> None:
        self.edges = edges
        self.process = process
        self.limit_mib_s = 0.0
        self.rate_mib_s = 0.0


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
        What a flow keeps of its share while the uplink of the host that it goes to is full (`behind_returns`).
    """

    def __init__(
        self, env: simpy.Environment, capacity_mbit_s: Mapping[str, float], goodput: float, return_share: float = 1.0
    ) -> None:
        self._env = env
        self._return_share = return_share
        self._capacity = capacity_mbit_s
        self._goodput = goodput
        self._flows: dict[Flow, None] = {}
        self._used: dict[str, float] = {}
        self._pending = False
        self.samples: list[LinkUse] = []

    def limit(self, flow: Flow, limit_mib_s: float) -> None:
        """Say what a flow could use from now on; 0 ends it."""
        if limit_mib_s == flow.limit_mib_s:
            return
        flow.limit_mib_s = limit_mib_s
        flow.rate_mib_s = min(flow.rate_mib_s, limit_mib_s)
        if limit_mib_s > 0.0:
            self._flows[flow] = None
        else:
            del self._flows[flow]
        if not self._pending:
            self._pending = True
            # SimPy takes events of one instant in the order of their making: what is due now comes before this one.
            self._env.timeout(0).callbacks.append(self._settle)

    def _settle(self, _: SimEvent) -> None:
        self._pending = False
        flows = list(self._flows)
        index: dict[str, int] = {}
        line = [index.setdefault(edge, len(index)) for flow in flows for edge in flow.edges]
        of = [number for number, flow in enumerate(flows) for _ in flow.edges]
        per_mbit = MIB_S_PER_MBIT_S * self._goodput
        rates = fair_share(
            np.array([self._capacity[edge] * per_mbit for edge in index]),
            np.array(of, dtype=np.int64),
            np.array(line, dtype=np.int64),
            np.array([flow.limit_mib_s for flow in flows]),
        )
        if self._return_share < 1.0:
            up = np.array([index.get(flow.edges[0], -1) if flow.edges else -1 for flow in flows], dtype=np.int64)
            back = [f"{flow.edges[-1].removeprefix('>')}>" if flow.edges else "" for flow in flows]
            down = np.array([index.get(edge, -1) for edge in back], dtype=np.int64)
            capacity = np.array([self._capacity[edge] * per_mbit for edge in index])
            rates = behind_returns(rates, up, down, capacity, self._return_share)
        used = np.bincount(line, weights=rates[of], minlength=len(index)) / per_mbit if line else np.zeros(0)
        self._sample(dict(zip(index, used.tolist(), strict=True)))
        for flow, rate in zip(flows, rates.tolist(), strict=True):
            if rate != flow.rate_mib_s:
                flow.rate_mib_s = rate
                flow.process.interrupt()

    def _sample(self, used: dict[str, float]) -> None:
        for edge in [*used, *(edge for edge in self._used if edge not in used)]:
            now = used.get(edge, 0.0)
            if now != self._used.get(edge, 0.0):
                capacity = self._capacity[edge]
                self.samples.append(
                    LinkUse(edge=edge, time_s=self._env.now, used_mbit_s=min(now, capacity), capacity_mbit_s=capacity)
                )
        self._used = used
