"""What a lab says of itself to ``drsim collect``."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from drsim.topology import Topology
from executor.estate import estate_of, read_hosts_file
from executor.hypervisor.libvirt_bounded import Failed
from executor.lab.hosts_file import hosts_file
from executor.lab.topology import LabTopology, read_topology
from executor.lab.wire import Line
from executor.merge import merge

EXAMPLES = Path(__file__).parents[3] / "executor/lab/examples"


def topology_of(lab: LabTopology, folder: Path, cluster: str | None = None) -> Topology:
    """What plans take a lab's lines to be, from its hosts file and nothing else."""
    names = [host.name for host in lab.hosts]
    said = {name: f"qemu+unix:///system?socket=/{name}" for name in names}
    file = folder / "hosts.yaml"
    file.write_text(
        hosts_file(
            lab, uris=said, peer_uris=said, shells=dict.fromkeys(names, "sh -c"), shared_path="/s", cluster=cluster
        )
    )
    estate = read_hosts_file(file)
    mute = {host.name or "": Failed[object](TimeoutError()) for host in estate.hosts}
    now = datetime(2026, 1, 1, tzinfo=UTC).isoformat()
    inventory, *_ = merge(estate, mute, name="lab", captured_at=now, previous=None)  # type: ignore[arg-type]
    assert estate_of(inventory).links == estate.links  # what is collected anew later is declared the same way
    return Topology(inventory)


@pytest.mark.parametrize("rtt_ms", [0.0, 40.0])
def test_plans_know_how_far_the_hosts_of_a_lab_are_from_each_other(tmp_path: Path, rtt_ms: float) -> None:
    known = topology_of(LabTopology.simple(hosts=3, guests=0, rate_mbit_s=250.0, rtt_ms=rtt_ms), tmp_path)
    for target in ("h2", "h3"):
        path = known.path("h1", target)
        assert path is not None
        assert (path.rtt_ms, path.bandwidth_mbit_s) == (rtt_ms, 250.0)


def test_each_end_adds_its_part_of_distance_and_loss(tmp_path: Path) -> None:
    lab = LabTopology.simple(hosts=3, guests=0)
    lines = (Line(rtt_ms=30.0, loss=0.01), Line(rtt_ms=10.0), Line(rate_mbit_s=100.0))
    hosts = tuple(replace(host, line=line) for host, line in zip(lab.hosts, lines, strict=True))
    known = topology_of(replace(lab, hosts=hosts), tmp_path)
    paths = {pair: known.path(*pair) for pair in (("h1", "h2"), ("h2", "h3"), ("h1", "h3"))}
    seen = {pair: (path.rtt_ms, path.bandwidth_mbit_s, round(path.loss, 9)) for pair, path in paths.items() if path}
    assert seen == {("h1", "h2"): (20, 1000, 0.01), ("h2", "h3"): (5, 100, 0), ("h1", "h3"): (15, 100, 0.01)}


def test_sites_and_their_hosts_own_lines_add_up(tmp_path: Path) -> None:
    known = topology_of(read_topology(EXAMPLES / "two-sites.yaml"), tmp_path)
    far, near = known.path("p1", "r1"), known.path("p1", "p2")
    assert far is not None
    assert near is not None
    assert (far.rtt_ms, near.rtt_ms) == (80.0, 0.0)
