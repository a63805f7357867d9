"""What a lab has started, on disk before it is used, so that `down` always finds everything."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from drsim.errors import LabError
from executor.lab.topology import LabTopology

MARK = "DRSIM_LAB"
"""Environment variable that every process of a lab carries: its folder. Even a process whose number was never written
down, because the command that started it was killed, is found by it."""

MAX_SOCKET_PATH = 107
"""Longest path of a unix socket (sun_path of Linux, less its final zero)."""


def labs_root() -> Path:
    """Folder that holds all labs of this machine."""
    return Path(os.environ.get("DRSIM_LAB_ROOT", "/var/lib/drsim-lab"))


@dataclass(slots=True, kw_only=True)
class HostState:
    """A host as it was started."""

    index: int
    uuid: str
    init_pid: int = 0
    link_pid: int = 0


@dataclass(slots=True, kw_only=True)
class LabState:
    """Everything that a lab has started so far."""

    topology: LabTopology
    fabric_pid: int = 0
    client_pid: int = 0
    storage_pid: int = 0
    wan_pids: dict[str, int] = field(default_factory=dict)
    cut: tuple[str, ...] = ()
    remark: str = ""
    hosts: dict[str, HostState] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """Folder of the lab."""
        return labs_root() / self.topology.name

    def host_folder(self, host: str) -> Path:
        """Folder of one host."""
        return self.folder / host

    def socket(self, host: str) -> Path:
        """Path of libvirtd's socket of one host.

        Raises
        ------
        LabError
            If it is too long for the kernel.
        """
        path = self.host_folder(host) / "run" / "libvirt" / "libvirt-sock"
        if len(str(path)) > MAX_SOCKET_PATH:
            raise LabError(f"{path} is too long for a unix socket. Set DRSIM_LAB_ROOT to a shorter folder.")
        return path

    def line_control(self, host: str) -> Path:
        """FIFO of the line of a host."""
        return self.host_folder(host) / f"line-{host}.control"

    def wan_control(self, name: str) -> Path:
        """FIFO of the line between two sites."""
        return self.folder / f"wan-{name.replace(':', '-')}.control"

    def save(self) -> None:
        """Write the state; complete or not at all."""
        self.folder.mkdir(parents=True, exist_ok=True)
        temporary = self.folder / "state.json.new"
        with temporary.open("w") as file:
            json.dump(asdict(self), file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self.folder / "state.json")


_ADAPTER: TypeAdapter[Any] = TypeAdapter(LabState)


def load_state(name: str) -> LabState:
    """Read the state of a lab.

    Raises
    ------
    LabError
        If there is no such lab.
    """
    path = labs_root() / name / "state.json"
    try:
        state: LabState = _ADAPTER.validate_json(path.read_bytes())
    except FileNotFoundError as error:
        known = lab_names()
        other = f"Name the one you mean, e.g. --name {known[0]}, or bring it up" if known else "Bring it up"
        raise LabError(
            f"There is no lab '{name}' (up: {', '.join(known) or 'none'}). {other}: drsim lab up --name {name}"
        ) from error
    except ValueError as error:
        raise LabError(
            f"{path} cannot be read. Take the lab down and up again: drsim lab down --name {name}"
        ) from error
    return state


def lab_names() -> tuple[str, ...]:
    """Names of the labs on this machine, whole or half."""
    root = labs_root()
    return tuple(sorted(path.name for path in root.iterdir() if path.is_dir())) if root.is_dir() else ()


def is_marked(pid: int, folder: Path) -> bool:
    """Whether a process lives and belongs to the lab; a zombie does not, nor one that took over its number."""
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False
    return f"{MARK}={folder}".encode() in environment.split(b"\0")


def has_ended(pid: int) -> bool:
    """Whether a process is over and has let go of all it held: its sockets outlast its memory by a moment."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def marked_pids(folder: Path) -> tuple[int, ...]:
    """Find the processes that belong to a lab by their environment."""
    pids = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    return tuple(pid for pid in pids if pid != os.getpid() and is_marked(pid, folder))


def kill_all(folder: Path, timeout_s: float = 10.0) -> None:
    """Kill every process of a lab and wait until the last is gone.

    Raises
    ------
    LabError
        If some do not go.
    """
    deadline = time.monotonic() + timeout_s
    while pids := marked_pids(folder):
        if time.monotonic() > deadline:
            raise LabError(f"Processes {', '.join(map(str, pids))} of the lab do not end. Look at them with ps.")
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        time.sleep(0.02)
