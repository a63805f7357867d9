"""The hosts file, right and wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from drsim.errors import InventoryError
from drsim.inventory import Host, HostBridge, HostNic, Inventory, Link, Network, Site
from executor.estate import DeclaredHost, Estate, estate_of, read_hosts_file


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "hosts.yaml"
    path.write_text(text)
    return path


def test_a_full_file(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        """
        hosts:
        - {name: h1, uri: qemu+ssh://root@h1/system, site: paris, nic_mbit_s: 10000, tags: [ssd], maintenance: true}
        - {name: h2, uri: qemu:///system, peer_uri: qemu+tls://h2/system, reserved_memory_mib: 2048, rack: null}
        - name: h3
          uri: test:///3
          nics: [{name: e0, rate_mbit_s: 1000, carries_migration: false}, {name: e1, rate_mbit_s: 25000, switch: leaf}]
        shared_paths: [/srv/shared]
        networks: [br0]
        links:
        - {a: paris, b: lyon, bandwidth_mbit_s: 1000, rtt_ms: 8}
        - {a: leaf, b: paris, bandwidth_mbit_s: 100000, other_mbit_s: 0}
        switches: [leaf]
        """,
    )
    assert read_hosts_file(path) == Estate(
        hosts=(
            DeclaredHost(
                name="h1",
                uri="qemu+ssh://root@h1/system",
                site="paris",
                nic_mbit_s=10000,
                tags=("ssd",),
                maintenance=True,
            ),
            DeclaredHost(name="h2", uri="qemu:///system", peer_uri="qemu+tls://h2/system", reserved_memory_mib=2048),
            DeclaredHost(
                name="h3",
                uri="test:///3",
                nics=(
                    HostNic(name="e0", rate_mbit_s=1000, carries_migration=False),
                    HostNic(name="e1", rate_mbit_s=25000, switch="leaf"),
                ),
            ),
        ),
        shared_paths=("/srv/shared",),
        networks=("br0",),
        links=(
            Link(a="paris", b="lyon", bandwidth_mbit_s=1000, rtt_ms=8),
            Link(a="leaf", b="paris", bandwidth_mbit_s=100000, other_mbit_s=0),
        ),
        switches=("leaf",),
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "field 'hosts': A mapping with a list"),
        ("hosts: []", "at least one host"),
        ("hosts: [", "not YAML"),
        ("hosts: [h1]", "hosts 1: A mapping was expected, found 'h1'"),
        ("hosts: [{name: h1}]", "hosts 1 'h1', field 'uri': It is missing"),
        ("hosts: [{uri: 7}]", "field 'uri': 7 stands there, a text was expected"),
        ("hosts: [{uri: 'test:///', nic_mbit_s: .nan}]", "field 'nic_mbit_s': nan stands there, a number above 0"),
        ("hosts: [{uri: 'test:///', nic_mbit_s: -1}]", "field 'nic_mbit_s': -1"),
        ("hosts: [{uri: 'test:///', cores: 1.5}]", "field 'cores': 1.5 stands there, a whole number above 0"),
        ("hosts: [{uri: 'test:///', tags: web}]", "field 'tags': A list was expected, found 'web'"),
        ("hosts: [{uri: 'test:///', maintenance: 2}]", "true or false was expected"),
        ("hosts: [{uri: 'test:///', colour: red}]", "field 'colour': There is no such field"),
        ("hosts: [{uri: 'test:///', name: a}, {uri: 'test:///', name: a}]", "The name is given twice"),
        ("hosts: [{uri: 'test:///'}]\nshared_paths: [1]", "field 'shared_paths': A list of names was expected"),
        ("hosts: [{uri: 'test:///'}]\nlinks: [{a: x, b: y, bandwidth_mbit_s: 1, loss: 2}]", "field 'loss': 2"),
        ("hosts: [{uri: 'qemu+tcp://me:hush@h1/system'}]", "field 'uri': The libvirt URI of 'h1' carries a password"),
        ("hosts: [{uri: 'h1'}]", "'h1' is not a libvirt URI"),
    ],
)
def test_a_wrong_file_says_where_and_what(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(InventoryError) as caught:
        read_hosts_file(written(tmp_path, text))
    assert says in str(caught.value)
    assert "hosts.yaml" in str(caught.value)
    assert "hush" not in str(caught.value)


def test_every_problem_is_told_at_once(tmp_path: Path) -> None:
    path = written(tmp_path, "hosts: [{name: a, cores: 0}, {name: b, uri: 'test:///', rack: 3}]")
    with pytest.raises(InventoryError) as caught:
        read_hosts_file(path)
    assert [problem.field for problem in caught.value.problems] == ["uri", "cores", "rack"]


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InventoryError, match="No such file"):
        read_hosts_file(tmp_path / "none.yaml")


def test_an_inventory_tells_what_was_declared_for_it() -> None:
    nics = (HostNic(name="migration", rate_mbit_s=1000),)
    up = Host(name="a", site="s", cores=4, memory_mib=9, uri="test:///", peer_uri="test:///p", nics=nics, tags=("t",))
    never_seen = Host(name="b", site="s", cores=1, memory_mib=1, uri="test:///b", state="unknown")
    inventory = Inventory(
        sites=(Site(name="s"),),
        hosts=(up, never_seen),
        networks=(
            Network(name="br0", bridge="br0", hosts=("a", "b")),
            Network(name="br1", bridge="br1", hosts=("a",)),
        ),
    )
    first, second = estate_of(inventory).hosts
    assert (first.name, first.peer_uri, first.nics, first.tags, first.cores) == ("a", "test:///p", nics, ("t",), 4)
    assert (second.cores, second.memory_mib) == (None, None)
    assert estate_of(inventory).networks == ("br0",)


def test_a_network_may_have_another_bridge_on_some_hosts(tmp_path: Path) -> None:
    network = "{name: lan, bridge: br0, vlan: 7, hosts: [a, b], bridges: {b: br-ex}}"
    text = f"hosts: [{{uri: 'test:///', name: a}}, {{uri: 'test:///', name: b}}]\nnetworks: [br1, {network}]"
    estate = read_hosts_file(written(tmp_path, text))
    exceptions = (HostBridge(host="b", bridge="br-ex"),)
    lan = Network(name="lan", bridge="br0", vlan=7, hosts=("a", "b"), exceptions=exceptions)
    assert (estate.networks, estate.named) == (("br1",), (lan,))
    assert (lan.bridge_on("a"), lan.bridge_on("b")) == ("br0", "br-ex")


@pytest.mark.parametrize(
    ("network", "says"),
    [
        ("{name: lan}", "field 'bridge': It is missing"),
        ("{name: lan, bridge: br0, bridges: [br1]}", "field 'bridges': A mapping of host to bridge"),
        ("{name: lan, bridge: br0, vlan: 1.5}", "field 'vlan': 1.5"),
        ("7", "field 'networks': A name or a mapping was expected, found 7"),
    ],
)
def test_a_network_that_is_wrong(tmp_path: Path, network: str, says: str) -> None:
    with pytest.raises(InventoryError) as caught:
        read_hosts_file(written(tmp_path, f"hosts: [{{uri: 'test:///'}}]\nnetworks: [{network}]"))
    assert says in str(caught.value)
