"""Whom a rule is about: selectors of guests and hosts, and the areas that hosts are part of."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from drsim.inventory import Host, Inventory, Vm

Strength = Literal["must", "should"]
Area = Literal["host", "rack", "site"]


def select_vms(selectors: Iterable[str], inventory: Inventory) -> tuple[Vm, ...]:
    """List the guests that the selectors name, each once, in the inventory's order; unknown names select nothing."""
    numbers = {number for selector in selectors for number in inventory.vm_numbers.get(selector, ())}
    return tuple(inventory.vms[number] for number in sorted(numbers))


def select_hosts(selectors: Iterable[str], inventory: Inventory) -> tuple[Host, ...]:
    """List the hosts that the selectors name, each once, in the inventory's order; unknown names select nothing."""
    chosen = set(selectors)
    return tuple(
        host
        for host in inventory.hosts
        if host.name in chosen
        or f"site:{host.site}" in chosen
        or (host.rack is not None and f"rack:{host.rack}" in chosen)
        or any(f"tag:{tag}" in chosen for tag in host.tags)
    )


def running(selectors: Iterable[str], inventory: Inventory) -> list[Vm]:
    """List the guests named that are not stopped: those that are break no rule and are in nobody's way."""
    return [vm for vm in select_vms(selectors, inventory) if vm.state != "stopped"]


def area_of(host: Host, per: Area) -> tuple[str, ...]:
    """Return what names the host, rack or site that a host is part of; a host without a rack is one itself."""
    if per == "site":
        return (host.site,)
    if per == "rack" and host.rack is not None:
        return (host.site, host.rack)
    return (host.site, "", host.name)
