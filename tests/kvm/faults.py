"""Real faults in the middle of real migrations: ``python -m tests.kvm.faults [--only WORD] [--json FILE]``.

Each scenario breaks one thing while a guest is on its way and says what must be true afterwards: where the guest runs,
that it runs once at most, what drsim says about it, and that its memory and its disk are whole. Where a fault by its
nature ends a guest (its own QEMU is killed), drsim must say so and must not have started it anywhere.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from drsim.errors import LabError
from drsim.plan import Landing, Move
from drsim.transfer import Transfer
from executor.hypervisor.base import Progress
from executor.hypervisor.libvirt_kvm import LibvirtKvm
from executor.hypervisor.libvirt_read import is_severed
from executor.lab.config import LOCAL_FOLDER
from executor.lab.lab import Lab
from executor.lab.topology import LabGuest, LabHost, LabTopology
from tests.kvm.matrix import read
from tests.kvm.postcopy_faults import (
    POSTCOPY,
    postcopy_cut,
    postcopy_power_failure,
    postcopy_qemu_killed,
    postcopy_recovered,
    postcopy_target_killed_late,
)
from tests.kvm.program import play_all
from tests.kvm.scene import HANDS_OFF, NOTICED_S, Expected, Scenario, Scene

NAME = "faults"
TOPOLOGY = LabTopology(
    name=NAME,
    hosts=tuple(LabHost(name=name) for name in ("h1", "h2")),
    guests=(
        LabGuest(name="g", host="h1", memory_mib=256, working_set_mib=32, dirty_rate_mib_s=2),
        LabGuest(name="l", host="h1", memory_mib=256, working_set_mib=32, dirty_rate_mib_s=2, datastore="local"),
    ),
)
MEMORY_GROUPS = Path("/sys/fs/cgroup/memory")
OTHER_FOLDER = "/srv/other"
SLOW_MBIT_S = 150.0
"""Cap at which the guest is on its way for some seven seconds."""


# Scenarios


def aborted(scene: Scene) -> Expected:
    outcome = scene.at(0.5, lambda: scene.door.abort(scene.move, scene.vm))
    return Expected(outcome=outcome, status="stayed", runs_on=scene.move.source, says="cancel")


def target_daemon_killed(scene: Scene) -> Expected:
    target = scene.move.target

    def act() -> None:
        scene.lab.daemon(target, "kill")
        time.sleep(1.0)
        scene.lab.daemon(target, "start")

    return Expected(outcome=scene.at(0.5, act), status="stayed", runs_on=scene.move.source)


def source_daemon_killed(scene: Scene) -> Expected:
    source = scene.move.source

    def act() -> None:
        scene.lab.daemon(source, "kill")
        time.sleep(1.0)
        scene.lab.daemon(source, "start")

    return Expected(outcome=scene.at(0.5, act), status="stayed", runs_on=source)


def daemon_stopped(which: str) -> Scenario:
    def scenario(scene: Scene) -> Expected:
        host = scene.move.source if which == "source" else scene.move.target

        def act() -> None:
            scene.lab.daemon(host, "stop")
            time.sleep(4.0)
            scene.lab.daemon(host, "continue")

        return Expected(outcome=scene.at(0.5, act), status="moved", runs_on=scene.move.target)

    return scenario


def qemu_killed(which: str, share: float) -> Scenario:
    def scenario(scene: Scene) -> Expected:
        if which == "target":
            outcome = scene.at(share, lambda: scene.kill_qemu(scene.move.target))
            return Expected(outcome=outcome, status="stayed", runs_on=scene.move.source)
        outcome = scene.at(share, lambda: scene.kill_qemu(scene.move.source))
        return Expected(outcome=outcome, status="unknown", runs_on=None, says="keeps its hands off")

    return scenario


def power_failure(which: str) -> Scenario:
    def scenario(scene: Scene) -> Expected:
        host = scene.move.source if which == "source" else scene.move.target
        outcome = scene.at(0.5, lambda: scene.lab.crash(host))
        if outcome.status != "unknown" or HANDS_OFF not in outcome.reason:
            raise LabError(f"with a host down: {outcome}")
        scene.lab.restart(host)
        if which == "source":
            time.sleep(NOTICED_S)  # until libvirtd of the target misses its peer and removes what came in
        # It could not be asked when the migration ended; now it can.
        outcome = scene.door.watch(scene.move, scene.vm, lambda progress: None)
        if which == "target":
            return Expected(outcome=outcome, status="stayed", runs_on=scene.move.source)
        if places := scene.places():
            raise LabError(f"what came in was not removed: {places}")
        return Expected(outcome=outcome, status="unknown", runs_on=None, says="was seen nowhere")

    return scenario


def link_cut(share: float) -> Scenario:
    def scenario(scene: Scene) -> Expected:
        outcome = scene.at(share, lambda: scene.lab.cut(scene.move.target))
        scene.lab.cut(scene.move.target, cut=False)
        if share > 0.9 and outcome.status == "unknown":
            # It met the switchover: QEMU of the source hung on the dead line, stands still, and may run again by now.
            return Expected(
                outcome=outcome, status="unknown", runs_on=scene.move.source, says=HANDS_OFF, or_nowhere=True
            )
        return Expected(outcome=outcome, status="stayed", runs_on=scene.move.source)

    return scenario


def link_cut_soon_given_up(scene: Scene) -> Expected:
    """The same in the switchover, on a host whose TCP gives up after 25 s: its guest is let run again by then."""
    key = "net.ipv4.tcp_retries2"
    before = scene.lab.run(scene.move.source, f"sysctl -n {key}").strip()
    scene.lab.run(scene.move.source, f"sysctl -qw {key}=6")
    try:
        outcome = scene.at(0.95, lambda: scene.lab.cut(scene.move.target))
    finally:
        scene.lab.run(scene.move.source, f"sysctl -qw {key}={before}")
        scene.lab.cut(scene.move.target, cut=False)
    return Expected(outcome=outcome, status="stayed", runs_on=scene.move.source)


def disk_full(scene: Scene) -> Expected:
    target = scene.move.target
    scene.lab.run(target, f"mount -t tmpfs -o size=1m tmpfs {LOCAL_FOLDER}")
    try:
        with scene.lab.control("l") as control:
            control.ask("disk 8000")
            time.sleep(4.0)
            control.ask("disk 100")
        outcome = scene.door.migrate(scene.move, scene.vm, lambda progress: None)
    finally:
        time.sleep(1.0)
        scene.lab.run(target, f"umount -l {LOCAL_FOLDER}")
    return Expected(outcome=outcome, status="stayed", runs_on=scene.move.source)


def ports_taken(scene: Scene) -> Expected:
    code = (
        "import socket,time\\n"
        "held=[]\\n"
        "for port in range(49152,49216):\\n"
        "    s=socket.socket(); s.setsockopt(socket.SOL_SOCKET,socket.SO_REUSEADDR,1); s.bind((chr(0)*0,port)); "
        "s.listen(); held.append(s)\\n"
        "time.sleep(60)"
    )
    scene.lab.run(
        scene.move.target, f"printf '{code}' > /run/hold.py; setsid {sys.executable} /run/hold.py >/dev/null 2>&1 &"
    )
    time.sleep(1.0)
    try:
        outcome = scene.door.migrate(scene.move, scene.vm, lambda progress: None)
    finally:
        scene.lab.run(scene.move.target, "pkill -f /run/hold.py || true")
    return Expected(outcome=outcome, status="stayed", runs_on=scene.move.source)


def daemon_stopped_long(which: str) -> Scenario:
    """Stop a daemon for longer than keepalive bears: whatever came of it, one copy runs and drsim finds it."""

    def scenario(scene: Scene) -> Expected:
        host = scene.move.source if which == "source" else scene.move.target
        back = threading.Event()

        def act() -> None:
            scene.lab.daemon(host, "stop")
            time.sleep(45.0)
            scene.lab.daemon(host, "continue")
            back.set()

        outcome = scene.at(0.5, act)
        back.wait(60.0)
        if outcome.status == "unknown":  # an end could not be asked; it can be now
            outcome = scene.door.watch(scene.move, scene.vm, lambda progress: None)
        runs_on = scene.move.target if outcome.status == "moved" else scene.move.source
        status = outcome.status if outcome.status in ("moved", "stayed") else "moved or stayed"
        return Expected(outcome=outcome, status=status, runs_on=runs_on)

    return scenario


def out_of_memory(scene: Scene) -> Expected:
    """Let the target run out of memory while pages arrive: its kernel kills the QEMU that takes them."""
    group = MEMORY_GROUPS / f"drsim-{NAME}"
    if not MEMORY_GROUPS.is_dir():
        raise LabError(f"{MEMORY_GROUPS} is not there: this kernel cannot bound a host's memory")
    group.mkdir(exist_ok=True)
    daemon = scene.lab.daemon_pid(scene.move.target)
    try:
        (group / "memory.limit_in_bytes").write_text(str(140 << 20))
        (group / "cgroup.procs").write_text(str(daemon))
        outcome = scene.door.migrate(scene.move, scene.vm, lambda progress: None)
        killed = "oom_kill 0" not in (group / "memory.oom_control").read_text()
    finally:
        for pid in (group / "cgroup.procs").read_text().split():
            with contextlib.suppress(OSError):
                (MEMORY_GROUPS / "cgroup.procs").write_text(pid)
        with contextlib.suppress(OSError):
            group.rmdir()
    if not killed:
        raise LabError("nobody ran out of memory")
    return Expected(outcome=outcome, status="stayed", runs_on=scene.move.source)


def relocation(act: str) -> Scenario:
    """Move the disk of a running guest on its host, and break it off half way, or let it run full."""

    def scenario(scene: Scene) -> Expected:
        host, folder = scene.move.source, OTHER_FOLDER
        scene.lab.run(host, f"mkdir -p {folder}; rm -f {folder}/*")
        place = f"{folder}/{scene.vm.name}.raw"
        landing = Landing(disk="vda", datastore=f"{host}:{folder}", path=place)
        scene.move = replace(scene.move, target=host, landings=(landing,), copy_disks=("vda",), bandwidth_mbit_s=40.0)
        if act == "full":
            scene.lab.run(host, f"mount -t tmpfs -o size=1m tmpfs {folder}")
        try:
            with scene.lab.control(scene.vm.name) as control:
                control.ask("disk 4000")
                time.sleep(4.0)
                control.ask("disk 100")
            stopped = threading.Event()

            def look(progress: Progress) -> None:
                if act in ("abort", "daemon") and progress.sent_mib > 1 and not stopped.is_set():
                    stopped.set()
                    if act == "abort":
                        scene.door.abort(scene.move, scene.vm)
                    else:
                        scene.lab.daemon(host, "kill")
                        scene.lab.daemon(host, "start")

            outcome = scene.door.migrate(scene.move, scene.vm, look)
            if act == "daemon" and outcome.status == "unknown":  # the copy has gone on without it: take it up again
                outcome = scene.door.watch(scene.move, scene.vm, look)
        finally:
            if act == "full":
                time.sleep(0.5)
                scene.lab.run(host, f"umount -l {folder}")
        ends = "moved" if act in ("none", "daemon") else "stayed"
        return Expected(outcome=outcome, status=ends, runs_on=host)

    return scenario


SCENARIOS: dict[str, tuple[Scenario, dict[str, object]]] = {
    "abort": (aborted, {}),
    "libvirtd of the target killed": (target_daemon_killed, {}),
    "libvirtd of the source killed": (source_daemon_killed, {}),
    "libvirtd of the target stopped for 4 s": (daemon_stopped("target"), {}),
    "libvirtd of the source stopped for 4 s": (daemon_stopped("source"), {}),
    **{f"QEMU of the target killed at {s:.0%}": (qemu_killed("target", s), {}) for s in (0.1, 0.5, 0.95)},
    **{f"QEMU of the source killed at {s:.0%}": (qemu_killed("source", s), {}) for s in (0.1, 0.5)},
    "power failure of the target": (power_failure("target"), {}),
    "power failure of the source": (power_failure("source"), {}),
    **{f"link cut at {s:.0%}": (link_cut(s), {}) for s in (0.1, 0.5, 0.95)},
    "link cut at 95%, TCP gives up soon": (link_cut_soon_given_up, {}),
    "disk of the target full": (disk_full, {"guest": "l"}),
    "no port left on the target": (ports_taken, {}),
    "link cut in post-copy": (postcopy_cut, POSTCOPY),
    "link cut in post-copy, recovered": (postcopy_recovered, POSTCOPY),
    **{
        f"QEMU of the {which} killed in post-copy": (postcopy_qemu_killed(which), POSTCOPY)
        for which in ("source", "target")
    },
    "QEMU of the target killed at the end of post-copy": (postcopy_target_killed_late, POSTCOPY),
    **{
        f"power failure of the {which} in post-copy": (postcopy_power_failure(which), POSTCOPY)
        for which in ("source", "target")
    },
    **{f"libvirtd of the {which} stopped for 45 s": (daemon_stopped_long(which), {}) for which in ("source", "target")},
    "target out of memory": (out_of_memory, {}),
    "disk moved on its host: full": (relocation("full"), {"guest": "l"}),
    "disk moved on its host: abort": (relocation("abort"), {"guest": "l"}),
    "disk moved on its host: libvirtd killed": (relocation("daemon"), {"guest": "l"}),
    "disk moved on its host": (relocation("none"), {"guest": "l"}),
    "direct: abort": (aborted, {"transfer": Transfer(transport="direct")}),
    "direct: libvirtd of the target killed": (target_daemon_killed, {"transfer": Transfer(transport="direct")}),
    "direct: link cut at 50%": (link_cut(0.5), {"transfer": Transfer(transport="direct")}),
}


def play(lab: Lab, name: str) -> dict[str, object]:
    """Play one scenario in a lab whose guests are up and return what was seen."""
    scenario, settings = SCENARIOS[name]
    guest = str(settings.get("guest", "g"))
    for host in lab.state.hosts:
        if not lab.is_up(host):
            lab.restart(host)
        lab.cut(host, cut=False)
    revive(lab, guest)
    inventory = read(lab)
    vm = inventory.vm_by_name[guest]
    target = "h2" if vm.host == "h1" else "h1"
    transfer = settings.get("transfer", Transfer(replace_leftovers=True))
    assert isinstance(transfer, Transfer)
    move = Move(
        id="fault", vm=guest, source=vm.host, target=target, reason=name, bandwidth_mbit_s=SLOW_MBIT_S,
        transfer=transfer, copy_disks=("vda",) if guest == "l" else (),
    )  # fmt: skip
    door = LibvirtKvm(inventory)
    began = time.monotonic()
    try:
        expected = scenario(Scene(lab=lab, door=door, vm=vm, move=move))
        places = {s.host: s.state for s in door.locate(vm).sightings}
    finally:
        door.close()
    running = [host for host, state in places.items() if state == "running"]
    whole = None
    if expected.outcome.status != "unknown" and running:
        with lab.control(guest) as control:
            verdict = control.verify()
            whole = verdict.bad_pages + verdict.bad_blocks == 0
    if expected.outcome.status == "unknown":
        put_down(lab, guest)
    wanted = [] if expected.runs_on is None else [expected.runs_on]
    return {
        "scenario": name,
        "good": expected.outcome.status == expected.status
        and (running == wanted or (expected.or_nowhere and not running))
        and expected.says in expected.outcome.reason
        and whole is not False,
        "status": expected.outcome.status,
        "expected": expected.status,
        "places": places,
        "whole": whole,
        "seconds": round(time.monotonic() - began, 1),
        "reason": expected.outcome.reason,
    }


def revive(lab: Lab, guest: str) -> None:
    """Boot a guest anew that a fault has ended or left in two halves: a person's decision, which drsim never takes."""
    copies = list(_copies(lab, guest))
    if len(copies) != 1 or copies[0].state()[0] != 1 or is_severed(copies[0]):
        put_down(lab, guest)
        lab.boot(guest)


def put_down(lab: Lab, guest: str) -> None:
    """End every copy of a guest of which nobody knows what becomes: one may run now and be gone in a minute."""
    for domain in _copies(lab, guest):
        with contextlib.suppress(Exception):
            domain.destroy()
    time.sleep(1.0)


def _copies(lab: Lab, guest: str) -> Iterator[Any]:
    for host in filter(lab.is_up, lab.state.hosts):
        yield from (domain for domain in lab.connection(host).listAllDomains() if domain.name() == guest)


def main(words: Sequence[str]) -> int:
    """Play the scenarios; 0 if each ended as it must."""

    def scene(name: str) -> Callable[[Lab], dict[str, object]]:
        def played(lab: Lab) -> dict[str, object]:
            try:
                return play(lab, name)
            except LabError as error:  # the next scenario puts its guest back on its feet
                return {"scenario": name, "good": False, "error": str(error)}

        return played

    scenes = ((name, scene(name)) for name in SCENARIOS)
    return play_all(words, TOPOLOGY, scenes, label="scenario", what="faults", about=__doc__)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
