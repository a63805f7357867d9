"""Devices of hosts and guests: read, counted, and kept by the optimiser's sums."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from drsim import Objective, Policy, make_plan
from drsim.check import inventory_problems, violations
from drsim.errors import DataError
from drsim.inventory import Device, Vm
from executor.collect import collect
from executor.hypervisor.libvirt_devices import (
    NodeDevice,
    guest_devices,
    host_devices,
    open_cards,
    parse_node_device,
)
from executor.hypervisor.libvirt_domain import HostdevConfig, parse_domain, pci_address

UUID = "8e37ee90-2b51-45e3-9b25-bf8283c03110"


def pci(bus: int, product: str, *, inside: str = "", driver: str = "", kind: str = "0x030200") -> str:
    """Describe a card as libvirt does: addresses in decimal."""
    held = f"<driver><name>{driver}</name></driver>" if driver else ""
    return (
        f"<device><name>pci_0000_{bus:02x}_00_0</name><parent>pci_0000_00_01_0</parent>{held}<capability type='pci'>"
        f"<class>{kind}</class><domain>0</domain><bus>{bus}</bus><slot>0</slot><function>0</function>"
        f"<product id='0x{product}'>card</product><vendor id='0x10de'>NVIDIA Corporation</vendor>{inside}"
        "</capability></device>"
    )


def vgpu(*types: tuple[str, int]) -> str:
    return (
        "<capability type='mdev_types'>"
        + "".join(
            f"<type id='{name}'><name>GRID</name><deviceAPI>vfio-pci</deviceAPI><availableInstances>{more}"
            "</availableInstances></type>"
            for name, more in types
        )
        + "</capability>"
    )


MEDIATED = (
    f"<device><name>mdev_{UUID.replace('-', '_')}_0000_41_00_0</name><parent>pci_0000_41_00_0</parent>"
    f"<capability type='mdev'><type id='nvidia-11'/><uuid>{UUID}</uuid><iommuGroup number='12'/></capability></device>"
)
VF = "<capability type='phys_function'><address domain='0x0000' bus='0x50' slot='0x00' function='0x0'/></capability>"
PF = VF.replace("phys_function", "virt_functions")


def node(text: str) -> NodeDevice:
    found = parse_node_device(text, place="h1")
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("text", "counted"),
    [
        (pci(0x3B, "20b0"), {"pci-10de:20b0": 1}),  # a 3D controller
        (pci(0x3B, "20b0", kind="0x120000"), {"pci-10de:20b0": 1}),  # a processing accelerator
        (pci(0x3B, "2000", kind="0x030000", driver="ast"), {}),  # the host's own screen
        (pci(0x3B, "2000", kind="0x030000", driver="vfio-pci"), {"pci-10de:2000": 1}),
        (pci(0x3B, "101e", kind="0x020000", driver="mlx5_core"), {}),  # the host's own network card
        (pci(0x3B, "101e", kind="0x020000", driver="mlx5_core", inside=VF), {"pci-10de:101e": 1}),
        (pci(0x3B, "20b0", inside=PF), {}),  # its functions are handed out
        (pci(0x3B, "1eb8", inside=vgpu(("nvidia-222", 16))), {"mdev-nvidia-222": 16}),
        (MEDIATED, {"mdev-nvidia-11": 1}),
    ],
)
def test_what_guests_may_have_is_counted(text: str, counted: dict[str, int]) -> None:
    assert {device.name: device.count for device in host_devices([node(text)], ())} == counted


def test_what_a_guest_has_is_counted_whatever_it_is() -> None:
    card = node(pci(0x3B, "101e", kind="0x020000", driver="vfio"))
    own = node(pci(0x3C, "101e", kind="0x020000", driver="mlx5_core"))
    held = (HostdevConfig(kind="pci", key="0000:3c:00.0"), HostdevConfig(kind="usb"))
    assert host_devices([card, own], held) == (Device(name="pci-10de:101e", count=2),)
    assert guest_devices(held, [card, own]) == (Device(name="pci-10de:101e"),)
    assert guest_devices(held, []) == ()


def test_a_mediated_type_counts_what_exists_and_what_can_still_be_made() -> None:
    card = node(pci(0x41, "1eb8", inside=vgpu(("nvidia-11", 15), ("nvidia-12", 0))))
    free = node(pci(0x42, "1eb8", inside=vgpu(("nvidia-11", 16), ("nvidia-12", 8))))
    nodes = [card, free, node(MEDIATED)]
    assert host_devices(nodes, ()) == (Device(name="mdev-nvidia-11", count=32), Device(name="mdev-nvidia-12", count=8))
    assert open_cards(nodes) == (free.name,)
    assert guest_devices([HostdevConfig(kind="mdev", key=UUID)], nodes) == (Device(name="mdev-nvidia-11"),)


def test_other_devices_are_none_of_ours_and_other_texts_are_refused() -> None:
    assert parse_node_device("<device><name>computer</name><capability type='system'/></device>", place="h1") is None
    with pytest.raises(DataError, match="h1"):
        parse_node_device("<domain/>", place="h1")


def test_addresses_are_spelled_alike_whatever_their_base() -> None:
    assert pci_address({"domain": "0", "bus": "59", "slot": "0", "function": "1"}) == "0000:3b:00.1"
    assert pci_address({"domain": "0x0000", "bus": "0x3b", "slot": "0x00", "function": "0x1"}) == "0000:3b:00.1"
    assert pci_address({"bus": "1"}) == pci_address(dict.fromkeys(("domain", "bus", "slot", "function"), "x")) == ""


def test_a_domain_tells_its_devices() -> None:
    address = "<address type='pci' domain='0x0000' bus='0x3b' slot='0x00' function='0x1'/>"
    text = (
        "<domain type='kvm'><name>g</name><uuid>u</uuid><memory>1048576</memory><vcpu>1</vcpu><devices>"
        f"<hostdev mode='subsystem' type='pci' managed='yes'><source>{address}</source></hostdev>"
        f"<hostdev mode='subsystem' type='mdev' model='vfio-pci'><source><address uuid='{UUID}'/></source></hostdev>"
        "<hostdev mode='subsystem' type='usb'><source><vendor id='0x1234'/><product id='0xbeef'/></source></hostdev>"
        f"<interface type='hostdev'><source>{address.replace('0x1', '0x2')}</source></interface></devices></domain>"
    )
    assert parse_domain(text, place="h1").hostdevs == (
        HostdevConfig(kind="pci", key="0000:3b:00.1"),
        HostdevConfig(kind="mdev", key=UUID),
        HostdevConfig(kind="usb"),
        HostdevConfig(kind="pci", key="0000:3b:00.2"),
    )


def estate(folder: Path, name: str, cards: int, guests: int) -> str:
    """Describe a host to libvirt's test driver: cards that compute, the first of which guests have."""
    domains = "".join(
        f"<domain type='test'><name>{name}-{i}</name><uuid>6a1f3c1e-27a5-4a0e-9f53-5d0b6c4d{ord(name)}1{i}</uuid>"
        "<memory unit='MiB'>256</memory><vcpu>1</vcpu><os><type>hvm</type></os><devices><hostdev mode='subsystem' "
        f"type='pci'><source><address domain='0' bus='{i + 1}' slot='0' function='0'/></source></hostdev></devices>"
        "</domain>"
        for i in range(guests)
    )
    path = folder / f"{name}.xml"
    path.write_text(f"<node>{''.join(pci(i + 1, '20b0') for i in range(cards))}{domains}</node>")
    return f"test://{path}"


