"""Datastores filled, relieved and emptied on real hypervisors while guests write; a controller killed half way."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from drsim.inventory import Inventory
from drsim.plan import Plan
from drsim.planner import make_plan
from drsim.policy import Objective, Policy
from drsim.storing import plan_storage
from executor.lab.lab import Lab, take_down
from executor.lab.state import lab_names, labs_root
from executor.lab.topology import LabGuest, LabHost, LabTopology
from executor.store import Store
from tests.kvm.copies import AGAIN, FAR, HOME, NEAR, add_stores, carried_out, read
from tests.kvm.test_resume import DRSIM, drsim, environment

pytestmark = pytest.mark.kvm

NAME = "test-storage"
GUESTS = ("a", "b")
NEXT = "/srv/next"
TOPOLOGY = LabTopology(
    name=NAME,
    hosts=(LabHost(name="h1"),),
    guests=tuple(
        LabGuest(name=name, host="h1", memory_mib=128, working_set_mib=8, disk_mib=32, datastore="local")
        for name in GUESTS
    ),
)


@pytest.fixture(scope="module")
def stores(machine_for_labs: None) -> Iterator[Lab]:
    """A host whose guests write to disks in its own folder, with two file systems in memory beside it."""
    if NAME in lab_names():
        take_down(labs_root() / NAME)
    lab = Lab.up(TOPOLOGY)
    try:
        add_stores(lab, "h1", NEAR, FAR, size_mib=96)
        yield lab
    finally:
        lab.down()


def lies(inventory: Inventory) -> dict[str, str]:
    return {vm.name: vm.disks[0].datastore for vm in inventory.vms}


def written(lab: Lab, mib: float) -> None:
    """Let every guest have written so much to its disk at least."""
    for name in GUESTS:
        with lab.control(name, wait_s=30.0) as control:
            control.order("disk 8000")
            deadline = time.monotonic() + 30.0
            while control.stat()["disk"] * 4096 < mib * 2**20 and time.monotonic() < deadline:
                time.sleep(0.1)
            control.order("disk 100")


def whole(lab: Lab, plan: Plan, tmp_path: Path) -> None:
    """Carry a plan out and see that every guest found its memory and its disk as it had left them."""
    rows = carried_out(lab, plan, Store(f"sqlite:///{tmp_path / 'runs.sqlite'}"))
    assert [row for row in rows if not row["good"]] == []
    assert all(row["seconds"] > 0.0 and row["sent_mib"] > 0.0 for row in rows)
    assert all("is left as it was" in row["reason"] for row in rows)


def test_datastores_are_filled_relieved_and_emptied_while_guests_write(stores: Lab, tmp_path: Path) -> None:
    written(stores, 6.0)
    first = plan_storage(read(stores, 0.1), vms=GUESTS, to=f"h1:{NEAR}")
    whole(stores, first, tmp_path)
    now = read(stores, 0.1)
    assert lies(now) == dict.fromkeys(GUESTS, f"h1:{NEAR}")
    assert stores.run("h1", f"ls {HOME}/*.raw").split() == [f"{HOME}/{name}.raw" for name in GUESTS]
    relieved = make_plan(now, Policy(), Objective(goal="storage", most_full=0.1))
    assert len(relieved.moves) == 1
    whole(stores, relieved, tmp_path)
    assert sorted(lies(read(stores, 0.1)).values()) == [f"h1:{FAR}", f"h1:{NEAR}"]


def test_a_killed_controller_is_taken_up_and_there_is_a_way_back(stores: Lab, tmp_path: Path) -> None:
    written(stores, 6.0)
    (tmp_path / "policy.yaml").write_text("format: drsim-policy\nformat_version: 1\nlimits: {bandwidth_mbit_s: 40}\n")
    wish = ("--storage-only", "--vm", "a", "--to", f"h1:{NEXT}")
    add_stores(stores, "h1", NEXT, size_mib=96)
    drsim(
        tmp_path,
        "collect",
        "--hosts-file",
        str(stores.state.folder / "hosts.yaml"),
        "--interval",
        "0.1",
        "-o",
        "cluster.json",
    )
    drsim(tmp_path, "plan", "cluster.json", "policy.yaml", *wish, "-o", "plan.json", codes=(2,))
    with stores.probe(["a"]) as probe:
        words = [DRSIM, "apply", "plan.json", "--on", "libvirt", "--yes"]
        controller = subprocess.Popen(words, cwd=tmp_path, env=environment(tmp_path), stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 30.0
        while "job='copy'" not in _seen(stores):
            assert controller.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        controller.kill()
        controller.wait()
        assert "job='copy'" in _seen(stores)  # QEMU goes on with it
        drsim(tmp_path, "resume", "r0001")
        view = probe.report()["a"]
    assert (view.broken, view.lost, view.repeated) == (False, 0, 0)
    now = read(stores, 0.1)
    assert lies(now)["a"] == f"h1:{NEXT}"
    before = f"h1:{NEAR}" if stores.run("h1", f"ls {NEAR}").split().count("a.raw") else f"h1:{FAR}"
    back = plan_storage(now, AGAIN, vms=["a"], to=before)
    whole(stores, back, tmp_path)
    assert lies(read(stores, 0.1))["a"] == before


def _seen(lab: Lab) -> str:
    connection = lab.connection("h1")
    try:
        return str(connection.lookupByName("a").XMLDesc(0))
    finally:
        connection.close()
