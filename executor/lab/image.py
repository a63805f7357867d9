"""The guest of the lab: a distribution's kernel and an initramfs that holds one program.

Nothing is installed: the kernel package is fetched with apt, opened and kept in the cache.
"""

from __future__ import annotations

import functools
import gzip
import hashlib
import lzma
import os
import re
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from drsim.errors import LabError
from executor.lab.build import NATIVE, cache_dir, compile, locked

READY = "LAB-READY"
"""What the guest's console says when its ports are open."""

_WANTED_MODULES = ("virtio_pci", "virtio_net", "virtio_blk")
# Kernels for virtual machines: small, and they know virtio. The metapackage names the current one.
_METAPACKAGES = {"debian": "linux-image-cloud-amd64", "ubuntu": "linux-image-virtual"}


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestImage:
    """What a guest boots.

    Parameters
    ----------
    kernel : Path
        Compressed kernel, as a boot loader takes it.
    initrd : Path
        Its initramfs: the agent and the virtio modules.
    """

    kernel: Path
    initrd: Path


def guest_image() -> GuestImage:
    """Return the guest's kernel and initramfs; make them first where they are not in the cache.

    A kernel once fetched stays in use, so that a lab behaves today as it did yesterday; delete the cache folder for
    a newer one.

    Raises
    ------
    LabError
        If the kernel cannot be fetched or the agent not be compiled.
    """
    agent = compile(NATIVE / "agent.c", ("-static", "-pthread", "-s", "-lm"))
    found = _cached(agent)
    if found is None:
        with locked(cache_dir() / "guest.lock"):
            found = _cached(agent)
            if found is None:
                folder = _kernel_folder() or _fetch_kernel()
                initrd = _initrd_path(folder, agent)
                part = initrd.with_suffix(".part")
                part.write_bytes(initramfs(agent, sorted((folder / "modules").iterdir())))
                part.replace(initrd)
                found = GuestImage(kernel=folder / "vmlinuz", initrd=initrd)
    return found


def in_load_order(depends: Mapping[str, Sequence[str]], wanted: Sequence[str]) -> tuple[str, ...]:
    """Order kernel modules so that what one needs comes before it.

    Parameters
    ----------
    depends : mapping
        Module to the modules it needs. A name that is not a key is built into the kernel and left out.
    wanted : sequence of str
        The modules to load in the end.
    """
    order: dict[str, None] = {}

    def visit(module: str) -> None:
        if module in depends and module not in order:
            for needed in depends[module]:
                visit(needed)
            order[module] = None

    for module in wanted:
        visit(module)
    return tuple(order)


def initramfs(agent: Path, modules: Sequence[Path]) -> bytes:
    """Pack an initramfs: ``/init``, ``/modules/NN.ko`` in the order given, a console and two mount points.

    Returns
    -------
    bytes
        A gzipped cpio archive ("newc", see Documentation/driver-api/early-userspace/buffer-format.rst of Linux);
        the same files give the same bytes.
    """
    entries: list[tuple[str, int, bytes]] = [
        *((name, stat.S_IFDIR | 0o755, b"") for name in ("dev", "proc", "modules")),
        ("dev/console", stat.S_IFCHR | 0o600, b""),
        ("init", stat.S_IFREG | 0o755, agent.read_bytes()),
        *((f"modules/{n:02d}.ko", stat.S_IFREG | 0o644, module.read_bytes()) for n, module in enumerate(modules)),
        ("TRAILER!!!", 0, b""),
    ]
    packed = bytearray()
    for inode, (name, mode, content) in enumerate(entries, 1):
        # The only device, the console, is 5:1.
        device = (5, 1) if stat.S_ISCHR(mode) else (0, 0)
        path = name.encode() + b"\0"
        # Inode, mode, uid, gid, links, mtime, size, device of the file system, device, length of the name, checksum.
        header = (inode, mode, 0, 0, 1, 0, len(content), 0, 0, *device, len(path), 0)
        packed += b"070701" + b"".join(b"%08x" % number for number in header) + path
        packed += bytes(-len(packed) % 4)
        packed += content
        packed += bytes(-len(packed) % 4)
    return gzip.compress(bytes(packed), mtime=0)


@functools.cache
def _recipe() -> str:
    """Name of the way that this file packs; another way makes another initramfs."""
    return hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:8]


def _cached(agent: Path) -> GuestImage | None:
    folder = _kernel_folder()
    if folder is None or not _initrd_path(folder, agent).exists():
        return None
    return GuestImage(kernel=folder / "vmlinuz", initrd=_initrd_path(folder, agent))


def _kernel_folder() -> Path | None:
    folders = sorted(cache_dir().glob("kernel-*"))
    return folders[-1] if folders else None


def _initrd_path(folder: Path, agent: Path) -> Path:
    return folder.parent / f"initrd-{folder.name.removeprefix('kernel-')}-{agent.name}-{_recipe()}.img"


