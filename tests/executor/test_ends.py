"""What must fit between the two ends of a move: clocks, certificates, ports, distance."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from drsim.plan import Prediction
from drsim.policy import Limits
from drsim.transfer import Transfer
from executor.ends import between, connections_of, ports_of
from executor.hypervisor.base import HostFacts, Line
from executor.hypervisor.certificate import Certificate, validity
from executor.preflight import Promised, recheck
from tests.executor.estates import moves, plan
from tests.executor.test_preflight import FACTS, HERE

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
MOVE = moves()[0]
TLS = replace(MOVE, transfer=Transfer(tls=True))


def shown(what: str, begin: datetime | None, end: datetime | None) -> tuple[Certificate, ...]:
    return (Certificate(what=what, path="/etc/pki/qemu/x.pem", valid_from=begin, valid_until=end),)


def good(what: str) -> tuple[Certificate, ...]:
    return shown(what, NOW - timedelta(days=1), NOW + timedelta(days=30))


SOURCE = HostFacts(host="h2", state="up", certificates=good("QEMU as client"), clock_ahead_s=0.1, rtt_ms=1.0)
TARGET = HostFacts(
    host="h4", state="up", certificates=good("QEMU as server"), clock_ahead_s=0.0, rtt_ms=20.0, free_ports=64
)


def test_ends_that_fit_are_not_refused_and_what_is_not_known_is_not_held_against_them() -> None:
    assert list(between(TLS, SOURCE, TARGET, Limits(), NOW)) == []
    assert list(between(TLS, HostFacts(host="h2", state="up"), HostFacts(host="h4", state="up"), Limits(), NOW)) == []


@pytest.mark.parametrize(
    ("source", "target", "kind", "text"),
    [
        (replace(SOURCE, clock_ahead_s=-7.0), TARGET, "clock", "7.0 s apart ('h2' is behind)"),
        (SOURCE, replace(TARGET, free_ports=0), "ports", "0 ports"),
        (replace(SOURCE, rtt_ms=130.0), TARGET, "line", "at least 110 ms"),
        (SOURCE, replace(TARGET, certificates=shown("QEMU as server", None, None)), "tls", "missing"),
        (
            SOURCE,
            replace(TARGET, certificates=shown("QEMU as server", NOW, NOW + timedelta(minutes=10))),
            "tls",
            "1.0 h",
        ),
        (
            replace(SOURCE, certificates=shown("QEMU as client", NOW - timedelta(9), NOW - timedelta(1))),
            TARGET,
            "tls",
            "expired on 2026-11-24",
        ),
        (
            replace(SOURCE, certificates=shown("QEMU as client", NOW + timedelta(1), NOW + timedelta(9))),
            TARGET,
            "tls",
            "valid from 2026-11-26",
        ),
    ],
)
def test_ends_that_do_not_fit_are_refused_with_what_to_do(
    source: HostFacts, target: HostFacts, kind: str, text: str
) -> None:
    (refusal,) = between(TLS, source, target, Limits(), NOW)
    assert refusal.kind == kind
    assert text in refusal.text
    assert refusal.remedy
    if kind == "tls":  # a move in clear text needs no certificate
        assert list(between(MOVE, source, target, Limits(), NOW)) == []


def test_a_clock_is_only_as_wrong_as_it_was_measured() -> None:
    vague = replace(SOURCE, clock_ahead_s=-7.0, clock_error_s=6.0)
    assert list(between(MOVE, vague, TARGET, Limits(), NOW)) == []


def test_a_certificate_is_judged_by_the_clock_of_its_host() -> None:
    soon = shown("QEMU as server", NOW - timedelta(1), NOW + timedelta(hours=2))
    fast = replace(TARGET, certificates=soon, clock_ahead_s=3 * 3600.0)
    kinds = {refusal.kind for refusal in between(TLS, SOURCE, fast, Limits(), NOW)}
    assert kinds == {"clock", "tls"}


def test_a_certificate_must_outlive_a_long_move() -> None:
    long = replace(TLS, prediction=Prediction(total_time_s=9000.0, downtime_ms=1.0, sent_mib=1.0, rounds=1))
    soon = replace(TARGET, certificates=shown("QEMU as server", NOW - timedelta(1), NOW + timedelta(hours=4)))
    assert list(between(TLS, SOURCE, soon, Limits(), NOW)) == []
    assert [r.kind for r in between(long, SOURCE, soon, Limits(), NOW)] == ["tls"]


def test_ports_are_counted_for_memory_and_for_disks_and_beside_what_was_promised() -> None:
    disks = replace(MOVE, copy_disks=("vda",))
    assert [ports_of(m) for m in (MOVE, disks, replace(MOVE, transfer=Transfer(transport="tunnelled")))] == [1, 2, 0]
    few = replace(TARGET, free_ports=3)
    assert list(between(disks, SOURCE, few, Limits(), NOW, promised_ports=1)) == []
    assert [r.kind for r in between(disks, SOURCE, few, Limits(), NOW, promised_ports=2)] == ["ports"]


def test_the_limit_of_the_policy_is_what_counts() -> None:
    far = replace(SOURCE, rtt_ms=130.0)
    assert list(between(MOVE, far, TARGET, Limits(max_rtt_ms=120.0), NOW)) == []


def test_the_last_look_asks_both_ends() -> None:
    target = replace(FACTS, free_ports=1, clock_ahead_s=0.0)
    assert recheck(MOVE, plan(), HERE, target, source=SOURCE, now=NOW) == ()
    (refusal,) = recheck(MOVE, plan(), HERE, target, Promised(ports=1), source=SOURCE, now=NOW)
    assert refusal.kind == "ports"


@pytest.mark.parametrize("key", [("rsa:1024",), ("ec", "-pkeyopt", "ec_paramgen_curve:P-256")])
def test_dates_are_read_as_openssl_reads_them(tmp_path: Path, key: tuple[str, ...]) -> None:
    file = tmp_path / "cert.pem"
    words = ["openssl", "req", "-x509", "-nodes", "-newkey", *key, "-keyout", str(tmp_path / "key.pem")]
    subprocess.run([*words, "-out", str(file), "-days", "9000", "-subj", "/CN=x"], check=True, capture_output=True)
    found = validity(b"some text before it\n" + file.read_bytes())
    says = subprocess.run(
        ["openssl", "x509", "-in", str(file), "-noout", "-dates"], check=True, capture_output=True, text=True
    ).stdout
    wanted = [line.partition("=")[2] for line in says.splitlines()]
    assert found is not None
    assert [f"{time:%b} {time.day:2d} {time:%H:%M:%S %Y} GMT" for time in found] == wanted


@pytest.mark.parametrize("text", [b"", b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----", b"\xff\x00"])
def test_what_is_no_certificate_has_no_dates(text: bytes) -> None:
    assert validity(text) is None


def test_a_line_measured_between_the_hosts_counts_more_than_what_can_be_told_from_here() -> None:
    far = replace(SOURCE, rtt_ms=130.0)
    near = Line(a="h2", b="h4", rtt_ms=3.0, rate_mbit_s=900.0)
    assert list(between(MOVE, far, TARGET, Limits(), NOW, line=near)) == []
    assert list(between(MOVE, SOURCE, TARGET, Limits(), NOW, line=replace(near, rtt_ms=101.0))) == []  # it is 100
    (refusal,) = between(MOVE, SOURCE, TARGET, Limits(), NOW, line=replace(near, rtt_ms=111.0))
    assert (refusal.kind, "a round trip takes 111 ms, measured just now" in refusal.text) == ("line", True)
    assert list(between(MOVE, SOURCE, TARGET, Limits(max_rtt_ms=150.0), NOW, line=replace(near, rtt_ms=111.0))) == []
    unknown = Line(a="h2", b="h4", note="no shell")
    assert [r.kind for r in between(MOVE, far, TARGET, Limits(), NOW, line=unknown)] == ["line"]


def test_a_source_must_have_ports_left_to_connect_from() -> None:
    direct = replace(MOVE, transfer=Transfer(transport="direct"))
    tunnel = replace(MOVE, transfer=Transfer(transport="tunnelled"), copy_disks=("vda",))
    many = replace(MOVE, transfer=Transfer(parallel_connections=4), copy_disks=("vda", "vdb"))
    assert [connections_of(move) for move in (MOVE, direct, tunnel, many)] == [2, 1, 1, 8]
    short = replace(SOURCE, outgoing_ports=7)
    assert list(between(MOVE, short, TARGET, Limits(), NOW)) == []
    (refusal,) = between(many, short, TARGET, Limits(), NOW)
    assert (refusal.kind, "7 ports left to connect from" in refusal.text) == ("ports", True)
