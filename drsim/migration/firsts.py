"""The first pass of very many migrations at once: `drsim.migration.first` on arrays."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from drsim.migration.options import Options
from drsim.migration.parameters import Parameters
from drsim.units import PAGE_BYTES

Floats = NDArray[np.float64]


def socket_mib(cap: Floats, stream: Floats, rtt: Floats, p: Parameters, options: Options) -> Floats:
    """`drsim.migration.rates.socket_mib`."""
    held = np.minimum(p.socket_share * stream * rtt, options.channels * p.socket_most_mib)
    found: Floats = np.where((rtt <= 0.0) | (cap <= p.empty_share * stream), 0.0, held)
    return found


class Layouts:
    """`drsim.migration.first.Layout`, each of its numbers an array.

    Parameters
    ----------
    memory_mib, data_mib : array of float, shape (n,)
        All memory, and what of it is not zero.
    data_wire : float
        MiB sent for each MiB of data.
    parameters : Parameters
        Constants.
    """

    def __init__(self, memory_mib: Floats, data_mib: Floats, data_wire: float, parameters: Parameters) -> None:
        p = parameters
        self.memory_mib, self.data_mib, self.data_wire = memory_mib, data_mib, data_wire
        zero_mib = memory_mib - data_mib
        self.run_mib = p.zero_run * zero_mib
        self.tail_mib = np.where(self.run_mib > 0.0, np.minimum(p.tail_mib, data_mib), 0.0)
        self.zero_wire = p.zero_page_bytes / PAGE_BYTES
        self.body_wire = (data_mib - self.tail_mib) * data_wire + (zero_mib - self.run_mib) * self.zero_wire

    def last_wire(self, last_mib: Floats) -> Floats:
        """`drsim.migration.first.last_wire`."""
        tail = np.minimum(last_mib, self.tail_mib)
        run = np.minimum(last_mib - tail, self.run_mib)
        body_mib = self.memory_mib - self.tail_mib - self.run_mib
        body = (last_mib - tail - run) / np.where(body_mib > 0.0, body_mib, np.inf)
        wire: Floats = tail * self.data_wire + run * self.zero_wire + body * self.body_wire
        return wire

    def left(self, written_mib: Floats, wire_mib: Floats) -> tuple[Floats, Floats, Floats]:
        """`drsim.migration.first.left`."""
        tail = np.minimum(wire_mib, self.tail_mib * self.data_wire)
        run = np.minimum(wire_mib - tail, self.run_mib * self.zero_wire)
        body = (wire_mib - tail - run) / np.where(self.body_wire > 0.0, self.body_wire, np.inf)
        data = tail / self.data_wire + body * (self.data_mib - self.tail_mib)
        zero = run / self.zero_wire if self.zero_wire > 0.0 else self.run_mib * body
        zero = zero + body * (self.memory_mib - self.data_mib - self.run_mib)
        some = self.data_mib > 0.0
        share = np.where(some, np.minimum(1.0, data / np.where(some, self.data_mib, 1.0)), zero / self.memory_mib)
        over = written_mib > self.data_mib
        part = (self.memory_mib - written_mib) / np.where(over, self.memory_mib - self.data_mib, np.inf)
        zero = np.where(over, zero * part, zero)
        plain = share * np.maximum(0.0, self.data_mib - written_mib)
        other = plain + zero
        wire = (plain * self.data_wire + zero * self.zero_wire) / np.where(other > 0.0, other, np.inf)
        return share, other, wire

    def first(
        self,
        rate: Floats,
        limit_s: Floats,
        cap: Floats,
        stream: Floats,
        rtt: Floats,
        p: Parameters,
        options: Options,
    ) -> tuple[Floats, Floats, Floats]:
        """`drsim.migration.first.first`: what it keeps, when it is ready and its limit, seconds."""
        keep_s, ready_s = self.last_wire(limit_s * rate) / rate, np.full_like(rate, p.window_s)
        if p.socket_sample == 0.0 or p.full_passes or p.stop_pages:
            return keep_s, ready_s, limit_s
        held, window_s = socket_mib(cap, stream, rtt, p, options), p.window_s
        far = np.where(held > 0.0, rtt, 1.0)
        seen = rate + p.socket_sample * (held + stream * rtt) * (1.0 - np.exp2(-window_s / far)) / window_s
        seen = np.minimum(seen, cap)
        gone = (rate * window_s + held) / np.where(self.body_wire > 0.0, self.body_wire, 1e-300)
        unsent = self.memory_mib - np.minimum(1.0, gone) * (self.memory_mib - self.run_mib - self.tail_mib)
        soon = (held > 0.0) & (unsent < seen * limit_s)
        return (
            np.where(soon, np.inf, keep_s),
            np.where(soon, window_s + held / rate, ready_s),
            np.where(soon, limit_s * seen / rate, limit_s),
        )
