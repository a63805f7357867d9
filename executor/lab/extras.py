"""Programs that only some labs need: storage servers, QEMU's drivers for them, Open vSwitch.

Where they are installed they are used. Otherwise their packages are fetched with apt and opened in the cache, as the
guest's kernel is: nothing is installed, so no storage server or switch is ever started on the machine itself.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from drsim.errors import LabError
from executor.lab.build import cache_dir, locked
from executor.lab.packages import installed, parse_simulation
from executor.lab.topology import LabTopology

_PROGRAM_FOLDERS = ("usr/sbin", "usr/bin", "sbin", "bin", "usr/lib/openvswitch-switch")
_LIBRARY_FOLDERS = ("usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu", "usr/lib", "usr/lib/ganesha")


@dataclass(frozen=True, slots=True, kw_only=True)
class Extra:
    """A set of packages.

    Parameters
    ----------
    name : str
        What it is called.
    packages : tuple of str
        Debian names; what these need comes along.
    """

    name: str
    packages: tuple[str, ...]


ISCSI = Extra(name="iscsi", packages=("tgt",))
NFS = Extra(name="nfs", packages=("nfs-ganesha", "nfs-ganesha-vfs", "rpcbind"))
SWITCH = Extra(name="ovs", packages=("openvswitch-switch",))
DRIVERS = Extra(name="drivers", packages=("qemu-block-extra",))

# Of all that qemu-block-extra brings the lab uses two drivers; the rest would drag Ceph and GlusterFS along.
_DRIVER_LIBRARIES = re.compile(r"lib(?:iscsi|nfs)\d+(?:t64)?")
_DRIVER_FILES = ("block-iscsi.so", "block-nfs.so")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """Where the programs of an extra are.

    Parameters
    ----------
    root : Path
        Folder that stands for ``/``; ``/`` itself if they are installed.
    """

    root: Path

    @property
    def programs(self) -> tuple[str, ...]:
        """Folders of its programs."""
        return tuple(str(self.root / folder) for folder in _PROGRAM_FOLDERS)

    @property
    def libraries(self) -> tuple[str, ...]:
        """Folders of its libraries; none if they are where the system looks anyway."""
        return () if self.root == Path("/") else tuple(str(self.root / folder) for folder in _LIBRARY_FOLDERS)

    def find(self, name: str) -> Path:
        """Path of a program or file of its packages.

        Raises
        ------
        LabError
            If it is not there.
        """
        folders = (*_PROGRAM_FOLDERS, *_LIBRARY_FOLDERS, "usr/lib/x86_64-linux-gnu/qemu", "usr/share/openvswitch")
        # What was installed already did not need to be fetched with the rest.
        for root in (self.root, Path("/")):
            for folder in (*folders, "usr/lib/x86_64-linux-gnu/ganesha"):
                if (root / folder / name).exists():
                    return root / folder / name
        raise LabError(f"{name} is not in {self.root}. Delete {cache_dir()} and try again.")


def wanted(topology: LabTopology) -> tuple[Extra, ...]:
    """Extras that a topology needs."""
    stores = topology.datastores
    pairs = (
        (ISCSI, "iscsi" in stores),
        (NFS, "nfs" in stores),
        (DRIVERS, bool(stores & {"iscsi", "nfs"})),
        (SWITCH, any(network.kind == "ovs" for network in topology.networks)),
    )
    return tuple(extra for extra, needed in pairs if needed)


def variables(trees: Iterable[Tree]) -> dict[str, str]:
    """Environment variables under which programs of the trees find each other and their libraries."""
    trees = tuple(trees)
    programs = [folder for tree in trees for folder in tree.programs]
    found = {"PATH": ":".join((*programs, "/usr/sbin", "/usr/bin", "/sbin", "/bin"))}
    if libraries := [folder for tree in trees for folder in tree.libraries]:
        found["LD_LIBRARY_PATH"] = ":".join(libraries)
    return found


def where(extra: Extra) -> str:
    """Say in a sentence where an extra comes from."""
    if set(extra.packages) <= installed(extra.packages):
        return f"{', '.join(extra.packages)} installed."
    folder = _folder(extra)
    return f"{folder} fetched." if folder.exists() else f"{', '.join(extra.packages)}: 'lab up' will fetch them."


def _folder(extra: Extra) -> Path:
    version = _qemu_version() if extra is DRIVERS else ""
    # A colon, as Debian's versions have, would part the folder's name in a list of paths.
    return cache_dir() / "-".join(word for word in ("extra", extra.name, version.replace(":", "_")) if word)


@functools.cache
def provide(extra: Extra) -> Tree:
    """Return where an extra is; fetch it first if it is neither installed nor in the cache.

    Raises
    ------
    LabError
        If it cannot be fetched, with the line that installs it.
    """
    if set(extra.packages) <= installed(extra.packages):
        return Tree(root=Path("/"))
    folder = _folder(extra)
    with locked(cache_dir() / "extras.lock"):
        if not folder.exists():
            try:
                _fetch(extra, folder)
            except LabError as error:
                line = f"apt-get install --no-install-recommends {' '.join(extra.packages)}"
                raise LabError(f"{error}\nIs the network there? Installed they are used, too: {line}") from error
    return Tree(root=folder)


def driver_files(tree: Tree) -> tuple[Path, ...]:
    """QEMU's modules among the drivers; none if they are installed, for QEMU finds them then."""
    return () if tree.root == Path("/") else tuple(tree.find(name) for name in _DRIVER_FILES)


