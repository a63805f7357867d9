"""Real migrations in every mode, one after the other: ``python -m tests.kvm.matrix [--only WORD] [--json FILE]``.

Each case makes one migration of a busy guest while a client holds a TCP connection to it and counts packets, and then
lets the guest check its memory and its disks. Whatever is broken, lost, repeated or corrupt fails the run.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from drsim.inventory import Inventory
from drsim.migration import copied_disks
from drsim.plan import Landing, Move
from drsim.transfer import Transfer
from executor.collect import collect_estate
from executor.estate import read_hosts_file
from executor.hypervisor.base import Progress
from executor.hypervisor.libvirt_kvm import LibvirtKvm
from executor.lab.config import LOCAL_FOLDER
from executor.lab.lab import Lab, take_down
from executor.lab.state import lab_names, labs_root
from executor.lab.topology import LabDisk, LabGuest, LabHost, LabTopology
from executor.lab.wire import LabNetwork, Wan

NAME = "matrix"
TOPOLOGY = LabTopology(
    name=NAME,
    hosts=tuple(LabHost(name=name) for name in ("h1", "h2", "h3")),
    guests=(
        LabGuest(name="g", host="h1", memory_mib=256, working_set_mib=32, dirty_rate_mib_s=5),
        LabGuest(name="l", host="h1", memory_mib=256, working_set_mib=32, dirty_rate_mib_s=5, datastore="local"),
    ),
)
__all__ = ["LOCAL_FOLDER", "TOPOLOGY", "Case", "cases", "main", "run_case"]
WIDE = LabTopology(
    name="wide-matrix",
    hosts=(
        LabHost(name="h1", site="paris", cluster="north"),
        LabHost(name="h2", site="paris", cluster="north"),
        LabHost(name="h3", site="rome", cluster="south"),
    ),
    links=(Wan(a="paris", b="rome", rtt_ms=20.0),),
    networks=(
        LabNetwork(name="lan", bridges={"h2": "lan7", "h3": "br-rome"}),
        LabNetwork(name="switched", kind="ovs", bridge="ovs0"),
        LabNetwork(name="overlay", kind="vxlan", bridge="brx"),
    ),
    guests=(
        LabGuest(name="iscsi", host="h1", datastore="iscsi"),
        LabGuest(name="nfs", host="h1", datastore="nfs", disk_format="qcow2"),
        LabGuest(name="tagged", host="h1", network="switched", vlan=7),
        LabGuest(
            name="over",
            host="h1",
            network="overlay",
            datastore="local",
            disk_format="qcow2",
            more_disks=(LabDisk(datastore="local", format="qcow2", base_mib=32),),
        ),
    ),
    tls=True,
)
"""Two clusters in two sites, storage of every kind, a bridge that each host calls something else, VLANs, tunnels."""

SIX = LabTopology(
    name="six",
    hosts=tuple(LabHost(name=name) for name in ("h1", "h2", "h3")),
    guests=tuple(LabGuest(name=f"g{i}", host="h1", memory_mib=160, dirty_rate_mib_s=2) for i in range(1, 7)),
)

SLACK_KIB = 4096
"""By how much a disk may grow while it is copied: what its guest writes meanwhile, and whole blocks for parts, KiB."""

SETTLE_S = 0.7
"""Time for the client to hear of the guest again before it is asked, seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One migration: what the guest does, what the line is like, how it travels."""

    name: str
    guest: str = "g"
    working_set_mib: int = 32
    dirty_rate_mib_s: int = 5
    rate_mbit_s: float = 1000.0
    rtt_ms: float = 0.0
    max_downtime_ms: float = 300.0
    bandwidth_mbit_s: float | None = None
    transfer: Transfer = field(default_factory=Transfer)
    stays: bool = False
    target: str | None = None
    shapes: bool = True
    lands: bool = False
    at_home: bool = False


def cases() -> Iterator[Case]:
    """Yield the cases."""
    for rate in (0, 5, 20, 40, 80):
        yield Case(name=f"precopy {rate} MiB/s", working_set_mib=64 if rate else 0, dirty_rate_mib_s=rate)
    for line in (250.0, 500.0):
        yield Case(name=f"precopy {line:g} Mbit/s", rate_mbit_s=line, dirty_rate_mib_s=10)
    for rtt in (20.0, 100.0):
        yield Case(name=f"precopy RTT {rtt:g} ms", rtt_ms=rtt, dirty_rate_mib_s=10)
    yield Case(name="precopy capped at 200 Mbit/s", bandwidth_mbit_s=200.0)
    yield Case(name="precopy with auto-converge", working_set_mib=96, dirty_rate_mib_s=90, rate_mbit_s=500.0,
               transfer=Transfer(auto_converge=True))  # fmt: skip
    yield Case(name="precopy given up", working_set_mib=96, dirty_rate_mib_s=90, rate_mbit_s=250.0, stays=True,
               transfer=Transfer(timeout_s=6.0))  # fmt: skip
    for rate in (0, 40, 90):
        yield Case(name=f"postcopy {rate} MiB/s", working_set_mib=96, dirty_rate_mib_s=rate,
                   transfer=Transfer(mode="postcopy"))  # fmt: skip
    yield Case(name="postcopy RTT 100 ms", working_set_mib=64, dirty_rate_mib_s=40, rtt_ms=100.0,
               transfer=Transfer(mode="postcopy"))  # fmt: skip
    for passes in (1, 2, 4):
        yield Case(name=f"hybrid after {passes}", working_set_mib=96, dirty_rate_mib_s=90, rate_mbit_s=500.0,
                   transfer=Transfer(mode="hybrid", precopy_passes=passes))  # fmt: skip
    yield Case(name="hybrid RTT 100 ms", working_set_mib=64, dirty_rate_mib_s=60, rtt_ms=100.0,
               transfer=Transfer(mode="hybrid"))  # fmt: skip
    yield Case(name="hybrid 250 Mbit/s", working_set_mib=64, dirty_rate_mib_s=60, rate_mbit_s=250.0,
               transfer=Transfer(mode="hybrid"))  # fmt: skip
    for streams in (2, 4):
        yield Case(name=f"multifd {streams}", dirty_rate_mib_s=20, transfer=Transfer(parallel_connections=streams))
    yield Case(name="multifd 4 RTT 100 ms", rtt_ms=100.0, transfer=Transfer(parallel_connections=4))
    yield Case(name="multifd zstd", rate_mbit_s=250.0,
               transfer=Transfer(parallel_connections=2, compression="zstd"))  # fmt: skip
    yield Case(name="multifd zstd TLS", transfer=Transfer(parallel_connections=2, compression="zstd", tls=True))
    yield Case(name="xbzrle 250 Mbit/s", working_set_mib=64, dirty_rate_mib_s=20, rate_mbit_s=250.0,
               transfer=Transfer(compression="xbzrle"))  # fmt: skip
    yield Case(name="xbzrle", working_set_mib=64, dirty_rate_mib_s=40, transfer=Transfer(compression="xbzrle"))
    yield Case(name="tls", dirty_rate_mib_s=20, transfer=Transfer(tls=True))
    yield Case(name="tls RTT 100 ms", rtt_ms=100.0, transfer=Transfer(tls=True))
    yield Case(name="tls multifd", transfer=Transfer(tls=True, parallel_connections=2))
    yield Case(
        name="tls postcopy", working_set_mib=64, dirty_rate_mib_s=40, transfer=Transfer(tls=True, mode="postcopy")
    )
    yield Case(name="tls hybrid", working_set_mib=64, dirty_rate_mib_s=40, transfer=Transfer(tls=True, mode="hybrid"))
    yield Case(name="tunnelled", dirty_rate_mib_s=10, transfer=Transfer(transport="tunnelled"))
    yield Case(name="direct", dirty_rate_mib_s=10, transfer=Transfer(transport="direct"))
    yield Case(name="direct postcopy", dirty_rate_mib_s=20, transfer=Transfer(transport="direct", mode="postcopy"))
    yield Case(name="disks", guest="l")
    yield Case(name="disks TLS", guest="l", transfer=Transfer(tls=True))
    yield Case(name="disks 250 Mbit/s", guest="l", rate_mbit_s=250.0)
    yield Case(name="disks multifd", guest="l", transfer=Transfer(parallel_connections=2))
    yield Case(name="disks hybrid", guest="l", dirty_rate_mib_s=40, transfer=Transfer(mode="hybrid"))
    yield Case(name="disks direct", guest="l", transfer=Transfer(transport="direct"))
    yield Case(name="disks, landing at another path", guest="l", lands=True)
    yield Case(name="disks, landing at another path, TLS hybrid", guest="l", lands=True, dirty_rate_mib_s=40,
               transfer=Transfer(mode="hybrid", tls=True))  # fmt: skip
    yield Case(name="storage only", guest="l", lands=True, at_home=True)
    yield Case(name="storage only, writes at both", guest="l", lands=True, at_home=True,
               transfer=Transfer(synchronous_writes=True))  # fmt: skip
    yield Case(name="disks RTT 20 ms", guest="l", rtt_ms=20.0)
    for rtt in (20.0, 100.0):
        yield Case(name=f"disks RTT {rtt:g} ms, writes on both ends", guest="l", rtt_ms=rtt,
                   transfer=Transfer(synchronous_writes=True))  # fmt: skip


def wide_cases() -> Iterator[Case]:
    """Yield the cases of the wide lab."""
    hybrid, tls = Transfer(mode="hybrid"), Transfer(tls=True, synchronous_writes=True, disk_layers="top")
    yield Case(name="across bridges", guest="iscsi", target="h2", shapes=False)
    yield Case(name="iSCSI, to another cluster", guest="iscsi", target="h3", shapes=False)
    yield Case(name="iSCSI, hybrid and back", guest="iscsi", target="h1", transfer=hybrid, shapes=False)
    yield Case(name="NFS, to another cluster", guest="nfs", target="h3", shapes=False)
    yield Case(name="NFS, TLS and back", guest="nfs", target="h2", transfer=Transfer(tls=True), shapes=False)
    yield Case(name="Open vSwitch port with a VLAN", guest="tagged", target="h2", shapes=False)
    yield Case(name="Open vSwitch port with a VLAN, to another site", guest="tagged", target="h3", shapes=False)
    yield Case(
        name="overlay, disk and top layer of a disk over TLS to another site",
        guest="over",
        target="h3",
        transfer=tls,
        shapes=False,
    )
    yield Case(name="overlay, disk and top layer back", guest="over", target="h1", transfer=tls, shapes=False)


def evacuation(lab: Lab) -> dict[str, object]:
    """Move every guest off one host at once, as a plan would, and return what was seen."""
    inventory = read(lab)
    source = max(lab.state.hosts, key=lambda host: len(lab.guests_on(host)))
    names = lab.guests_on(source)
    others = [host for host in lab.state.hosts if host != source]
    moves = [
        Move(id=f"e{i}", vm=name, source=source, target=others[i % len(others)], reason="evacuation")
        for i, name in enumerate(names)
    ]
    door = LibvirtKvm(inventory)
    with lab.probe(names) as probe, ThreadPoolExecutor(len(names)) as pool:
        time.sleep(0.2)
        probe.reset()
        began = time.monotonic()
        outcomes = list(pool.map(lambda move: door.migrate(move, inventory.vm_by_name[move.vm], _ignore), moves))
        wall_s = time.monotonic() - began
        time.sleep(SETTLE_S)
        views = probe.report()
    door.close()
    bad = []
    for move, outcome in zip(moves, outcomes, strict=True):
        view, places = views[move.vm], [host for host in lab.state.hosts if move.vm in lab.guests_on(host)]
        with lab.control(move.vm) as control:
            verdict = control.verify()
        harm = view.broken or view.lost or view.repeated or verdict.bad_pages or verdict.bad_blocks
        if outcome.status != "moved" or places != [move.target] or harm:
            bad.append(move.vm)
    return {
        "case": f"evacuation of {len(names)} guests at once",
        "good": not bad and not lab.guests_on(source),
        "bad": bad,
        "wall_s": round(wall_s, 2),
        "tcp_gap_ms": max(view.tcp_gap_ms for view in views.values()),
        "load": round(os.getloadavg()[0], 1),
    }


def _ignore(progress: Progress) -> None:
    pass


def run_case(lab: Lab, number: int, case: Case) -> dict[str, object]:
    """Carry one case out and return what was seen."""
    if case.shapes:
        for host in lab.state.hosts:
            lab.line(host, rate_mbit_s=case.rate_mbit_s, rtt_ms=case.rtt_ms)
    with lab.control(case.guest) as control:
        control.dirty(case.working_set_mib, case.dirty_rate_mib_s)
    inventory = read(lab)
    vm = inventory.vm_by_name[case.guest]
    others = [host for host in lab.state.hosts if host != vm.host]
    target = vm.host if case.at_home else case.target or others[number % len(others)]
    path = f"{LOCAL_FOLDER}/case-{number}-{time.time_ns()}/{case.guest}.raw"
    move = Move(
        id=f"c{number}",
        vm=vm.name,
        source=vm.host,
        target=target,
        reason=case.name,
        max_downtime_ms=case.max_downtime_ms,
        bandwidth_mbit_s=case.bandwidth_mbit_s,
        transfer=replace(case.transfer, replace_leftovers=True),  # of an earlier case
        copy_disks=("vda",) if case.at_home else copied_disks(vm, inventory.host_by_name[target], inventory),
        landings=(Landing(disk="vda", datastore=f"{target}:new", path=path),) if case.lands else (),
    )
    before_kib = taken_kib(lab, vm.host, str(vm.disks[0].path)) if case.lands else 0
    door = LibvirtKvm(inventory)
    with lab.probe([case.guest]) as probe:
        time.sleep(0.2)
        probe.reset()
        began = time.monotonic()
        outcome = door.migrate(move, vm, lambda progress: None)
        wall_s = time.monotonic() - began
        time.sleep(SETTLE_S)
        view = probe.report()[case.guest]
    door.close()
    places = [host for host in lab.state.hosts if case.guest in lab.guests_on(host)]
    landed = not case.lands or taken_kib(lab, target, path) in range(1, before_kib + SLACK_KIB)
    with lab.control(case.guest) as control:
        verdict = control.verify()
    good = (
        outcome.status == ("stayed" if case.stays else "moved")
        and places == [vm.host if case.stays else target]
        and landed
        and not (view.broken or view.lost or view.repeated or verdict.bad_pages or verdict.bad_blocks)
    )
    return {
        "case": case.name,
        "good": good,
        "status": outcome.status,
        "wall_s": round(wall_s, 2),
        "tcp_gap_ms": view.tcp_gap_ms,
        "udp_gap_ms": view.udp_gap_ms,
        **{k: v for k, v in asdict(outcome).items() if k != "status"},
        "broken": view.broken,
        "lost": view.lost,
        "repeated": view.repeated,
        "bad_pages": verdict.bad_pages,
        "bad_blocks": verdict.bad_blocks,
        "places": places,
        "load": round(os.getloadavg()[0], 1),
    }


def taken_kib(lab: Lab, host: str, path: str) -> int:
    """Space that a disk takes on its host, KiB; 0 if it is not there."""
    found = lab.run(host, f"du -k {path} || true").split()
    return int(found[0]) if found and found[0].isdecimal() else 0


def read(lab: Lab) -> Inventory:
    """Collect the lab."""
    estate = read_hosts_file(lab.state.folder / "hosts.yaml")
    return collect_estate(estate, clock=lambda: datetime.now(UTC), interval_s=0.1).inventory


def main(words: Sequence[str]) -> int:
    """Run the matrix; 0 if every case went as it should."""
    parser = argparse.ArgumentParser(prog="matrix", description=__doc__)
    parser.add_argument("--only", default="", help="cases whose name holds this word")
    parser.add_argument("--json", type=Path, help="file for the rows")
    arguments = parser.parse_args(words)
    rows: list[dict[str, object]] = []

    def tell(row: dict[str, object]) -> None:
        rows.append(row)
        sys.stdout.write(json.dumps(row) + "\n")
        sys.stdout.flush()

    for topology, wanted in ((TOPOLOGY, cases()), (WIDE, wide_cases()), (SIX, iter(()))):
        chosen = [case for case in wanted if arguments.only in case.name]
        crowd = topology is SIX and arguments.only in "evacuation"
        if not chosen and not crowd:
            continue
        if topology.name in lab_names():
            take_down(labs_root() / topology.name)
        lab = Lab.up(topology)
        try:
            for number, case in enumerate(chosen):
                tell(run_case(lab, number, case))
            if crowd:
                tell(evacuation(lab))
        finally:
            lab.down()
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n")
    bad = [str(row["case"]) for row in rows if not row["good"]]
    sys.stdout.write(
        f"{len(rows)} migrations, {len(bad)} not as they should be{': ' + ', '.join(bad) if bad else ''}\n"
    )
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
