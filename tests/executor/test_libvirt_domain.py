"""Domain XML as libvirt writes it, and as nobody should."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drsim.errors import DataError
from drsim.inventory import PageClass
from executor.hypervisor.libvirt_cpu import CpuText
from executor.hypervisor.libvirt_domain import DiskConfig, DomainConfig, NicConfig, parse_domain
from executor.hypervisor.libvirt_host import (
    NetworkReading,
    PoolReading,
    parse_capabilities,
    parse_network,
    parse_pool,
)
from executor.hypervisor.libvirt_volumes import Volume, volume_xml

FULL = """
<domain type='kvm' id='7'>
  <name>db-1</name>
  <uuid>6a1f3c1e-27a5-4a0e-9f53-5d0b6c4d7a10</uuid>
  <metadata>
    <other:app xmlns:other='urn:other' tags='no'/>
    <drsim:guest xmlns:drsim='urn:drsim' tags='db, gold  gold' working_set_mib='256' dirty_rate_mib_s='12.5'
                 max_downtime_ms='150' pinned='licence is bound to this host'/>
  </metadata>
  <memory unit='KiB'>4194305</memory>
  <currentMemory unit='KiB'>1048576</currentMemory>
  <vcpu placement='static' current='2'>4</vcpu>
  <cpu mode='custom'><model>Skylake-Server</model></cpu>
  <devices>
    <disk type='file' device='disk'><source file='/srv/a.qcow2' index='1'/><target dev='vda' bus='virtio'/></disk>
    <disk type='block' device='disk'><source dev='/dev/vg/b'/><target dev='vdb'/></disk>
    <disk type='network' device='disk'><source protocol='rbd' name='vms/c'/><target dev='vdc'/></disk>
    <disk type='volume' device='disk'><source pool='fast' volume='d'/><target dev='vdd'/></disk>
    <disk type='file' device='cdrom'><target dev='sda'/><readonly/></disk>
    <disk type='file' device='cdrom'><source file='/iso/x.iso'/><target dev='sdb'/><readonly/></disk>
    <interface type='bridge'><mac address='52:54:00:00:00:01'/><source bridge='br0'/>
      <vlan><tag id='42'/></vlan><virtualport type='openvswitch'/></interface>
    <interface type='network'><source network='default' bridge='virbr0'/></interface>
    <interface type='direct'><source dev='eno1' mode='bridge'/></interface>
  </devices>
