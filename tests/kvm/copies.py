"""Disks of running guests moved between datastores of one host, time and again: ``python -m tests.kvm.copies``.

A host with a folder of its own, one that all hosts see, and two small file systems in memory, each a storage pool.
Guests whose disks hold 16 MiB to 512 MiB, some writing, change their datastore by real plans: made, applied, verified.
Prints a JSON line each: predicted beside actual, what the guest found on its disk, what its client saw. ``--out DIR``
keeps plans and trail, from which `drsim calibrate` and the scorecard read what happened.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from drsim.formats import read_calibration, write_plan
from drsim.inventory import Inventory
from drsim.plan import Plan
from drsim.policy import Limits, Manner, Policy
from drsim.storing import plan_storage
from drsim.transfer import Transfer
from executor.audit import to_lines
from executor.collect import collect_estate
from executor.estate import read_hosts_file
from executor.hypervisor.libvirt_kvm import LibvirtKvm
from executor.lab.lab import Lab, take_down
from executor.lab.state import lab_names, labs_root
from executor.lab.topology import LabGuest, LabHost, LabTopology
from executor.run import apply
from executor.store import Store

NAME = "copies"
SIZES_MIB = (16, 64, 256, 512)
HOME, NEAR, FAR = "/srv", "/srv/near", "/srv/far"
AGAIN = Policy(manners=(Manner(vms=("*",), transfer=Transfer(replace_leftovers=True)),))
"""What an earlier move of the same disk left behind may be written over: the way back."""

TOPOLOGY = LabTopology(
    name=NAME,
    hosts=(LabHost(name="h1"),),
    guests=tuple(
        LabGuest(
            name=f"d{size}",
            host="h1",
            memory_mib=128,
            working_set_mib=0,
            dirty_rate_mib_s=0,
            disk_mib=size,
            disk_write_kib_s=0,
            datastore="local",
            autostart=False,
        )
        for size in SIZES_MIB
    ),
)
ROUNDS: tuple[tuple[str, int, float | None], ...] = (
    *(("near", 0, None), ("far", 0, None), ("shared", 0, None), ("srv", 0, None)),
    *(("near", 100, None), ("far", 100, None), ("shared", 100, None), ("srv", 100, None)),
    *(("near", 0, 400.0), ("shared", 0, 400.0), ("far", 1000, 400.0), ("srv", 1000, None)),
)
"""Where all disks go, what each guest writes meanwhile (KiB/s), and the cap (Mbit/s)."""


def add_stores(lab: Lab, host: str, *folders: str, size_mib: int = 2048) -> None:
    """Mount a file system in memory at each folder of a host and make it a storage pool of its libvirt."""
    connection = lab.connection(host)
    try:
        for folder in folders:
            lab.run(host, f"mkdir -p {folder} && mount -t tmpfs -o size={size_mib}m tmpfs {folder}")
            name = folder.strip("/").replace("/", "-")
            text = f"<pool type='dir'><name>{name}</name><target><path>{folder}</path></target></pool>"
            connection.storagePoolCreateXML(text, 0)
    finally:
        connection.close()


def read(lab: Lab, interval_s: float = 1.0) -> Inventory:
    """Collect the lab; rates are measured over the interval."""
    estate = read_hosts_file(lab.state.folder / "hosts.yaml")
    return collect_estate(estate, clock=lambda: datetime.now(UTC), interval_s=interval_s).inventory


def carried_out(lab: Lab, plan: Plan, store: Store) -> list[dict[str, Any]]:
    """Apply a plan while a client talks to all its guests; return a row a move."""
    guests = list(dict.fromkeys(move.vm for move in plan.moves))
    door = LibvirtKvm(plan.inventory)
    with lab.probe(guests) as probe:
        time.sleep(0.3)
        probe.reset()
        result = apply(plan, door, store, actor="copies")
        time.sleep(0.3)
        views = probe.report()
    door.close()
    rows = []
    for each in result.moves:
        said, view = each.move.prediction, views[each.move.vm]
        with lab.control(each.move.vm) as control:
            verdict = control.verify()
        bad = verdict.bad_pages + verdict.bad_blocks
        rows.append(
            {
                "guest": each.move.vm,
                "to": each.move.landings[0].datastore,
                "state": str(each.state),
                "good": str(each.state) == "done" and not (bad or view.broken or view.lost or view.repeated),
                "predicted_s": None if said is None else round(said.total_time_s, 2),
                "seconds": None if each.total_time_s is None else round(each.total_time_s, 2),
                "sent_mib": each.sent_mib,
                "load": round(os.getloadavg()[0], 1),
                "bad": bad,
                "lost": view.lost,
                "gap_ms": round(view.tcp_gap_ms, 1),
                "reason": each.reason,
            }
        )
    return rows


def name_of(inventory: Inventory, word: str) -> str:
    """Return the datastore meant by a word of `ROUNDS`."""
    if word == "shared":
        return next(store.name for store in inventory.datastores if store.kind == "shared_fs")
    return {"srv": f"h1:{HOME}", "near": f"h1:{NEAR}", "far": f"h1:{FAR}"}[word]


def main(words: Sequence[str]) -> int:
    """Play the rounds; 0 if every disk arrived whole and nobody missed anything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=len(ROUNDS))
    parser.add_argument("--parameters", default="lab-tcg")
    parser.add_argument("--out", type=Path, help="folder for plans and trail")
    options = parser.parse_args(words)
    calibration, good = read_calibration(options.parameters), True
    if NAME in lab_names():
        take_down(labs_root() / NAME)
    lab = Lab.up(TOPOLOGY)
    with TemporaryDirectory() as scratch:
        folder = options.out or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        store = Store(f"sqlite:///{scratch}/runs.sqlite")
        try:
            add_stores(lab, "h1", NEAR, FAR)
            connection = lab.connection("h1")
            text = f"<pool type='dir'><name>srv</name><target><path>{HOME}</path></target></pool>"
            connection.storagePoolCreateXML(text, 0)
            connection.close()
            for size in SIZES_MIB:
                lab.run("h1", f"head -c {size}M /dev/urandom > {HOME}/d{size}.raw")
                lab.boot(f"d{size}")
            for number, (word, write_kib_s, cap) in enumerate(ROUNDS[: options.rounds]):
                for size in SIZES_MIB:
                    with lab.control(f"d{size}", wait_s=30.0) as control:
                        control.order(f"disk {write_kib_s}")
                time.sleep(1.0)
                inventory = read(lab)
                policy = replace(AGAIN, limits=Limits(bandwidth_mbit_s=cap))
                vms = [vm.name for vm in inventory.vms]
                plan = plan_storage(inventory, policy, vms=vms, to=name_of(inventory, word), calibration=calibration)
                write_plan(plan, folder / f"plan-{number:02d}.json")
                for row in carried_out(lab, plan, store):
                    good = good and bool(row["good"])
                    about = {"round": number, "write_kib_s": write_kib_s, "cap_mbit_s": cap}
                    sys.stdout.write(json.dumps({**about, **row}) + "\n")
                    sys.stdout.flush()
        finally:
            lab.down()
        (folder / "trail.jsonl").write_text(to_lines(store.audit()))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
