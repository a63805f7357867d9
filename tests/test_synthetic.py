"""Invented clusters: free of problems, the same for a seed, of the mix that they promise."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drsim.check import inventory_problems
from drsim.planner import make_plan
from drsim.policy import Objective
from drsim.synthetic import SIZES, TIERS, cluster


@given(st.integers(1, 8), st.integers(0, 40), st.integers(0, 5), st.integers(1, 3), st.sampled_from([0.0, 0.3, 1.0]))
def test_any_cluster_is_free_of_problems_and_the_same_again(
    hosts: int, vms: int, seed: int, sites: int, local: float
) -> None:
    made = cluster(hosts, vms, seed, sites=min(sites, hosts), local_share=local)
    assert inventory_problems(made) == ()
    assert made == cluster(hosts, vms, seed, sites=min(sites, hosts), local_share=local)
    assert (len(made.hosts), len(made.vms), len(made.sites)) == (hosts, vms, min(sites, hosts))
    assert len({host.site for host in made.hosts}) == min(sites, hosts)
    assert len(made.links) == min(sites, hosts) - 1


def test_sizes_and_tiers_have_the_shares_that_were_promised() -> None:
    made = cluster(200, 4000, 1, sites=2, local_share=0.25)
    for vcpus, gib, share in SIZES:
        found = sum(vm.vcpus == vcpus and vm.memory_mib == gib * 1024 for vm in made.vms) / 4000
        assert found == pytest.approx(share, abs=0.03)
    for tier, share in TIERS:
        assert sum(vm.tags == (tier,) for vm in made.vms) / 4000 == pytest.approx(share, abs=0.03)
    local = sum(vm.disks[0].datastore.endswith("-disks") for vm in made.vms) / 4000
    assert local == pytest.approx(0.25, abs=0.03)


def test_sites_and_disks_change_neither_guests_nor_homes() -> None:
    plain, wide = cluster(10, 60, 3), cluster(10, 60, 3, sites=2, local_share=0.5)
    assert [(vm.name, vm.host, vm.dirty) for vm in plain.vms] == [(vm.name, vm.host, vm.dirty) for vm in wide.vms]


def test_a_host_of_a_wide_cluster_is_evacuated_with_its_local_disks() -> None:
    made = cluster(6, 30, 2, sites=2, local_share=0.5)
    plan = make_plan(made, objective=Objective(goal="evacuate", hosts=("host0000",)), time_limit_s=1.0, seed=1)
    leaving = {vm.name for vm in made.vms if vm.host == "host0000"}
    assert plan.complete
    assert {move.vm for move in plan.moves} >= leaving
    copied = {move.vm for move in plan.moves if move.copy_disks}
    assert copied & leaving
