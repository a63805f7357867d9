"""The lab, read over libvirt, is the lab that was asked for."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from drsim.check import inventory_problems
from drsim.inventory import PageClass
from executor.collect import collect, collect_estate
from executor.estate import read_hosts_file
from executor.lab.lab import Lab
from tests.kvm.conftest import TOPOLOGY, where

pytestmark = pytest.mark.kvm


def now() -> datetime:
    return datetime.now(UTC)


def test_the_inventory_is_the_topology(lab: Lab) -> None:
    shared = str(lab.state.folder / "shared")
    found = collect(
        lab.uris(), peer_uris=lab.peer_uris(), clock=now, shared_paths=[shared], networks=["br0"], nic_mbit_s=1000.0
    )
    inventory = found.inventory
    assert found.remarks == ()
    assert inventory_problems(inventory) == ()
    assert [(host.name, host.state, host.peer_uri) for host in inventory.hosts] == [
        (host.name, "up", f"qemu+tcp://{host.name}/system") for host in TOPOLOGY.hosts
    ]
    assert [(network.name, network.hosts) for network in inventory.networks] == [("br0", ("h1", "h2", "h3"))]
    assert [(store.name, store.kind, store.hosts) for store in inventory.datastores] == [
        (shared, "shared_fs", ("h1", "h2", "h3"))
    ]
    for guest in TOPOLOGY.guests:
        vm = inventory.vm_by_name[guest.name]
        assert [vm.host] == where(lab, guest.name)
        assert (vm.state, vm.vcpus, vm.memory_mib, vm.tags) == ("running", guest.vcpus, guest.memory_mib, guest.tags)
        assert vm.unmovable_reason is None
        assert vm.cpu_model is not None
        assert all(vm.cpu_model in host.cpu_models for host in inventory.hosts)
        assert [(d.name, d.size_mib, d.path) for d in vm.disks] == [
            ("vda", guest.disk_mib, f"{shared}/{guest.name}.raw")
        ]
        declared = PageClass(size_mib=guest.working_set_mib, dirty_rate_mib_s=guest.dirty_rate_mib_s)
        assert vm.dirty == ((declared,) if guest.working_set_mib else ())
        assert vm.cpu_demand_cores is not None
        assert 0 <= vm.cpu_demand_cores <= guest.vcpus + 1  # QEMU's own threads come on top
        assert vm.memory_used_mib is not None
        assert guest.working_set_mib <= vm.memory_used_mib <= guest.memory_mib


def test_the_labs_hosts_file_and_a_host_that_is_dead(lab: Lab) -> None:
    estate = read_hosts_file(lab.state.folder / "hosts.yaml")
    before = collect_estate(estate, clock=now, interval_s=0.1)
    assert before.unreachable == ()
    lab.crash("h3")
    try:
        after = collect_estate(estate, clock=now, interval_s=0.1, previous=before.inventory)
    finally:
        lab.restart("h3")
    assert after.unreachable == ("h3",)
    assert inventory_problems(after.inventory) == ()
    assert after.remarks[0].startswith("Host 'h3' is in state unknown")
    assert {host.name: host.state for host in after.inventory.hosts} == {"h1": "up", "h2": "up", "h3": "unknown"}


def test_a_dirty_rate_is_measured_where_none_is_declared(lab: Lab) -> None:
    found = collect(lab.uris(), clock=now, interval_s=0.1, measure_dirty="auto")
    idle, busy = (found.inventory.vm_by_name[name] for name in ("idle", "busy"))
    assert len(idle.dirty) == 1
    assert idle.dirty[0].size_mib == idle.memory_mib
    assert busy.dirty == (PageClass(size_mib=64, dirty_rate_mib_s=20),)  # declared goes first
