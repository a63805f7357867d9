"""A post-copy that lost its connection, brought to its end.

On a line that swallowed everything for a while QEMU has noticed nothing, only the two daemons have: its connection is
still there, and TCP tries again, after each failure later, at most two minutes apart (RFC 6298; TCP_RTO_MAX of Linux,
120 s). So the first thing to do on a line that works again is to wait. What has not healed by then is recovered over a
new connection. Both ends must know that the old one is dead before QEMU takes it: the source is told; the target learns
of it by the FIN that the source's kernel sends after what it had queued.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any

from drsim.errors import HypervisorError
from drsim.plan import Move
from executor.hypervisor.libvirt_connect import load_libvirt, message
from executor.hypervisor.libvirt_read import is_severed

HEAL_S = 150.0
"""How long the old connection may take to heal, or the target to notice its end, seconds: TCP's longest wait and a
margin."""

POLL_S = 1.0
"""Time between two looks, seconds."""

CRASHING = range(11_003_000, 11_004_000)
"""Versions of libvirt whose daemon on the target was seen to crash when it was asked to recover (11.3.0: a null pointer
in the preparation of the new connection); the guest lives on."""


def heals(settled: Callable[[], bool]) -> bool:
    """Wait until the old connection has brought the migration to its end; return whether it has."""
    limit = time.monotonic() + HEAL_S
    while not settled():
        if time.monotonic() > limit:
            return False
        time.sleep(POLL_S)
    return True


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
        If the target does not notice in time, or the recovery is refused or would crash the target's daemon.
    """
    libvirt = load_libvirt()
    version = target.connect().getLibVersion()
    if version in CRASHING:
        raise HypervisorError(
            f"libvirt {version // 1_000_000}.{version // 1000 % 1000} on {move.target} crashes when it recovers a "
            "post-copy. Upgrade libvirt there (guests keep running), restart its daemon, then try again"
        )
    with contextlib.suppress(libvirt.libvirtError):  # it has noticed by itself
        source.abortJobFlags(libvirt.VIR_DOMAIN_ABORT_JOB_POSTCOPY)
    if not heals(lambda: is_severed(target)):
        raise HypervisorError(
            f"{move.target} has not noticed in {HEAL_S:g} s that its connection is dead; see that the line from "
            f"{move.source} works, then try again"
        )
    flags = libvirt.VIR_MIGRATE_LIVE | libvirt.VIR_MIGRATE_POSTCOPY | libvirt.VIR_MIGRATE_POSTCOPY_RESUME
    flags |= libvirt.VIR_MIGRATE_PEER2PEER
    if move.transfer.tls:
        flags |= libvirt.VIR_MIGRATE_TLS
    if source.isPersistent():
        flags |= libvirt.VIR_MIGRATE_PERSIST_DEST | libvirt.VIR_MIGRATE_UNDEFINE_SOURCE
    try:
        source.migrateToURI3(peer_uri, {}, flags)
    except libvirt.libvirtError as error:
        raise HypervisorError(f"the recovery was refused: {message(error)}") from error
