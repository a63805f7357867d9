"""CPU time, shared out evenly among the hosts of a lab by the kernel's control groups, of either version."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from pathlib import Path

from executor.lab.topology import LabTopology

FABRIC = "fabric"
"""Group of lines, servers and probes: they weigh as much as all hosts together: busy guests do not slow the network."""

_PERIOD_US = 100_000


def controller() -> tuple[Path, int] | None:
    """Find where CPU time is shared out.

    Returns
    -------
    tuple or None
        Mount point of the CPU controller and the version of control groups; None where there is none to write to.
    """
    for mount in Path("/proc/self/mounts").read_text().splitlines():
        _, point, kind, options, *_ = mount.split()
        path = Path(point.replace("\\040", " "))
        if kind == "cgroup" and "cpu" in options.split(",") and "rw" in options.split(","):
            return path, 1
        controllers = path / "cgroup.controllers"
        writable = "rw" in options.split(",") and controllers.exists()
        if kind == "cgroup2" and writable and "cpu" in controllers.read_text().split():
            return path, 2
    return None


def _top(folder: Path, base: Path) -> Path:
    # Labs under different roots may have the same name.
    return base / f"drsim-lab-{folder.name}-{hashlib.sha256(str(folder).encode()).hexdigest()[:8]}"


def make(folder: Path, topology: LabTopology) -> str:
    """Make the groups of a lab.

    Parameters
    ----------
    folder : Path
        Folder of the lab.
    topology : LabTopology
        Its hosts, and how many CPUs each may use.

    Returns
    -------
    str
        Empty, or a remark: why CPU time is not shared out here.
    """
    found = controller()
    if found is None:
        return "No control group for CPU time can be written here: a busy host of the lab can slow the others down."
    base, version = found
    top = _top(folder, base)
    hosts = len(topology.hosts)
    try:
        top.mkdir(exist_ok=True)
        if version == 2:
            for each in (base, top):
                if "cpu" not in (each / "cgroup.subtree_control").read_text().split():
                    (each / "cgroup.subtree_control").write_text("+cpu")
        # Under version 1 it competes with each process of the machine by itself, under version 2 with whole slices.
        _weigh(top, version, 2 * hosts if version == 1 else 1)
        (top / FABRIC).mkdir(exist_ok=True)
        _weigh(top / FABRIC, version, hosts)
        for host in topology.hosts:
            group = top / f"host-{host.name}"
            group.mkdir(exist_ok=True)
            _weigh(group, version, 1)
            if host.cpus is not None:
                quota_us = int(host.cpus * _PERIOD_US)
                if version == 2:
                    (group / "cpu.max").write_text(f"{quota_us} {_PERIOD_US}")
                else:
                    (group / "cpu.cfs_period_us").write_text(str(_PERIOD_US))
                    (group / "cpu.cfs_quota_us").write_text(str(quota_us))
    except OSError as error:
        remove(folder)
        return f"CPU time is not shared out among the hosts: {error.filename or top}: {error.strerror}."
    return ""


def _weigh(group: Path, version: int, hosts: int) -> None:
    """Give a group the weight of so many hosts."""
    if version == 2:
        (group / "cpu.weight").write_text(str(min(100 * hosts, 10_000)))
    else:
        (group / "cpu.shares").write_text(str(1024 * hosts))


def group_of(folder: Path, name: str) -> Path | None:
    """Group of a host, or of `FABRIC`; None if there is none."""
    found = controller()
    if found is None:
        return None
    group = _top(folder, found[0]) / (name if name == FABRIC else f"host-{name}")
    return group if group.is_dir() else None


def used_s(folder: Path) -> float:
    """CPU time that a lab has used, core seconds; 0 without a group."""
    found = controller()
    if found is None:
        return 0.0
    top = _top(folder, found[0])
    try:
        if found[1] == 2:
            words = (top / "cpu.stat").read_text().split()
            return int(words[words.index("usage_usec") + 1]) / 1e6
    except OSError:
        return 0.0
    # Version 1 accounts in a hierarchy of its own; the clocks of the processes and of their dead children say it, too.
    pids = [pid for path in top.glob("*/cgroup.procs") for pid in path.read_text().split()]
    return sum(_ticks(pid) for pid in pids) / os.sysconf("SC_CLK_TCK")


def _ticks(pid: str) -> int:
    try:
        # After the name, which may hold anything: state is field 3, utime, stime, cutime, cstime are 14 to 17.
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return sum(int(word) for word in words[11:15])


def remove(folder: Path, timeout_s: float = 5.0) -> None:
    """Remove the groups of a lab. They must be empty; the kernel may take a moment to see that."""
    found = controller()
    if found is None:
        return
    top = _top(folder, found[0])
    deadline = time.monotonic() + timeout_s
    while top.is_dir():
        for group in (*(path for path in top.iterdir() if path.is_dir()), top):
            with contextlib.suppress(OSError):
                group.rmdir()
        if time.monotonic() > deadline:
            return
        if top.is_dir():
            time.sleep(0.02)
