"""What a cluster lived through."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from drsim.simulate.use import LinkUses

if TYPE_CHECKING:
    import pandas as pd

Outcome = Literal["done", "refused", "aborted", "lost"]
Happened = Literal[
    "planned", "moved", "refused", "aborted", "lost", "paused", "recovered", "host_down", "host_up", "link_down",
    "link_up", "maintenance", "open", "started", "left", "failed",
]  # fmt: skip

HOUR_S = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Migrated:
    """One migration that was tried.

    Parameters
    ----------
    plan : int
        Number of the plan that it belonged to, from 1.
    move_id, vm, source, target : str
        The move.
    start_s, end_s : float
        When.
    outcome : Outcome
        ``aborted``: the guest goes on at its source. ``lost``: it died with one of its hosts.
    downtime_ms, sent_mib, held_back_s : float
        As in `drsim.plan.Prediction`.
    converges : bool
        Whether it ended by itself.
    """

    plan: int
    move_id: str
    vm: str
    source: str
    target: str
    start_s: float
    end_s: float
    outcome: Outcome
    downtime_ms: float
    sent_mib: float
    held_back_s: float
    converges: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """Something that happened.

    Parameters
    ----------
    time_s : float
        Seconds since the start.
    kind : Happened
        What kind of thing.
    subject : str
        Guest, host, link or plan.
    text : str
        For people.
    """

    time_s: float
    kind: Happened
    subject: str
    text: str


@dataclass(frozen=True, eq=False, kw_only=True)
class Operation:
    """Days of a cluster.

    Parameters
    ----------
    hosts, vms : tuple of str
        Names, in the order of the columns.
    cores : array of float, shape (hosts,)
        Cores of each host.
    vcpus : array of float, shape (vms,)
        Virtual CPUs of each guest.
    step_s : float
        Time between two samples.
    used_cores, ready_cores : array of float, shape (samples, hosts)
        CPU used, and CPU that guests waited for: means over each step.
    memory_mib, memory_held_mib, guests : array of float, shape (samples, hosts)
        Configured memory of the guests on a host, what of it holds data, and their number, at the end of each step.
    memory_short_mib : array of float, shape (samples, hosts)
        Data that a host has no memory for: what ballooning or swapping must take from its guests. Mean over each step.
    ready_s, swap_s, down_s : array of float, shape (vms,)
        Core-seconds that each guest waited for CPU; seconds that it waited for memory which its host had swapped out;
        seconds that it did not run.
    place : array of int, shape (vms,)
        Host on which each guest runs at the end; -1 if it does not.
    migrations : tuple of Migrated
        In the order of their ends.
    incidents : tuple of Incident
        In the order of time.
    link_use : LinkUses
        Use of the lines by migrations.
    """

    hosts: tuple[str, ...]
    vms: tuple[str, ...]
    cores: NDArray[np.float64]
    vcpus: NDArray[np.float64]
    step_s: float
    used_cores: NDArray[np.float32]
    ready_cores: NDArray[np.float32]
    memory_mib: NDArray[np.float32]
    memory_held_mib: NDArray[np.float32]
    memory_short_mib: NDArray[np.float32]
    guests: NDArray[np.float32]
    ready_s: NDArray[np.float64]
    swap_s: NDArray[np.float64]
    down_s: NDArray[np.float64]
    place: NDArray[np.int64]
    migrations: tuple[Migrated, ...]
    incidents: tuple[Incident, ...]
    link_use: LinkUses

    def summary(self) -> dict[str, float]:
        """Return the figures by which two operations are compared.

        Returns
        -------
        dict of str to float
            ``contended_host_hours``: hours in which a host was over its cores, over all hosts;
            ``ready_core_hours``: CPU that guests waited for; ``worst_ready_share``: of the host and step in which
            guests waited most, waiting over demand; ``memory_short_gib_hours``: data without memory, over all hosts;
            ``vm_hours_swapping``: time that guests waited for memory;
            ``migrations`` done, ``gib_moved``, ``downtime_s`` of all guests
            together; ``vm_hours_down``; ``migrations_not_done``.
        """
        done = [one for one in self.migrations if one.outcome == "done"]
        demand = np.maximum(self.used_cores + self.ready_cores, 1e-9)
        return {
            "contended_host_hours": float((self.ready_cores > 1e-3).sum()) * self.step_s / HOUR_S,
            "ready_core_hours": float(self.ready_s.sum()) / HOUR_S,
            "worst_ready_share": float((self.ready_cores / demand).max(initial=0.0)),
            "memory_short_gib_hours": float(self.memory_short_mib.sum()) / 1024.0 * self.step_s / HOUR_S,
            "vm_hours_swapping": float(self.swap_s.sum()) / HOUR_S,
            "migrations": float(len(done)),
            "gib_moved": sum(one.sent_mib for one in self.migrations) / 1024.0,
            "downtime_s": sum(one.downtime_ms for one in done) / 1e3,
            "vm_hours_down": float(self.down_s.sum()) / HOUR_S,
            "migrations_not_done": float(len(self.migrations) - len(done)),
        }

    def to_frames(self) -> dict[str, pd.DataFrame]:
        """Return it as tables.

        Returns
        -------
        dict of str to DataFrame
            ``hosts``: a row a host and step; ``vms``: a row a guest; ``migrations``, ``incidents``: a row each;
            ``link_use``: a row a sample. Units are in the names of the columns. ``cpu_ready_percent`` is what operators
            know as CPU ready: time that a virtual CPU was ready to run and did not, of all time, averaged over them.
        """
        import pandas as pd

        steps, hosts = self.used_cores.shape
        used = self.used_cores.ravel()
        over_time = pd.DataFrame(
            {
                "time_s": np.repeat(np.arange(steps) * self.step_s, hosts),
                "host": pd.Categorical.from_codes(np.tile(np.arange(hosts), steps), pd.Index(self.hosts)),
                "cpu_used_cores": used,
                "cpu_used_share": used / np.tile(self.cores, steps),
                "cpu_ready_cores": self.ready_cores.ravel(),
                "memory_mib": self.memory_mib.ravel(),
                "memory_held_mib": self.memory_held_mib.ravel(),
                "memory_short_mib": self.memory_short_mib.ravel(),
                "vms": self.guests.ravel().astype(np.int64),
            }
        )
        moves = dict.fromkeys(self.vms, 0)
        still_ms = dict.fromkeys(self.vms, 0.0)
        for one in self.migrations:
            if one.outcome == "done":
                moves[one.vm] += 1
                still_ms[one.vm] += one.downtime_ms
        per_vm = pd.DataFrame(
            {
                "vm": self.vms,
                "host": [self.hosts[number] if number >= 0 else None for number in self.place.tolist()],
                "cpu_ready_core_s": self.ready_s,
                "cpu_ready_percent": 100.0 * self.ready_s / (self.vcpus * self.step_s * steps),
                "swap_wait_s": self.swap_s,
                "down_s": self.down_s,
                "migrations": [moves[vm] for vm in self.vms],
                "migration_downtime_ms": [still_ms[vm] for vm in self.vms],
            }
        )
        columns = list(Migrated.__dataclass_fields__)
        return {
            "hosts": over_time,
            "vms": per_vm,
            "migrations": pd.DataFrame([asdict(one) for one in self.migrations], columns=columns),
            "incidents": pd.DataFrame(
                [asdict(one) for one in self.incidents], columns=list(Incident.__dataclass_fields__)
            ),
            "link_use": self.link_use.to_frame(),
        }
