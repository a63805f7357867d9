"""A lab of everything: two sites and clusters, TLS, tunnels, VLANs, disks on iSCSI and NFS. Guests move in it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from drsim.errors import LabError
from executor.lab import cgroup, extras, machine
from executor.lab.lab import Lab, take_down
from executor.lab.pki import Condition
from executor.lab.state import lab_names, labs_root
from executor.lab.topology import LabDisk, LabGuest, LabHost, LabTopology, checked
from executor.lab.wire import LabNetwork, Wan
from tests.kvm.conftest import where

pytestmark = pytest.mark.kvm

NAME = "wide"
TOPOLOGY = LabTopology(
    name=NAME,
    hosts=(
        LabHost(name="h1", site="paris"),
        LabHost(name="h2", site="paris"),
        LabHost(name="h3", site="rome", cluster="south", cpus=1.5),
    ),
    links=(Wan(a="paris", b="rome", rtt_ms=20.0),),
    networks=(
        LabNetwork(name="lan", bridges={"h2": "lan7"}),
        LabNetwork(name="switched", kind="ovs", bridge="ovs0"),
        LabNetwork(name="overlay", kind="vxlan", bridge="brx"),
    ),
    guests=(
        LabGuest(name="iscsi", host="h1", datastore="iscsi", disk_format="qcow2", network="overlay"),
        LabGuest(
            name="nfs",
            host="h1",
            datastore="nfs",
            network="switched",
            vlan=7,
            more_disks=(LabDisk(datastore="shared", format="qcow2"),),
        ),
    ),
    tls=True,
)


@pytest.fixture(scope="module")
def wide(machine_for_labs: None) -> Iterator[Lab]:
    if NAME in lab_names():  # left by a run that was killed
        take_down(labs_root() / NAME)
    try:
        for extra in extras.wanted(TOPOLOGY):
            extras.provide(extra)
    except LabError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"storage servers and Open vSwitch cannot be fetched: {error}")
    up = Lab.up(checked(TOPOLOGY, "test"))
    yield up
    up.down()


def move(lab: Lab, guest: str, target: str, *, tls: bool = False) -> None:
    libvirt = machine.bindings()
    connection = lab.connection(where(lab, guest)[0])
    flags = libvirt.VIR_MIGRATE_LIVE | libvirt.VIR_MIGRATE_PEER2PEER | (libvirt.VIR_MIGRATE_TLS if tls else 0)
    try:
        connection.lookupByName(guest).migrateToURI3(lab.peer_uris()[target], {}, flags)
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("guest", "target", "network", "vlan"), [("iscsi", "h3", "overlay", None), ("nfs", "h2", "switched", 7)]
)
def test_a_guest_moves_and_is_announced_on_the_wire(
    wide: Lab, guest: str, target: str, network: str, vlan: int | None
) -> None:
    with wide.capture(target, network) as wire, wide.probe([guest]) as probe:
        time.sleep(0.2)
        probe.reset()
        move(wide, guest, target, tls=True)
        time.sleep(0.5)
        seen, view = wire.seen(0.2), probe.report()[guest]
    assert where(wide, guest) == [target]
    assert (view.broken, view.lost, view.repeated) == (False, 0, 0)
    assert view.received > 100
    index = [each.name for each in TOPOLOGY.guests].index(guest) + 1
    ours = [each for each in seen if each.mac == f"52:54:00:00:00:{index:02x}"]
    assert {"rarp"} <= {each.kind for each in ours} <= {"rarp", "garp"}
    assert {each.vlan for each in ours} == {vlan}
    with wide.control(guest) as control:
        verdict, counters = control.verify(), control.stat()
    assert (verdict.pages, verdict.bad_pages, verdict.bad_blocks) == (32 * 256, 0, 0)
    assert counters["disk"] > 0
    assert counters["disk_err"] == 0


def test_bridges_are_called_what_the_topology_calls_them(wide: Lab) -> None:
    assert "trunk0" in wide.run("h2", "ip -o link show master lan7")
    assert "trunk0" in wide.run("h1", "ip -o link show master br0")
    assert "does not exist" in wide.run("h1", "ip link show lan7")


@pytest.mark.parametrize("condition", ["expired", "missing", "foreign"])
def test_a_bad_certificate_keeps_a_migration_away(wide: Lab, condition: Condition) -> None:
    libvirt = machine.bindings()
    target = next(host for host in ("h3", "h2") if host != where(wide, "iscsi")[0])
    source = where(wide, "iscsi")[0]
    wide.certificate(target, condition)
    try:
        with pytest.raises(libvirt.libvirtError):
            move(wide, "iscsi", target, tls=True)
    finally:
        wide.certificate(target, "good")
    assert where(wide, "iscsi") == [source]


HANDSHAKE = """
import socket, sys, time
def once():
    began = time.monotonic(); socket.create_connection((sys.argv[1], 16509), 1.0); return time.monotonic() - began
