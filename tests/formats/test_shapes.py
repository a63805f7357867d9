"""One inventory in three shapes: nothing is lost between them, whatever the names are."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drsim import check
from drsim.formats import from_frames, read_inventory, read_neutral, read_policy, to_frames, write_inventory
from drsim.inventory import (
    Datastore,
    Device,
    Disk,
    Host,
    HostBridge,
    HostNic,
    Inventory,
    Link,
    Network,
    PageClass,
    Site,
    Switch,
    Vm,
    VmNic,
)
from drsim.synthetic import cluster, demo

DATA = Path(__file__).parents[2] / "data"
BENCH = os.environ.get("DRSIM_BENCH_DATA")

letters = st.characters(codec="utf-8", categories=["L", "N", "P", "S", "Zs"])
AWKWARD = [
    "nan",
    "NA",
    "1e5",
    "TRUE",
    "None",
    " a ",
    "a,b",
    'a"b',
    "\\e",
    "\\",
    "C:\\new",
    "a;b",
    "'=1+1",
    "007",
    "\ufeffx",
]
words = st.sampled_from(AWKWARD).filter(str.isprintable) | st.text(letters, min_size=1, max_size=8).filter(
    str.isprintable
)
amounts = st.floats(0.0, 1e6, allow_nan=False)


texts = st.text(max_size=6) | st.text('ab\r\n\\;," e', max_size=6) | st.sampled_from(AWKWARD)


@st.composite
def inventories(draw: st.DrawFn) -> Inventory:
    names = draw(st.lists(words.filter(lambda w: w == w.strip()), min_size=5, max_size=8, unique=True))
    site, other, leaf, *hosts = names
    tags = st.lists(texts, max_size=3).map(tuple)
    maybe = st.one_of(st.none(), amounts)
    members = tuple(
        Host(
            name=name,
            site=site,
            cores=draw(st.integers(1, 512)),
            memory_mib=draw(st.integers(1, 10**7)),
            tags=draw(tags),
            rack=draw(st.one_of(st.none(), texts)),
            memory_used_mib=draw(maybe),
            nics=tuple(
                HostNic(name=n, rate_mbit_s=10.0, switch=draw(st.sampled_from([None, leaf])))
                for n in draw(st.sets(words, max_size=2))
            ),
            cpu_models=draw(tags),
            numa_nodes=draw(st.integers(1, 8)),
            devices=tuple(Device(name=n, count=draw(st.integers(1, 9))) for n in draw(st.sets(words, max_size=2))),
        )
        for name in hosts
    )
    parts = draw(st.integers(0, 3))
    vms = tuple(
        Vm(
            name=name,
            host=hosts[0],
            vcpus=2,
            memory_mib=4096,
            tags=draw(tags),
            cpu_demand_cores=draw(maybe),
            unmovable_reason=draw(st.one_of(st.none(), texts)),
            disks=(Disk(name="vda", datastore="d", size_mib=draw(amounts)),),
            nics=(VmNic(network="n"),),
            huge_pages=draw(st.booleans()),
            numa_nodes=draw(st.none() | st.integers(1, 4)),
            cpu_ahead_cores=tuple(draw(amounts) for _ in range(parts)),
            devices=tuple(Device(name=n) for n in draw(st.sets(words, max_size=2))),
            dirty=tuple(
                PageClass(size_mib=1.5, dirty_rate_mib_s=draw(amounts)) for _ in range(draw(st.integers(0, 2)))
            ),
        )
        for name in draw(st.sets(words, max_size=3))
    )
    return Inventory(
        name=draw(words),
        sites=(Site(name=site), Site(name=other)),
        hosts=members,
        datastores=(Datastore(name="d", kind="nfs", hosts=tuple(hosts)),),
        networks=(
            Network(
                name="n",
                bridge=draw(st.none() | words),
                hosts=tuple(hosts),
                exceptions=tuple(HostBridge(host=h, bridge=draw(words)) for h in draw(st.sets(st.sampled_from(hosts)))),
            ),
        ),
        vms=vms,
        links=(
            Link(a=site, b=other, bandwidth_mbit_s=100.0),
            Link(a=leaf, b=site, bandwidth_mbit_s=100.0, other_mbit_s=draw(st.floats(0.0, 100.0))),
        ),
        switches=(Switch(name=leaf),),
    )


@given(inventories())
@settings(max_examples=60, deadline=None)
def test_nothing_is_lost_between_json_csv_and_frames(inventory: Inventory) -> None:
    with tempfile.TemporaryDirectory() as folder:
        write_inventory(inventory, Path(folder, "one.json"))
        write_inventory(inventory, Path(folder, "tables"))
        assert read_inventory(Path(folder, "one.json")) == inventory
        assert read_inventory(Path(folder, "tables")) == inventory
    back = from_frames(to_frames(inventory))
    assert back == inventory
    assert back.fingerprint == inventory.fingerprint


def test_the_demo_is_what_the_code_writes() -> None:
    inventory, policy = demo()
    assert read_inventory(DATA / "demo" / "inventory") == inventory
    assert read_policy(DATA / "demo" / "policy.yaml") == policy
    assert check.policy_problems(policy, inventory) == ()
    assert {violation.kind for violation in check.violations(inventory, policy)} == {"cpu", "apart"}


@pytest.mark.parametrize("seed", [1, 2])
def test_invented_clusters_are_free_of_problems_and_repeat(seed: int) -> None:
    made = cluster(20, 300, seed)
    assert check.inventory_problems(made) == ()
    assert (len(made.hosts), len(made.vms)) == (20, 300)
    assert cluster(20, 300, seed) == made
    assert cluster(20, 300, seed + 10) != made


def test_a_neutral_cluster_is_read_with_its_rules(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    hosts = [
        {"id": "a", "cores": 8, "ram_gib": 64, "nic_gbps": 10, "rack": 0},
        {"id": "b", "cores": 8, "ram_gib": 32.5, "nic_gbps": 25, "rack": 1},
    ]
    sizes = {"vcpus": 2, "ram_gib": 4, "cpu_used": 0.5, "ram_used_gib": 2, "dirty_mib_s": 3.5}
    vms = [{"id": "v", **sizes, "host": 1}]
    path.write_text(json.dumps({"meta": {"max_vcpu_per_core": 8}, "hosts": hosts, "vms": vms, "anti_affinity": [[0]]}))
    inventory, policy = read_neutral(path)
    assert read_inventory(f"neutral:{path}") == inventory
    assert (inventory.hosts[1].memory_mib, inventory.hosts[1].guest_vcpus, inventory.hosts[1].rack) == (33280, 64, "1")
    vm = inventory.vms[0]
    assert (vm.host, vm.memory_mib, vm.memory_used_mib, vm.dirty[0].dirty_rate_mib_s) == ("b", 4096, 2048, 3.5)
    assert policy.rules[0].vms == ("v",)


@pytest.mark.skipif(not BENCH, reason="DRSIM_BENCH_DATA is not set")
def test_published_traces_become_inventories() -> None:
    huawei = read_inventory(f"huawei:{BENCH}/traces/huawei_topology")
    assert (len(huawei.hosts), len(huawei.vms)) == (1710, 4998)
    policy = read_policy(f"huawei:{BENCH}/traces/huawei_topology")
    assert {rule.kind for rule in policy.rules} >= {"apart"}
    day = read_inventory(f"planetlab:{BENCH}/traces/planetlab/20110303.csv.gz")
    assert len(day.vms) > 1000
    assert all(0 <= vm.cpu_cores <= vm.vcpus for vm in day.vms)
