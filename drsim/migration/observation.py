"""A migration that happened: what was known before, what was measured after."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from drsim.inventory import Vm
from drsim.migration.estimate import Guests, estimate
from drsim.migration.options import PLAIN, Options
from drsim.migration.parameters import Parameters
from drsim.migration.predict import predict, predict_copy
from drsim.plan import Prediction
from drsim.topology import Path
from drsim.units import MIB_S_PER_MBIT_S
from drsim.workload import dirty_classes

Floats = NDArray[np.float64]

PHASES = 7
"""Places in a turn that are averaged over."""

MEASURES = ("total_time_s", "downtime_ms", "sent_mib", "client_gap_ms")
"""What is predicted and measured alike; names of fields of `Observation` and of `drsim.plan.Prediction`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """One migration, alone on its path or with a known share of it.

    Parameters
    ----------
    vm : Vm
        The guest as it was known before.
    path : Path
        What lay between the hosts; its bandwidth is what this migration could get.
    max_downtime_ms, bandwidth_mbit_s : float
        Downtime limit and cap given to the hypervisor.
    copy_disks : tuple of str
        Disks that moved along.
    options : Options
        How it travelled.
    total_time_s, downtime_ms, sent_mib, client_gap_ms : float or None
        Whole call; standstill as libvirt measured it; traffic; longest silence that a client saw. None: not measured.
    qemu_downtime_ms : float or None
        Standstill as QEMU measured it; compared, but nothing is tuned on it.
    cell : str
        Migrations under the same conditions share it; they are never split between tuning and testing.
    groups : tuple of str
        Link and classes of hosts that it belongs to, the most special one first (`drsim.migration.groups`).
    at : str or None
        When, ISO 8601.
    storage_only : bool
        Whether disks moved alone, on their host; the bandwidth of the path is what their datastores left for it.
    """

    vm: Vm
    path: Path
    max_downtime_ms: float
    bandwidth_mbit_s: float | None = None
    copy_disks: tuple[str, ...] = ()
    options: Options = PLAIN
    total_time_s: float | None = None
    downtime_ms: float | None = None
    sent_mib: float | None = None
    client_gap_ms: float | None = None
    qemu_downtime_ms: float | None = None
    cell: str = ""
    groups: tuple[str, ...] = ()
    at: str | None = None
    storage_only: bool = False


def foresee(observations: Sequence[Observation], parameters: Parameters) -> list[Prediction]:
    """Return what the model would have said of each."""
    return [_foreseen(one, parameters) for one in observations]


def _foreseen(one: Observation, parameters: Parameters) -> Prediction:
    if one.storage_only:
        return predict_copy(
            one.vm,
            one.copy_disks,
            bandwidth_mbit_s=one.bandwidth_mbit_s,
            most_mib_s=one.path.bandwidth_mbit_s * MIB_S_PER_MBIT_S,
            parameters=parameters,
            options=one.options,
        )
    return predict(
        one.vm,
        one.path,
        max_downtime_ms=one.max_downtime_ms,
        bandwidth_mbit_s=one.bandwidth_mbit_s,
        copy_disks=one.copy_disks,
        parameters=parameters,
        options=one.options,
    )


def expected(observations: Sequence[Observation], parameters: Parameters) -> Floats:
    """Return what the model expects of each on average, as an array.

    QEMU looks at what is left once a turn; where in a turn a pass ends is chance, and decides about several per cent
    of a short migration and of its standstill. What is returned is the mean over `PHASES` guests with a little more or
    less data, as much as a turn sends: constants are tuned on what they mean, not on that chance.

    Returns
    -------
    array of float, shape (n, 4)
        Columns as `MEASURES`.
    """
    found = np.empty((len(observations), len(MEASURES)))
    groups: dict[tuple[bool, Options], list[int]] = {}
    for number, one in enumerate(observations):
        groups.setdefault((one.storage_only, one.options), []).append(number)
    for (alone, options), rows in groups.items():
        members = [observations[row] for row in rows]
        if alone or options.throttles or options.compression == "xbzrle" or options.postcopy_after_s is not None:
            said = foresee(members, parameters)
            found[rows] = [[getattr(one, measure) for measure in MEASURES] for one in said]
        else:
            found[rows] = _together(members, parameters, options)
    return found


def _together(members: Sequence[Observation], p: Parameters, options: Options) -> Floats:
    again = np.repeat(np.arange(len(members)), PHASES)
    guests = Guests.of([one.vm for one in members], [one.copy_disks for one in members], p).take(again)
    paths = [one.path for one in members]
    line = np.array([min(path.bandwidth_mbit_s, path.connection_mbit_s * options.channels) for path in paths])[again]
    rtt_ms = np.array([one.path.rtt_ms for one in members])[again]
    cap = np.array([np.inf if one.bandwidth_mbit_s is None else one.bandwidth_mbit_s for one in members])[again]
    rate = np.minimum(np.minimum(line * p.goodput, p.stream_limit_mbit_s), cap) * MIB_S_PER_MBIT_S
    phase = (np.tile(np.arange(PHASES), len(members)) + 0.5) / PHASES - 0.5
    turn_s = np.where(np.isfinite(cap), p.window_s, p.turn_s)
    more = np.clip(phase * rate * turn_s, -0.5 * guests.data_mib, None)
    guests = replace(guests, memory_mib=guests.memory_mib + more, data_mib=guests.data_mib + more)
    costs = estimate(
        guests,
        line_mbit_s=line,
        rtt_ms=rtt_ms,
        loss=np.array([one.path.loss for one in members])[again],
        max_downtime_ms=np.array([one.max_downtime_ms for one in members])[again],
        bandwidth_mbit_s=cap,
        parameters=p,
        options=options,
    )
    every = np.stack([costs.total_time_s, costs.downtime_ms, costs.sent_mib, costs.client_gap_ms], axis=1)
    middle: Floats = every.reshape(len(members), PHASES, len(MEASURES)).mean(axis=1)
    return middle


def measured(observations: Sequence[Observation]) -> Floats:
    """Return what was measured, shape (n, 4), columns as `MEASURES`; NaN where nothing was."""
    rows = [[getattr(one, measure) for measure in MEASURES] for one in observations]
    return np.array([[np.nan if value is None else value for value in row] for row in rows], dtype=np.float64)


def features(vm: Vm, path: Path, bandwidth_mbit_s: float | None, max_downtime_ms: float) -> dict[str, float]:
    """Return what makes migrations alike, by name: a band holds for those whose features were seen before."""
    rate = path.bandwidth_mbit_s if bandwidth_mbit_s is None else min(path.bandwidth_mbit_s, bandwidth_mbit_s)
    return {
        "memory_mib": float(vm.memory_mib),
        "dirty_rate_mib_s": sum(c.dirty_rate_mib_s for c in dirty_classes(vm)),
        "rate_mbit_s": rate,
        "rtt_ms": path.rtt_ms,
        "loss": path.loss,
        "max_downtime_ms": max_downtime_ms,
    }
