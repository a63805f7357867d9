"""How busy the machine is with other things than a lab: what a measurement has to know."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from executor.lab import cgroup


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """CPU time used so far.

    Parameters
    ----------
    at_s : float
        When, on the monotonic clock, s.
    all_s : float
        By everybody, core seconds.
    idle_s : float
        By nobody, core seconds.
    lab_s : float
        By the lab; 0 where it has no control group: then its own work counts as that of others.
    """

    at_s: float
    all_s: float
    idle_s: float
    lab_s: float


def snapshot(folder: Path) -> Snapshot:
    """Read the clocks of the machine and of the lab in a folder."""
    ticks = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
    # user, nice, system, idle, iowait, irq, softirq, steal (guest time is in user already), proc(5)
    idle = ticks[3] + ticks[4]
    return Snapshot(
        at_s=time.monotonic(),
        all_s=(sum(ticks[:8]) - idle) / os.sysconf("SC_CLK_TCK"),
        idle_s=idle / os.sysconf("SC_CLK_TCK"),
        lab_s=cgroup.used_s(folder),
    )


def other_cores(before: Snapshot, after: Snapshot) -> float:
    """Cores that others kept busy between two snapshots, on average; never below 0."""
    passed_s = after.at_s - before.at_s
    if passed_s <= 0.0:
        return 0.0
    # Seen on a virtual machine (Linux 6.18): half a core more was counted as used than its two cores had beside what
    # was counted as idle. What was not idle is then nearer to the truth.
    not_idle_s = passed_s * (os.cpu_count() or 1) - (after.idle_s - before.idle_s)
    used_s = min(after.all_s - before.all_s, not_idle_s)
    return max(0.0, used_s - (after.lab_s - before.lab_s)) / passed_s


def wait_for_quiet(
    folder: Path, limit_cores: float, on_wait: Callable[[float], None] = lambda cores: None, interval_s: float = 1.0
) -> tuple[float, float]:
    """Wait until others keep no more than so many cores busy.

    Parameters
    ----------
    folder : Path
        Folder of the lab, whose own work does not count.
    limit_cores : float
        How much is still quiet.
    on_wait : callable, optional
        Told of the cores that others keep busy, each time that is too much.
    interval_s : float
        Over how long it is measured.

    Returns
    -------
    waited_s, cores : float
        How long that took beyond the first look, and how busy others were at the end.
    """
    began = time.monotonic()
    while True:
        before = snapshot(folder)
        time.sleep(interval_s)
        cores = other_cores(before, snapshot(folder))
        if cores <= limit_cores:
            return max(0.0, time.monotonic() - began - interval_s), cores
        on_wait(cores)


def cpu_model() -> str:
    """Name of the machine's processor."""
    for text in Path("/proc/cpuinfo").read_text().splitlines():
        key, _, value = text.partition(":")
        if key.strip() == "model name":
            return value.strip()
    return "unknown"
