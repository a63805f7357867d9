"""How a guest travels: the mode of the migration and all that the hypervisor is told beside from where and to where."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le

from drsim.units import About

Mode = Literal["precopy", "postcopy", "hybrid"]
Transport = Literal["peer_to_peer", "tunnelled", "direct"]
Compression = Literal["none", "xbzrle", "zstd"]
DiskLayers = Literal["all", "top"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """How memory and disks are carried from host to host."""

    mode: Annotated[
        Mode,
        About(
            "precopy: send while the guest runs, stop it for the last pages. postcopy: hand over at once, the rest "
            "follows on demand. hybrid: passes of pre-copy, then post-copy for what is still missing."
        ),
    ] = "precopy"
    precopy_passes: Annotated[int, Ge(1), Le(100), About("Hybrid: passes over memory before post-copy begins.")] = 2
    transport: Annotated[
        Transport,
        About(
            "peer_to_peer: the source's libvirtd carries it out and outlives the controller. tunnelled: the same, "
            "inside libvirt's own connection. direct: the controller carries it out."
        ),
    ] = "peer_to_peer"
    tls: Annotated[bool, About("Whether memory and disks are encrypted; never falls back to clear text.")] = False
    auto_converge: Annotated[bool, About("Whether QEMU may slow the guest down until passes get short enough.")] = False
    parallel_connections: Annotated[int, Ge(0), Le(255), About("multifd streams; 0 is one ordinary stream.")] = 0
    compression: Annotated[Compression, About("none; xbzrle (pages sent before); zstd (needs multifd).")] = "none"
    synchronous_writes: Annotated[
        bool,
        About(
            "Copied disks: whether a write of the guest ends when it is on both ends. Without it a copy never comes to "
            "rest on a guest that writes more often than once a round trip; with it each write takes that long."
        ),
    ] = False
    disk_layers: Annotated[
        DiskLayers,
        About(
            "Copied disks: all of what is in them, in one file there; top: of one that lies over a backing file only "
            "what is above it; the target has that file at the same path, e.g. a common image on shared storage."
        ),
    ] = "all"
    replace_leftovers: Annotated[
        bool,
        About(
            "Copied disks: whether a file of the same path and size on the target, which no guest there uses, may be "
            "overwritten: what an earlier move of the guest left behind."
        ),
    ] = False
    timeout_s: Annotated[float | None, Gt(0), About("It is given up after so long; the guest stays.", "s")] = None

    @property
    def may_postcopy(self) -> bool:
        """Whether the guest may run on the target before all of its memory is there."""
        return self.mode != "precopy"


def contradictions(transfer: Transfer, *, copies_disks: bool = False) -> tuple[str, ...]:
    """Say which of its settings QEMU and libvirt do not take together, each with what to do; empty if they do.

    Parameters
    ----------
    transfer : Transfer
        The settings.
    copies_disks : bool
        Whether disks travel along.

    Notes
    -----
    After QEMU 10.0, ``migration/options.c`` (``migrate_caps_check``) and libvirt 11.3,
    ``src/qemu/qemu_migration.c``.
    """
    multifd, tunnelled = transfer.parallel_connections > 0, transfer.transport == "tunnelled"
    rules = (
        (
            transfer.compression == "zstd" and not multifd,
            "compression zstd works on multifd streams only: set parallel_connections to 2 or more",
        ),
        (
            transfer.compression == "xbzrle" and multifd,
            "compression xbzrle and multifd exclude each other: leave out parallel_connections, or use zstd",
        ),
        (
            transfer.compression == "xbzrle" and transfer.may_postcopy,
            "compression xbzrle and post-copy exclude each other: use mode precopy, or no compression",
        ),
        (
            multifd and transfer.may_postcopy,
            "multifd and post-copy exclude each other: use mode precopy, or leave out parallel_connections",
        ),
        (
            multifd and tunnelled,
            "multifd needs connections of its own: use transport peer_to_peer, or leave out parallel_connections",
        ),
        (
            transfer.tls and tunnelled,
            "a tunnelled migration is as safe as the connection that it runs in (qemu+tls): leave out tls",
        ),
        (
            copies_disks and tunnelled,
            "disks cannot be tunnelled: use transport peer_to_peer with tls",
        ),
        (
            transfer.may_postcopy and tunnelled,
            "post-copy needs a way back that a tunnel does not have: use transport peer_to_peer",
        ),
    )
    return tuple(text for wrong, text in rules if wrong)