def _fetch_kernel() -> Path:
    """Fetch the kernel package, take the kernel and its virtio modules out of it; both appear at once."""
    packages = _kernel_packages()
    with tempfile.TemporaryDirectory(dir=cache_dir(), prefix=".kernel-") as scratch_name:
        scratch = Path(scratch_name)
        # apt fetches as a user of its own, who may not enter this folder.
        _run(("apt-get", "-o", "APT::Sandbox::User=root", "download", *packages), scratch)
        for archive in sorted(scratch.glob("*.deb")):
            _run(("dpkg-deb", "--extract", str(archive), "tree"), scratch)
        kernels = sorted((scratch / "tree" / "boot").glob("vmlinuz-*"))
        if not kernels:
            raise LabError(f"No kernel in the packages {', '.join(packages)}. Report this release as not supported.")
        version = kernels[-1].name.removeprefix("vmlinuz-")
        made = scratch / "made"
        (made / "modules").mkdir(parents=True)
        shutil.copyfile(kernels[-1], made / "vmlinuz")
        _take_modules(scratch / "tree", version, made / "modules")
        folder = cache_dir() / f"kernel-{version}"
        made.rename(folder)
    return folder


def _take_modules(tree: Path, version: str, target: Path) -> None:
    # Debian 13 and Ubuntu keep the tree under /usr.
    roots = [root for top in ("lib", "usr/lib") if (root := tree / top / "modules" / version).is_dir()]
    files = {path.name.partition(".ko")[0].replace("-", "_"): path for root in roots for path in root.rglob("*.ko*")}
    built_in = {
        Path(line).stem.replace("-", "_")
        for root in roots
        for line in (root / "modules.builtin").read_text().splitlines()
    }
    plain: dict[str, Path] = {}
    depends: dict[str, list[str]] = {}
    unread = list(_WANTED_MODULES)
    while unread:
        module = unread.pop()
        if module in depends or module in built_in:
            continue
        if module not in files:
            raise LabError(f"The kernel {version} has no module '{module}'. Delete {cache_dir()} and try again.")
        plain[module] = target / f"{module}.ko"
        plain[module].write_bytes(_decompressed(files[module]))
        # "depends" is a comma list, empty for a module that needs nothing.
        needs = _run(("modinfo", "--field", "depends", str(plain[module])), target).strip()
        depends[module] = [name.replace("-", "_") for name in needs.split(",") if name]
        unread += depends[module]
    for number, module in enumerate(in_load_order(depends, _WANTED_MODULES)):
        plain[module].rename(target / f"{number:02d}-{module}.ko")


def _decompressed(path: Path) -> bytes:
    match path.suffix:
        case ".ko":
            return path.read_bytes()
        case ".xz":
            return lzma.decompress(path.read_bytes())
        case ".gz":
            return gzip.decompress(path.read_bytes())
        case ".zst" if (zstd := shutil.which("zstd")) is not None:
            return subprocess.run((zstd, "-dc", str(path)), capture_output=True, check=True).stdout
    raise LabError(f"{path.name}: the kernel's modules are compressed in a way unknown here. Install zstd.")


def _kernel_packages() -> tuple[str, ...]:
    """Name the packages that hold the current kernel and its modules."""
    release = Path("/etc/os-release").read_text() if Path("/etc/os-release").exists() else ""
    metapackage = next(
        (_METAPACKAGES[id_] for id_ in re.findall(r'^ID="?(\w+)', release, re.M) if id_ in _METAPACKAGES), ""
    )
    if not metapackage or shutil.which("apt-cache") is None:
        raise LabError("The lab's guests boot a kernel of Debian or Ubuntu, fetched with apt. Use one of these.")
    kernels = _dependencies(metapackage)
    if not kernels and os.geteuid() == 0:
        # A fresh machine has no package lists yet.
        _run(("apt-get", "--quiet", "update"), Path("/"))
        kernels = _dependencies(metapackage)
    if not kernels:
        raise LabError(f"apt does not know {metapackage}, where the guest's kernel comes from. Run 'apt-get update'.")
    modules = [package for kernel in kernels for package in _dependencies(kernel) if "-modules-" in package]
    return tuple(dict.fromkeys((*kernels, *modules)))


def _dependencies(package: str) -> tuple[str, ...]:
    """Kernel packages with a version in their name that a package depends on."""
    done = subprocess.run(
        ("apt-cache", "depends", "--no-recommends", "--no-suggests", package),
        capture_output=True,
        text=True,
        check=False,
    )
    return tuple(re.findall(r"^ *Depends: (linux-(?:image|modules)-\d\S+)$", done.stdout, re.MULTILINE))


def _run(command: Sequence[str], folder: Path) -> str:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise LabError(f"'{command[0]}' is not here. Run 'drsim lab doctor --install' as root.") from error
    if done.returncode != 0:
        raise LabError(f"'{' '.join(command)}' failed ({done.returncode}):\n{done.stderr.strip()[-800:]}")
    return done.stdout
