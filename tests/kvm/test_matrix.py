"""A part of the matrix of modes and of the faults on every run; all of both: make lab-matrix."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from executor.hypervisor import libvirt_kvm
from executor.lab.lab import Lab, take_down
from executor.lab.state import lab_names, labs_root
from tests.kvm import faults, matrix

pytestmark = pytest.mark.kvm

CASES = (
    "postcopy 40 MiB/s",
    "hybrid after 2",
    "multifd zstd TLS",
    "xbzrle",
    "tls hybrid",
    "tunnelled",
    "direct",
    "disks TLS",
    "disks hybrid",
    "disks RTT 100 ms, writes on both ends",
    "disks, landing at another path",
    "storage only",
    "precopy given up",
)
FAULTS = (
    "libvirtd of the target killed",
    "QEMU of the target killed at 50%",
    "disk of the target full",
    "disk moved on its host: full",
    "QEMU of the source killed at 50%",
    "QEMU of the source killed in post-copy",
    "QEMU of the target killed at the end of post-copy",
    "no port left",
)


@pytest.fixture(scope="module")
def plain(machine_for_labs: None) -> Iterator[Lab]:
    if matrix.NAME in lab_names():  # left by a run that was killed
        take_down(labs_root() / matrix.NAME)
    lab = Lab.up(matrix.TOPOLOGY)
    yield lab
    lab.down()


@pytest.mark.parametrize("number", range(len(CASES)))
def test_a_mode_loses_nothing(plain: Lab, number: int) -> None:
    case = next(case for case in matrix.cases() if case.name == CASES[number])
    row = matrix.run_case(plain, number, case)
    assert row["good"], json.dumps(row, default=str)  # whole: pytest would cut a dictionary short


def test_a_copied_disk_stays_as_small_as_it_was(plain: Lab) -> None:
    case = next(case for case in matrix.cases() if case.name == "disks")
    row = matrix.run_case(plain, 0, case)
    assert row["good"], json.dumps(row, default=str)  # whole: pytest would cut a dictionary short
    (place,) = row["places"]  # type: ignore[misc]
    # Where earlier cases have left it: libvirt of that host knows.
    files = plain.run(str(place), "virsh -q -c qemu:///system domblklist l | awk '$1 == \"vda\" {print $2}'").split()
    taken_kib = int(plain.run(str(place), f"du -k {files[0]}").split()[0])
    assert taken_kib < 32 * 1024  # of 64 MiB; the guest has written a few


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_costs_no_guest(plain: Lab, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libvirt_kvm, "SETTLE_S", 8.0)
    for host in plain.state.hosts:
        plain.line(host, rate_mbit_s=1000.0, rtt_ms=0.0)
    row = faults.play(plain, next(known for known in faults.SCENARIOS if known.startswith(name)))
    assert row["good"], json.dumps(row, default=str)  # whole: pytest would cut a dictionary short
