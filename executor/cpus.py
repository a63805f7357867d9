"""Which hosts can give guests the CPU that they see, reckoned from what hosts and guests told; pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from executor.hypervisor.libvirt_host import GuestReading, HostReading

EMULATED = frozenset({"arat", "arch-capabilities", "hypervisor", "tsc-deadline", "tsc_adjust", "x2apic"})
"""Features that KVM gives whether or not the CPU has them (Linux, arch/x86/kvm/cpuid.c, ``kvm_set_cpu_caps`` and
``kvm_vcpu_after_set_cpuid``; QEMU, target/i386/kvm/kvm.c, ``kvm_arch_get_supported_cpuid``)."""

SHOWN = 6
"""Features, hosts or guests that a remark names."""


class Models(Protocol):
    """Named CPU models."""

    def names(self, arch: str) -> tuple[str, ...]:
        """Names of all models of an architecture."""

    def features(self, arch: str, model: str) -> frozenset[str] | None:
        """Features that a model stands for; None if not known."""


@dataclass(slots=True, kw_only=True)
class _Kind:
    """A CPU as guests see it, and what it takes of a host's."""

    vendor: str | None
    needs: frozenset[str]
    guests: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cpus:
    """What was found out.

    Parameters
    ----------
    seen : mapping of (str, str) to str
        By host and UUID of a guest: the name of the CPU that it sees. A plain model has its own name; one with other
        features than the model's, as ``host-model`` makes it, has a mark behind it that tells it from others.
    given : mapping of str to tuple of str
        By host: the named models and the CPUs of guests that it can give; only hosts whose CPU is known.
    remarks : tuple of str
        Which hosts cannot give which guests their CPU, and what they lack.
    """

    seen: Mapping[tuple[str, str], str] = field(default_factory=dict)
    given: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()


def find_cpus(readings: Mapping[str, HostReading], models: Models) -> Cpus:
    """Reckon which CPU each guest sees and which hosts can give it.

    A guest needs of a host's CPU what it sees and what the CPUs have on which it runs already; the rest KVM makes up
    there, and would elsewhere. That is judged by the hosts' own features, as `virsh capabilities` tells them: before
    a move is made, libvirt on the target is asked what its QEMU can give. Emulated guests need nothing.

    Parameters
    ----------
    readings : mapping of str to HostReading
        Hosts by name.
    models : Models
        What named models stand for.
    """
    own = {host: features for host, reading in readings.items() if (features := _own(reading, models)) is not None}
    seen: dict[tuple[str, str], str] = {}
    kinds: dict[str, dict[str, _Kind]] = {reading.capabilities.arch: {} for reading in readings.values()}
    for host, reading in readings.items():
        for guest in reading.guests:
            if named := _kind(host, reading, guest, own, models):
                name, kind = named
                seen[host, guest.config.uuid] = name
                known = kinds[reading.capabilities.arch].setdefault(name, kind)
                known.needs &= kind.needs
                known.guests.append(guest.config.name)
    given, lacking = {}, dict[tuple[str, tuple[str, ...], tuple[str, ...]], list[str]]()
    plain: dict[tuple[str, frozenset[str]], tuple[str, ...]] = {}
    for host, features in own.items():
        cpu, arch = readings[host].capabilities.cpu, readings[host].capabilities.arch
        vendor = cpu.vendor if cpu else None
        if (arch, features) not in plain:
            wanted = ((name, models.features(arch, name)) for name in models.names(arch))
            plain[arch, features] = tuple(
                n for n, needs in wanted if needs is not None and needs - EMULATED <= features
            )
        fits = set(plain[arch, features])
        for name, kind in kinds[arch].items():
            lacks = _lacks(kind, vendor, features)
            (fits.discard if lacks else fits.add)(name)
            if lacks:
                lacking.setdefault((name, lacks, tuple(kind.guests)), []).append(host)
        given[host] = tuple(sorted(fits))
    remarks = (
        f"{_some(hosts)} cannot give the CPU {name} of {_some(guests)}; missing there: {_some(lacks)}."
        for (name, lacks, guests), hosts in sorted(lacking.items())
    )
    return Cpus(seen=seen, given=given, remarks=tuple(remarks))


def _own(reading: HostReading, models: Models) -> frozenset[str] | None:
    """Return all features of a host's CPU, as far as libvirt has names for them; None if it does not tell them."""
    cpu = reading.capabilities.cpu
    inside = models.features(reading.capabilities.arch, cpu.model) if cpu else None
    return None if cpu is None or inside is None else (inside | cpu.has) - cpu.has_not


def _kind(
    host: str, reading: HostReading, guest: GuestReading, own: Mapping[str, frozenset[str]], models: Models
) -> tuple[str, _Kind] | None:
    """Return the name of the CPU that a guest sees, and what it takes; None if that is not known."""
    cpu, arch = guest.config.cpu, reading.capabilities.arch
    if cpu is None:
        return None
    if guest.config.kind == "qemu":
        return f"{cpu.model}, emulated", _Kind(vendor=None, needs=frozenset())
    inside = models.features(arch, cpu.model)
    if guest.config.kind != "kvm" or inside is None or host not in own:
        return None
    sees = (inside | cpu.has) - cpu.has_not
    there = own[host] if guest.state in ("running", "paused") and not guest.incoming else sees
    kind = _Kind(vendor=cpu.vendor, needs=(sees - EMULATED) & there)
    if cpu.vendor is None and sees - EMULATED == inside - EMULATED:
        return cpu.model, kind
    mark = hashlib.sha256("\n".join((arch, cpu.vendor or "", *sorted(sees))).encode()).hexdigest()[:8]
    return f"{cpu.model}#{mark}", kind


def _lacks(kind: _Kind, vendor: str | None, features: frozenset[str]) -> tuple[str, ...]:
    """List what a host lacks of a CPU."""
    other = kind.needs and kind.vendor and vendor and kind.vendor != vendor
    return (*((f"vendor {kind.vendor}",) if other else ()), *sorted(kind.needs - features))


def _some(names: Iterable[str]) -> str:
    shown = list(dict.fromkeys(names))
    more = f" and {len(shown) - SHOWN} more" if len(shown) > SHOWN else ""
    return ", ".join(shown[:SHOWN]) + more
