"""The system packages that the lab stands on: which are missing, how they get here, which versions are refused.

QEMU 7.2 (Debian 12) loses writes of a busy guest that migrates under TCG: pages arrive stale and the guest dies minutes
later. QEMU 10 does not, and it wants a libvirt that knows it, so both come together: from stock where the release has
them, on Debian 12 from its backports, and then nothing but QEMU, libvirt and their firmware leaves the stock release.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from drsim.errors import LabError
from executor.lab.build import cache_dir, locked
from executor.lab.image import READY, guest_image

REQUIRED: tuple[str, ...] = (
    "qemu-system-x86",
    "qemu-utils",
    "libvirt-daemon",
    "libvirt-daemon-common",
    "libvirt-daemon-driver-qemu",
    "libvirt-daemon-driver-storage",
    "libvirt-clients",
    "libvirt-dev",
    "pkg-config",
    "gcc",
    "libc6-dev",
    "cpio",
    "openssl",
    "kmod",
    "iproute2",
    "util-linux",
)
"""Debian names of what the lab needs; libvirt-dev, pkg-config and gcc build libvirt-python, which is source only."""

MIN_QEMU = (10, 0)
MIN_LIBVIRT = (11, 3)

INSTALL_COMMAND = "drsim lab doctor --install"

# What may leave the stock release, as apt's preferences and as a pattern. Named one by one with a suite
# ("package/suite"), apt would take what they need from that suite too; pinned, all the rest stays stock.
_PINNED = "qemu-* libvirt* seabios"
_MAY_LEAVE_STOCK = re.compile(r"qemu-.*|libvirt.*|seabios")

# A guest is ready within a second under KVM; nested on a busy machine it takes a few.
_KVM_PATIENCE_S = 15.0
_KVM = Path("/dev/kvm")

_BACKPORTS_FILE = Path("/etc/apt/sources.list.d/drsim-backports.sources")
_PREFERENCES = Path("/etc/apt/preferences")
_OS_RELEASE = Path("/etc/os-release")


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One line of what apt would do.

    Parameters
    ----------
    package : str
    old : str or None
        Version installed now; None when the package is new.
    new : str or None
        Version that would stand there afterwards; None when the package would be removed.
    origin : str
        Where the new version comes from, in apt's words, e.g. ``Debian:12.15/oldstable``.
    """

    package: str
    old: str | None
    new: str | None
    origin: str


def missing() -> tuple[str, ...]:
    """Name the packages that the lab needs and this machine lacks.

    Returns
    -------
    tuple of str
        In the order of `REQUIRED`; ``python3-dev`` last, and only where the running Python is the system's own and
        has no ``Python.h``.

    Raises
    ------
    LabError
        When this machine has no dpkg.
    """
    wanted = REQUIRED + (("python3-dev",) if _system_python_lacks_headers() else ())
    if shutil.which("dpkg-query") is None:
        raise LabError(
            f"The lab installs its packages with apt, and this machine has no dpkg. "
            f"Use Debian 12 or newer, or install by hand: {' '.join(wanted)}."
        )
    present = installed(wanted)
    return tuple(package for package in wanted if package not in present)


def install() -> None:
    """Install what is missing, new enough; return at once when everything is there.

    Raises
    ------
    LabError
        Not root, no apt, another architecture, a release without new enough versions, packages that would drag others
        out of the stock release, or apt itself failing; each with the line to run or the reason.
    """
    wanted = missing()
    if not wanted and not _too_old():
        return
    if os.geteuid() != 0:
        raise LabError(
            f"Missing or too old: {' '.join(wanted) or 'QEMU or libvirt'}. Installing needs root: "
            f"run 'sudo {INSTALL_COMMAND}'."
        )
    if shutil.which("apt-get") is None:
        raise LabError(f"Missing: {' '.join(wanted)}, and there is no apt-get here to install them with.")
    if (arch := _run(("dpkg", "--print-architecture")).strip()) != "amd64":
        raise LabError(f"The lab runs x86-64 guests on an amd64 machine; this one is '{arch}'. Use an amd64 machine.")
    with locked(cache_dir() / "apt.lock"):
        _install(missing())
    check_versions()


def check_versions() -> None:
    """Refuse a QEMU that corrupts migrating guests and a libvirt that does not know the newer QEMU.

    Raises
    ------
    LabError
        Naming what was found, what is needed and why.
    """
    if (reason := _too_old()) is not None:
        raise LabError(reason)


