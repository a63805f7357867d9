"""The guest as libvirt is told of it."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

from executor.lab import config
from executor.lab.storage import IQN, DiskPlace, target_name
from executor.lab.topology import LabGuest
from executor.lab.wire import LabNetwork

NAMESPACE = "urn:drsim"
"""XML namespace of what drsim knows about a guest, kept in the guest's metadata."""

_UUIDS = uuid.UUID("6a1f3c1e-27a5-4a0e-9f53-5d0b6c4d7a10")
# Under TCG the guest's clock source would be found unstable and its timer mistrusted, seconds of boot time each.
# What follows is work that a guest of the lab does not need done: a fifth of the processor time of its boot.
_KERNEL = (
    "console=ttyS0 quiet panic=-1 tsc=reliable no_timer_check mitigations=off nokaslr init_on_alloc=0 "
    "cryptomgr.notests rcupdate.rcu_expedited=1 nowatchdog audit=0 apparmor=0 selinux=0 8250.nr_uarts=1"
)


def guest_uuid(lab: str, guest: str) -> str:
    """UUID of a guest: the same each time the same lab is brought up."""
    return str(uuid.uuid5(_UUIDS, f"{lab}/{guest}"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """Where a guest is plugged in.

    Parameters
    ----------
    network : LabNetwork
        Its network.
    bridge : str
        Bridge of its host.
    segment : int
        Number of the segment: gives its addresses.
    """

    network: LabNetwork
    bridge: str
    segment: int


def domain_xml(
    lab: str,
    guest: LabGuest,
    index: int,
    disks: Sequence[DiskPlace],
    port: Port,
    kernel: Path,
    initrd: Path,
    *,
    kvm: bool,
) -> str:
    """Describe a guest to libvirt.

    Parameters
    ----------
    lab : str
        Name of the lab.
    guest : LabGuest
        The guest.
    index : int
        Its number in the lab, from 1: gives its address and its MAC.
    disks : sequence of DiskPlace
        Its disks.
    port : Port
        Where it is plugged in.
    kernel, initrd : Path
        What it boots.
    kvm : bool
        Whether the machine's KVM works; else it is emulated.
    """
    domain = ET.Element("domain", type="kvm" if kvm else "qemu")

    def add(parent: ET.Element, tag: str, text: str = "", **attributes: str) -> ET.Element:
        element = ET.SubElement(parent, tag, attributes)
        element.text = text or None
        return element

    add(domain, "name", guest.name)
    add(domain, "uuid", guest_uuid(lab, guest.name))
    ET.register_namespace("drsim", NAMESPACE)
    ET.SubElement(
        add(domain, "metadata"),
        f"{{{NAMESPACE}}}guest",
        {
            "tags": " ".join(guest.tags),
            "working_set_mib": str(guest.working_set_mib),
            "dirty_rate_mib_s": str(guest.dirty_rate_mib_s),
        },
    )
    add(domain, "memory", str(guest.memory_mib), unit="MiB")
    add(domain, "vcpu", str(guest.vcpus))
    boot = add(domain, "os")
    add(boot, "type", "hvm", arch="x86_64", machine="q35")
    add(boot, "kernel", str(kernel))
    add(boot, "initrd", str(initrd))
    rates = ",".join(str(disk.write_kib_s) for disk in guest.disks)
    workload = (
        f"lab.ip={config.guest_ip(index, port.segment)} lab.peer={config.client_ip(port.segment)} "
        f"lab.ws={guest.working_set_mib} lab.rate={guest.dirty_rate_mib_s} lab.dirty={guest.dirty.text} "
        f"lab.disk={rates} lab.net={guest.traffic_kib_s}"
    )
    add(boot, "cmdline", f"{_KERNEL} {workload}")
    features = add(domain, "features")
    add(features, "acpi")
    add(features, "apic")
    add(domain, "clock", offset="utc")
    for event in ("on_poweroff", "on_reboot", "on_crash"):
        add(domain, event, "destroy")
    devices = add(domain, "devices")
    add(devices, "emulator", "/usr/bin/qemu-system-x86_64")
    for number, place in enumerate(disks):
        drive = add(devices, "disk", type="file" if place.kind == "file" else "network", device="disk")
        add(drive, "driver", name="qemu", type=place.format, cache="none", discard="unmap")
        if place.kind == "file":
            add(drive, "source", file=place.name)
        else:
            source = add(drive, "source", protocol=place.kind, name=place.name)
            add(source, "host", name=config.STORAGE_IP, **({"port": "3260"} if place.kind == "iscsi" else {}))
            if place.kind == "iscsi":
                add(add(source, "initiator"), "iqn", name=f"{IQN}:guest.{guest.name}")
        add(drive, "target", dev=target_name(number), bus="virtio")
    card = add(devices, "interface", type="bridge")
    add(card, "mac", address=f"52:54:00:00:00:{index:02x}")
    add(card, "source", bridge=port.bridge)
    add(card, "model", type="virtio")
    if port.network.kind == "ovs":
        add(card, "virtualport", type="openvswitch")
        if guest.vlan is not None:
            add(add(card, "vlan"), "tag", id=str(guest.vlan))
        # A switch in user space passes frames on as they are: the guest must finish them itself.
        off = dict.fromkeys(("csum", "gso", "tso4", "tso6", "ecn", "ufo"), "off")
        driver = add(card, "driver", name="qemu")
        add(driver, "host", **off)
        add(driver, "guest", **{key: value for key, value in off.items() if key != "gso"})
    if port.network.kind == "vxlan":
        add(card, "mtu", size=str(config.VXLAN_MTU))
    serial = add(devices, "serial", type="file")
    add(serial, "source", path=f"/var/log/libvirt/{guest.name}.serial")
    add(devices, "memballoon", model="none")
    return ET.tostring(domain, encoding="unicode")
