"""Readings into an inventory: the rules of merging, and libvirt's own test driver end to end."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from drsim.check import inventory_problems, violations
from drsim.errors import HypervisorError, InventoryError
from drsim.inventory import Host, HostBridge, Inventory, Link, Network, PageClass, Vm
from drsim.policy import Policy
from executor.collect import collect, collect_estate
from executor.estate import DeclaredHost, Estate
from executor.hypervisor.libvirt_bounded import Failed, run_bounded
from executor.hypervisor.libvirt_connect import check_uri
from executor.hypervisor.libvirt_dirty import page_class
from executor.hypervisor.libvirt_domain import DiskConfig, DomainConfig, NicConfig
from executor.hypervisor.libvirt_host import (
    Capabilities,
    DiskReading,
    GuestReading,
    HostReading,
    NetworkReading,
    PoolReading,
)
from executor.merge import merge


def noon() -> datetime:
    return datetime(2026, 3, 1, 12, tzinfo=UTC)


def reading(hostname: str = "h", *guests: GuestReading, **changes: object) -> HostReading:
    base = HostReading(
        hostname=hostname,
        capabilities=Capabilities(host_uuid=hostname, arch="x86_64", cpu_model="Skylake", numa_memory_mib=0.0),
        cores=8,
        memory_mib=16384,
        bridges=("br0",),
        guests=guests,
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def guest(name: str = "g", uuid: str | None = None, **changes: object) -> GuestReading:
    config_fields = {key: changes.pop(key) for key in list(changes) if key in DomainConfig.__dataclass_fields__}
    readings = changes.pop("readings", {})
    config = DomainConfig(uuid=uuid or f"uuid-{name}", name=name, kind="kvm", memory_mib=1024, vcpus=2)
    base = GuestReading(config=replace(config, **config_fields), state="running", disks=readings)  # type: ignore[arg-type]
    return replace(base, **changes)  # type: ignore[arg-type]


def merged(
    estate: Estate, *answers: HostReading | Failed[HostReading], previous: Inventory | None = None
) -> tuple[Inventory, tuple[str, ...]]:
    keys = [host.name or host.uri for host in estate.hosts]
    inventory, remarks, _ = merge(
        estate, dict(zip(keys, answers, strict=True)), name="i", captured_at="now", previous=previous
    )
    return inventory, remarks


def two(**changes: object) -> Estate:
    hosts = (DeclaredHost(name="h1", uri="test:///1"), DeclaredHost(name="h2", uri="test:///2"))
    return replace(Estate(hosts=hosts), **changes)  # type: ignore[arg-type]


DEAD: Failed[HostReading] = Failed(HypervisorError("cannot connect: No route to host"))


def disk(path: str, **changes: str) -> DiskConfig:
    return replace(DiskConfig(target="vda", device="disk", kind="file", location=path), **changes)


def test_a_dead_host_is_listed_and_told() -> None:
    inventory, remarks = merged(two(), reading("h1"), DEAD)
    assert [(host.name, host.state) for host in inventory.hosts] == [("h1", "up"), ("h2", "unknown")]
    assert remarks == ("Host 'h2' is in state unknown: cannot connect: No route to host.",)


def test_a_dead_hosts_guests_are_carried_over_unless_they_were_seen_elsewhere() -> None:
    before, _ = merged(two(), reading("h1"), reading("h2", guest("stays"), guest("moved")))
    after, _ = merged(two(), reading("h1", guest("moved")), DEAD, previous=before)
    assert after.host_by_name["h2"].cores == 8
    assert after.host_by_name["h2"].state == "unknown"
    assert {vm.name: (vm.host, vm.state) for vm in after.vms} == {
        "moved": ("h1", "running"),
        "stays": ("h2", "unknown"),
    }


def test_folders_are_local_until_declared_shared() -> None:
    size = {"vda": DiskReading(size_mib=64.0)}
    first = guest("a", disks=(disk("/srv/x/a.raw"),), readings=size)
    second = guest("b", disks=(disk("/srv/x/b.raw"),), readings=size)
    local, remarks = merged(two(), reading("h1", first), reading("h2", second))
    assert {(s.name, s.kind, s.hosts) for s in local.datastores} == {
        ("h1:/srv/x", "local", ("h1",)),
        ("h2:/srv/x", "local", ("h2",)),
    }
    assert "declare it: --shared /srv/x" in remarks[0]
    shared, remarks = merged(two(shared_paths=("/srv",)), reading("h1", first), reading("h2", second))
    assert {(s.name, s.kind, s.hosts) for s in shared.datastores} == {("/srv", "shared_fs", ("h1", "h2"))}
    assert remarks == ()


def test_a_folder_beside_a_shared_one_is_not_in_it() -> None:
    inventory, _ = merged(
        two(shared_paths=("/srv",)), reading("h1", guest(disks=(disk("/srv2/a.raw"),))), reading("h2")
    )
    assert inventory.vms[0].disks[0].datastore == "h1:/srv2"


def test_pools_of_one_source_are_one_datastore() -> None:
    pool = PoolReading(name="p", kind="netfs", path="/mnt", source="nas:/e", capacity_mib=100.0, used_mib=7.0)
    on_pool = guest(disks=(disk("/mnt/sub/a.raw"), disk("p/b", kind="volume", target="vdb")))
    other = replace(pool, name="q", path="/mnt2")
    inventory, _ = merged(two(), reading("h1", on_pool, pools=(pool,)), reading("h2", pools=(other,)))
    (store,) = inventory.datastores
    assert (store.kind, store.hosts, store.capacity_mib, store.used_mib) == ("nfs", ("h1", "h2"), 100.0, 7.0)
    assert {d.datastore for d in inventory.vms[0].disks} == {store.name}


@pytest.mark.parametrize("names", [("a", "b"), ("b", "a")])
def test_a_disk_in_a_pool_within_a_pool_lies_in_the_inner_one(names: tuple[str, str]) -> None:
    pools = tuple(
        PoolReading(name=name, kind="dir", path=path) for name, path in zip(names, ("/srv", "/srv/near"), strict=True)
    )
    held = guest(disks=(disk("/srv/near/a.raw"), disk("/srv/nearby/b.raw", target="vdb")))
    inventory, _ = merged(two(), reading("h1", held, pools=pools), reading("h2"))
    assert [each.datastore for each in inventory.vms[0].disks] == ["h1:/srv/near", "h1:/srv"]


def test_network_disks_are_seen_from_everywhere() -> None:
    rbd = disk("vms/a", kind="network", protocol="rbd")
    inventory, _ = merged(two(), reading("h1", guest(disks=(rbd,))), reading("h2"))
    (store,) = inventory.datastores
    assert (store.name, store.kind, store.hosts) == ("rbd:vms", "ceph", ("h1", "h2"))


def test_a_local_iso_pins_and_a_shared_one_does_not() -> None:
    with_iso = guest(disks=(disk("/iso/x.iso", device="cdrom", target="sda"),))
    pinned, _ = merged(two(), reading("h1", with_iso), reading("h2"))
    assert "/iso/x.iso" in (pinned.vms[0].unmovable_reason or "")
    free, _ = merged(two(shared_paths=("/iso",)), reading("h1", with_iso), reading("h2"))
    assert free.vms[0].unmovable_reason is None
    assert free.vms[0].disks == ()


def test_measured_and_configured_stay_apart() -> None:
    measured = guest(
        disks=(disk("/a/a.raw"),),
        readings={"vda": DiskReading(size_mib=64.0, used_mib=10.0, write_rate_mib_s=1.5)},
        cpu_cores=0.7,
        resident_mib=2000.0,
        dirty=(PageClass(size_mib=9.0, dirty_rate_mib_s=1.0),),
    )
    (vm,) = merged(two(), reading("h1", measured), reading("h2"))[0].vms
    assert (vm.memory_mib, vm.memory_used_mib, vm.vcpus, vm.cpu_demand_cores) == (1024, 1024.0, 2, 0.7)
    assert (vm.disks[0].size_mib, vm.disks[0].used_mib, vm.disks[0].write_rate_mib_s) == (64.0, 10.0, 1.5)
    assert vm.dirty == (PageClass(size_mib=9.0, dirty_rate_mib_s=1.0),)


def test_resident_memory_says_nothing_of_huge_pages() -> None:
    (vm,) = merged(two(), reading("h1", guest(huge_pages=True, resident_mib=80.0)), reading("h2"))[0].vms
    assert vm.memory_used_mib is None


def test_a_guest_in_the_middle_of_a_move_is_listed_once_where_it_runs() -> None:
    incoming = guest("m", state="paused", incoming=True)
    inventory, remarks = merged(two(), reading("h1", incoming), reading("h2", guest("m")))
    assert [(vm.host, vm.state) for vm in inventory.vms] == [("h2", "running")]
    assert remarks == ()


def test_a_guest_that_runs_twice_is_unknown_and_told() -> None:
    inventory, remarks = merged(two(), reading("h1", guest("m")), reading("h2", guest("m")))
    assert [(vm.name, vm.state) for vm in inventory.vms] == [("m", "unknown")]
    assert "runs on h1, h2 at once" in remarks[0]


def test_two_clusters_with_a_guest_of_one_name_keep_both() -> None:
    inventory, remarks = merged(
        two(), reading("h1", guest("web", "aaaaaaaa-1")), reading("h2", guest("web", "bbbbbbbb-2"))
    )
    assert [vm.name for vm in inventory.vms] == ["web~aaaaaaaa", "web~bbbbbbbb"]
    assert len(remarks) == 2


def test_networks_that_end_on_a_host_are_that_hosts_own() -> None:
    nat = NetworkReading(name="default", bridge="virbr0", local=True)
    bridged = NetworkReading(name="lan", bridge="br0", local=False)
    nics = (
        NicConfig(kind="network", source="default"),
        NicConfig(kind="network", source="lan"),
        NicConfig(kind="bridge", source="br0", bridge="br0", vlan=5),
        NicConfig(kind="direct", source="eno1"),
    )
    inventory, _ = merged(two(), reading("h1", guest(nics=nics), networks=(nat, bridged)), reading("h2"))
    assert [nic.network for nic in inventory.vms[0].nics] == ["h1:default", "br0", "br0.5", "h1:eno1"]
    hosts = {network.name: network.hosts for network in inventory.networks}
    assert hosts == {"h1:default": ("h1",), "br0": ("h1", "h2"), "br0.5": ("h1",), "h1:eno1": ("h1",)}


def test_a_declared_network_is_known_by_host_bridge_and_tag() -> None:
    exceptions = (HostBridge(host="h2", bridge="br-ex"),)
    lan = Network(name="lan", bridge="br0", exceptions=exceptions)
    tagged = Network(name="dmz", bridge="br0", vlan=5, exceptions=exceptions)

    def plugged(bridge: str, vlan: int | None = None) -> NicConfig:
        return NicConfig(kind="bridge", source=bridge, bridge=bridge, vlan=vlan)

    one = reading("h1", guest("g1", nics=(plugged("br0"), plugged("br0", 5), plugged("br0", 6))))
    other = reading("h2", guest("g2", nics=(plugged("br-ex"), plugged("br-ex", 5), plugged("br0"))), bridges=("br-ex",))
    inventory, _ = merged(two(named=(lan, tagged)), one, other)
    assert [nic.network for nic in inventory.vm_by_name["g1"].nics] == ["lan", "dmz", "lan.6"]
    assert [nic.network for nic in inventory.vm_by_name["g2"].nics] == ["lan", "dmz", "br0"]
    hosts = {network.name: network.hosts for network in inventory.networks}
    assert hosts == {"lan": ("h1", "h2"), "dmz": ("h1", "h2"), "lan.6": ("h1", "h2"), "br0": ("h2",)}
    assert inventory_problems(inventory) == ()


def test_where_bridges_cannot_be_listed_neighbours_are_taken_to_have_them() -> None:
    nic = NicConfig(kind="bridge", source="br0", bridge="br0")
    blind = [reading("h1", guest(nics=(nic,)), bridges=None), reading("h2", bridges=None)]
    guessed, remarks = merged(two(), *blind)
    assert guessed.networks == (Network(name="br0", bridge="br0", hosts=("h1", "h2")),)
    assert "'networks: [br0]'" in remarks[0]
    told, remarks = merged(two(networks=("br0",)), *blind)
    assert told.networks == guessed.networks
    assert remarks == ()
    strict, remarks = merged(two(networks=("br9",)), *blind)
    assert {network.name: network.hosts for network in strict.networks} == {"br0": ("h1",), "br9": ("h1", "h2")}
    assert "br0" in remarks[0]
    apart = Estate(hosts=(DeclaredHost(name="h1", uri="t:1", site="a"), DeclaredHost(name="h2", uri="t:2", site="b")))
    assert merged(apart, *blind)[0].networks[0].hosts == ("h1",)


def test_one_machine_under_two_names_is_told() -> None:
    same = reading("h1", capabilities=replace(reading("h1").capabilities, host_uuid="u"))
    _, remarks = merged(two(), same, same)
    assert "have the same UUID u" in remarks[0]


def test_huge_pages_of_hosts_and_guests_are_collected_and_keep_ordinary_guests_out() -> None:
    paged = replace(reading("h1").capabilities, huge_pages_mib=15872)
    guests = (guest("big", huge_pages=True), guest("small"))
    inventory, _ = merged(two(), reading("h1", *guests, capabilities=paged), reading("h2"))
    assert [host.huge_pages_mib for host in inventory.hosts] == [15872, 0]
    assert [vm.huge_pages for vm in inventory.vms] == [True, False]
    found = {(each.kind, each.subject) for each in violations(inventory, Policy())}
    assert found == {("small_pages", "h1")}


def test_two_hosts_that_call_themselves_alike_are_refused() -> None:
    estate = Estate(hosts=(DeclaredHost(uri="test:///1"), DeclaredHost(uri="test:///2")))
    with pytest.raises(InventoryError, match="name them in a hosts file"):
        merged(estate, reading("localhost"), reading("localhost"))


def test_declarations_reach_the_hosts() -> None:
    declared = DeclaredHost(
        name="h1", uri="test:///1", peer_uri="test:///p", site="paris", rack="r", tags=("t",), nic_mbit_s=2500,
        memory_mib=99, reserved_memory_mib=9, maintenance=True,
    )  # fmt: skip
    estate = Estate(hosts=(declared,), links=(Link(a="paris", b="lyon", bandwidth_mbit_s=5),))
    inventory, _ = merged(estate, reading("h1"))
    (host,) = inventory.hosts
    assert (host.site, host.rack, host.tags, host.peer_uri) == ("paris", "r", ("t",), "test:///p")
    assert (host.cores, host.memory_mib, host.reserved_memory_mib, host.state) == (8, 99, 9, "maintenance")
    assert [nic.rate_mbit_s for nic in host.nics] == [2500]
    assert [site.name for site in inventory.sites] == ["paris", "lyon"]


@pytest.mark.parametrize(
    "uri",
    ["qemu+tcp://me:hush@h/system", "qemu:///system?password=hush", "qemu:///system?access_token=hush", "http://[hush"],
)
def test_secrets_in_uris_are_refused_and_not_repeated(uri: str) -> None:
    with pytest.raises(HypervisorError) as caught:
        check_uri(uri)
    assert "hush" not in str(caught.value)


def test_a_task_that_hangs_costs_its_own_time_only() -> None:
    never = threading.Event()

    def fail() -> int:
        raise ValueError("no")

    tasks: dict[str, Callable[[], int]] = {
        "hangs": lambda: int(never.wait(60)),
        "fails": fail,
        "works": lambda: 7,
        "hangs too": lambda: int(never.wait(60)),
        "last": lambda: 8,
    }
    started = time.monotonic()
    results = run_bounded(tasks, timeout_s=0.1, max_parallel=2)
    never.set()
    assert time.monotonic() - started < 10
    assert list(results) == list(tasks)
    assert (results["works"], results["last"]) == (7, 8)
    for name in ("hangs", "hangs too"):
        late = results[name]
        assert isinstance(late, Failed)
        assert "no answer within 0.1 s" in str(late.error)
    failed = results["fails"]
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, ValueError)


def test_a_measured_rate_gives_back_what_was_measured() -> None:
    import math

    (one,) = page_class(30.0, 256.0)
    assert one.size_mib * -math.expm1(-one.dirty_rate_mib_s / one.size_mib) == pytest.approx(30.0)
    assert page_class(0.0, 256.0)[0].dirty_rate_mib_s == 0.0
    assert math.isfinite(page_class(300.0, 256.0)[0].dirty_rate_mib_s)


# libvirt's own test driver: one invented host in this process


def test_the_test_driver_is_collected(capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("libvirt", reason="libvirt-python is not installed: make kvm")
    dead = "qemu+unix:///system?socket=/nonexistent/libvirt-sock"
    found = collect({"a": "test:///default", "b": dead}, clock=noon, name="lab", interval_s=0.05)
    inventory = found.inventory
    assert (inventory.name, inventory.captured_at) == ("lab", "2026-03-01T12:00:00+00:00")
    assert [(h.name, h.state, h.cores, h.memory_mib) for h in inventory.hosts] == [
        ("a", "up", 16, 6144),  # what libvirt's test driver invents, src/test/test_driver.c
        ("b", "unknown", 1, 1),
    ]
    assert found.unreachable == ("b",)
    assert "/nonexistent/libvirt-sock" in found.remarks[0]
    (vm,) = inventory.vms
    assert (vm.name, vm.host, vm.vcpus, vm.memory_mib, vm.state) == ("test", "a", 2, 8192, "running")
    assert vm.nics[0].network == "a:default"
    assert capfd.readouterr() == ("", "")  # libvirt prints errors to stderr unless it is told not to


def test_the_test_driver_from_a_file_with_several_guests(tmp_path: Path) -> None:
    pytest.importorskip("libvirt", reason="libvirt-python is not installed: make kvm")
    domains = "".join(
        f"<domain type='test'><name>g{i}</name><uuid>6a1f3c1e-27a5-4a0e-9f53-5d0b6c4d7a1{i}</uuid>"
        f"<memory unit='MiB'>{256 * i}</memory><vcpu>{i}</vcpu><os><type>hvm</type></os></domain>"
        for i in (1, 2, 3)
    )
    node = tmp_path / "node.xml"
    node.write_text(f"<node>{domains}</node>")
    uri = f"test://{node}"
    found = collect([uri], clock=noon, interval_s=0.0, site="lab", nic_mbit_s=100.0).inventory
    assert [(vm.name, vm.memory_mib, vm.vcpus) for vm in found.vms] == [("g1", 256, 1), ("g2", 512, 2), ("g3", 768, 3)]
    again = collect([uri], clock=noon, interval_s=0.0, site="lab", nic_mbit_s=100.0).inventory
    assert [asdict(vm) for vm in again.vms] == [asdict(vm) for vm in found.vms]


def test_a_host_named_twice_is_refused() -> None:
    pytest.importorskip("libvirt", reason="libvirt-python is not installed: make kvm")
    with pytest.raises(InventoryError, match="It is given twice"):
        collect(["test:///default", "test:///default"], clock=noon)
    with pytest.raises(HypervisorError, match="carries a password"):
        collect_estate(Estate(hosts=(DeclaredHost(uri="qemu+tcp://a:b@h/system"),)), clock=noon)


def test_names_of_the_inventory_are_unique_and_known() -> None:
    """Every reference of a merged inventory leads somewhere."""
    nic = NicConfig(kind="bridge", source="br1", bridge="br1")
    busy = guest("a", nics=(nic,), disks=(disk("/x/a.raw"), disk("p/b", kind="volume", target="vdb")))
    inventory, _ = merged(two(), reading("h1", busy), reading("h2", guest("b")))
    hosts = {host.name for host in inventory.hosts}
    stores = {store.name for store in inventory.datastores}
    networks = {network.name for network in inventory.networks}

    def known(vm: Vm) -> bool:
        return (
            vm.host in hosts and {d.datastore for d in vm.disks} <= stores and {n.network for n in vm.nics} <= networks
        )

    assert all(known(vm) for vm in inventory.vms)
    assert all(
        isinstance(host, Host) and host.site in {site.name for site in inventory.sites} for host in inventory.hosts
    )


def test_two_hundred_hosts_of_which_some_hang_take_no_longer_than_one_that_hangs(tmp_path: Path) -> None:
    pytest.importorskip("libvirt", reason="libvirt-python is not installed: make kvm")
    node, deaf = tmp_path / "node.xml", tmp_path / "deaf"
    node.write_text(
        "<node><domain type='test'><name>g</name><uuid>{u}</uuid><memory unit='MiB'>64</memory><vcpu>1</vcpu><os><type>"
        "hvm</type></os></domain></node>".replace("{u}", "6a1f3c1e-27a5-4a0e-9f53-5d0b6c4d7a11")
    )
    hanging = {f"h{number}" for number in range(0, 200, 10)}
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(deaf))
        listener.listen(64)  # it lets everybody in and never says a word
        uris = {
            name: f"qemu+unix:///system?socket={deaf}" if name in hanging else f"test://{node}"
            for name in (f"h{number}" for number in range(200))
        }
        known = Inventory(hosts=(Host(name="h0", site="site-1", cores=7, memory_mib=7),))
        began_s = time.monotonic()
        found = collect(uris, clock=noon, interval_s=0.1, timeout_s=3.0, previous=known)
        took_s = time.monotonic() - began_s
    states = {host.name: host.state for host in found.inventory.hosts}
    assert set(states) == set(uris)
    assert {name for name, state in states.items() if state == "unknown"} == hanging == set(found.unreachable)
    assert set(states.values()) == {"up", "unknown"}
    assert found.inventory.host_by_name["h0"].cores == 7  # what was known of it is kept
    # One after the other the silent ones alone would take a minute.
    assert took_s < 0.5 * len(hanging) * 3.0


def test_bridges_of_one_name_in_two_sites_are_two_networks_until_declared() -> None:
    far = Estate(hosts=(DeclaredHost(uri="test:///1", name="a"), DeclaredHost(uri="test:///2", name="b", site="rome")))
    inventory, _ = merged(far, reading("a"), reading("b"))
    assert {network.name: network.hosts for network in inventory.networks} == {
        "br0@site-1": ("a",),
        "br0@rome": ("b",),
    }
    inventory, _ = merged(replace(far, networks=("br0",)), reading("a"), reading("b"))
    assert {network.name: network.hosts for network in inventory.networks} == {"br0": ("a", "b")}
