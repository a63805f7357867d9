"""CPU shares of guests, counted alike whichever control groups their host has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from executor.hypervisor.libvirt_connect import load_libvirt
from executor.hypervisor.libvirt_domain import DomainConfig

DEFAULT = 1000.0
"""Shares of a guest for which nobody set any, as `Vm.cpu_shares` counts."""

WEIGHT, SHARES = 100.0, 1024.0
"""What control groups have by default: cpu.weight of version 2, cpu.shares of version 1 (kernel, admin-guide)."""

MOST_WEIGHT = 10_000
"""The largest cpu.weight: a larger number is of version 1."""


def cpu_shares(guests: Sequence[tuple[Any, DomainConfig]]) -> dict[str, float]:
    """Return, by UUID, the CPU shares of the guests of a host for which somebody set any.

    libvirt hands on what the host's control groups take, and tells not which version they are. A running guest without
    a setting has their default, and its host says how much that is; where each has one, the numbers themselves must do.

    Parameters
    ----------
    guests : sequence of (domain, DomainConfig)
        All guests of one host.
    """
    found = {config.uuid: config.cpu_shares for _, config in guests if config.cpu_shares is not None}
    if not found:
        return {}
    plain = (default for domain, config in guests if config.cpu_shares is None and (default := _told(domain)))
    base = next(plain, None) or (SHARES if max(found.values()) > MOST_WEIGHT else WEIGHT)
    return {uuid: number / base * DEFAULT for uuid, number in found.items()}


def _told(domain: Any) -> float | None:
    """Return the shares that a running guest has; None if it does not run or its driver knows none."""
    try:
        return float(domain.schedulerParameters().get("cpu_shares", 0)) or None if domain.isActive() else None
    except load_libvirt().libvirtError:
        return None
