"""Where a guest can be at all: the masks of the search are what the checker says, guest by guest and host by host."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from drsim import check
from drsim.inventory import Datastore, Disk, Network, VmNic
from drsim.optimize.allowed import Reach
from drsim.policy import Policy
from drsim.topology import Topology
from tests.rules.estates import estate

MODELS = st.sampled_from([None, "Skylake", "Rome"])


@settings(max_examples=100, deadline=None)
@given(
    hosts=st.lists(
        st.tuples(MODELS, st.sampled_from([(), ("Skylake",), ("Skylake", "Rome")]), st.integers(1, 4)),
        min_size=3,
        max_size=3,
    ),
    guests=st.lists(st.tuples(MODELS, st.sampled_from([None, 1, 2]), st.booleans()), min_size=3, max_size=3),
)
def test_masks_are_what_the_checker_says(
    hosts: list[tuple[str | None, tuple[str, ...], int]], guests: list[tuple[str | None, int | None, bool]]
) -> None:
    made = estate("123", memory_mib=3000)
    inventory = replace(
        made,
        hosts=tuple(
            replace(host, cpu_model=model, cpu_models=models, numa_nodes=nodes)
            for host, (model, models, nodes) in zip(made.hosts, hosts, strict=True)
        ),
        networks=(Network(name="n", hosts=("h1", "h2")),),
        datastores=(Datastore(name="d", kind="nfs", hosts=("h2", "h3")),),
        vms=tuple(
            replace(vm, cpu_model=model, numa_nodes=nodes, nics=(VmNic(network="n"),) if plugged else ())
            for vm, (model, nodes, plugged) in zip(made.vms, guests, strict=True)
        ),
    )
    reach, topology = Reach(inventory, Policy()), Topology(inventory)
    for vm in inventory.vms:
        fresh = replace(vm, host="", disks=(Disk(name="vda", datastore="d", size_mib=1.0),))
        moved, begun = reach.row(vm), reach.row(fresh)
        for number, host in enumerate(inventory.hosts):
            if host.name != vm.host:
                assert moved[number] == (check.unmovable(inventory, Policy(), vm, host, topology) is None)
            assert begun[number] == (check.unstartable(inventory, Policy(), fresh, host) is None)


def test_a_guest_goes_where_its_cpu_model_is_given() -> None:
    made = estate("11", hosts=3)
    hosts = (
        replace(made.hosts[0], cpu_model="Icelake", cpu_models=("Icelake", "Skylake")),
        replace(made.hosts[1], cpu_model="Skylake", cpu_models=("Skylake",)),
        replace(made.hosts[2], cpu_model="Rome", cpu_models=("Rome",)),
    )
    vms = (replace(made.vms[0], cpu_model="Skylake"), made.vms[1])
    inventory = replace(made, hosts=hosts, vms=vms)
    topology = Topology(inventory)
    said = [
        [check.unmovable(inventory, Policy(), vm, host, topology) is None for host in hosts[1:]] for vm in inventory.vms
    ]
    assert said == [[True, False], [False, False]]
    assert "cannot give CPU Skylake" in str(check.unmovable(inventory, Policy(), vms[0], hosts[2], topology))
