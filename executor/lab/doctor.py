"""What a machine must have before a lab can run on it, examined one by one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from drsim.errors import LabError
from executor.lab import extras, packages
from executor.lab.state import labs_root
from executor.lab.topology import LabTopology

MIN_FREE_MEMORY_MIB = 2048
"""Three hosts and their libvirtd take some 300 MiB, an emulated guest of 256 MiB about 250 MiB."""

MIN_FREE_DISK_MIB = 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing examined.

    Parameters
    ----------
    name : str
        What was examined.
    ok : bool
        Whether a lab can run as far as this goes.
    says : str
        What was found, in one sentence.
    remedy : str
        What to do when it is not ok; empty otherwise.
    """

    name: str
    ok: bool
    says: str
    remedy: str = ""


def examine() -> tuple[Finding, ...]:
    """Examine this machine: rights, kernel, packages, versions, bindings, KVM, memory and disk.

    Nothing is changed, except that the first examination of a machine with KVM boots a guest once to try it.

    Returns
    -------
    tuple of Finding
        Every examination, also those that are ok.
    """
    findings = [_root(), _namespaces(), _network(), _tun(), _packages(), _versions(), _bindings()]
    # A guest cannot be tried before QEMU is right.
    if all(finding.ok for finding in findings if finding.name in ("packages", "versions")):
        findings.append(_accelerator())
    return (*findings, _memory(), _disk())


def examine_extras(topology: LabTopology, *, fetch: bool = False) -> tuple[Finding, ...]:
    """Look for what a topology needs beside the packages of every lab.

    Parameters
    ----------
    topology : LabTopology
        What is to be built.
    fetch : bool
        Whether to fetch what is missing into the cache.
    """
    findings = []
    for extra in extras.wanted(topology):
        remedy = f"apt-get install --no-install-recommends {' '.join(extra.packages)}"
        try:
            if fetch:
                extras.provide(extra)
            says = extras.where(extra)
        except LabError as error:
            findings.append(Finding(name=extra.name, ok=False, says=str(error), remedy=remedy))
        else:
            findings.append(Finding(name=extra.name, ok=True, says=says))
    return tuple(findings)


def _root() -> Finding:
    if os.geteuid() == 0:
        return Finding(name="root", ok=True, says="Running as root.")
    return Finding(
        name="root", ok=False, says=f"Running as user {os.geteuid()}.", remedy="Run the lab as root, e.g. with sudo."
    )


def _namespaces() -> Finding:
    command = ("unshare", "--net", "--uts", "--mount", "--ipc", "--pid", "--fork", "--mount-proc", "true")
    return _tried(
        "namespaces",
        command,
        "Namespaces can be made.",
        "Run as root; in a container, run it privileged.",
    )


def _network() -> Finding:
    script = "ip link add bridge0 type bridge && ip link add left type veth peer name right"
    return _tried(
        "network",
        ("unshare", "--net", "sh", "-c", script),
        "The kernel has bridges and veth pairs.",
        "Install iproute2; use a kernel with CONFIG_BRIDGE and CONFIG_VETH (modprobe bridge veth).",
    )


def _tried(name: str, command: tuple[str, ...], says: str, remedy: str) -> Finding:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Finding(name=name, ok=False, says=f"{error}.", remedy=remedy)
    if done.returncode != 0:
        return Finding(name=name, ok=False, says=f"{done.stderr.strip()[-200:]}.", remedy=remedy)
    return Finding(name=name, ok=True, says=says)


def _tun() -> Finding:
    path = "/dev/net/tun"
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        return Finding(
            name="tun",
            ok=False,
            says=f"{path}: {error.strerror}.",
            remedy=f"Run 'modprobe tun' as root; in a container, give it the device {path}.",
        )
    return Finding(name="tun", ok=True, says=f"{path} can be opened.")


def _packages() -> Finding:
    try:
        missing = packages.missing()
    except LabError as error:
        return Finding(name="packages", ok=False, says=str(error), remedy="Use Debian 12 or newer.")
    if missing:
        return Finding(
            name="packages",
            ok=False,
            says=f"Missing: {' '.join(missing)}.",
            remedy=f"Run '{packages.INSTALL_COMMAND}' as root.",
        )
    return Finding(name="packages", ok=True, says=f"All {len(packages.REQUIRED)} are installed.")


def _versions() -> Finding:
    try:
        packages.check_versions()
    except LabError as error:
        return Finding(name="versions", ok=False, says=str(error), remedy=f"Run '{packages.INSTALL_COMMAND}' as root.")
    found = (f"{name} {'.'.join(map(str, version or ()))}" for name, version in packages.versions().items())
    return Finding(name="versions", ok=True, says=f"{', '.join(found)}.")


def _bindings() -> Finding:
    try:
        import libvirt
    except ImportError as error:
        return Finding(
            name="bindings",
            ok=False,
            says=f"Python cannot import libvirt ({error}).",
            remedy=f"In the checkout, as root: make kvm. Elsewhere: {sys.executable} -m pip install 'drsim[kvm]'.",
        )
    number = libvirt.getVersion()
    version = f"{number // 1_000_000}.{number // 1_000 % 1_000}.{number % 1_000}"
    return Finding(name="bindings", ok=True, says=f"Python speaks to libvirt {version}.")


def _accelerator() -> Finding:
    try:
        _, says = packages.kvm_usable()
    except LabError as error:
        return Finding(name="guest", ok=False, says=str(error), remedy="See what the message says.")
    # Without KVM the lab is slower and as right.
    return Finding(name="accelerator", ok=True, says=says)


def _memory() -> Finding:
    fields = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    free_mib = int(fields["MemAvailable"].split()[0]) // 1024
    return _enough("memory", free_mib, MIN_FREE_MEMORY_MIB, "Stop something, or use a larger machine.")


def _disk() -> Finding:
    folder = labs_root()
    while not folder.exists():
        folder = folder.parent
    free_mib = shutil.disk_usage(folder).free >> 20
    return _enough(f"disk of {folder}", free_mib, MIN_FREE_DISK_MIB, "Make room, or set DRSIM_LAB_ROOT.")


def _enough(name: str, free_mib: int, least_mib: int, remedy: str) -> Finding:
    if free_mib >= least_mib:
        return Finding(name=name, ok=True, says=f"{free_mib} MiB free.")
    return Finding(name=name, ok=False, says=f"{free_mib} MiB free; a lab wants {least_mib} MiB.", remedy=remedy)
