"""CPUs of guests and hosts: what guests see, who can give it, and what planning and preflight make of that."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drsim import Policy
from drsim.check import unmovable
from drsim.inventory import Inventory
from drsim.topology import Topology
from executor.cpus import EMULATED, Cpus, find_cpus
from executor.estate import DeclaredHost, Estate
from executor.hypervisor.libvirt_bounded import Failed
from executor.hypervisor.libvirt_cpu import CpuMap, CpuText
from executor.hypervisor.libvirt_domain import parse_domain
from executor.hypervisor.libvirt_host import GuestReading, HostReading, parse_capabilities
from executor.merge import merge
from tests.executor.test_collect import guest, reading

MODELS = {"Old": frozenset("ab"), "Mid": frozenset("abc"), "New": frozenset("abcd")}


class Map:
    """Three models of one architecture, each holding the one before."""

    def names(self, arch: str) -> tuple[str, ...]:
        return tuple(MODELS) if arch == "x86_64" else ()

    def features(self, arch: str, model: str) -> frozenset[str] | None:
        return MODELS.get(model) if arch == "x86_64" else None


def cpu(model: str, has: str = "", has_not: str = "", vendor: str | None = None) -> CpuText:
    return CpuText(model=model, vendor=vendor, has=frozenset(has), has_not=frozenset(has_not))


def host(name: str, own: CpuText | None, *guests: GuestReading) -> HostReading:
    base = reading(name, *guests)
    model = own.model if own else None
    return replace(base, capabilities=replace(base.capabilities, cpu=own, cpu_model=model), bridges=("br0",))


def found(**hosts: HostReading) -> Cpus:
    return find_cpus(hosts, Map())


def collected(*hosts: HostReading | Failed[HostReading], previous: Inventory | None = None) -> Inventory:
    names = [f"h{number + 1}" for number in range(len(hosts))]
    estate = Estate(hosts=tuple(DeclaredHost(name=name, uri=f"test:///{name}") for name in names))
    answers = dict(zip(names, hosts, strict=True))
    return merge(estate, answers, name="i", captured_at="now", previous=previous, models=Map())[0]


def movable(inventory: Inventory, name: str, target: str) -> bool:
    vm, topology = inventory.vm_by_name[name], Topology(inventory)
    return unmovable(inventory, Policy(), vm, inventory.host_by_name[target], topology) is None


def test_a_guest_with_a_named_model_goes_wherever_that_is_to_be_had() -> None:
    cpus = found(h1=host("h1", cpu("New"), guest(cpu=cpu("Old"))), h2=host("h2", cpu("Mid")))
    assert cpus.seen == {("h1", "uuid-g"): "Old"}
    assert cpus.given == {"h1": ("Mid", "New", "Old"), "h2": ("Mid", "Old")}
    assert cpus.remarks == ()


def test_features_that_the_guest_does_not_see_are_not_asked_for() -> None:
    """A guest whose model was expanded without one of its features goes where that is missing."""
    seen = cpu("New", has_not="d", vendor="Intel")
    inventory = collected(
        host("h1", cpu("New", vendor="Intel"), guest(cpu=seen)), host("h2", cpu("Mid", vendor="Intel"))
    )
    (vm,) = inventory.vms
    assert (vm.cpu_model or "").startswith("New#")
    assert "New" not in inventory.host_by_name["h2"].cpu_models
    assert movable(inventory, "g", "h2")


def test_what_a_target_lacks_keeps_a_guest_away_and_is_told() -> None:
    full = guest(cpu=cpu("Mid", "d", vendor="Intel"))
    cpus = found(h1=host("h1", cpu("New", vendor="Intel"), full), h2=host("h2", cpu("Mid", vendor="Intel")))
    ((name),) = cpus.seen.values()
    assert cpus.remarks == (f"h2 cannot give the CPU {name} of g; missing there: d.",)
    inventory = collected(host("h1", cpu("New", vendor="Intel"), full), host("h2", cpu("Mid", vendor="Intel")))
    assert not movable(inventory, "g", "h2")


def test_another_vendor_counts_only_for_a_guest_that_insists_on_one() -> None:
    strict, free = guest("strict", cpu=cpu("Old", vendor="Intel")), guest("free", cpu=cpu("Old"))
    inventory = collected(host("h1", cpu("New", vendor="Intel"), strict, free), host("h2", cpu("New", vendor="AMD")))
    assert not movable(inventory, "strict", "h2")
    assert movable(inventory, "free", "h2")


def test_what_kvm_makes_up_on_one_host_is_not_asked_of_another() -> None:
    """The guest sees `e`, which its host's CPU has not, so KVM made it up; `x2apic` is made up anywhere."""
    sees = replace(cpu("Old", "e"), has=frozenset({"e", "x2apic"}))
    host_has = replace(cpu("Old"), has=frozenset({"x2apic"}))
    assert "x2apic" in EMULATED
    inventory = collected(host("h1", host_has, guest(cpu=sees)), host("h2", cpu("Old")))
    assert movable(inventory, "g", "h2")


