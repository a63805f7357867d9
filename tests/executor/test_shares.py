"""CPU shares of guests as libvirt tells them: one count, whichever control groups a host has."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from executor.hypervisor.libvirt_domain import DomainConfig, parse_domain
from executor.hypervisor.libvirt_shares import cpu_shares
from tests.executor.test_collect import guest, merged, reading, two

libvirt = pytest.importorskip("libvirt")


@dataclass
class Domain:
    told: int
    runs: bool = True
    raises: bool = False

    def isActive(self) -> int:
        return int(self.runs)

    def schedulerParameters(self) -> dict[str, int]:
        if self.raises:
            raise libvirt.libvirtError("this driver knows none")
        return {"cpu_shares": self.told, "vcpu_period": 100000}


def config(name: str, shares: int | None) -> DomainConfig:
    inner = "" if shares is None else f"<cputune><shares>{shares}</shares></cputune>"
    text = (
        f"<domain type='kvm'><name>{name}</name><uuid>{name}</uuid><memory unit='MiB'>128</memory><vcpu>1</vcpu>"
        f"{inner}<devices/></domain>"
    )
    return parse_domain(text, place="h1")


@pytest.mark.parametrize(("default", "twice"), [(100, 200), (1024, 2048)])
def test_twice_the_default_is_twice_the_default_on_every_host(default: int, twice: int) -> None:
    guests = [(Domain(twice), config("a", twice)), (Domain(default), config("b", None))]
    assert cpu_shares(guests) == {"a": 2000.0}


def test_where_every_guest_has_some_the_numbers_must_do() -> None:
    assert cpu_shares([(Domain(50), config("a", 50))]) == {"a": 500.0}
    many = [(Domain(20480), config("a", 20480)), (Domain(512), config("b", 512))]
    assert cpu_shares(many) == {"a": 20000.0, "b": 500.0}


def test_a_guest_that_does_not_run_or_does_not_tell_says_nothing_of_the_default() -> None:
    silent = [(Domain(7, runs=False), config("s", None)), (Domain(7, raises=True), config("t", None))]
    assert cpu_shares([*silent, (Domain(300), config("a", 300))]) == {"a": 3000.0}
    assert cpu_shares(silent) == {}


@pytest.mark.parametrize("text", ["0", "-3", "many", ""])
def test_what_is_no_number_of_shares_is_none(text: str) -> None:
    domain = (
        "<domain type='kvm'><name>g</name><uuid>u</uuid><memory unit='MiB'>1</memory><vcpu>1</vcpu>"
        f"<cputune><shares>{text}</shares></cputune></domain>"
    )
    assert parse_domain(domain, place="h1").cpu_shares is None


def test_they_are_collected() -> None:
    inventory, _ = merged(two(), reading("h1", replace(guest("a"), cpu_shares=2000.0), guest("b")), reading("h2"))
    assert [vm.cpu_shares for vm in inventory.vms] == [2000.0, None]
    assert inventory.has_cpu_shares
