"""Lines measured between hosts: real connections on this machine, no hypervisor."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import replace

import pytest

from drsim.inventory import Host, HostNic, Inventory, Link, Site
from drsim.topology import Topology
from executor import lines
from executor.estate import DeclaredHost, Estate
from executor.hypervisor.base import Line
from executor.lines import measure, measure_shortly, pairs, shell_of, with_lines


def host(name: str, site: str, state: str = "up") -> Host:
    uri = f"qemu+ssh://root@127.0.0.1/system?{name}"
    nics = (HostNic(name="migration", rate_mbit_s=10_000.0),)
    return Host(name=name, site=site, cores=1, memory_mib=1, uri=uri, nics=nics, state=state)  # type: ignore[arg-type]


ESTATE = Inventory(
    sites=(Site(name="paris"), Site(name="rome")),
    hosts=(host("p1", "paris"), host("p2", "paris"), host("p3", "paris", "unknown"), host("r1", "rome")),
    links=(Link(a="paris", b="rome", bandwidth_mbit_s=1000.0, rtt_ms=20.0),),
)
DECLARED = Estate(hosts=tuple(DeclaredHost(name=h.name, uri=h.uri or "", site=h.site) for h in ESTATE.hosts))


def here(host: str, script: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_each_site_is_gone_along_and_each_link_once_and_mute_hosts_are_left_out() -> None:
    assert pairs(ESTATE) == (("p1", "p2"), ("p1", "r1"))


def test_round_trip_and_rate_are_those_of_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "SENDING_S", 0.3)
    found = measure(DECLARED, ESTATE, here)
    assert [(line.a, line.b, line.note) for line in found] == [("p1", "p2", ""), ("p1", "r1", "")]
    for line in found:
        assert line.rtt_ms is not None
        assert 0.0 < line.rtt_ms < 100.0
        assert (line.rate_mbit_s or 0.0) > 50.0
    known, _ = with_lines(ESTATE, found)
    assert known.links[0].measured_rtt_ms == found[1].rtt_ms
    assert (known.links[0].rtt_ms, known.links[0].bandwidth_mbit_s) == (20.0, 1000.0)  # what was declared stays


def test_a_host_that_fails_is_told_and_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "PATIENCE_S", 1.0)
    (first, second) = measure(
        DECLARED, ESTATE, lambda name, script: here(name, "import sys; sys.exit('no such shell')")
    )
    assert (first.rtt_ms, first.note, second.note) == (None, "no such shell", "no such shell")
    hangs = measure(DECLARED, replace(ESTATE, links=()), lambda name, script: here(name, "import time; time.sleep(60)"))
    assert "no answer" in hangs[0].note
    known, remarks = with_lines(ESTATE, (first,))
    assert known == ESTATE
    assert remarks == ("The line from p1 to p2 was not measured: no such shell.",)


def test_what_was_measured_is_planned_with_and_much_less_than_declared_is_told() -> None:
    slow = Line(a="p1", b="r1", rtt_ms=120.0, rate_mbit_s=90.0)
    known, (remark,) = with_lines(ESTATE, (slow,))
    assert "carries 90 Mbit/s; 1000 were declared" in remark
    path = Topology(known).path("p1", "r1")
    assert path is not None
    assert (path.connection_mbit_s, path.rtt_ms) == (90.0, 120.0)
    sound, _ = with_lines(ESTATE, (Line(a="p1", b="r1", rtt_ms=20.0, rate_mbit_s=930.0),))
    path = Topology(sound).path("p1", "r1")
    assert path is not None
    assert path.connection_mbit_s == math.inf


def test_hosts_of_one_site_that_are_far_from_each_other_are_told() -> None:
    _, (remark,) = with_lines(ESTATE, (Line(a="p1", b="p2", rtt_ms=40.0, rate_mbit_s=9_900.0),))
    assert "From p1 to p2 a round trip takes 40.0 ms; plans take 0 ms." in remark
    _, near = with_lines(ESTATE, (Line(a="p1", b="p2", rtt_ms=4.0, rate_mbit_s=9_900.0),))
    assert near == ()


def test_a_shell_is_declared_or_is_that_of_the_uri() -> None:
    assert shell_of(DeclaredHost(uri="qemu+ssh://root@h1:2222/system"))[-3:] == ("-p", "2222", "root@h1")
    assert shell_of(DeclaredHost(uri="qemu+tls://h1/system")) == ()
    assert shell_of(DeclaredHost(uri="qemu:///system", shell="nsenter -t 7 -a -- sh -c")) == (
        *("nsenter", "-t", "7", "-a", "--", "sh", "-c"),
    )


def test_the_short_look_takes_hosts_by_their_shells_and_says_what_it_needs() -> None:
    ends = [DeclaredHost(name=name, uri="qemu:///system", shell="sh -c") for name in ("p1", "p2")]
    line = measure_shortly(*ends, "127.0.0.1")
    assert (line.a, line.b, line.note) == ("p1", "p2", "")
    assert 0.0 < (line.rtt_ms or 0.0) < 100.0
    assert (line.rate_mbit_s or 0.0) > 50.0
    mute = measure_shortly(ends[0], replace(ends[1], shell=None), "127.0.0.1")
    assert (mute.rtt_ms, "set 'shell' of p2" in mute.note) == (None, True)