def versions() -> Mapping[str, tuple[int, ...] | None]:
    """Ask the programs themselves for their versions.

    Returns
    -------
    mapping
        ``QEMU`` and ``libvirt`` to a version such as ``(10, 0, 2)``, or None where the program is not there.
    """
    return {
        "QEMU": _version(("qemu-system-x86_64", "--version")),
        "libvirt": _version(("libvirtd", "--version")),
    }


def kvm_usable() -> tuple[bool, str]:
    """Find out whether KVM can boot the lab's guest, by booting it.

    A device /dev/kvm is no proof: nested and paravirtual ones can refuse a stock kernel, at once or half way.
    The answer is kept in the cache until the machine boots again or QEMU changes.

    Returns
    -------
    usable : bool
    says : str
        Why, in one sentence. Without KVM guests run emulated, under TCG.

    Raises
    ------
    LabError
        If QEMU or the guest's image is missing.
    """
    if not _KVM.exists():
        return False, "This machine has no /dev/kvm; guests are emulated (TCG)."
    if not os.access(_KVM, os.R_OK | os.W_OK):
        return False, "/dev/kvm may not be opened by this user; guests are emulated (TCG)."
    check_versions()
    boot = Path("/proc/sys/kernel/random/boot_id").read_text()
    image = guest_image()
    key = hashlib.sha256(f"{boot} {versions()['QEMU']} {image.initrd.name}".encode()).hexdigest()[:16]
    answer = cache_dir() / f"kvm-{key}"
    with locked(cache_dir() / "kvm.lock"):
        if not answer.exists():
            part = answer.with_suffix(".part")
            part.write_text(_why_not_kvm())
            part.replace(answer)
        why_not = answer.read_text()
    if why_not:
        return False, f"/dev/kvm is there but cannot boot the guest ({why_not}); guests are emulated (TCG)."
    return True, "KVM boots the guest."


def parse_simulation(text: str) -> tuple[Step, ...]:
    """Read the ``Inst`` and ``Remv`` lines of ``apt-get --simulate``.

    Parameters
    ----------
    text : str
        Standard output of apt-get in the C locale.
    """
    steps = []
    for line in text.splitlines():
        if found := re.match(r"Inst (\S+) (?:\[(\S+)\] )?\((\S+) (.*?) \[\S+\]\)", line):
            package, old, new, origin = found.groups()
            steps.append(Step(package=package, old=old, new=new, origin=origin))
        elif found := re.match(r"Remv (\S+)(?: \[(\S+)\])?", line):
            steps.append(Step(package=found[1], old=found[2] or "", new=None, origin=""))
    return tuple(steps)


def refuse_side_effects(steps: Sequence[Step]) -> None:
    """Refuse a run of apt that would change more than the lab needs.

    Updates that stay inside the machine's own release are apt's daily business and are let through: an image a few
    weeks old cannot get a compiler without them.

    Raises
    ------
    LabError
        Naming every package that would be removed, or that would leave the stock release though it is neither QEMU
        nor libvirt nor their firmware.
    """
    removed = [step.package for step in steps if step.new is None]
    if removed:
        raise LabError(
            f"apt would remove {', '.join(removed)} to install QEMU and libvirt. Nothing was changed. "
            f"Find out with 'apt-get --simulate install' what they conflict with, or use a fresh machine."
        )
    dragged = [
        f"{step.package} ({step.old or 'new'} -> {step.new})"
        for step in steps
        if "backports" in step.origin and not _MAY_LEAVE_STOCK.fullmatch(step.package)
    ]
    if dragged:
        raise LabError(
            f"apt would take more than QEMU and libvirt from backports: {', '.join(dragged)}. Nothing was changed. "
            f"Install QEMU >= {_dotted(MIN_QEMU)} and libvirt >= {_dotted(MIN_LIBVIRT)} by hand, or use Debian 13."
        )


