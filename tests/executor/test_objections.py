"""What both ends have against a move, with a libvirt that says what a test wants it to say."""

from __future__ import annotations

from typing import Any

import pytest

from drsim.plan import Move
from drsim.transfer import Transfer

libvirt = pytest.importorskip("libvirt", reason="libvirt-python is not installed: make kvm")

XML = """<domain type='{virt}'><name>g</name><os><type arch='x86_64' machine='pc-q35-10.0'>hvm</type></os>
<cpu mode='custom' match='exact'><model>Skylake-Server</model></cpu><devices><emulator>/usr/bin/qemu</emulator>{extra}
</devices></domain>"""


class Host:
    """A connection that knows some filters, machines and CPUs."""

    def __init__(self, version: int = 10_000_002, *, knows: bool = True, compares: int = 2) -> None:
        self.version, self.knows, self.compares = version, knows, compares

    def getType(self) -> str:
        return "QEMU"

    def getVersion(self) -> int:
        return self.version

    def getDomainCapabilities(self, emulator: str, arch: str, machine: str, virt: str, flags: int) -> str:
        assert (emulator, arch, machine, flags) == ("/usr/bin/qemu", "x86_64", "pc-q35-10.0", 0)
        if not self.knows:
            raise failure(libvirt.VIR_ERR_INVALID_ARG, "the machine 'pc-q35-10.0' is not supported")
        return ""

    def compareHypervisorCPU(self, emulator: str, arch: str, machine: str, virt: str, xml: str, flags: int) -> int:
        assert "<model>Skylake-Server</model>" in xml
        return self.compares

    def nwfilterLookupByName(self, name: str) -> object:
        if name != "clean-traffic":
            raise failure(libvirt.VIR_ERR_NO_NWFILTER, "no such filter")
        return object()


class Domain:
    def __init__(self, virt: str = "kvm", extra: str = "") -> None:
        self.text = XML.format(virt=virt, extra=extra)

    def XMLDesc(self, flags: int) -> str:
        return self.text

    def connect(self) -> Host:
        return Host()


def failure(code: int, text: str) -> Exception:
    error = libvirt.libvirtError(text)
    error.err = (code, 0, text, 0, "", "", "", 0, 0)
    return error  # type: ignore[no-any-return]


def said(domain: Any = None, target: Any = None, **changes: Any) -> list[tuple[str, str]]:
    from executor.hypervisor.libvirt_objections import objections

    move = Move(id="m", vm="g", source="a", target="b", reason="test", **changes)
    return [(found.kind, str(found)) for found in objections(domain or Domain(), target or Host(), move)]


def test_nothing_is_said_against_a_move_between_equal_hosts() -> None:
    assert said() == []
    assert said(Domain(extra="<interface><filterref filter='clean-traffic'/></interface>")) == []
    assert said(Domain(extra="<disk device='cdrom'><target dev='sda'/></disk>")) == []


@pytest.mark.parametrize(
    ("domain", "target", "changes", "kind", "words"),
    [
        (None, Host(version=9_002_000), {}, "version", ("b runs QEMU 9.2.0", "newer 10.0.2", "Upgrade")),
        (None, Host(knows=False), {}, "machine", ("pc-q35-10.0", "not supported", "choose another host")),
        (None, Host(compares=0), {}, "cpu", ("Skylake-Server", "baseline")),
        (
            Domain(extra="<interface><filterref filter='mine'/></interface>"),
            None,
            {},
            "network",
            ("filter 'mine'", "nwfilter-define"),
        ),
        (
            Domain(extra="<disk type='file' device='cdrom'><source file='/iso/x.iso'/></disk>"),
            None,
            {},
            "disk",
            ("x.iso", "Eject"),
        ),
        (None, None, {"transfer": Transfer(compression="zstd")}, "transfer", ("parallel_connections",)),
    ],
)
def test_each_obstacle_is_named_with_a_remedy(
    domain: Any, target: Any, changes: dict[str, Any], kind: str, words: tuple[str, ...]
) -> None:
    found = said(domain, target, **changes)
    assert [k for k, _ in found] == [kind]
    assert all(word in found[0][1] for word in words)


def test_a_newer_qemu_is_welcome_and_an_emulated_cpu_is_not_compared() -> None:
    assert said(target=Host(version=11_000_000)) == []
    assert said(Domain(virt="qemu"), Host(compares=0)) == []
