"""One host of the lab: its namespaces, its line, its libvirtd."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

from drsim.errors import LabError
from executor.lab import config, namespace, pki
from executor.lab.build import linkem_binary
from executor.lab.state import LabState
from executor.lab.topology import LabHost, Line

FOLDERS = ("run/libvirt", "etc", "varlib/qemu", "log/qemu", "cache/qemu", "pki", "local")


def start_host(state: LabState, host: LabHost, *, kvm: bool) -> None:
    """Start a host, or start it again after a crash: same UUID, same name, same addresses.

    Raises
    ------
    LabError
        If a step fails; what was started is in the state.
    """
    own = state.hosts[host.name]
    folder = state.host_folder(host.name)
    own_ip = config.migration_ip(own.index)
    shutil.rmtree(folder / "run", ignore_errors=True)
    for name in FOLDERS:
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "etc" / "libvirtd.conf").write_text(config.libvirtd_conf(own.uuid))
    (folder / "etc" / "qemu.conf").write_text(config.qemu_conf(own_ip, folder / "pki", state.folder / "shared"))
    (folder / "hosts").write_text(config.hosts_file(state.topology))
    for kind in ("passwd", "group"):
        (folder / kind).write_text(config.with_accounts(Path("/etc", kind).read_text(), kind))
    pki.make_certificate(state.folder / "ca", folder / "pki", host.name, own_ip)

    own.init_pid = namespace.start(state.folder, whole_host=True)
    _start_line(state, host, folder)
    _plug(state, host.name)
    script = config.mounts_script(folder, kvm=kvm) + config.network_script(host.name, own_ip)
    namespace.run(own.init_pid, script, folder=state.folder)
    start_daemon(state, host.name)


def _start_line(state: LabState, host: LabHost, folder: Path) -> None:
    own = state.hosts[host.name]
    control = folder / "line.control"
    control.unlink(missing_ok=True)
    with (folder / "line.log").open("a") as log:
        process = subprocess.Popen(
            [
                str(linkem_binary()),
                f"/proc/{own.init_pid}/ns/net",
                "mig0",
                f"/proc/{state.fabric_pid}/ns/net",
                f"m-{host.name}",
                str(control),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
            env=namespace.environment(state.folder),
        )
    own.link_pid = process.pid
    assert process.stdout is not None
    if process.stdout.readline().strip() != b"up":
        raise LabError(f"The line of {host.name} does not come up: {(folder / 'line.log').read_text()[-400:]}")
    set_line(state, host.name, host.line)


def set_line(state: LabState, host: str, line: Line) -> None:
    """Shape the migration line of a host. Two lines lie between two hosts, each with a quarter of the RTT each way."""
    tell_line(
        state,
        host,
        f"rate {line.rate_mbit_s}",
        f"delay {line.rtt_ms / 4}",
        f"loss {line.loss * 100}",
        f"queue {line.queue_ms}",
    )


def tell_line(state: LabState, host: str, *commands: str) -> None:
    """Write commands to the link emulator of a host.

    Raises
    ------
    LabError
        If it does not run.
    """
    control = state.host_folder(host) / "line.control"
    try:
        # Without a reader this fails at once instead of waiting for one.
        descriptor = os.open(control, os.O_WRONLY | os.O_NONBLOCK)
    except OSError as error:
        raise LabError(f"The line of {host} is down. Start the host again: drsim lab restart {host}") from error
    with open(descriptor, "w") as file:
        file.write("".join(command + "\n" for command in commands))


def _plug(state: LabState, host: str) -> None:
    """Join the host to the two bridges of the fabric."""
    init, fabric = state.hosts[host].init_pid, state.fabric_pid
    # After a crash the old trunk stays until the kernel has taken the dead host's namespace apart.
    namespace.run_in_network(
        fabric,
        f"ip link delete v-{host} 2>/dev/null || true\n"
        f"ip link set m-{host} master br-mig up\n"
        f"ip link add v-{host} master br-vm type veth peer name trunk0 netns /proc/{init}/ns/net\n"
        f"ip link set v-{host} up\n",
    )


def start_daemon(state: LabState, host: str, timeout_s: float = 20.0) -> None:
    """Start libvirtd of a host and wait until it answers.

    Raises
    ------
    LabError
        With the end of its log, if it does not.
    """
    folder = state.host_folder(host)
    # The log is the daemon's own stdout: what it says before its configuration is read would be lost otherwise.
    with (folder / "libvirtd.out").open("a") as log:
        process = subprocess.Popen(
            [
                *("nsenter", "-t", str(state.hosts[host].init_pid), "-a", "--"),
                *("setsid", "/usr/sbin/libvirtd", "--listen", "-p", "/run/libvirtd.pid"),
                *("-f", "/etc/libvirt/libvirtd.conf"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=namespace.environment(state.folder),
        )
    path = str(state.socket(host))
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(path)
            except OSError:
                time.sleep(0.01)
            else:
                return
    raise LabError(f"libvirtd of {host} does not come up: {(folder / 'libvirtd.out').read_text()[-800:]}")
