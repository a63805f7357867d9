"""Who is at work on which hosts: one controller at a time."""

from __future__ import annotations

import os
import socket
import uuid
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """A controller.

    Parameters
    ----------
    token : str
        Its own, never used before.
    machine : str
        Machine that it runs on.
    pid : int
        Process.
    born : str
        When that process started, as its kernel counts; tells it from a later process with the same number.
    actor : str
        Who started it.
    """

    token: str
    machine: str
    pid: int
    born: str
    actor: str

    @classmethod
    def here(cls, actor: str) -> Holder:
        """Describe this process."""
        pid = os.getpid()
        return cls(token=uuid.uuid4().hex[:12], machine=machine_name(), pid=pid, born=born(pid), actor=actor)

    def __str__(self) -> str:
        return f"Process {self.pid} of {self.actor} on {self.machine}"

    def outlived(self, other: Holder) -> bool:
        """Whether the other one is certainly dead: only a process of the same machine can be told dead, by its kernel.

        A heartbeat that has stopped proves nothing: clocks differ, and a machine may only be slow or cut off.
        """
        return self.machine == other.machine and born(other.pid) != other.born


def machine_name() -> str:
    """Name this machine and its boot: process numbers mean nothing after a reboot or in another container."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()[:8]
        space = os.readlink("/proc/self/ns/pid").strip("pid:[]")
    except OSError:
        return socket.gethostname()
    return f"{socket.gethostname()} (boot {boot}, processes {space})"


def born(pid: int) -> str:
    """Return when a process started, in clock ticks after boot; empty if there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ""
    except OSError:
        return "unknown"
    fields = stat.rpartition(")")[2].split()
    return "" if fields[0] in "ZX" else fields[19]
