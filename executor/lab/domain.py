"""The guest as libvirt is told of it."""

from __future__ import annotations

import uuid
from pathlib import Path
from xml.etree import ElementTree as ET

from executor.lab import config
from executor.lab.topology import LabGuest

NAMESPACE = "urn:drsim"
"""XML namespace of what drsim knows about a guest, kept in the guest's metadata."""

_UUIDS = uuid.UUID("6a1f3c1e-27a5-4a0e-9f53-5d0b6c4d7a10")
# Under TCG the guest's clock source would be found unstable and its timer mistrusted, seconds of boot time each.
_KERNEL = "console=ttyS0 quiet panic=-1 tsc=reliable no_timer_check mitigations=off"


def guest_uuid(lab: str, guest: str) -> str:
    """UUID of a guest: the same each time the same lab is brought up."""
    return str(uuid.uuid5(_UUIDS, f"{lab}/{guest}"))


def domain_xml(lab: str, guest: LabGuest, index: int, disk: Path, kernel: Path, initrd: Path, *, kvm: bool) -> str:
    """Describe a guest to libvirt.

    Parameters
    ----------
    lab : str
        Name of the lab.
    guest : LabGuest
        The guest.
    index : int
        Its number in the lab, from 1: gives its address and its MAC.
    disk : Path
        Its disk, as its host sees it.
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
    workload = (
        f"lab.ip={config.guest_ip(index)} lab.peer={config.CLIENT_IP} lab.ws={guest.working_set_mib} "
        f"lab.rate={guest.dirty_rate_mib_s} lab.disk={guest.disk_write_kib_s}"
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
    drive = add(devices, "disk", type="file", device="disk")
    add(drive, "driver", name="qemu", type="raw", cache="none", discard="unmap")
    add(drive, "source", file=str(disk))
    add(drive, "target", dev="vda", bus="virtio")
    card = add(devices, "interface", type="bridge")
    add(card, "mac", address=f"52:54:00:00:00:{index:02x}")
    add(card, "source", bridge="br0")
    add(card, "model", type="virtio")
    serial = add(devices, "serial", type="file")
    add(serial, "source", path=f"/var/log/libvirt/{guest.name}.serial")
    add(devices, "memballoon", model="none")
    return ET.tostring(domain, encoding="unicode")
