"""What libvirt is told of a migration: flags and typed parameters; pure but for the names of libvirt's constants."""

from __future__ import annotations

from typing import Any

from drsim.inventory import Vm
from drsim.plan import Move
from drsim.units import MIB, MIB_S_PER_MBIT_S

_CACHE_MIB = (64, 1024)
"""Smallest and largest cache for XBZRLE, MiB; it pays only for pages that are still in it when they are sent again."""


def migration_flags(lv: Any, move: Move, *, persistent: bool) -> int:
    """Return the flags of `virDomainMigrateToURI3` or `virDomainMigrate3`.

    Parameters
    ----------
    lv : module
        libvirt's Python binding.
    move : Move
        The move.
    persistent : bool
        Whether the guest is defined on its source, and therefore has to be on its target.
    """
    transfer = move.transfer
    chosen = {
        lv.VIR_MIGRATE_LIVE: True,
        lv.VIR_MIGRATE_ABORT_ON_ERROR: True,
        lv.VIR_MIGRATE_PEER2PEER: transfer.transport != "direct",
        lv.VIR_MIGRATE_TUNNELLED: transfer.transport == "tunnelled",
        lv.VIR_MIGRATE_PERSIST_DEST: persistent,
        lv.VIR_MIGRATE_UNDEFINE_SOURCE: persistent,
        lv.VIR_MIGRATE_NON_SHARED_DISK: bool(move.copy_disks) and transfer.disk_layers == "all",
        lv.VIR_MIGRATE_NON_SHARED_INC: bool(move.copy_disks) and transfer.disk_layers == "top",
        lv.VIR_MIGRATE_NON_SHARED_SYNCHRONOUS_WRITES: bool(move.copy_disks) and transfer.synchronous_writes,
        lv.VIR_MIGRATE_TLS: transfer.tls,
        lv.VIR_MIGRATE_AUTO_CONVERGE: transfer.auto_converge,
        lv.VIR_MIGRATE_POSTCOPY: transfer.may_postcopy,
        lv.VIR_MIGRATE_PARALLEL: transfer.parallel_connections > 0,
        lv.VIR_MIGRATE_COMPRESSED: transfer.compression != "none",
    }
    return sum(flag for flag, wanted in chosen.items() if wanted)


def migration_parameters(lv: Any, move: Move, vm: Vm, *, target_xml: str | None = None) -> dict[str, object]:
    """Return the typed parameters of the call.

    Parameters
    ----------
    lv : module
        libvirt's Python binding.
    move : Move
        The move.
    vm : Vm
        Its guest.
    target_xml : str, optional
        Description of the guest on the target, if it differs from the one on the source.
    """
    transfer = move.transfer
    parameters: dict[str, object] = {}
    if move.bandwidth_mbit_s is not None:  # libvirt takes whole MiB/s
        cap_mib_s = max(1, int(move.bandwidth_mbit_s * MIB_S_PER_MBIT_S))
        parameters[lv.VIR_MIGRATE_PARAM_BANDWIDTH] = cap_mib_s
        if transfer.may_postcopy:
            parameters[lv.VIR_MIGRATE_PARAM_BANDWIDTH_POSTCOPY] = cap_mib_s
    if transfer.parallel_connections:
        parameters[lv.VIR_MIGRATE_PARAM_PARALLEL_CONNECTIONS] = transfer.parallel_connections
    if transfer.compression != "none":
        parameters[lv.VIR_MIGRATE_PARAM_COMPRESSION] = transfer.compression
    if transfer.compression == "xbzrle":
        parameters[lv.VIR_MIGRATE_PARAM_COMPRESSION_XBZRLE_CACHE] = cache_mib(vm) * MIB
    if move.copy_disks:
        parameters[lv.VIR_MIGRATE_PARAM_MIGRATE_DISKS] = list(move.copy_disks)
        # Without this a copy is written in full, however empty the disk is.
        if hasattr(lv, "VIR_MIGRATE_PARAM_MIGRATE_DISKS_DETECT_ZEROES"):  # libvirt 10.9
            parameters[lv.VIR_MIGRATE_PARAM_MIGRATE_DISKS_DETECT_ZEROES] = list(move.copy_disks)
    if target_xml is not None:
        parameters[lv.VIR_MIGRATE_PARAM_DEST_XML] = target_xml
    return parameters


def cache_mib(vm: Vm) -> int:
    """Return the XBZRLE cache for a guest, MiB: a power of two that holds the memory that it keeps writing to."""
    wanted = sum(part.size_mib for part in vm.dirty if part.dirty_rate_mib_s > 0)
    size, largest = _CACHE_MIB
    while size < min(wanted, largest):
        size *= 2
    return size
