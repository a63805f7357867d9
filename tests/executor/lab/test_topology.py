from __future__ import annotations

from pathlib import Path

import pytest

from drsim.errors import DataError, LabError
from executor.lab.topology import LabTopology, read_topology


def test_simple_deals_guests_out() -> None:
    topology = LabTopology.simple(hosts=2, guests=3, rtt_ms=80)
    assert [(guest.name, guest.host) for guest in topology.guests] == [("g1", "h1"), ("g2", "h2"), ("g3", "h1")]
    assert {host.line.rtt_ms for host in topology.hosts} == {80}


def test_a_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "lab.yaml"
    path.write_text(
        "name: demo\nhosts: [{name: a, line: {rate_mbit_s: 250}}]\nguests: [{name: g, host: a, tags: [web]}]"
    )
    topology = read_topology(path)
    assert topology.hosts[0].line.rate_mbit_s == 250
    assert topology.guests[0].tags == ("web",)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("hosts: [{name: h1}]\nguests: [{name: g1, host: h9}]", ["guests 'g1'", "host", "'h9'", "h1"]),
        ("hosts: [{name: h1}, {name: h1}]", ["hosts 'h1'", "used twice"]),
        ("hosts: [{name: 'h 1'}]", ["hosts 'h 1'", "lower-case"]),
        ("hosts: []", ["at least one host"]),
        ("hosts: [{name: h1, line: {rate_mbit_s: -1}}]", ["rate_mbit_s", "-1", "Correct it"]),
        ("hosts: [{name: h1, color: red}]", ["color", "Correct it"]),
        ("hosts: [{name: h}]\nguests: [{name: g, host: h, memory_mib: 128, working_set_mib: 64}]", ["working_set_mib"]),
        ("hosts: [{name: h1, site: a}, {name: h2, site: b}]", ["links", "'a' and 'b'", "rtt_ms: 20"]),
        ("hosts: [{name: h1}]\nlinks: [{a: lab, b: lab}]", ["lab:lab", "same site"]),
        ("hosts: [{name: h1}]\nlinks: [{a: lab, b: rome}]", ["lab:rome", "no host stands in 'rome'"]),
        (
            "hosts: [{name: h1, site: a}, {name: h2, site: b}]\nlinks: [{a: a, b: b}, {a: b, b: a}]",
            ["b:a", "more than one"],
        ),
        ("hosts: [{name: h1}]\nnetworks: [{name: lan}, {name: dmz}]", ["networks 'dmz'", "'br0' of h1", "'lan'"]),
        ("hosts: [{name: h1}]\nnetworks: [{name: lan, hosts: [h7]}]", ["networks 'lan'", "'h7'"]),
        ("hosts: [{name: h1}]\nnetworks: [{name: lan, bridge: mig0}]", ["networks 'lan'", "'mig0'"]),
        ("hosts: [{name: h1}]\nnetworks: []", ["networks", "there are 0"]),
        ("hosts: [{name: h1}]\nguests: [{name: g, host: h1, network: dmz}]", ["guests 'g'", "'dmz'", "lan"]),
        ("hosts: [{name: h1}]\nguests: [{name: g, host: h1, vlan: 7}]", ["guests 'g'", "vlan", "ovs"]),
        (
            "hosts: [{name: h1}]\nguests: [{name: g, host: h1, more_disks: [{size_mib: 64, base_mib: 32}]}]",
            ["guests 'g'", "more_disks", "qcow2"],
        ),
        ("hosts: [{name: h1}]\nguests: [{name: g, host: h1, datastore: tape}]", ["guests 1", "datastore", "tape"]),
        (
            "hosts: [{name: h1}]\nguests: [{name: g, host: h1, dirty: {pattern: hot, hot_mib: 64}}]",
            ["guests 'g'", "dirty", "64 MiB", "32 MiB"],
        ),
        ("hosts: [{name: h1}]\nguests: [{name: g, host: h1, dirty: {pattern: phases}}]", ["without phases"]),
        ("[1, 2]", ["expected a mapping", "[1, 2]"]),
        ("", ["expected a mapping", "nothing"]),
        ("hosts: [{name: h1, sight: a}]", ["hosts 1", "sight", "no such field", "everything.yaml"]),
        ("hosts: [", ["not a YAML file"]),
    ],
)
def test_mistakes_are_named_with_their_place(tmp_path: Path, text: str, words: list[str]) -> None:
    path = tmp_path / "lab.yaml"
    path.write_text(text)
    with pytest.raises((DataError, LabError)) as error:
        read_topology(path)
    for word in [str(path), *words]:
        assert word in str(error.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(LabError, match=r"no\.yaml"):
        read_topology(tmp_path / "no.yaml")


def test_segments_number_what_has_addresses_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "lab.yaml"
    path.write_text(
        "hosts: [{name: h1}]\nnetworks: [{name: lan}, {name: sw, kind: ovs, bridge: ovs0}]\n"
        "guests: [{name: a, host: h1}, {name: b, host: h1, network: sw, vlan: 7}, {name: c, host: h1, network: sw}]"
    )
    topology = read_topology(path)
    assert [(network.name, vlan) for network, vlan in topology.segments()] == [("lan", None), ("sw", None), ("sw", 7)]


def test_a_profile_is_one_word(tmp_path: Path) -> None:
    path = tmp_path / "lab.yaml"
    path.write_text(
        "hosts: [{name: h1}]\nguests:\n"
        "- {name: a, host: h1, dirty: {pattern: zipf, burst: {rate_mib_s: 90, length_ms: 50, every_ms: 500}}}\n"
        "- {name: b, host: h1, dirty: {pattern: hot, hot_mib: 4, hot_share: 0.95}}\n"
        "- {name: c, host: h1, dirty: {pattern: phases, phases: [{length_s: 2, rate_mib_s: 5, window_mib: 8}]}}\n"
        "- {name: d, host: h1}\n"
    )
    assert [guest.dirty.text for guest in read_topology(path).guests] == [
        "zipf:1000+burst:90:50:500",
        "hot:4:950",
        "phases:2000:5:8",
        "sweep",
    ]
