"""Hosts read over libvirt, side by side, into one inventory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from urllib.parse import urlsplit

from drsim.errors import InventoryError, Problem
from drsim.inventory import Inventory
from executor.estate import DeclaredHost, Estate
from executor.hypervisor.base import Line
from executor.hypervisor.libvirt_bounded import run_bounded
from executor.hypervisor.libvirt_connect import check_uri, load_libvirt
from executor.hypervisor.libvirt_cpu import CpuMap
from executor.hypervisor.libvirt_dirty import DirtyMode
from executor.hypervisor.libvirt_read import read_host
from executor.lines import measure, with_lines
from executor.merge import merge

AT_ONCE = 256
"""Hosts read at once: a thread that waits costs little, and a host that hangs then keeps nobody else waiting."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """An inventory, and what a person should know about how it came about.

    Parameters
    ----------
    inventory : Inventory
        What was read.
    remarks : tuple of str
        Hosts that did not answer and why, guessed or missing facts, declarations that look wanting.
    unreachable : tuple of str
        Hosts that did not answer.
    lines : tuple of Line
        What was measured between hosts.
    """

    inventory: Inventory
    remarks: tuple[str, ...] = ()
    unreachable: tuple[str, ...] = ()
    lines: tuple[Line, ...] = ()


def collect(
    uris: Mapping[str, str] | Sequence[str],
    *,
    clock: Callable[[], datetime],
    peer_uris: Mapping[str, str] | None = None,
    name: str = "inventory",
    site: str = "site-1",
    nic_mbit_s: float | None = None,
    shared_paths: Sequence[str] = (),
    networks: Sequence[str] = (),
    interval_s: float = 1.0,
    timeout_s: float = 20.0,
    max_parallel: int = AT_ONCE,
    measure_dirty: DirtyMode | None = None,
    allow_host_cpu: bool = False,
    previous: Inventory | None = None,
) -> Collected:
    """Read hosts that all stand in one site and share the folders and networks named.

    Parameters
    ----------
    uris : mapping of str to str, or sequence of str
        libvirt URIs, by host name or without; without, hosts are called what they call themselves. The hosts may
        belong to several clusters.
    clock : callable
        Gives the present time, timezone-aware.
    peer_uris : mapping of str to str
        URIs by which the hosts reach each other, by host name; by default those of `uris`.
    name, site : str
        Names of the inventory and of the site.
    nic_mbit_s : float or None
        Rate of the card that carries migrations, Mbit/s; libvirt does not tell it.
    shared_paths, networks : sequence of str
        Folders that are the same on all hosts; bridges that all hosts have.
    interval_s : float
        Time over which CPU use and disk writes are measured, seconds.
    timeout_s : float
        Time for each host to answer, besides the interval, seconds.
    max_parallel : int
        Hosts read at once.
    measure_dirty, allow_host_cpu
        See `executor.hypervisor.libvirt_read.read_host`.
    previous : Inventory or None
        What was known before: hosts that do not answer, and their guests, are carried over from it.

    Raises
    ------
    InventoryError
        If two hosts have the same name.
    HypervisorError
        If libvirt's Python binding is missing or a URI carries a password.
    """
    named = uris.items() if isinstance(uris, Mapping) else [(None, uri) for uri in uris]
    peers = peer_uris or {}
    estate = Estate(
        hosts=tuple(
            DeclaredHost(name=host, uri=uri, peer_uri=peers.get(host or ""), site=site, nic_mbit_s=nic_mbit_s)
            for host, uri in named
        ),
        shared_paths=tuple(shared_paths),
        networks=tuple(networks),
    )
    return collect_estate(
        estate,
        clock=clock,
        name=name,
        interval_s=interval_s,
        timeout_s=timeout_s,
        max_parallel=max_parallel,
        measure_dirty=measure_dirty,
        allow_host_cpu=allow_host_cpu,
        previous=previous,
    )


def collect_estate(
    estate: Estate,
    *,
    clock: Callable[[], datetime],
    name: str = "inventory",
    interval_s: float = 1.0,
    timeout_s: float = 20.0,
    max_parallel: int = AT_ONCE,
    measure_dirty: DirtyMode | None = None,
    allow_host_cpu: bool = False,
    previous: Inventory | None = None,
    measure_lines: bool = False,
) -> Collected:
    """Read the hosts of an estate; parameters and errors as in `collect`.

    With `measure_lines` the round-trip time and the rate between hosts are measured, too, which fills each line for
    `executor.lines.SENDING_S` seconds.
    """
    load_libvirt()
    for host in estate.hosts:
        check_uri(host.uri)
    keys = [_key(host) for host in estate.hosts]
    for key in dict.fromkeys(key for key in keys if keys.count(key) > 1):
        raise InventoryError(
            Problem(
                place=f"host '{key}'",
                field="name",
                expected="It is given twice.",
                remedy="Give each host once, by name.",
            )
        )
    answers = run_bounded(
        {
            key: partial(
                read_host,
                host.uri,
                interval_s=interval_s,
                timeout_s=timeout_s,
                measure_dirty=measure_dirty,
                allow_host_cpu=allow_host_cpu,
            )
            for key, host in zip(keys, estate.hosts, strict=True)
        },
        timeout_s=interval_s + timeout_s,
        max_parallel=max_parallel,
    )
    models = CpuMap()
    captured_at = clock().astimezone(UTC).isoformat(timespec="seconds")
    try:
        inventory, remarks, silent = merge(
            estate, answers, name=name, captured_at=captured_at, previous=previous, models=models
        )
    finally:
        models.close()
    lines = measure(estate, inventory) if measure_lines else ()
    inventory, more = with_lines(inventory, lines)
    return Collected(inventory=inventory, remarks=(*remarks, *more), unreachable=silent, lines=lines)


def _key(host: DeclaredHost) -> str:
    """Name of a host before it has been asked."""
    parts = urlsplit(host.uri)
    return host.name or parts.hostname or host.uri
