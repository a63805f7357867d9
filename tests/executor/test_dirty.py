"""Which way each guest's dirty rate is measured, and what is said where it cannot be."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

pytest.importorskip("libvirt", reason="libvirt-python is not installed: make kvm")

from drsim.inventory import PageClass
from executor.hypervisor import libvirt_dirty
from executor.hypervisor.libvirt_connect import load_libvirt
from executor.hypervisor.libvirt_dirty import DIRTY_MODES, DirtyMode, measure_dirty, mode_for
from executor.hypervisor.libvirt_domain import DomainConfig, parse_domain

libvirt = load_libvirt()

TEXT = """<domain type='kvm'><name>{name}</name><uuid>{name}</uuid><memory unit='MiB'>256</memory><vcpu>1</vcpu>
{features}</domain>"""
RING = "<features><kvm><dirty-ring state='on' size='4096'/></kvm></features>"
OFF = "<features><kvm><dirty-ring state='off'/></kvm></features>"


def config(name: str, features: str = "") -> DomainConfig:
    return parse_domain(TEXT.format(name=name, features=features), place="h1")


PLAIN, RINGED = config("plain"), config("ringed", RING)
EMULATED = replace(PLAIN, name="emulated", uuid="emulated", kind="qemu")


def test_a_ring_is_seen() -> None:
    assert (PLAIN.dirty_ring, RINGED.dirty_ring, config("off", OFF).dirty_ring) == (False, True, False)


@pytest.mark.parametrize(
    ("guest", "ways"),
    [
        (PLAIN, ("page-sampling", "page-sampling", "dirty-bitmap", None)),
        (RINGED, ("dirty-ring", "page-sampling", "dirty-bitmap", "dirty-ring")),
        (EMULATED, ("page-sampling", "page-sampling", None, None)),
    ],
)
def test_each_guest_is_measured_as_suits_it_or_not_at_all(guest: DomainConfig, ways: tuple[DirtyMode | None]) -> None:
    found = [mode_for(guest, wanted) for wanted in DIRTY_MODES]
    assert tuple(None if why_not else way for way, why_not in found) == ways


class Guest:
    """Enough of a `libvirt.virDomain`: it notes how it was measured."""

    def __init__(self, *, runs: bool = True, refuses: bool = False) -> None:
        self.flags: list[int] = []
        self._runs, self._refuses = runs, refuses

    def isActive(self) -> bool:
        return self._runs

    def startDirtyRateCalc(self, seconds: int, flags: int) -> None:
        if self._refuses:
            raise libvirt.libvirtError("busy")
        self.flags.append(flags)


class Host:
    """Enough of a `libvirt.virConnect`."""

    def domainListGetStats(self, domains: list[Any], kinds: int) -> list[tuple[Any, dict[str, int]]]:
        done = libvirt.VIR_DOMAIN_DIRTYRATE_MEASURED
        return [(domains[0], {"dirtyrate.calc_status": done, "dirtyrate.megabytes_per_second": 30})]


def test_all_are_measured_at_once_and_who_is_left_out_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libvirt_dirty, "PERIOD_S", -0.5)  # nothing is waited for
    declared = replace(PLAIN, name="declared", uuid="declared", dirty=(PageClass(size_mib=8, dirty_rate_mib_s=1),))
    busy, stopped = replace(PLAIN, name="busy", uuid="busy"), replace(PLAIN, name="stopped", uuid="stopped")
    plain, ringed = Guest(), Guest()
    guests = [
        (plain, PLAIN),
        (ringed, RINGED),
        (Guest(), declared),
        (Guest(refuses=True), busy),
        (Guest(runs=False), stopped),
    ]
    said: list[str] = []
    found = measure_dirty(Host(), guests, "auto", said.append)
    assert set(found) == {"plain", "ringed"}
    assert plain.flags == [libvirt.VIR_DOMAIN_DIRTYRATE_MODE_PAGE_SAMPLING]
    assert ringed.flags == [libvirt.VIR_DOMAIN_DIRTYRATE_MODE_DIRTY_RING]
    assert said == ["domain 'busy': dirty rate not measured: busy"]