</domain>
"""


def domain(inner: str = "", *, kind: str = "kvm", devices: str = "") -> str:
    return (
        f"<domain type='{kind}'><name>g</name><uuid>u</uuid><memory unit='MiB'>128</memory><vcpu>1</vcpu>{inner}"
        f"<devices>{devices}</devices></domain>"
    )


def test_everything_that_placement_needs_is_read() -> None:
    assert parse_domain(FULL, place="h1") == DomainConfig(
        uuid="6a1f3c1e-27a5-4a0e-9f53-5d0b6c4d7a10",
        name="db-1",
        kind="kvm",
        cpu=CpuText(model="Skylake-Server"),
        memory_mib=4097,  # 4 GiB and one KiB need the next MiB
        vcpus=2,
        disks=(
            DiskConfig(target="vda", device="disk", kind="file", location="/srv/a.qcow2"),
            DiskConfig(target="vdb", device="disk", kind="block", location="/dev/vg/b"),
            DiskConfig(target="vdc", device="disk", kind="network", location="vms/c", protocol="rbd"),
            DiskConfig(target="vdd", device="disk", kind="volume", location="fast/d"),
            DiskConfig(target="sdb", device="cdrom", kind="file", location="/iso/x.iso"),
        ),
        nics=(
            NicConfig(kind="bridge", source="br0", bridge="br0", vlan=42, mac="52:54:00:00:00:01"),
            NicConfig(kind="network", source="default", bridge="virbr0"),
            NicConfig(kind="direct", source="eno1"),
        ),
        tags=("db", "gold"),
        dirty=(PageClass(size_mib=256, dirty_rate_mib_s=12.5),),
        max_downtime_ms=150,
        pins=("licence is bound to this host",),
    )


@pytest.mark.parametrize(
    ("devices", "word"),
    [
        ("<hostdev type='pci'/>", "pci device"),
        ("<hostdev type='mdev'/>", "vGPU"),
        ("<interface type='hostdev'/>", "SR-IOV"),
        ("<interface type='user'/>", "'user'"),
        ("<filesystem type='mount'/>", "folder of the host"),
        ("<shmem name='x'/>", "<shmem>"),
    ],
)
def test_what_ties_a_guest_to_its_host_is_told(devices: str, word: str) -> None:
    (reason,) = parse_domain(domain(devices=devices), place="h1").pins
    assert word in reason


@pytest.mark.parametrize("mode", ["host-passthrough", "maximum"])
def test_the_hosts_own_cpu_pins_under_kvm_unless_allowed(mode: str) -> None:
    cpu = f"<cpu mode='{mode}'/>"
    assert mode in parse_domain(domain(cpu), place="h1").pins[0]
    assert parse_domain(domain(cpu), place="h1", allow_host_cpu=True).pins == ()
    assert parse_domain(domain(cpu, kind="qemu"), place="h1").pins == ()


@pytest.mark.parametrize(("unit", "mib"), [("bytes", 1), ("KB", 1), ("GiB", 2048), ("TB", 1907349)])
def test_units_of_memory(unit: str, mib: int) -> None:
    text = domain().replace("<memory unit='MiB'>128", f"<memory unit='{unit}'>2")
    assert parse_domain(text, place="h1").memory_mib == mib


@pytest.mark.parametrize("value", ["-1", "nan", "inf", "much"])
def test_a_senseless_declaration_is_ignored_and_told(value: str) -> None:
    text = domain(f"<metadata><guest xmlns='urn:drsim' working_set_mib='{value}' dirty_rate_mib_s='5'/></metadata>")
    config = parse_domain(text, place="h1")
    assert config.dirty == ()
    assert f"'working_set_mib' of its drsim metadata: '{value}'" in config.remarks[0]


@pytest.mark.parametrize(
    ("text", "field", "found"),
    [
        ("", None, "not XML"),
        ("<domain", None, "not XML"),
        ("<network/>", None, "<network>"),
        (domain().replace("<name>g</name>", ""), "name", "no <name>"),
        (domain().replace(">128<", ">lots<"), "memory", "lots"),
        (domain().replace("MiB", "parsec"), "memory", "parsec"),
        (domain().replace("<vcpu>1", "<vcpu>0"), "vcpu", "'0'"),
    ],
)
def test_a_text_that_is_no_domain_is_refused_with_its_place(text: str, field: str | None, found: str) -> None:
    with pytest.raises(DataError) as caught:
        parse_domain(text, place="qemu:///h1")
    (problem,) = caught.value.problems
    assert problem.place.startswith("qemu:///h1")
    assert problem.field == field
    assert found in problem.expected


@given(st.text())
def test_no_text_at_all_gets_past_as_a_traceback(text: str) -> None:
    with pytest.raises(DataError):
        parse_domain(text, place="h1")


def test_capabilities() -> None:
    text = """<capabilities><host><uuid>abc</uuid><cpu><arch>aarch64</arch><model>Neoverse</model></cpu>
      <topology><cells><cell id='0'><memory unit='KiB'>1048576</memory></cell>
      <cell id='1'><memory unit='KiB'>1048576</memory></cell></cells></topology></host></capabilities>"""
    found = parse_capabilities(text, place="h1")
    assert (found.host_uuid, found.arch, found.cpu_model, found.numa_memory_mib) == ("abc", "aarch64", "Neoverse", 2048)
    with pytest.raises(DataError, match="not XML"):
        parse_capabilities("nothing", place="h1")


def test_pages_are_huge_by_their_size() -> None:
    """Of pages of 4 KiB, 2 MiB and 1 GiB on two cells the last two count: 512 + 1 pools of 2 MiB, two of 1 GiB."""
    cell = """<cell id='{}'><memory unit='KiB'>4194304</memory><pages unit='KiB' size='4'>262144</pages>
      <pages unit='KiB' size='2048'>{}</pages><pages unit='KiB' size='1048576'>1</pages></cell>"""
    cells = cell.format(0, 512) + cell.format(1, 1)
    text = f"<capabilities><host><topology><cells>{cells}</cells></topology></host></capabilities>"
    assert parse_capabilities(text, place="h1").huge_pages_mib == 2 * 512 + 2 * 1 + 2 * 1024


def test_pools_from_one_source_are_known_to_be_one() -> None:
    text = """<pool type='netfs'><name>images</name><source><host name='nas'/><dir path='/export'/><format type='nfs'/>
      </source><target><path>/mnt/images</path></target></pool>"""
    assert parse_pool(text, place="h1", capacity_mib=10.0, used_mib=4.0) == PoolReading(
        name="images", kind="netfs", path="/mnt/images", source="nas:/export", capacity_mib=10.0, used_mib=4.0
    )


@pytest.mark.parametrize(
    ("forward", "local"),
    [("", True), ("<forward/>", True), ("<forward mode='nat'/>", True), ("<forward mode='bridge'/>", False)],
)
def test_networks_that_end_on_the_host(forward: str, local: bool) -> None:
    text = f"<network><name>n</name>{forward}<bridge name='br7'/></network>"
    assert parse_network(text, place="h1") == NetworkReading(name="n", bridge="br7", local=local)


def test_what_a_disk_is_laid_over_is_read_and_a_volume_is_laid_over_the_same() -> None:
    top, alone, other = parse_domain(
        domain(
            devices="""<disk type='file' device='disk'><driver type='qcow2'/><source file='/srv/a.qcow2'/>
            <backingStore type='file'><format type='raw'/><source file='/base/&lt;i&gt;.raw'/><backingStore/>
            </backingStore>
            <target dev='vda'/></disk>
            <disk type='file' device='disk'><source file='/srv/b'/><backingStore/><target dev='vdb'/></disk>
            <disk type='file' device='disk'><source file='/srv/c'/><backingStore type='network'>
            <source protocol='rbd' name='x'/></backingStore><target dev='vdc'/></disk>"""
        ),
        place="h1",
    ).disks
    assert (top.base, top.base_format) == ("/base/<i>.raw", "raw")
    assert (alone.base, other.base) == (None, None)
    volume = Volume(path="/srv/a.qcow2", size_bytes=1, image_format="qcow2", base=top.base, base_format=top.base_format)
    root = ET.fromstring(volume_xml("a.qcow2", volume))
    assert (root.findtext("backingStore/path"), root.find("backingStore/format").get("type")) == (
        "/base/<i>.raw",
        "raw",
    )  # type: ignore[union-attr]
    assert ET.fromstring(volume_xml("a.qcow2", replace(volume, base=None))).find("backingStore") is None
