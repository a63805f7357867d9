"""The controller killed at every boundary of a real run: ``python -m tests.kvm.kills [--only WORD] [--json FILE]``.

A process of its own applies a plan of one move, of a disk on its host or of a guest, and kills itself with SIGKILL:
before and after each write of its record, and while it is under way. Another then resumes the run. Whatever the
instant, the guest must run once, whole, where the record says; nobody who talks to it may have lost anything.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

from drsim.formats import write_plan
from drsim.inventory import Inventory
from drsim.plan import Move, Plan, Score
from drsim.policy import Limits
from drsim.storing import plan_storage
from drsim.transfer import Transfer, Transport
from executor.collect import collect_estate
from executor.estate import read_hosts_file
from executor.hypervisor.libvirt_kvm import LibvirtKvm
from executor.lab.lab import Lab
from executor.lab.topology import LabGuest, LabHost, LabTopology
from executor.lifecycle import MoveState, RunState
from executor.run import apply, resume
from executor.store import Store
from tests.kvm.copies import AGAIN, add_stores
from tests.kvm.program import play_all

NAME = "kills"
TOPOLOGY = LabTopology(
    name=NAME,
    hosts=tuple(LabHost(name=name) for name in ("h1", "h2")),
    guests=(LabGuest(name="g", host="h1", memory_mib=160, working_set_mib=16, dirty_rate_mib_s=2),),
)
WRITES = ("take", "begin", "intent", "start", "outcome", "end", "release")
TRANSPORTS: tuple[Transport, ...] = ("peer_to_peer", "direct")
DISKS = "disks"
"""In place of a transport: the guest stays, and its disk goes from one of these folders of its host to the other."""
FOLDERS = ("/srv/one", "/srv/other")
UNDER_WAY = "under way"

CONTROLLER = """
import os, signal, sys
from contextlib import contextmanager
from drsim.formats import read_plan
from executor.events import MoveProgress
from executor.hypervisor.libvirt_kvm import LibvirtKvm
from executor.run import apply
from executor.store import Store
plan_file, url, fuse, when = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
def die():
    os.kill(os.getpid(), signal.SIGKILL)
class Mortal(Store):
    writes = 0
    @contextmanager
    def _write(self):
        self.writes += 1
        if self.writes == fuse and when == "before":
            die()
        with super()._write() as connection:
            yield connection
        if self.writes == fuse and when == "after":
            die()
def listen(event):
    if when == "under way" and isinstance(event, MoveProgress) and event.progress.sent_mib > 1:
        die()
plan = read_plan(plan_file)
apply(plan, LibvirtKvm(plan.inventory), Mortal(url), actor="ann", on_event=listen)
"""


def boundaries() -> Iterator[tuple[str, str, int, str]]:
    """Yield transport, name, number of the write and on which side of it the controller dies."""
    for transport in (DISKS, *TRANSPORTS):
        for number, write in enumerate(WRITES, 1):
            for when in ("before", "after"):
                yield transport, f"{transport}: {when} {write}", number, when
        yield transport, f"{transport}: {UNDER_WAY}", 0, UNDER_WAY


def read(lab: Lab) -> Inventory:
    """Collect the lab."""
    estate = read_hosts_file(lab.state.folder / "hosts.yaml")
    return collect_estate(estate, clock=lambda: datetime.now(UTC), interval_s=0.1).inventory


def plan_of(inventory: Inventory, transport: str) -> Plan:
    """Return a plan of one move, slow enough to be met under way."""
    vm = inventory.vm_by_name["g"]
    if transport == DISKS:
        here = vm.disks[0].datastore
        there = next(f"{vm.host}:{folder}" for folder in FOLDERS if f"{vm.host}:{folder}" != here)
        slow = replace(AGAIN, limits=Limits(bandwidth_mbit_s=80.0))
        return plan_storage(inventory, slow, vms=["g"], to=there)
    score = Score(violations=0, penalty=0.0, objective=0.0)
    move = Move(
        id="m001",
        vm="g",
        source=vm.host,
        target="h2" if vm.host == "h1" else "h1",
        reason="to be killed",
        bandwidth_mbit_s=400.0,
        transfer=Transfer(transport=cast("Transport", transport)),
    )
    return Plan(inventory=inventory, moves=(move,), before=score, after=score)


def play(lab: Lab, transport: str, name: str, fuse: int, when: str) -> dict[str, object]:
    """Kill a controller at one boundary, resume, and return what was seen."""
    if transport == DISKS and FOLDERS[0] not in lab.run("h1", "cat /proc/mounts"):
        add_stores(lab, "h1", *FOLDERS, size_mib=256)
    plan = plan_of(read(lab), transport)
    (move,) = plan.moves
    began = time.monotonic()
    with TemporaryDirectory() as folder, lab.probe(["g"]) as probe:
        time.sleep(0.2)
        probe.reset()
        file, url = Path(folder) / "plan.json", f"sqlite:///{folder}/runs.sqlite"
        write_plan(plan, file)
        words = [sys.executable, "-c", CONTROLLER, str(file), url, str(fuse), when]
        killed = subprocess.run(words, capture_output=True, text=True, check=False)
        door, store = LibvirtKvm(plan.inventory), Store(url)
        runs = store.runs()
        result = resume(runs[0].id, door, store, actor="bob") if runs else apply(plan, door, store, actor="bob")
        time.sleep(0.5)
        view = probe.report()["g"]
        places = {s.host: s.state for s in door.locate(plan.inventory.vm_by_name["g"]).sightings}
        started = sum(record.event == "move_started" for record in store.audit())
        door.close()
    state = result.moves[0].state
    # Where the controller itself carries the migration, it ends with it: the guest stays, and the record says so.
    right = {MoveState.DONE: move.target, MoveState.FAILED: move.source}
    with lab.control("g") as control:
        verdict = control.verify()
    good = (
        killed.returncode == -9
        and places == {right.get(state, "?"): "running"}
        and (state is MoveState.DONE or (transport == "direct" and when == UNDER_WAY))
        and result.state in (RunState.DONE, RunState.NOTHING, RunState.FAILED)
        and not (view.broken or view.lost or view.repeated or verdict.bad_pages or verdict.bad_blocks)
    )
    return {
        "kill": name,
        "good": good,
        "controller": killed.returncode if killed.returncode == -9 else killed.stderr[-300:],
        "run": str(result.state),
        "move": str(state),
        "started": started,
        "places": places,
        "lost": view.lost,
        "bad": verdict.bad_pages + verdict.bad_blocks,
        "seconds": round(time.monotonic() - began, 1),
        "reason": result.moves[0].reason,
    }


def main(words: Sequence[str]) -> int:
    """Play all boundaries; 0 if each ended as it must."""

    def scene(transport: str, name: str, fuse: int, when: str) -> Callable[[Lab], dict[str, object]]:
        return lambda lab: play(lab, transport, name, fuse, when)

    scenes = ((boundary[1], scene(*boundary)) for boundary in boundaries())
    return play_all(words, TOPOLOGY, scenes, label="kill", what="kills", about=__doc__)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
