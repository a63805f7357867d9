"""One host of the lab: its namespaces, its line, its libvirtd."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from drsim.errors import LabError
from executor.lab import cgroup, config, extras, fabric, line, namespace, pki, switch
from executor.lab.state import LabState
from executor.lab.topology import NETWORKED, LabHost

FOLDERS = ("run/libvirt", "etc", "varlib/qemu", "log/qemu", "cache/qemu", "pki", "local")


def start_host(state: LabState, host: LabHost, save: Callable[[], None], *, kvm: bool) -> None:
    """Start a host, or start it again after a crash: same UUID, same name, same addresses, same certificate.

    Parameters
    ----------
    state : LabState
        Where the numbers of what is started go.
    host : LabHost
        The host.
    save : callable
        Called after each, before it is used.
    kvm : bool
        Whether its guests may use KVM.

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
    (folder / "etc" / "libvirtd.conf").write_text(
        config.libvirtd_conf(own.uuid, tls=state.topology.tls, monitor_log=state.topology.monitor_log)
    )
    (folder / "etc" / "qemu.conf").write_text(config.qemu_conf(own_ip, folder / "pki", state.folder / "shared"))
    (folder / "hosts").write_text(config.hosts_file(state.topology))
    for kind in ("passwd", "group"):
        (folder / kind).write_text(config.with_accounts(Path("/etc", kind).read_text(), kind))
    if not (folder / "pki" / "ca-cert.pem").exists():
        certify(state, host, "good")
    if state.topology.datastores & set(NETWORKED):
        modules = folder / "run" / "qemu" / extras.module_folder()
        modules.mkdir(parents=True, exist_ok=True)
        for module in extras.driver_files(extras.provide(extras.DRIVERS)):
            shutil.copy(module, modules)

    group = cgroup.group_of(state.folder, host.name)
    own.init_pid = namespace.start(state.folder, whole_host=True, group=group)
    save()
    ends = (
        line.End(pid=own.init_pid, interface="mig0"),
        line.End(pid=state.fabric_pid, interface=f"m-{host.name}"),
    )
    control = state.line_control(host.name)
    own.link_pid = line.start_line(state.folder, control, ends, cgroup.group_of(state.folder, cgroup.FABRIC))
    save()
    line.shape(control, host.line, hops=2)
    fabric.plug_host(state, host.name)
    script = config.mounts_script(folder, kvm=kvm) + config.network_script(
        host.name, own_ip, tuned=state.topology.tuned
    )
    script += fabric.host_script(state, host.name)
    namespace.shell(
        [*namespace.inside(group), "nsenter", "-t", str(own.init_pid), "-a"], script, _environment(state, host.name)
    )
    start_daemon(state, host.name)


def certify(state: LabState, host: LabHost, condition: pki.Condition) -> None:
    """Replace the certificate of a host."""
    folder = state.host_folder(host.name)
    folders = (folder / "pki", folder / "etc" / "pki")
    address = config.migration_ip(state.hosts[host.name].index)
    pki.make_certificate(state.folder / "ca", host.cluster, folders, host.name, address, condition)


def _environment(state: LabState, host: str) -> dict[str, str]:
    """Environment in which a host finds its switch's programs and its QEMU finds the libraries of its drivers."""
    trees = []
    if state.topology.datastores & set(NETWORKED):
        trees.append(extras.provide(extras.DRIVERS))
    env = dict(namespace.environment(state.folder))
    if fabric.has_switch(state, host):
        trees.append(extras.provide(extras.SWITCH))
        env["OVS_RUNDIR"] = switch.HOST_RUN
    return {**env, **extras.variables(trees)}


def start_daemon(state: LabState, host: str, timeout_s: float = 20.0) -> None:
    """Start libvirtd of a host and wait until it answers.

    Raises
    ------
    LabError
        With the end of its log, if it does not.
    """
    folder = state.host_folder(host)
    path = state.socket(host)
    # A child of a daemon that was killed may hold the old one open for a moment.
    path.unlink(missing_ok=True)
    # The log is the daemon's own stdout: what it says before its configuration is read would be lost otherwise.
    with (folder / "libvirtd.out").open("a") as log:
        process = subprocess.Popen(
            [
                *namespace.inside(cgroup.group_of(state.folder, host)),
                *("nsenter", "-t", str(state.hosts[host].init_pid), "-a", "--"),
                *("setsid", "/usr/sbin/libvirtd", "--listen", "-p", "/run/libvirtd.pid"),
                *("-f", "/etc/libvirt/libvirtd.conf"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=_environment(state, host),
        )
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(path))
            except OSError:
                time.sleep(0.01)
            else:
                return
    raise LabError(f"libvirtd of {host} does not come up: {(folder / 'libvirtd.out').read_text()[-800:]}")
