"""A migration that happened: what was known before, what was measured after."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from drsim.inventory import Vm
from drsim.migration.options import PLAIN, Options
from drsim.migration.parameters import Parameters
from drsim.migration.predict import predict
from drsim.plan import Prediction
from drsim.topology import Path
from drsim.workload import dirty_classes

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
    cell : str
        Migrations under the same conditions share it; they are never split between tuning and testing.
    group : str
        Class of hosts or link that it belongs to.
    at : str or None
        When, ISO 8601.
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
    cell: str = ""
    group: str = ""
    at: str | None = None


def foresee(observations: Sequence[Observation], parameters: Parameters) -> list[Prediction]:
    """Return what the model would have said of each."""
    return [
        predict(
            one.vm,
            one.path,
            max_downtime_ms=one.max_downtime_ms,
            bandwidth_mbit_s=one.bandwidth_mbit_s,
            copy_disks=one.copy_disks,
            parameters=parameters,
            options=one.options,
        )
        for one in observations
    ]


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
