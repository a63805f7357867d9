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
        ("[1, 2]", ["expected a mapping", "list"]),
        ("", ["expected a mapping"]),
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
