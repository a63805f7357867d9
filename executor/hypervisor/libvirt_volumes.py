"""Room for disks that are copied along: libvirt makes the volumes itself, but only in a storage pool that it knows."""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Iterable
from typing import Any
from xml.sax.saxutils import escape

from drsim.errors import HypervisorError
from drsim.units import MIB
from executor.hypervisor.libvirt_connect import load_libvirt, message
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


def make_room(connection: Any, paths: Iterable[str], *, host: str) -> None:
    """Let libvirt on the target make volumes of these paths.

    A folder that is in no active pool becomes a transient pool of type ``dir``: nothing is defined for good, nothing
    in the folder is touched; the folder itself is made if it is not there.

    Parameters
    ----------
    connection : libvirt.virConnect
        To the target.
    paths : iterable of str
        Absolute paths of the volumes to come.
    host : str
        Name of the target, for errors.

    Raises
    ------
    HypervisorError
        If a path is taken, or a pool cannot be made.
    """
    libvirt = load_libvirt()
    known = pools_by_path(connection)
    for path in sorted(set(paths)):
        folder, name = posixpath.split(path)
        if not posixpath.isabs(path):
            raise HypervisorError(f"the disk '{path}' is not a file; only files can be copied along")
        try:
            pool = known.get(folder) or known.setdefault(folder, _make_pool(connection, folder))
            pool.refresh(0)
        except libvirt.libvirtError as error:
            raise HypervisorError(
                f"{host} has no active storage pool at {folder}, and none can be made there: {message(error)} Install "
                "libvirt-daemon-driver-storage there, or define a pool by hand (virsh pool-define-as)"
            ) from error
        if name in pool.listVolumes():
            raise HypervisorError(
                f"{host} has a file {path} already, and nothing is overwritten. If it is what an interrupted copy left "
                "behind, remove it; else move the disk elsewhere first"
            )


def _make_pool(connection: Any, folder: str) -> Any:
    name = f"drsim-{hashlib.sha256(folder.encode()).hexdigest()[:12]}"
    text = f"<pool type='dir'><name>{name}</name><target><path>{escape(folder)}</path></target></pool>"
    return connection.storagePoolCreateXML(text, load_libvirt().VIR_STORAGE_POOL_CREATE_WITH_BUILD)
