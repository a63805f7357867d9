"""Room for disks that are copied along: empty volumes of the right size and format, in a storage pool."""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import escape

from drsim.errors import HypervisorError
from drsim.units import MIB
from executor.hypervisor.libvirt_connect import load_libvirt, message
from executor.hypervisor.libvirt_domain import parse_domain
from executor.hypervisor.libvirt_host import parse_pool


def pools_by_path(connection: Any) -> dict[str, Any]:
    """Return the active storage pools of a host by their path; empty if it has no storage driver."""
    libvirt = load_libvirt()
    found: dict[str, Any] = {}
    try:
        for pool in connection.listAllStoragePools(libvirt.VIR_CONNECT_LIST_STORAGE_POOLS_ACTIVE):
            path = parse_pool(pool.XMLDesc(0), place="pool", capacity_mib=None, used_mib=None).path
            if path:
                found[path] = pool
    except libvirt.libvirtError:
        return found
    return found


def free_mib(connection: Any) -> dict[str, float | None]:
    """Return the free space of the active storage pools of a host by their path, MiB."""
    return {path: pool.info()[3] / MIB for path, pool in pools_by_path(connection).items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """A disk to come.

    Parameters
    ----------
    path : str
        Absolute path of its file.
    size_bytes : int
        Virtual size.
    image_format : str
        ``raw``, ``qcow2``, ...
    base, base_format : str or None
        File that it is laid over, if it is, and what that is.
    """

    path: str
    size_bytes: int
    image_format: str
    base: str | None = None
    base_format: str | None = None


def volumes_of(domain: Any, disks: Collection[str], *, top: bool = False) -> tuple[Volume, ...]:
    """Describe disks of a guest as volumes: with all that is in them, or only their top layers over the same base.

    Raises
    ------
    HypervisorError
        If a disk is missing or is not a file.
    """
    config = {disk.target: disk for disk in parse_domain(domain.XMLDesc(0), place=domain.name()).disks}
    for name in disks:
        if name not in config or config[name].kind != "file":
            raise HypervisorError(f"disk {name} is not a file; only files can be copied along")
    return tuple(
        Volume(
            path=config[name].location,
            size_bytes=domain.blockInfo(name)[0],
            image_format=config[name].image_format,
            base=config[name].base if top else None,
            base_format=config[name].base_format if top else None,
        )
        for name in disks
    )


def make_volumes(connection: Any, volumes: Iterable[Volume], *, host: str, replace: bool = False) -> None:
    """Make empty volumes on the target: same path, size and format, taking no space until something is written.

    libvirt would make them itself, but fully allocated. A folder that is in no active pool becomes a transient pool
    of type ``dir``: nothing is defined for good; the folder itself is made if it is not there.

    Parameters
    ----------
    connection : libvirt.virConnect
        To the target.
    volumes : iterable of Volume
        The volumes.
    host : str
        Name of the target, for errors.
    replace : bool
        Whether a file of the same path and size that no guest of the target names may be written over.

    Raises
    ------
    HypervisorError
        If a path is taken, or a pool or volume cannot be made.
    """
    libvirt = load_libvirt()
    pools = pools_by_path(connection)
    for volume in volumes:
        folder, name = posixpath.split(volume.path)
        try:
            if folder not in pools:
                pools[folder] = _make_pool(connection, folder)
            pool = pools[folder]
            pool.refresh(0)
            if name in pool.listVolumes():
                _check_leftover(connection, pool.storageVolLookupByName(name), volume, host=host, replace=replace)
            else:
                pool.createXML(volume_xml(name, volume), 0)
        except libvirt.libvirtError as error:
            if volume.base is not None and "backing" in message(error):
                raise HypervisorError(
                    f"{host} cannot make {volume.path} over {volume.base}: {message(error)} Bring that file there, or "
                    "set disk_layers to all in the policy's transfer"
                ) from error
            raise HypervisorError(
                f"{host} cannot make {volume.path}: {message(error)} Install libvirt-daemon-driver-storage there, or "
                "define a pool of that folder by hand (virsh pool-define-as)"
            ) from error


def volume_xml(name: str, volume: Volume) -> str:
    """Describe an empty volume to libvirt, as a file of a pool's folder."""
    base = ""
    if volume.base is not None:
        kind = escape(volume.base_format or "raw")
        base = f"<backingStore><path>{escape(volume.base)}</path><format type='{kind}'/></backingStore>"
    return (
        f"<volume><name>{escape(name)}</name><capacity unit='bytes'>{volume.size_bytes}</capacity><allocation>0"
        f"</allocation><target><format type='{escape(volume.image_format)}'/></target>{base}</volume>"
    )


def _check_leftover(connection: Any, found: Any, volume: Volume, *, host: str, replace: bool) -> None:
    """Refuse to write over a file, unless it is what the guest itself left behind."""
    users = [
        config.name
        for config in (parse_domain(domain.XMLDesc(0), place=host) for domain in connection.listAllDomains())
        if any(disk.location == volume.path for disk in config.disks)
    ]
    if users:
        raise HypervisorError(
            f"{volume.path} on {host} is a disk of {', '.join(users)}; move that disk elsewhere first"
        )
    if not replace:
        raise HypervisorError(
            f"{host} has a file {volume.path} already, and nothing is overwritten. If an earlier move of this guest "
            "left it behind, remove it or set replace_leftovers in the policy's transfer; else move it elsewhere first"
        )
    if found.info()[1] != volume.size_bytes:
        raise HypervisorError(
            f"{volume.path} on {host} has {found.info()[1]} bytes, the guest's disk {volume.size_bytes}: it is not "
            "what an earlier move left behind. Look what it is, and move it elsewhere"
        )


def _make_pool(connection: Any, folder: str) -> Any:
    name = f"drsim-{hashlib.sha256(folder.encode()).hexdigest()[:12]}"
    text = f"<pool type='dir'><name>{name}</name><target><path>{escape(folder)}</path></target></pool>"
    return connection.storagePoolCreateXML(text, load_libvirt().VIR_STORAGE_POOL_CREATE_WITH_BUILD)