try: print(min(once() for _ in range(3)) * 1e3)
except OSError: print("none")
"""


def test_sites_are_as_far_apart_as_their_link(wide: Lab) -> None:
    def handshake(a: str, b: str) -> str:
        return wide.run(a, f"{sys.executable} -c '{HANDSHAKE}' {b}").strip()

    assert float(handshake("h1", "h3")) >= 20.0
    wide.wan("rome", "paris", rtt_ms=60.0, jitter_ms=1.0)
    assert wide.status()["links"] == {"paris:rome": {"rate_mbit_s": 1000.0, "rtt_ms": 60.0, "loss": 0.0, "cut": False}}
    assert float(handshake("h3", "h1")) >= 60.0
    wide.cut_wan("paris", "rome")
    assert wide.status()["links"]["paris:rome"]["cut"]
    assert handshake("h1", "h3") == "none"
    assert handshake("h1", "h2") != "none"
    wide.cut_wan("paris", "rome", cut=False)
    wide.wan("paris", "rome", rtt_ms=20.0, jitter_ms=0.0)
    with pytest.raises(LabError, match="paris:rome"):
        wide.wan("paris", "oslo", rtt_ms=1.0)


def test_a_controller_reaches_hosts_over_tls_and_needs_a_certificate(wide: Lab, tmp_path: Path) -> None:
    code = "import libvirt, sys; print(libvirt.openReadOnly(sys.argv[1]).getHostname())"

    def connect(uri: str) -> subprocess.CompletedProcess[str]:
        command = wide.client_command(sys.executable, "-c", code, uri)
        return subprocess.run(command, capture_output=True, text=True, check=False)

    assert connect(wide.tls_uris()["h3"]).stdout == "h3\n"
    trusting = tmp_path / "cacert.pem"
    trusting.write_bytes((wide.state.folder / "client" / "cacert.pem").read_bytes())
    assert connect(f"qemu+tls://10.10.0.13/system?pkipath={tmp_path}").returncode != 0


def test_each_host_has_its_share_of_the_processor(wide: Lab) -> None:
    if cgroup.controller() is None:
        pytest.skip("no control group for CPU time can be written here")
    for name, host in wide.state.hosts.items():
        assert f"host-{name}" in Path(f"/proc/{host.init_pid}/cgroup").read_text()
    group = cgroup.group_of(wide.state.folder, "h3")
    assert group is not None
    limit = group / "cpu.cfs_quota_us"
    text = limit.read_text() if limit.exists() else (group / "cpu.max").read_text().split()[0]
    assert int(text) == 150_000


def test_each_cluster_has_a_hosts_file_and_an_authority_of_its_own(wide: Lab) -> None:
    south = (wide.state.folder / "hosts-south.yaml").read_text()
    assert "name: h3" in south
    assert "name: h1" not in south
    authorities = [(wide.state.folder / "ca" / name / "ca.pem").read_text() for name in ("lab", "south")]
    assert authorities[0] != authorities[1]
    assert (wide.state.host_folder("h3") / "pki" / "ca-cert.pem").read_text() == "".join(authorities)


def test_a_host_that_lost_its_power_finds_all_its_networks_again(wide: Lab) -> None:
    empty = next(host for host in wide.state.hosts if not wide.guests_on(host) and host != "h3")
    wide.crash(empty)
    wide.restart(empty)
    found = [each for each, _ in TOPOLOGY.segments()]
    for segment, bridge in ((1, "ovs0"), (2, "brx")):
        assert found[segment].bridge == bridge
        reach = "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'', ('10.20.{0}.1', 9))"
        script = f"""
ip address add 10.20.{segment}.250/24 dev {bridge}
{sys.executable} -c "{reach.format(segment)}"
for i in $(seq 50); do ip neighbour show 10.20.{segment}.1 | grep -q lladdr && break; sleep 0.1; done
ip neighbour show 10.20.{segment}.1
"""
        assert "lladdr" in wide.run(empty, script), bridge
