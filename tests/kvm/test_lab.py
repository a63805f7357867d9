"""The lab on real hypervisors: it comes up, shows what it should, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from drsim.errors import LabError
from executor.lab import cgroup
from executor.lab.lab import Lab, take_down
from executor.lab.state import labs_root, load_state, marked_pids
from executor.lab.topology import LabTopology
from tests.kvm.conftest import where

pytestmark = pytest.mark.kvm


def traces() -> dict[str, int]:
    """Count what a lab could leave behind, outside the labs that are up."""
    mounts = [line for line in Path("/proc/mounts").read_text().splitlines() if "drsim-lab" in line]
    links = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True).stdout.splitlines()
    namespaces = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                namespaces.add(os.readlink(entry / "ns" / "net"))
            except OSError:
                continue
    found = cgroup.controller()
    groups = len(list(found[0].glob("drsim-lab-*"))) if found else 0
    return {"mounts": len(mounts), "links": len(links), "namespaces": len(namespaces), "groups": groups}


def test_guests_are_served_and_their_memory_is_whole(lab: Lab) -> None:
    assert where(lab, "busy") == ["h1"]
    with lab.control("busy") as control:
        before = control.stat()
        time.sleep(0.5)
        after = control.stat()
        verdict = control.verify()
    # 20 MiB/s are 5,120 pages a second; on a busy machine the guest gets less time, never more.
    assert 0 < after["pages"] - before["pages"] <= 5120 * (after["up_ns"] - before["up_ns"]) / 1e9 + 512
    assert after["disk"] >= before["disk"] > 0
    assert (verdict.pages, verdict.bad_pages, verdict.bad_blocks) == (64 * 256, 0, 0)


def test_the_probe_counts_every_message(lab: Lab) -> None:
    with lab.probe() as probe:
        time.sleep(0.3)
        probe.reset()
        time.sleep(1.0)
        seen = probe.report()
    assert set(seen) == {"idle", "busy"}
    for guest in seen.values():
        assert not guest.broken
        assert (guest.lost, guest.repeated) == (0, 0)
        assert guest.received > 20


def test_the_line_is_as_slow_and_as_far_as_it_is_told(lab: Lab) -> None:
    lab.line("h1", rtt_ms=80.0)
    lab.line("h2", rtt_ms=80.0)
    try:
        # The first connection waits for address resolution, too; a handshake is one round trip.
        code = (
            "import socket, time\n"
            "def once():\n"
            "    began = time.monotonic(); socket.create_connection(('h2', 16509)); return time.monotonic() - began\n"
            "print(min(once() for _ in range(3)) * 1e3)"
        )
        round_trip_ms = float(lab.run("h1", f'{sys.executable} -c "{code}"'))
    finally:
        lab.line("h1", rtt_ms=0.0)
        lab.line("h2", rtt_ms=0.0)
    assert 80.0 <= round_trip_ms < 150.0


def test_a_crashed_host_is_gone_and_comes_back_under_its_own_name(lab: Lab) -> None:
    lab.crash("h3")
    assert not lab.is_up("h3")
    with pytest.raises(LabError, match="h3"):
        lab.guests_on("h3")
    lab.restart("h3")
    assert lab.guests_on("h3") == ()
    assert lab.run("h3", "hostname").strip() == "h3"
    lab.run("h3", "ip link show br0")


def test_two_labs_stand_side_by_side_and_leave_nothing(lab: Lab) -> None:
    before = traces()
    second = Lab.up(LabTopology.simple(name="second", hosts=1, guests=0))
    folder = second.state.folder
    assert second.guests_on("h1") == ()
    assert lab.is_up("h1")
    second.down()
    assert marked_pids(folder) == ()
    assert not folder.exists()
    deadline = time.monotonic() + 5
    while traces() != before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert traces() == before


@pytest.mark.parametrize("processes", [1, 3, 6, 11])
def test_an_up_that_was_killed_half_way_is_taken_down_whole(machine_for_labs: None, processes: int) -> None:
    before = traces()
    drsim = Path(sys.executable).with_name("drsim")
    command = [drsim, "lab", "up", "--name", "killed", "--hosts", "2", "--guests", "1"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    folder = labs_root() / "killed"
    deadline = time.monotonic() + 20
    while len(marked_pids(folder)) < processes and time.monotonic() < deadline:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert marked_pids(folder)
    assert load_state("killed").topology.name == "killed"
    with pytest.raises(LabError, match="drsim lab down --name killed"):
        Lab.up(LabTopology.simple(name="killed", hosts=1, guests=0))
    take_down(folder)
    assert marked_pids(folder) == ()
    assert not folder.exists()
    deadline = time.monotonic() + 5
    while traces() != before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert traces() == before
