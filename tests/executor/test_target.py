"""Networks that hosts call by different names: declared, collected, and told to the target."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from drsim.check import inventory_problems
from drsim.errors import InventoryError
from drsim.inventory import Host, HostBridge, Inventory, Network, Site
from executor.estate import estate_of, read_hosts_file

XML = """<domain><devices>
<interface type='bridge'><mac address='52:54:00:00:00:01'/><source bridge='br0'/></interface>
<interface type='bridge'><mac address='52:54:00:00:00:02'/><source bridge='br1'/></interface>
<interface type='network'><source network='br0'/></interface></devices></domain>"""


class Domain:
    def XMLDesc(self, flags: int) -> str:
        return XML


def test_only_bridges_change_and_only_where_they_differ() -> None:
    pytest.importorskip("libvirt", reason="libvirt-python is not installed: make kvm")
    from executor.hypervisor.libvirt_target import target_xml

    assert target_xml(Domain(), {}) is None
    assert target_xml(Domain(), {"br7": "br8"}) is None
    text = target_xml(Domain(), {"br0": "lan7"})
    assert text is not None
    assert [(s.get("bridge"), s.get("network")) for s in ET.fromstring(text).iterfind("devices/interface/source")] == [
        ("lan7", None),
        ("br1", None),
        (None, "br0"),
    ]
    assert [m.get("address") for m in ET.fromstring(text).iterfind("devices/interface/mac")] == [
        "52:54:00:00:00:01",
        "52:54:00:00:00:02",
    ]


def hosts_file(folder: Path, networks: str) -> Path:
    path = folder / "hosts.yaml"
    hosts = "[{name: h1, uri: 'qemu:///system', site: s}, {name: h2, uri: 'qemu+ssh://h2/system', site: s}]"
    path.write_text(f"hosts: {hosts}\nnetworks: {networks}\n")
    return path


LAN = Network(name="lan", bridge="br0", hosts=("h1", "h2"), exceptions=(HostBridge(host="h2", bridge="lan7"),))


def test_a_hosts_file_names_bridges_and_networks(tmp_path: Path) -> None:
    text = "[br9, {name: lan, bridge: br0, hosts: [h1, h2], bridges: {h2: lan7}}]"
    estate = read_hosts_file(hosts_file(tmp_path, text))
    assert estate.networks == ("br9",)
    assert estate.named == (LAN,)
    assert [LAN.bridge_on(host) for host in ("h1", "h2")] == ["br0", "lan7"]


@pytest.mark.parametrize("text", ["[7]", "[{name: lan}]", "[{name: lan, bridge: br0, bridges: [h2]}]", "[{nam: lan}]"])
def test_a_network_that_is_not_one_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(InventoryError, match="networks"):
        read_hosts_file(hosts_file(tmp_path, text))


def test_what_was_declared_is_known_again_from_the_inventory() -> None:
    hosts = tuple(Host(name=n, site="s", cores=1, memory_mib=1, uri=f"qemu+ssh://{n}/system") for n in ("h1", "h2"))
    inventory = Inventory(sites=(Site(name="s"),), hosts=hosts, networks=(LAN,))
    assert inventory_problems(inventory) == ()
    assert (estate_of(inventory).networks, estate_of(inventory).named) == ((), (LAN,))


def test_an_exception_for_a_host_without_the_network_is_a_problem() -> None:
    wrong = Network(name="lan", bridge="br0", exceptions=(HostBridge(host="h2", bridge="x"),))
    (found,) = inventory_problems(Inventory(networks=(wrong,)))
    assert (found.place, found.field) == ("networks 'lan'", "exceptions")
