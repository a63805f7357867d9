"""Networks that are one wire under several names, and borders that guests do not cross."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from drsim.check import policy_problems, unmovable
from drsim.errors import PolicyError
from drsim.formats import read_policy, write_policy
from drsim.inventory import Host, HostBridge, Inventory, Link, Network, Site, Vm, VmNic
from drsim.planner import make_plan
from drsim.policy import Objective, Policy, Storing, Wire
from drsim.topology import Topology
from drsim.wires import wired
from executor.estate import estate_of

HOSTS = tuple(
    Host(name=name, site=site, cores=4, memory_mib=1024, uri=f"qemu+ssh://{name}/system")
    for name, site in (("p1", "paris"), ("p2", "paris"), ("r1", "rome"))
)
ESTATE = Inventory(
    sites=(Site(name="paris"), Site(name="rome")),
    hosts=HOSTS,
    networks=(
        Network(name="br0@paris", bridge="br0", hosts=("p1",)),
        Network(name="lan7", bridge="lan7", hosts=("p2",)),
        Network(name="br0@rome", bridge="br0", hosts=("r1",)),
    ),
    vms=(Vm(name="g", host="p1", vcpus=1, memory_mib=64, nics=(VmNic(network="br0@paris"),)),),
    links=(Link(a="paris", b="rome", bandwidth_mbit_s=1000.0, rtt_ms=20.0),),
)
LAN = Wire(name="lan", networks=("br0@paris", "lan7"))
OVERLAY = Wire(name="over", networks=("br0@paris", "br0@rome"), overlay="vxlan")
GONE = Objective(goal="evacuate", hosts=("p1",))


def test_bridges_of_other_names_are_mapped_by_the_policy() -> None:
    plan = make_plan(ESTATE, Policy(wires=(LAN,)), GONE)
    assert [(move.vm, move.target) for move in plan.moves] == [("g", "p2")]
    (lan, _) = plan.inventory.networks
    assert [lan.bridge_on(host) for host in ("p1", "p2")] == ["br0", "lan7"]
    assert plan.inventory.vms[0].nics == (VmNic(network="lan"),)
    # What the executor collects anew must know it, too: nobody has changed the estate.
    assert estate_of(plan.inventory).named == (lan,)


def test_a_border_is_refused_with_the_reason_unless_an_overlay_is_declared() -> None:
    why = unmovable(ESTATE, Policy(), ESTATE.vms[0], HOSTS[2], Topology(ESTATE))
    assert why is not None
    assert "layer-2 border" in why
    assert "overlay: vxlan" in why
    assert make_plan(ESTATE, Policy(), GONE).moves == ()
    plan = make_plan(ESTATE, Policy(wires=(OVERLAY,)), GONE)
    assert [(move.vm, move.target) for move in plan.moves] == [("g", "r1")]
    assert estate_of(plan.inventory).named == (plan.inventory.networks[0],)


@pytest.mark.parametrize(
    ("wire", "text"),
    [
        (replace(OVERLAY, overlay="none"), "paris and rome"),
        (replace(LAN, networks=("br0@paris", "br9")), "no network 'br9'"),
        (replace(LAN, name="br0@rome"), "already"),
    ],
)
def test_wires_that_cannot_be_are_refused(wire: Wire, text: str) -> None:
    with pytest.raises(PolicyError, match=text):
        make_plan(ESTATE, Policy(wires=(wire,)), GONE)


def test_networks_of_different_tags_are_not_one_wire() -> None:
    tagged = tuple(replace(n, vlan=7) if n.name == "lan7" else n for n in ESTATE.networks)
    (found,) = policy_problems(Policy(wires=(LAN,)), replace(ESTATE, networks=tagged))
    assert "VLAN" in found.expected


def test_joining_twice_changes_nothing() -> None:
    once = wired(ESTATE, Policy(wires=(LAN,)))
    assert wired(once, Policy(wires=(LAN,))) == once
    assert policy_problems(Policy(wires=(LAN,)), once) == ()
    assert wired(ESTATE, Policy()) is ESTATE


def test_a_policy_keeps_its_wires_and_where_disks_land_in_a_file(tmp_path: Path) -> None:
    policy = Policy(wires=(LAN, OVERLAY), storing=(Storing(vms=("*",), datastores=("h2:/fast", "h3:/fast")),))
    write_policy(policy, tmp_path / "policy.yaml")
    assert read_policy(tmp_path / "policy.yaml") == policy


def test_where_neighbours_are_taken_to_have_both_bridges_what_guests_use_counts() -> None:
    """libvirt often cannot list bridges: then each host is taken to have those of all."""
    both = ("p1", "p2")
    vague = replace(
        ESTATE,
        networks=(Network(name="br0", bridge="br0", hosts=both), Network(name="lan7", bridge="lan7", hosts=both)),
        vms=(
            Vm(name="g", host="p1", vcpus=1, memory_mib=64, nics=(VmNic(network="br0"),)),
            Vm(name="h", host="p2", vcpus=1, memory_mib=64, nics=(VmNic(network="lan7"),)),
        ),
    )
    wire = Wire(name="lan", networks=("br0", "lan7"))
    (lan,) = wired(vague, Policy(wires=(wire,))).networks
    assert [lan.bridge_on(host) for host in both] == ["br0", "lan7"]
    unused = replace(vague, vms=vague.vms[:1])
    (found,) = policy_problems(Policy(wires=(wire,)), unused)
    assert (found.field, "'p2' has br0 and lan7" in found.expected) == ("bridges", True)
    named = replace(wire, bridges=(HostBridge(host="p2", bridge="lan7"),))
    assert policy_problems(Policy(wires=(named,)), unused) == ()
    (lan,) = wired(unused, Policy(wires=(named,))).networks
    assert [lan.bridge_on(host) for host in both] == ["br0", "lan7"]
