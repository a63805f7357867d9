"""Namespaces: how they are made, entered and scripted."""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from drsim.errors import LabError
from executor.lab.state import MARK

T = TypeVar("T")

# PID 1 of a host: reaps what dies under it and never ends by itself. Killing it is the power failure of the host.
_INIT = (
    "import os,signal\n"
    "for s in (signal.SIGTERM,signal.SIGINT,signal.SIGHUP): signal.signal(s,signal.SIG_IGN)\n"
    "signal.pthread_sigmask(signal.SIG_BLOCK,[signal.SIGCHLD])\n"
    "while True:\n"
    "    try: os.wait()\n"
    "    except ChildProcessError: signal.sigtimedwait([signal.SIGCHLD],1)\n"
)
_NETWORK_ONLY = ("--net", "--uts", "--pid")
_WHOLE_HOST = ("--net", "--uts", "--mount", "--ipc", "--pid", "--mount-proc", "--propagation", "private")
_CLONE_NEWNET = 0x40000000


def environment(folder: Path) -> dict[str, str]:
    """Environment of every process of a lab: little, and its mark."""
    return {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "HOME": "/root", MARK: str(folder)}


def start(folder: Path, *, whole_host: bool, group: Path | None = None) -> int:
    """Start a set of namespaces and return the number of its PID 1, as seen from outside.

    Parameters
    ----------
    folder : Path
        Folder of the lab.
    whole_host : bool
        Whether mounts and IPC are its own, too.
    group : Path or None
        Control group that it and all that starts in it is put into.

    Raises
    ------
    LabError
        If the kernel does not allow it.
    """
    flags = _WHOLE_HOST if whole_host else _NETWORK_ONLY
    outer = subprocess.Popen(
        [*inside(group), "unshare", *flags, "--fork", "--kill-child", sys.executable, "-S", "-E", "-c", _INIT],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
        env=environment(folder),
    )
    children = Path(f"/proc/{outer.pid}/task/{outer.pid}/children")
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            pid = int(children.read_text().split()[0])
            # Until it has become Python, the child is still unshare, half way into its namespaces.
            if "python" in os.readlink(f"/proc/{pid}/exe"):
                return pid
        except (OSError, IndexError):
            if outer.poll() is not None:
                break
        time.sleep(0.005)
    says = outer.communicate()[1].decode().strip() if outer.poll() is not None else "timed out"
    raise LabError(f"A host's namespaces cannot be made: {says}. Run 'drsim lab doctor'.")


def inside(group: Path | None) -> tuple[str, ...]:
    """Words to put before a command so that it runs in a control group; none without one."""
    return () if group is None else ("sh", "-c", 'echo 0 >"$0/cgroup.procs"; exec "$@"', str(group))


def shell(prefix: Sequence[str], script: str, env: Mapping[str, str] | None = None, *, check: bool = True) -> str:
    """Run a shell script behind a prefix such as nsenter and return its output.

    Raises
    ------
    LabError
        If it fails and `check` is set.
    """
    result = subprocess.run(
        [*prefix, "--", "sh", "-e", "-c", script],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=env,
        check=False,
    )
    if check and result.returncode:
        raise LabError(f"A step of the lab failed: {result.stdout.strip()[-800:]}")
    return result.stdout


def run(pid: int, script: str, *, folder: Path, check: bool = True) -> str:
    """Run a shell script inside all namespaces of a PID 1; as `shell` otherwise."""
    return shell(["nsenter", "-t", str(pid), "-a"], script, environment(folder), check=check)


def run_in_network(pid: int, script: str, *, folder: Path) -> str:
    """Run a shell script inside the network namespace of a PID 1 only: it sees this machine's process numbers."""
    return shell(["nsenter", f"--net=/proc/{pid}/ns/net"], script, environment(folder))


def in_network(pid: int, make: Callable[[], T]) -> T:
    """Call a function in the network namespace of a PID 1; the sockets that it makes stay there.

    A thread enters the namespace and ends: the rest of the program stays where it is.
    """
    result: list[T] = []
    failure: list[BaseException] = []

    def enter() -> None:
        try:
            with open(f"/proc/{pid}/ns/net") as file:
                if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), _CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), "setns")
            result.append(make())
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return result[0]


def connect(pid: int, address: tuple[str, int], timeout_s: float) -> socket.socket:
    """Open a TCP connection from inside the network namespace of a PID 1."""
    return in_network(pid, lambda: socket.create_connection(address, timeout_s))
