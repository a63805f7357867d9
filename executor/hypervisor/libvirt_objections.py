"""What libvirt itself has against a move, asked of both ends just before it is made; nothing is changed."""

from __future__ import annotations

import posixpath
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from typing import Any

from drsim.plan import Move
from drsim.transfer import contradictions
from executor.hypervisor.libvirt_connect import load_libvirt, message
from executor.refusal import Refusal


def objections(domain: Any, target: Any, move: Move) -> tuple[Refusal, ...]:
    """List what would keep a guest from running on the target, or from getting there.

    Parameters
    ----------
    domain : libvirt.virDomain
        The guest on its source.
    target : libvirt.virConnect
        The target.
    move : Move
        The move about to be made.
    """
    root = ET.fromstring(domain.XMLDesc(0))
    return (
        *_settings(move),
        *_versions(domain.connect(), target, move),
        *_machine(root, target, move),
        *_cpu(root, target, move),
        *_filters(root, target, move),
        *_media(root, move),
    )


def _settings(move: Move) -> Iterator[Refusal]:
    for text in contradictions(move.transfer, copies_disks=bool(move.copy_disks)):
        yield Refusal(kind="transfer", text=f"How '{move.vm}' is to travel contradicts itself:", remedy=f"{text}.")


def _versions(source: Any, target: Any, move: Move) -> Iterator[Refusal]:
    """Refuse an older QEMU: that guests can go to a newer one is promised, the other way not (docs/devel/migration)."""
    if source.getType() != "QEMU" or target.getType() != "QEMU":
        return
    ours, theirs = source.getVersion(), target.getVersion()
    if theirs // 1000 < ours // 1000:
        yield Refusal(
            kind="version",
            text=f"{move.target} runs QEMU {_spelled(theirs)}, {move.source} the newer {_spelled(ours)}.",
            remedy=f"Upgrade QEMU on {move.target} first, or choose a host that has been upgraded.",
        )


def _spelled(number: int) -> str:
    """Spell a version as libvirt encodes it: ``1000000 * major + 1000 * minor + release``."""
    return f"{number // 1_000_000}.{number // 1000 % 1000}.{number % 1000}"


def _emulator(root: ET.Element) -> tuple[str | None, str, str, str]:
    kind = root.find("os/type")
    at = {} if kind is None else kind.attrib
    return root.findtext("devices/emulator"), at.get("arch", "x86_64"), at.get("machine", ""), root.get("type", "kvm")


def _machine(root: ET.Element, target: Any, move: Move) -> Iterator[Refusal]:
    libvirt = load_libvirt()
    emulator, arch, machine, virt = _emulator(root)
    if not machine:
        return
    try:
        target.getDomainCapabilities(emulator, arch, machine, virt, 0)
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_SUPPORT:
            return
        yield Refusal(
            kind="machine",
            text=f"{move.target} cannot run '{move.vm}' (machine type {machine}, {virt}): {message(error)}",
            remedy="Install the same or a newer QEMU there, or choose another host.",
        )


def _cpu(root: ET.Element, target: Any, move: Move) -> Iterator[Refusal]:
    """Compare the CPU that the guest sees with what the target's QEMU can give it, not with the target's own CPU."""
    libvirt, element = load_libvirt(), root.find("cpu")
    emulator, arch, machine, virt = _emulator(root)
    if element is None or virt != "kvm" or element.find("model") is None:
        return
    try:
        result = target.compareHypervisorCPU(emulator, arch, machine, virt, ET.tostring(element, "unicode"), 0)
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_SUPPORT:
            return
        yield Refusal(
            kind="cpu",
            text=f"{move.target} cannot compare its CPU with that of '{move.vm}': {message(error)}",
            remedy="Compare by hand (virsh hypervisor-cpu-compare), or choose another host.",
        )
        return
    if result == libvirt.VIR_CPU_COMPARE_INCOMPATIBLE:
        yield Refusal(
            kind="cpu",
            text=f"The CPU that '{move.vm}' sees ({element.findtext('model')}) cannot be had on {move.target}.",
            remedy="Give it a CPU model that both hosts have (virsh hypervisor-cpu-baseline) and restart it once.",
        )


def _filters(root: ET.Element, target: Any, move: Move) -> Iterator[Refusal]:
    libvirt = load_libvirt()
    for name in sorted({ref.get("filter", "") for ref in root.iterfind("devices/interface/filterref")} - {""}):
        try:
            target.nwfilterLookupByName(name)
        except libvirt.libvirtError as error:
            missing = error.get_error_code() == libvirt.VIR_ERR_NO_NWFILTER
            why = "has no" if missing else f"cannot be asked ({message(error)}) for"
            yield Refusal(
                kind="network",
                text=f"{move.target} {why} network filter '{name}', which a card of '{move.vm}' uses.",
                remedy="Define it there with the same rules (virsh nwfilter-define).",
            )


def _media(root: ET.Element, move: Move) -> Iterator[Refusal]:
    """Refuse a medium in a drive: it would be looked for on the target, where nobody has put it."""
    for element in root.iterfind("devices/disk"):
        source = element.find("source")
        if element.get("device") not in ("cdrom", "floppy") or source is None:
            continue
        path = source.get("file") or source.get("dev")
        if path:
            yield Refusal(
                kind="disk",
                text=f"'{move.vm}' has {posixpath.basename(path)} in its {element.get('device')} drive.",
                remedy="Eject it first (virsh change-media --eject).",
            )
