"""What two real hosts tell of themselves before a move, and what is refused for it."""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from drsim.plan import Move
from drsim.policy import Limits
from drsim.transfer import Transfer
from executor.collect import collect_estate
from executor.ends import between
from executor.estate import read_hosts_file
from executor.hypervisor.libvirt_files import READING, STATE_FOLDER
from executor.hypervisor.libvirt_kvm import LibvirtKvm
from executor.lab.lab import Lab
from executor.refusal import Refusal
from tests.kvm.test_migrate import read

pytestmark = pytest.mark.kvm

TLS = Move(id="m", vm="idle", source="h1", target="h2", reason="test", transfer=Transfer(tls=True))


def refusals(door: LibvirtKvm, move: Move, limits: Limits | None = None) -> list[Refusal]:
    return list(between(move, door.facts("h1"), door.facts("h2"), limits or Limits(), datetime.now(UTC)))


@pytest.fixture
def door(lab: Lab) -> Iterator[LibvirtKvm]:
    door = LibvirtKvm(read(lab))
    yield door
    door.close()


def test_clock_ports_and_certificates_are_read_and_nothing_is_left_behind(lab: Lab, door: LibvirtKvm) -> None:
    facts = door.facts("h2")
    assert facts.clock_ahead_s is not None
    assert abs(facts.clock_ahead_s) < 0.5  # one machine, one clock
    assert facts.free_ports == 64
    assert [certificate.what for certificate in facts.certificates] == ["QEMU as server", "QEMU as client"]
    for certificate in facts.certificates:
        assert certificate.valid_until is not None
        assert timedelta(days=29) < certificate.valid_until - datetime.now(UTC) < timedelta(days=31)
    assert refusals(door, TLS) == []
    connection = lab.connection("h2")
    assert [pool.name() for pool in connection.listAllStoragePools(0) if pool.name().startswith(READING)] == []
    connection.close()


def test_what_a_dead_controller_left_behind_does_not_set_the_clock_back(lab: Lab, door: LibvirtKvm) -> None:
    connection = lab.connection("h2")
    name = f"{READING}{hashlib.sha256(STATE_FOLDER.encode()).hexdigest()[:12]}"
    text = f"<pool type='dir'><name>{name}</name><target><path>{STATE_FOLDER}</path></target></pool>"
    connection.storagePoolCreateXML(text, 0)
    time.sleep(4.0)  # longer than clocks may differ
    try:
        assert refusals(door, TLS) == []
        assert [pool.name() for pool in connection.listAllStoragePools(0) if pool.name().startswith(READING)] == []
    finally:
        connection.close()


@pytest.mark.parametrize(("condition", "text"), [("expired", "expired on"), ("missing", "missing")])
def test_a_bad_certificate_is_refused_before_the_move(lab: Lab, door: LibvirtKvm, condition: str, text: str) -> None:
    lab.certificate("h2", condition)  # type: ignore[arg-type]
    try:
        (refusal,) = refusals(door, TLS)
    finally:
        lab.certificate("h2", "good")
    assert (refusal.kind, text in refusal.text) == ("tls", True)
    assert refusals(door, TLS) == []


def test_ports_that_others_listen_on_are_not_free(lab: Lab, door: LibvirtKvm) -> None:
    code = (
        "import socket,sys,time; held=[socket.create_server((str(), p)) for p in range(49152, 49216)]; "
        "print(1, flush=True); time.sleep(60)"
    )
    lab.run(
        "h2", f"echo '{code}' > /run/hold.py; setsid {sys.executable} /run/hold.py >/dev/null 2>&1 & echo $! >/run/hold"
    )
    try:
        deadline = time.monotonic() + 10.0
        while door.facts("h2").free_ports and time.monotonic() < deadline:
            time.sleep(0.2)
        (refusal,) = refusals(door, TLS)
    finally:
        lab.run("h2", "kill $(cat /run/hold) || true")
    assert refusal.kind == "ports"
    assert "0 ports" in refusal.text


def test_lines_are_measured_by_the_hosts_themselves(lab: Lab) -> None:
    estate = read_hosts_file(lab.state.folder / "hosts.yaml")
    lab.line("h1", rtt_ms=40.0)
    lab.line("h2", rtt_ms=40.0)
    try:
        found = collect_estate(estate, clock=lambda: datetime.now(UTC), interval_s=0.1, measure_lines=True)
    finally:
        lab.line("h1", rtt_ms=0.0)
        lab.line("h2", rtt_ms=0.0)
    line = next(line for line in found.lines if {line.a, line.b} == {"h1", "h2"})
    assert line.rtt_ms is not None, line
    assert line.rate_mbit_s is not None
    assert 39.0 < line.rtt_ms < 60.0
    assert 100.0 < line.rate_mbit_s < 1010.0
    assert replace(line, note="") == line


def test_a_line_that_became_too_long_is_measured_before_the_move_and_refused(lab: Lab) -> None:
    declared = read_hosts_file(lab.state.folder / "hosts.yaml").hosts
    door = LibvirtKvm(read(lab), shells={host.name or "": host.shell or "" for host in declared})
    for host in ("h1", "h2"):
        lab.line(host, rtt_ms=120.0)  # each of the two lines is half of the way
    try:
        line = door.line("h1", "h2")
    finally:
        for host in ("h1", "h2"):
            lab.line(host, rtt_ms=0.0)
        facts = door.facts("h1"), door.facts("h2")
        door.close()
    assert line.rtt_ms is not None, line
    assert 119.0 < line.rtt_ms < 150.0
    (refusal,) = between(TLS, *facts, Limits(), datetime.now(UTC), line=line)
    assert (refusal.kind, "measured just now" in refusal.text) == ("line", True)
    assert (facts[0].outgoing_ports or 0) > 1000