@functools.cache
def module_folder() -> str:
    """Name of the folder under ``/run/qemu`` where this QEMU looks for modules that belong to it and no other.

    QEMU's util/module.c: its package version, each character that is not a letter, digit, or one of ``+-.~``
    replaced by ``_``.
    """
    said = _run(("qemu-system-x86_64", "--version"))
    found = re.search(r"\((.*)\)", said.splitlines()[0])
    return re.sub(r"[^A-Za-z0-9+.~-]", "_", found[1]) if found else ""


def _qemu_version() -> str:
    return _run(("dpkg-query", "--show", "--showformat=${Version}", "qemu-system-x86")).strip()


def _fetch(extra: Extra, folder: Path) -> None:
    """Fetch the packages and open them; the folder appears at once and whole."""
    try:
        _open(_packages(extra), folder)
    except LabError:
        if os.geteuid() != 0:
            raise
        # The lists may be missing, or older than what the mirror still has.
        _run(("apt-get", "--quiet", "update"))
        _open(_packages(extra), folder)


def _packages(extra: Extra) -> tuple[str, ...]:
    if extra is DRIVERS:
        package = f"{extra.packages[0]}={_qemu_version()}"
        depends = _run(("apt-cache", "depends", "--no-recommends", "--no-suggests", package))
        libraries = re.findall(r"Depends: (\S+)", depends)
        return (package, *(name for name in libraries if _DRIVER_LIBRARIES.fullmatch(name)))
    command = ("apt-get", "--simulate", "install", "--no-install-recommends", *extra.packages)
    steps = parse_simulation(_run(command))
    return tuple(f"{step.package}={step.new}" for step in steps if step.new is not None)


def _open(packages: Sequence[str], folder: Path) -> None:
    if not packages:
        raise LabError("apt names no packages to fetch.")
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch_name:
        scratch = Path(scratch_name)
        # apt fetches as a user of its own, who may not enter this folder.
        _run(("apt-get", "--quiet", "-o", "APT::Sandbox::User=root", "download", *packages), scratch)
        for archive in sorted(scratch.glob("*.deb")):
            _run(("dpkg-deb", "--extract", str(archive), "tree"), scratch)
        (scratch / "tree").rename(folder)


def _run(command: Sequence[str], folder: Path = Path("/")) -> str:
    if shutil.which(command[0]) is None:
        raise LabError(f"'{command[0]}' is not here.")
    environment = {**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, env=environment)
    if done.returncode != 0:
        raise LabError(f"'{' '.join(command)}' failed ({done.returncode}):\n{done.stderr.strip()[-600:]}")
    return done.stdout
