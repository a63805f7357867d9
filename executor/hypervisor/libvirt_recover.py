"""A post-copy that lost its connection, brought to its end over a new one.

Both ends must know that the old connection is dead before QEMU takes a new one. The source is told; what its kernel has
queued then ends in a FIN. The target learns of it when that arrives: at once on a line that works, with TCP's next
retransmission on one that has just been restored, at most two minutes later (RFC 6298; TCP_RTO_MAX of Linux, 120 s).
"""

from __future__ import annotations

import contextlib
import time
from typing import Any

from drsim.errors import HypervisorError
from drsim.plan import Move
from executor.hypervisor.libvirt_connect import load_libvirt, message
from executor.hypervisor.libvirt_read import is_severed

NOTICE_S = 150.0
"""How long the target may take to notice, seconds: TCP's longest wait between two attempts, and a margin."""

POLL_S = 1.0
"""Time between two looks, seconds."""


def reconnect(source: Any, target: Any, peer_uri: str, move: Move) -> None:
    """Give up the dead connection and send what is missing over a new one; return when all has arrived.

    Parameters
    ----------
    source, target : libvirt.virDomain
        The two halves of the guest.
    peer_uri : str
        URI by which the source reaches the target.
    move : Move
        The move that was cut.

    Raises
    ------
    HypervisorError
        If the target does not notice in time, or the recovery is refused.
    """
    libvirt = load_libvirt()
    with contextlib.suppress(libvirt.libvirtError):  # it has noticed by itself
        source.abortJobFlags(libvirt.VIR_DOMAIN_ABORT_JOB_POSTCOPY)
    limit = time.monotonic() + NOTICE_S
    while not is_severed(target):
        if time.monotonic() > limit:
            raise HypervisorError(
                f"{move.target} has not noticed in {NOTICE_S:g} s that its connection is dead; see that the line from "
                f"{move.source} works, then try again"
            )
        time.sleep(POLL_S)
    flags = libvirt.VIR_MIGRATE_LIVE | libvirt.VIR_MIGRATE_POSTCOPY | libvirt.VIR_MIGRATE_POSTCOPY_RESUME
    flags |= libvirt.VIR_MIGRATE_PEER2PEER
    if move.transfer.tls:
        flags |= libvirt.VIR_MIGRATE_TLS
    if source.isPersistent():
        flags |= libvirt.VIR_MIGRATE_PERSIST_DEST | libvirt.VIR_MIGRATE_UNDEFINE_SOURCE
    while True:
        try:
            source.migrateToURI3(peer_uri, {}, flags)
        except libvirt.libvirtError as error:
            # "actively monitored by another thread", "QEMU reports migration is still running": it is still letting go.
            if error.get_error_code() != libvirt.VIR_ERR_OPERATION_INVALID or time.monotonic() > limit:
                raise HypervisorError(f"the recovery was refused: {message(error)}") from error
            time.sleep(POLL_S)
        else:
            return