def test_an_emulated_guest_goes_anywhere() -> None:
    inventory = collected(host("h1", cpu("New"), guest(kind="qemu", cpu=cpu("New", "z"))), host("h2", cpu("Old")))
    assert inventory.vms[0].cpu_model == "New, emulated"
    assert movable(inventory, "g", "h2")


@pytest.mark.parametrize(
    ("own", "seen"),
    [(cpu("Unheard"), cpu("Old")), (cpu("New"), cpu("Unheard")), (cpu("New"), None), (None, cpu("Old"))],
)
def test_where_anything_is_not_known_hosts_of_one_model_count_as_alike(
    own: CpuText | None, seen: CpuText | None
) -> None:
    inventory = collected(host("h1", own, guest(cpu=seen)), host("h2", own), host("h3", cpu("Mid")))
    assert inventory.vms[0].cpu_model is None
    assert movable(inventory, "g", "h2")
    assert movable(inventory, "g", "h3") == (own is None)


def test_a_stopped_guest_proves_nothing_of_what_its_host_makes_up() -> None:
    stopped = guest(cpu=cpu("Mid"), state="stopped")
    assert found(h1=host("h1", cpu("Old"), stopped)).given["h1"] == ("Old",)


def test_a_guest_of_a_silent_host_is_still_known_where_it_could_be_had() -> None:
    odd = guest("odd", cpu=cpu("Mid", "d"))
    before = collected(host("h1", cpu("New"), odd), host("h2", cpu("New")), host("h3", cpu("Mid")))
    dead: Failed[HostReading] = Failed(OSError("no route"))
    after = collected(dead, host("h2", cpu("New")), host("h3", cpu("Mid")), previous=before)
    name = after.vm_by_name["odd"].cpu_model
    assert name == before.vm_by_name["odd"].cpu_model
    assert [name in each.cpu_models for each in after.hosts] == [True, True, False]


texts = st.builds(cpu, st.sampled_from(sorted(MODELS)), st.text("abcdef", max_size=3), st.text("abcdef", max_size=2))


@given(st.lists(st.tuples(texts, st.lists(texts, max_size=3)), min_size=1, max_size=4))
def test_a_host_is_said_to_give_exactly_what_its_features_hold(estate: list[tuple[CpuText, list[CpuText]]]) -> None:
    def whole(text: CpuText) -> frozenset[str]:
        return (MODELS[text.model] | text.has) - text.has_not

    hosts = {
        f"h{n}": host(f"h{n}", own, *(guest(f"g{n}{k}", cpu=seen) for k, seen in enumerate(guests)))
        for n, (own, guests) in enumerate(estate)
    }
    cpus = find_cpus(hosts, Map())
    running = [
        (whole(own), whole(seen), cpus.seen[f"h{n}", f"uuid-g{n}{k}"])
        for n, (own, guests) in enumerate(estate)
        for k, seen in enumerate(guests)
    ]
    for _, seen_features, name in running:
        for n, (own, _) in enumerate(estate):
            # Seen alike under one name; each host that runs it shows what need not be had.
            alike = [place for place, sees, other in running if other == name and sees == seen_features]
            needs = seen_features.intersection(*alike)
            assert (name in cpus.given[f"h{n}"]) == (needs <= whole(own) or name in _plain(whole(own)))


def _plain(features: frozenset[str]) -> set[str]:
    return {name for name, needs in MODELS.items() if needs <= features}


def test_texts_of_libvirt_are_read() -> None:
    text = (
        "<capabilities><host><cpu><arch>x86_64</arch><model>Skylake-Client</model><vendor>Intel</vendor>"
        "<feature name='ssbd'/></cpu></host></capabilities>"
    )
    skylake = CpuText(model="Skylake-Client", vendor="Intel", has=frozenset({"ssbd"}))
    assert parse_capabilities(text, place="h").cpu == skylake
    live = (
        "<cpu mode='custom' match='exact' check='full'><model fallback='forbid'>Skylake-Client</model>"
        "<vendor>Intel</vendor><feature policy='require' name='ssbd'/><feature policy='disable' name='hle'/>"
        "<feature policy='optional' name='rtm'/></cpu>"
    )
    inside = f"<domain><name>g</name><uuid>u</uuid><memory>1048576</memory><vcpu>1</vcpu>{live}</domain>"
    assert parse_domain(inside, place="h").cpu == replace(skylake, has_not=frozenset({"hle"}))
    assert CpuText.of(ET.fromstring("<cpu mode='host-passthrough'/>")) is None
    assert CpuText.of(None) is None


def test_the_map_of_libvirt_is_read_without_a_daemon() -> None:
    pytest.importorskip("libvirt", reason="libvirt-python is not installed: make kvm")
    models = CpuMap()
    try:
        assert {"Skylake-Server", "EPYC-Rome"} <= set(models.names("x86_64"))
        skylake, haswell = models.features("x86_64", "Skylake-Server"), models.features("x86_64", "Haswell")
        assert skylake is not None
        assert haswell is not None
        assert haswell < skylake
        assert skylake - haswell >= {"avx512f", "clwb"}
        assert models.features("x86_64", "Unheard") is None
        assert models.features("s390x", "z14") is None  # no baseline there
        assert models.names("pdp11") == ()
    finally:
        models.close()