def test_devices_are_collected_and_new_guests_go_where_one_is_free(tmp_path: Path) -> None:
    pytest.importorskip("libvirt", reason="libvirt-python is not installed: make kvm")
    uris = {"a": estate(tmp_path, "a", 2, 2), "b": estate(tmp_path, "b", 2, 1)}
    found = collect(uris, clock=lambda: datetime(2026, 3, 1, tzinfo=UTC), interval_s=0.0, nic_mbit_s=100.0).inventory
    assert [host.devices for host in found.hosts] == [(Device(name="pci-10de:20b0", count=2),)] * 2
    assert {vm.name: vm.devices for vm in found.vms} == dict.fromkeys(
        ("a-0", "a-1", "b-0"), (Device(name="pci-10de:20b0"),)
    )
    assert all("pci device" in (vm.unmovable_reason or "") for vm in found.vms)
    assert inventory_problems(found) == ()
    assert violations(found, Policy()) == ()
    new = Vm(name="new", host="", vcpus=1, memory_mib=64, devices=(Device(name="pci-10de:20b0"),))
    plan = make_plan(found, Policy(), Objective(goal="place", newcomers=(new,)))
    assert [(start.vm, start.host) for start in plan.starts] == [("new", "b")]
    two = replace(new, devices=(Device(name="pci-10de:20b0", count=2),))
    assert make_plan(found, Policy(), Objective(goal="place", newcomers=(two,))).starts == ()
