from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drsim.errors import DrsimError
from drsim.inventory import Datastore, Disk, Host, Inventory, Network, PageClass, Site, Vm, VmNic
from drsim.whatif import AddHosts, Change, Drain, EmptyDatastore, Grow, LoseHost, parse_case, parse_change
from drsim.whatif.change import apply_all

ESTATE = Inventory(
    name="trial",
    sites=(Site(name="s"),),
    hosts=tuple(
        Host(
            name=f"h{i}",
            site="s",
            cores=16,
            memory_mib=65536,
            uri=f"qemu+ssh://h{i}/system",
            cpu_used_cores=3.0,
            tags=("t",),
        )
        for i in (1, 2, 3)
    ),
    datastores=(
        Datastore(name="shared", kind="nfs", hosts=("h1", "h2", "h3"), capacity_mib=1e6, used_mib=1e5),
        Datastore(name="local-h1", kind="local", hosts=("h1",), capacity_mib=1e5, used_mib=9e4),
    ),
    networks=(Network(name="front", hosts=("h1", "h2")),),
    vms=(
        Vm(
            name="a",
            host="h1",
            vcpus=4,
            memory_mib=8192,
            cpu_demand_cores=3.0,
            memory_used_mib=4000.0,
            disks=(Disk(name="vda", datastore="local-h1", size_mib=1000),),
            nics=(VmNic(network="front"),),
            dirty=(PageClass(size_mib=1000, dirty_rate_mib_s=50), PageClass(size_mib=6000, dirty_rate_mib_s=5)),
        ),
        Vm(name="b", host="h1", vcpus=2, memory_mib=4096, state="stopped"),
        Vm(name="c", host="h2", vcpus=2, memory_mib=4096),
    ),
)


def test_a_lost_host_is_down_and_its_guests_stand_still() -> None:
    after = LoseHost("h1").apply(ESTATE)
    assert [host.state for host in after.hosts] == ["down", "up", "up"]
    assert [vm.state for vm in after.vms] == ["stopped", "stopped", "running"]
    assert [vm.host for vm in after.vms] == [vm.host for vm in ESTATE.vms]


def test_a_drained_host_keeps_its_guests_for_now() -> None:
    after = Drain("h2").apply(ESTATE)
    assert [host.state for host in after.hosts] == ["up", "maintenance", "up"]
    assert after.vms == ESTATE.vms


def test_added_hosts_see_what_their_model_sees() -> None:
    after = AddHosts(2, "h1").apply(
        replace(ESTATE, hosts=(replace(ESTATE.hosts[0], state="maintenance"), *ESTATE.hosts[1:]))
    )
    new = after.hosts[3:]
    assert [host.name for host in new] == ["h1-new1", "h1-new2"]
    assert {(h.cores, h.memory_mib, h.site, h.tags, h.state, h.uri, h.cpu_used_cores) for h in new} == {
        (16, 65536, "s", ("t",), "up", None, None)
    }
    stores = after.datastore_by_name
    assert stores["shared"].hosts == ("h1", "h2", "h3", "h1-new1", "h1-new2")
    assert stores["local-h1"].hosts == ("h1",)
    assert (stores["local-h1@h1-new2"].hosts, stores["local-h1@h1-new2"].used_mib) == (("h1-new2",), 0.0)
    assert after.networks[0].hosts == ("h1", "h2", "h1-new1", "h1-new2")


def test_hosts_added_twice_have_names_of_their_own() -> None:
    after = apply_all((AddHosts(1, "h1"), AddHosts(2, "h1")), ESTATE)
    assert [host.name for host in after.hosts[3:]] == ["h1-new1", "h1-new2", "h1-new3"]


def test_growth_stops_at_what_is_configured() -> None:
    a, b, c = Grow(50).apply(ESTATE).vms
    assert (a.vcpus, a.memory_mib) == (4, 8192)
    assert (a.cpu_demand_cores, a.memory_used_mib) == (4, 6000.0)
    assert [page.dirty_rate_mib_s for page in a.dirty] == [75.0, 7.5]
    assert sum(page.size_mib for page in a.dirty) == pytest.approx(8192)
    assert (b.cpu_demand_cores, c.memory_used_mib) == (None, None)


def test_growth_of_what_is_configured() -> None:
    a, _, c = Grow(10, configured=True).apply(ESTATE).vms
    # 4 x 1.1 = 4.4 vCPUs and 8192 x 1.1 = 9011.2 MiB, rounded up.
    assert (a.vcpus, a.memory_mib, c.vcpus) == (5, 9012, 3)
    assert a.cpu_demand_cores == pytest.approx(3.3)
    assert sum(page.size_mib for page in a.dirty) == pytest.approx(7700)
    # 50 % of 4 cores is a whole number of cores.
    assert Grow(50, configured=True).apply(ESTATE).vms[0].vcpus == 6


@given(st.floats(min_value=-99, max_value=1000), st.booleans())
def test_growth_never_asks_for_more_than_a_guest_has(percent: float, configured: bool) -> None:
    for vm in Grow(percent, configured=configured).apply(ESTATE).vms:
        assert vm.vcpus >= 1
        assert vm.cpu_cores <= vm.vcpus
        assert vm.data_mib <= vm.memory_mib
        assert sum(page.size_mib for page in vm.dirty) <= vm.memory_mib * (1 + 1e-9)


def test_no_growth_changes_nothing() -> None:
    assert Grow(0).apply(ESTATE).fingerprint == ESTATE.fingerprint


@pytest.mark.parametrize("change", [LoseHost("h9"), Drain("h9"), AddHosts(1, "h9")])
def test_a_host_that_is_not_there_is_refused(change: Change) -> None:
    with pytest.raises(DrsimError, match=r"no host 'h9' in 'trial'\. It has h1, h2, h3\."):
        change.apply(ESTATE)


@pytest.mark.parametrize("change", [AddHosts(0, "h1"), Grow(-100), Grow(float("nan"))])
def test_changes_without_sense_are_refused(change: Change) -> None:
    with pytest.raises(DrsimError, match="expected"):
        change.apply(ESTATE)


@pytest.mark.parametrize(
    ("text", "change"),
    [
        ("lose:h3", LoseHost("h3")),
        (" drain:h2 ", Drain("h2")),
        ("drain:site:h2", Drain("site:h2")),
        ("empty:h1:/old", EmptyDatastore("h1:/old")),
        ("add:2:h1", AddHosts(2, "h1")),
        ("grow:20", Grow(20.0)),
        ("grow:-7.5", Grow(-7.5)),
        ("grow:20:configured", Grow(20.0, configured=True)),
    ],
)
def test_spellings(text: str, change: Change) -> None:
    assert parse_change(text) == change


REFUSED = (
    *("", "lose", "lose:", "drain:", "empty:", "move:h1", "Lose:h3"),
    *("add:h1", "add:2", "add:2:", "add:0:h1", "add:-1:h1", "add:٢:h1"),
    *("grow:", "grow:x", "grow:nan", "grow:inf", "grow:-100", "grow:20:memory"),
)


@pytest.mark.parametrize("text", REFUSED)
def test_other_spellings_are_refused_with_the_right_ones(text: str) -> None:
    with pytest.raises(DrsimError, match=r"what-if change '.*': expected lose:HOST, drain:HOST, empty:DATASTORE, "):
        parse_change(text)


def test_changes_that_happen_together() -> None:
    assert parse_case("lose:h3,grow:20") == (LoseHost("h3"), Grow(20.0))
    with pytest.raises(DrsimError):
        parse_case("lose:h3,")