def signed_by(text: str, entry: int, *, deb822: bool) -> str | None:
    """Find the key that an entry of an apt source file is signed with.

    Parameters
    ----------
    text : str
        The source file.
    entry : int
        Which entry, counted from 1: the stanza of a ``.sources`` file, the line of a ``.list`` file.
    deb822 : bool
        Whether the file is made of stanzas.

    Returns
    -------
    str or None
        Value of Signed-By on one line; an embedded key keeps its line breaks. None when the entry names no key.
    """
    if not deb822:
        found = re.search(r"\bsigned-by=([^\s\]]+)", text.splitlines()[entry - 1], re.IGNORECASE)
        return found[1] if found else None
    lines = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    stanzas = [stanza for stanza in re.split(r"\n\s*\n", lines) if stanza.strip()]
    found = re.search(r"^Signed-By:[ \t]*(.*(?:\n[ \t]+.*)*)", stanzas[entry - 1], re.IGNORECASE | re.MULTILINE)
    return found[1].rstrip() if found else None


def _install(wanted: Sequence[str]) -> None:
    release = _os_release()
    backports = f"{release.get('VERSION_CODENAME', '')}-backports"
    from_backports = release.get("ID") == "debian" and release.get("VERSION_ID") == "12"
    # A fresh machine has no lists, and what apt has no list of it does not tell of.
    _apt("update")
    if from_backports:
        _add_backports(release["VERSION_CODENAME"], backports)
    else:
        _refuse_old_release()
    # Those that are there but too old are asked for again.
    renewed = (package for package in REQUIRED if _MAY_LEAVE_STOCK.fullmatch(package))
    command = ("install", "--no-install-recommends", "--yes", *dict.fromkeys((*wanted, *renewed)))
    with tempfile.NamedTemporaryFile("w", prefix="drsim-preferences-") as preferences:
        options: tuple[str, ...] = ()
        if from_backports:
            own = _PREFERENCES.read_text() if _PREFERENCES.exists() else ""
            preferences.write(f"Package: {_PINNED}\nPin: release n={backports}\nPin-Priority: 990\n\n{own}")
            preferences.flush()
            options = ("-o", f"Dir::Etc::preferences={preferences.name}")
        refuse_side_effects(parse_simulation(_apt(*options, "--simulate", *command)))
        _apt(*options, *command)


def _add_backports(codename: str, backports: str) -> None:
    """Add the backports of the mirror that this machine already uses, unless it has them."""
    fields = ("RELEASE", "REPO_URI", "SOURCESENTRY", "COMPONENT")
    listing = _apt("indextargets", "--format", "\t".join(f"$({field})" for field in fields))
    targets = [dict(zip(fields, line.split("\t"), strict=True)) for line in listing.splitlines() if line]
    if any(target["RELEASE"] == backports for target in targets):
        return
    archive = next((t for t in targets if (t["RELEASE"], t["COMPONENT"]) == (codename, "main")), None)
    if archive is None:
        raise LabError(
            f"The apt sources of this machine do not name the main archive of {codename}, so its backports, where QEMU "
            f">= {_dotted(MIN_QEMU)} comes from, cannot be found. Add the suite {backports} to the apt sources."
        )
    source, _, entry = archive["SOURCESENTRY"].rpartition(":")
    key = signed_by(Path(source).read_text(), int(entry), deb822=source.endswith(".sources"))
    _BACKPORTS_FILE.write_text(
        f"# Written by {INSTALL_COMMAND}: QEMU and libvirt of the lab.\n"
        f"Types: deb\nURIs: {archive['REPO_URI']}\nSuites: {backports}\nComponents: main\n"
        + (f"Signed-By: {key}\n" if key else "")
    )
    try:
        _apt("update")
    except LabError:
        # A mirror without backports must not leave an apt that complains from now on.
        _BACKPORTS_FILE.unlink()
        raise


def _refuse_old_release() -> None:
    """Say no before anything is installed, when the release has nothing new enough."""
    for package, least in (("qemu-system-x86", MIN_QEMU), ("libvirt-daemon", MIN_LIBVIRT)):
        policy = _run(("apt-cache", "policy", package))
        found = re.search(r"Candidate: (?:\d+:)?(\d+)\.(\d+)", policy)
        if found is None or (int(found[1]), int(found[2])) < least:
            offered = f"{found[1]}.{found[2]}" if found else "none"
            raise LabError(
                f"The lab needs {package} >= {_dotted(least)}; the apt sources of this machine offer {offered}. "
                f"Older pairs corrupt the memory of guests that migrate. Use Debian 12 (backports are added for you), "
                f"Debian 13 or Ubuntu 25.10, or newer."
            )


