"""What a host says of itself, for the look just before a move."""

from __future__ import annotations

from typing import Any

from drsim.errors import DataError
from drsim.inventory import Inventory
from executor.hypervisor.base import HostFacts
from executor.hypervisor.libvirt_connect import load_libvirt, round_trip_ms
from executor.hypervisor.libvirt_domain import parse_domain
from executor.hypervisor.libvirt_files import Readings
from executor.hypervisor.libvirt_host import parse_capabilities
from executor.hypervisor.libvirt_read import domain_state, host_memory_mib
from executor.hypervisor.libvirt_volumes import free_mib


def host_facts(connection: Any, inventory: Inventory, host: str, files: Readings) -> HostFacts:
    """Ask a host about itself.

    Parameters
    ----------
    connection : libvirt.virConnect
        To it.
    inventory : Inventory
        What was known: names of networks and datastores, memory kept for the host.
    host : str
        Its name there.
    files : Readings
        What its own files told.
    """
    libvirt = load_libvirt()
    known = inventory.host_by_name[host]
    total, used = host_memory_mib(connection)
    capabilities = parse_capabilities(connection.getCapabilities(), place=host)
    memory, vcpus, used_bridges = 0.0, 0.0, set[str]()
    for domain in connection.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE):
        try:
            config = parse_domain(domain.XMLDesc(0), place=host)
            incoming = domain_state(domain)[1]
        except (DataError, libvirt.libvirtError):
            continue  # it left while being asked
        if not incoming:
            memory, vcpus = memory + config.memory_mib, vcpus + config.vcpus
            used_bridges |= {nic.bridge for nic in config.nics if nic.bridge}
    bridges = _bridges(connection)
    pools = free_mib(connection)
    return HostFacts(
        host=host,
        state="maintenance" if known.state == "maintenance" else "up",
        memory_free_mib=None if used is None else max(0.0, total - used - known.reserved_memory_mib),
        cpu_model=capabilities.cpu_model,
        arch=capabilities.arch,
        networks=tuple(
            network.name
            for network in inventory.networks
            if (bridge := network.bridge_on(host)) in used_bridges
            or (bridge in bridges if bridges is not None and bridge else host in network.hosts)
        ),
        datastores={
            store.name: pools.get(store.path or "")
            for store in inventory.datastores
            if host in store.hosts or (store.kind != "local" and store.path in pools)
        },
        guests_memory_mib=memory,
        guests_vcpus=vcpus,
        clock_ahead_s=files.clock_ahead_s,
        clock_error_s=files.clock_error_s,
        free_ports=files.free_ports,
        outgoing_ports=files.outgoing_ports,
        certificates=files.certificates,
        rtt_ms=round_trip_ms(connection),
        note="" if bridges is not None else "libvirt there cannot list bridges; taken from the inventory.",
    )


def _bridges(connection: Any) -> set[str] | None:
    """Return the bridges of a host; None if libvirt there cannot list them."""
    try:
        return {interface.name() for interface in connection.listAllInterfaces(0)}
    except load_libvirt().libvirtError:
        return None
