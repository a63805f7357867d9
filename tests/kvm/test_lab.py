"""The lab on real hypervisors: it comes up, shows what it should, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from drsim.errors import LabError
from drsim.topology import Topology
from executor.collect import collect_estate
from executor.estate import read_hosts_file
from executor.lab import cgroup
from executor.lab.lab import Lab, take_down
from executor.lab.state import labs_root, load_state, marked_pids
from executor.lab.topology import LabTopology
from tests.kvm.conftest import where

pytestmark = pytest.mark.kvm


def namespaces(pids: Iterable[int]) -> set[str]:
    """Network, mount and PID namespaces of processes."""
    found = set()
    for pid in pids:
        for kind in ("net", "mnt", "pid"):
            try:
                found.add(os.readlink(f"/proc/{pid}/ns/{kind}"))
            except OSError:
                continue
    return found


def left_behind(folder: Path, held: set[str], links: set[str]) -> list[str]:
    """List what is there yet of a lab that held these namespaces on a machine that had these interfaces."""
    everybody = namespaces(int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    group = cgroup.controller()
    return [
        *(f"process {pid}" for pid in marked_pids(folder)),
        *(f"namespace {each}" for each in (held - namespaces([os.getpid()])) & everybody),
        *(f"mount {line}" for line in Path("/proc/mounts").read_text().splitlines() if str(folder) in line),
        *(f"interface {each}" for each in interfaces() - links),
        *(f"group {each}" for each in (group[0].glob(f"drsim-lab-{folder.name}-*") if group else ())),
        *(f"file {each}" for each in (folder.rglob("*") if folder.exists() else ())),
    ]


def interfaces() -> set[str]:
    """Names of the machine's own interfaces."""
    return {path.name for path in Path("/sys/class/net").iterdir()}


def assert_nothing_left(folder: Path, held: set[str], links: set[str]) -> None:
    deadline = time.monotonic() + 10  # the kernel takes namespaces apart a moment after their last process
    while left_behind(folder, held, links) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert left_behind(folder, held, links) == []


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
        estate = read_hosts_file(lab.state.folder / "hosts.yaml")
        known = collect_estate(estate, clock=lambda: datetime.now(UTC), interval_s=0.1).inventory
    finally:
        lab.line("h1", rtt_ms=0.0)
        lab.line("h2", rtt_ms=0.0)
    assert 80.0 <= round_trip_ms < 150.0
    path = Topology(known).path("h1", "h2")
    assert path is not None
    assert path.rtt_ms == 80.0


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
    links = interfaces()
    second = Lab.up(LabTopology.simple(name="second", hosts=1, guests=0))
    folder = second.state.folder
    held = namespaces(marked_pids(folder))
    assert second.guests_on("h1") == ()
    assert lab.is_up("h1")
    second.down()
    assert_nothing_left(folder, held, links)
    assert lab.is_up("h1")


@pytest.mark.parametrize("processes", [1, 3, 6, 11])
def test_an_up_that_was_killed_half_way_is_taken_down_whole(machine_for_labs: None, processes: int) -> None:
    links = interfaces()
    drsim = Path(sys.executable).with_name("drsim")
    command = [drsim, "lab", "up", "--name", "killed", "--hosts", "2", "--guests", "1"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    folder = labs_root() / "killed"
    deadline = time.monotonic() + 20
    while (seen := len(marked_pids(folder))) < processes and time.monotonic() < deadline:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    # What was seen may be gone by now: a host's first process ends by itself when nobody reads what it says.
    assert seen >= processes
    assert load_state("killed").topology.name == "killed"
    with pytest.raises(LabError, match="drsim lab down --name killed"):
        Lab.up(LabTopology.simple(name="killed", hosts=1, guests=0))
    held = namespaces(marked_pids(folder))
    take_down(folder)
    assert_nothing_left(folder, held, links)