def _why_not_kvm() -> str:
    """Boot the guest under KVM; empty when it says that it is ready."""
    image = guest_image()
    with tempfile.TemporaryDirectory() as folder:
        console, errors = Path(folder, "console"), Path(folder, "errors")
        command = ["qemu-system-x86_64", "-accel", "kvm", "-cpu", "host", "-machine", "q35", "-m", "192"]
        command += ["-nodefaults", "-display", "none", "-no-reboot", "-serial", f"file:{console}"]
        command += ["-kernel", str(image.kernel), "-initrd", str(image.initrd)]
        command += ["-append", "console=ttyS0 quiet panic=-1"]
        # Without a network card the agent would wait for one before it is ready.
        command += ["-netdev", "hubport,hubid=0,id=net", "-device", "virtio-net-pci,netdev=net"]
        with errors.open("w") as file:
            # A QEMU that aborts may leave a core where it runs.
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, cwd=folder)
        try:
            deadline = time.monotonic() + _KVM_PATIENCE_S
            while time.monotonic() < deadline:
                ended = process.poll() is not None
                if console.exists() and READY in console.read_text(errors="replace"):
                    return ""
                if ended:
                    said = errors.read_text(errors="replace").strip().splitlines()
                    return f"QEMU ended with {process.returncode}: {said[0][-200:] if said else 'no word'}"
                time.sleep(0.02)
        finally:
            process.kill()
            process.wait()
    return f"not ready after {_KVM_PATIENCE_S:.0f} s"


def _too_old() -> str | None:
    """Tell why the programs present cannot be used; None when they can."""
    found = versions()
    for name, least, why in (
        ("QEMU", MIN_QEMU, "older ones corrupt the memory of a busy guest that migrates without KVM"),
        ("libvirt", MIN_LIBVIRT, "older ones cannot talk to the QEMU that the lab needs"),
    ):
        version = found[name]
        if version is None:
            return f"{name} is not installed. Run '{INSTALL_COMMAND}' as root."
        if version < least:
            return (
                f"{name} {_dotted(version)} is installed; the lab needs {_dotted(least)} or newer: {why}. "
                f"Run '{INSTALL_COMMAND}' as root."
            )
    return None


def _version(command: Sequence[str]) -> tuple[int, ...] | None:
    # libvirtd lives in /usr/sbin, which is not on every user's PATH.
    program = shutil.which(command[0], path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/bin")
    if program is None:
        return None
    found = re.search(r"(\d+)\.(\d+)\.(\d+)", _run((program, *command[1:])))
    return tuple(int(part) for part in found.groups()) if found else None


def _dotted(version: Sequence[int]) -> str:
    return ".".join(str(part) for part in version)


def installed(packages: Sequence[str]) -> frozenset[str]:
    """Those of the packages that are installed."""
    # dpkg-query answers for those it knows and fails for the others, so its exit code says nothing.
    listing = subprocess.run(
        ("dpkg-query", "--show", "--showformat=${Package} ${db:Status-Status}\n", *packages),
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    pairs = (line.split() for line in listing.splitlines())
    return frozenset(pair[0] for pair in pairs if len(pair) == 2 and pair[1] == "installed")


def _system_python_lacks_headers() -> bool:
    return sys.base_prefix == "/usr" and not (Path(sysconfig.get_path("include")) / "Python.h").exists()


def _os_release() -> dict[str, str]:
    lines = _OS_RELEASE.read_text().splitlines() if _OS_RELEASE.exists() else []
    pairs = (line.partition("=") for line in lines if "=" in line)
    return {name: value.strip().strip('"') for name, _, value in pairs}


def _apt(*arguments: str) -> str:
    # The timeout is for another apt that holds the lock, as fresh machines' unattended upgrades do.
    return _run(("apt-get", "--quiet", "-o", "DPkg::Lock::Timeout=300", "-o", "APT::Color=0", *arguments))


def _run(command: Sequence[str]) -> str:
    environment = {**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=environment, stdin=subprocess.DEVNULL
    )
    if done.returncode != 0:
        told = "\n".join((done.stdout + done.stderr).strip().splitlines()[-15:])
        raise LabError(f"'{' '.join(command)}' failed ({done.returncode}):\n{told}")
    return done.stdout
