"""Disks of a running guest, moved between datastores of its host: mirrored, and switched over when both are alike.

QEMU copies a disk to a volume that is there already, empty; from then on what the guest writes goes to both. Only when
libvirt says that both are alike is the guest told to use the new one, for all disks of a move one after the other.
Until then nothing but a cancelled copy can come of it, and the guest stays on the old one. What it leaves stays.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from drsim.errors import HypervisorError
from drsim.inventory import Vm
from drsim.plan import Move
from drsim.units import MIB, MIB_S_PER_MBIT_S
from executor.hypervisor.base import Outcome, Progress, Verdict
from executor.hypervisor.libvirt_connect import load_libvirt
from executor.hypervisor.libvirt_volumes import make_volumes, volumes_of


def disk_places(domain: Any) -> dict[str, tuple[str, str | None, bool]]:
    """Return by disk its path, the path that it is being copied to, and whether both are alike."""
    found = {}
    for disk in ET.fromstring(domain.XMLDesc(0)).iterfind("devices/disk"):
        target, source, mirror = disk.find("target"), disk.find("source"), disk.find("mirror")
        if target is None:
            continue
        there, ready = None, False
        if mirror is not None and mirror.get("job") == "copy":
            inner = mirror.find("source")
            there = mirror.get("file") or (None if inner is None else inner.get("file")) or ""
            ready = mirror.get("ready") == "yes"
        path = "" if source is None else source.get("file") or source.get("dev") or source.get("name") or ""
        found[target.get("dev", "")] = (path, there, ready)
    return found


def start_copies(domain: Any, connection: Any, move: Move) -> None:
    """Make the new volumes and begin to copy.

    Parameters
    ----------
    domain : libvirt.virDomain
        The guest.
    connection : libvirt.virConnect
        To its host.
    move : Move
        One whose `Move.storage_only` holds.

    Raises
    ------
    HypervisorError
        If a volume cannot be made.
    libvirt.libvirtError
        If a copy cannot be begun; those begun before are cancelled.
    """
    libvirt = load_libvirt()
    places = {landing.disk: landing.path for landing in move.landings}
    volumes = volumes_of(domain, list(places), top=move.transfer.disk_layers == "top")
    moved = tuple(replace(volume, path=path) for volume, path in zip(volumes, places.values(), strict=True))
    make_volumes(connection, moved, host=move.source, replace=move.transfer.replace_leftovers)
    flags = libvirt.VIR_DOMAIN_BLOCK_COPY_REUSE_EXT | libvirt.VIR_DOMAIN_BLOCK_COPY_TRANSIENT_JOB
    if move.transfer.disk_layers == "top":
        flags |= libvirt.VIR_DOMAIN_BLOCK_COPY_SHALLOW
    if move.transfer.synchronous_writes:
        flags |= libvirt.VIR_DOMAIN_BLOCK_COPY_SYNCHRONOUS_WRITES
    parameters: dict[str, int] = {}
    if move.bandwidth_mbit_s is not None:
        parameters[libvirt.VIR_DOMAIN_BLOCK_COPY_BANDWIDTH] = int(move.bandwidth_mbit_s * MIB_S_PER_MBIT_S * MIB)
    try:
        for disk, volume in zip(places, moved, strict=True):
            text = _disk_xml(volume.path, volume.image_format)
            domain.blockCopy(disk, text, parameters, flags)
    except libvirt.libvirtError:
        cancel(domain, move)
        raise


def _disk_xml(path: str, image_format: str) -> str:
    disk = ET.Element("disk", type="file")
    # What is not written to and what the guest gives back takes no space on the new one either.
    ET.SubElement(disk, "driver", name="qemu", type=image_format, discard="unmap", detect_zeroes="unmap")
    ET.SubElement(disk, "source", file=path)
    return ET.tostring(disk, encoding="unicode")


def cancel(domain: Any, move: Move) -> None:
    """Stop the copies of a move that has not switched over; the guest stays on its old disks."""
    places = disk_places(domain)
    for landing in move.landings:
        if places.get(landing.disk, ("", None, False))[1] == landing.path:  # ours, not a copy of somebody else's
            domain.blockJobAbort(landing.disk, 0)


def look(domain: Any, move: Move, elapsed_s: float) -> Progress:
    """Return how far the copies are."""
    done = left = 0.0
    for landing in move.landings:
        info: Mapping[str, int] = domain.blockJobInfo(landing.disk, 0) or {}
        done += info.get("cur", 0) / MIB
        left += max(0, info.get("end", 0) - info.get("cur", 0)) / MIB
    return Progress(
        move_id=move.id, phase="disks", sent_mib=done, remaining_mib=left, elapsed_s=elapsed_s, memory_left_mib=0.0
    )


def switch_over(domain: Any, move: Move) -> bool:
    """Let the guest use the new disks if all of them are alike by now; return whether it does.

    Raises
    ------
    HypervisorError
        If a copy has ended without its disk having been switched over.
    libvirt.libvirtError
        If a switch is refused.
    """
    libvirt = load_libvirt()
    places = disk_places(domain)
    waiting = []
    for landing in move.landings:
        path, there, ready = places.get(landing.disk, ("", None, False))
        if path == landing.path and there is None:
            continue  # switched over before
        if there is None:
            raise HypervisorError(
                f"the copy of {landing.disk} to {landing.path} ended before it was whole: aborted, or no space left"
            )
        if there != landing.path:
            raise HypervisorError(f"{landing.disk} is being copied to {there} by somebody else")
        if not ready:
            return False
        waiting.append(landing.disk)
    for disk in waiting:
        domain.blockJobAbort(disk, libvirt.VIR_DOMAIN_BLOCK_JOB_ABORT_PIVOT)
    return True


def landed_mib(domain: Any, move: Move) -> float:
    """Return the data that lies on the new disks: what the copies wrote, but for what was written over meanwhile."""
    return sum(float(domain.blockInfo(landing.disk)[1]) / MIB for landing in move.landings)


def sizes_differ(domain: Any, vm: Vm, move: Move) -> str:
    """Say which new disk has not the size of the old one; empty if all have."""
    sizes = {disk.name: disk.size_mib for disk in vm.disks}
    for landing in move.landings:
        now_mib = domain.blockInfo(landing.disk)[0] / MIB
        if abs(now_mib - sizes.get(landing.disk, now_mib)) > 1e-3:
            return f"{landing.disk} has {now_mib:g} MiB at {landing.path}, {sizes[landing.disk]:g} MiB before"
    return ""


def ended(move: Move, vm: Vm, verdict: Verdict, cause: str, seconds: float | None, landed: float | None) -> Outcome:
    """Return what became of a move: what the looking says, why by what was raised, and what to do with what is left.

    Parameters
    ----------
    move, vm : Move, Vm
        The move; its guest as it was before.
    verdict : Verdict
        Where its disks lie.
    cause : str
        What was raised, or what is odd; empty if nothing is.
    seconds : float or None
        How long it took; None if nobody saw its beginning.
    landed : float or None
        Data on the new disks, MiB.
    """
    match verdict.status:
        case "moved":
            left = ", ".join(disk.path or "" for disk in vm.disks if disk.name in move.copy_disks)
            note = f"{left} on {move.source} is left as it was; remove it when nobody wants it."
            reason = f"It moved although libvirt reported: {cause}. {note}" if cause else note
            return Outcome(
                status="moved", reason=reason, total_time_s=seconds, downtime_ms=0.0, sent_mib=landed, rounds=1
            )
        case "stayed":
            return Outcome(status="stayed", reason=f"{verdict.text} {cause.rstrip('.') or 'Nothing was moved'}.")
    return Outcome(status="unknown", reason=" ".join(filter(None, (verdict.text, cause))))
