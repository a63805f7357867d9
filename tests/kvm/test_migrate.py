"""Real migrations: guests move, nobody who talks to them notices more than a pause, and nothing is ever lost."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from dataclasses import asdict
from datetime import UTC, datetime

import pytest

from drsim.inventory import Inventory
from drsim.plan import Move
from executor.collect import collect
from executor.hypervisor import libvirt_kvm
from executor.hypervisor.base import Outcome, Progress
from executor.hypervisor.libvirt_kvm import LibvirtKvm
from executor.lab.lab import Lab
from tests.kvm.conftest import where

pytestmark = pytest.mark.kvm

SLOW_MBIT_S = 80.0
"""Bandwidth cap at which a guest of 256 MiB takes ten seconds: time to do something to its migration."""


def read(lab: Lab) -> Inventory:
    return collect(
        lab.uris(), peer_uris=lab.peer_uris(), clock=lambda: datetime.now(UTC), networks=["br0"], interval_s=0.1
    ).inventory


def move_of(inventory: Inventory, guest: str, **changes: object) -> Move:
    source = inventory.vm_by_name[guest].host
    target = "h2" if source == "h1" else "h1"
    return Move(id=f"m-{guest}", vm=guest, source=source, target=target, reason="test", **changes)  # type: ignore[arg-type]


def assert_whole(lab: Lab, guest: str) -> None:
    with lab.control(guest) as control:
        verdict = control.verify()
    assert (verdict.bad_pages, verdict.bad_blocks) == (0, 0)


@pytest.mark.parametrize("guest", ["idle", "busy"])
def test_a_guest_moves_there_and_back_unnoticed(lab: Lab, guest: str) -> None:
    door = LibvirtKvm(read(lab))
    with lab.probe([guest]) as probe:
        for _ in range(2):
            inventory = door.inventory()
            move = move_of(inventory, guest, max_downtime_ms=300.0)
            seen: list[Progress] = []
            probe.reset()
            outcome = door.migrate(move, inventory.vm_by_name[guest], seen.append)
            time.sleep(0.5)
            view = probe.report()[guest]
            assert outcome.status == "moved"
            assert outcome.reason == "" or outcome.reason.startswith("It stood still for")  # on a busy machine
            assert where(lab, guest) == [move.target]
            assert (view.broken, view.lost, view.repeated) == (False, 0, 0)
            assert view.received > 100
            # The guest cannot have been away for less time than QEMU says that it stood still, nor the migration have
            # sent less than the working set.
            assert outcome.downtime_ms is not None
            assert outcome.total_time_s is not None
            assert view.tcp_gap_ms > 0.5 * outcome.downtime_ms
            assert outcome.total_time_s * 1000 > outcome.downtime_ms
            assert (outcome.sent_mib or 0) > 64
            assert (outcome.rounds or 0) >= 2
            assert seen
            assert [p.sent_mib for p in seen] == sorted(p.sent_mib for p in seen)
            assert_whole(lab, guest)
    door.close()


def test_an_aborted_migration_leaves_the_guest_where_it_was(lab: Lab) -> None:
    inventory = read(lab)
    door, vm = LibvirtKvm(inventory), inventory.vm_by_name["busy"]
    move = move_of(inventory, "busy", bandwidth_mbit_s=SLOW_MBIT_S)
    started = threading.Event()
    outcomes: list[Outcome] = []

    def listen(progress: Progress) -> None:
        if progress.sent_mib > 1:
            started.set()

    with lab.probe(["busy"]) as probe:
        thread = threading.Thread(target=lambda: outcomes.append(door.migrate(move, vm, listen)))
        thread.start()
        assert started.wait(20)
        copies = {sighting.host: (sighting.state, sighting.job) for sighting in door.locate(vm).sightings}
        door.abort(move, vm)
        thread.join(30)
        view = probe.report()["busy"]
    assert copies == {move.source: ("running", True), move.target: ("incoming", True)}
    assert outcomes[0].status == "stayed"
    assert "cancel" in outcomes[0].reason
    assert where(lab, "busy") == [move.source]
    assert (view.broken, view.lost) == (False, 0)
    assert_whole(lab, "busy")
    door.abort(move, vm)  # nothing is running any more: a no-op
    door.close()


CONTROLLER = """
import json, sys
from datetime import UTC, datetime
from drsim.plan import Move
from drsim.transfer import Transfer
from executor.collect import collect
from executor.hypervisor.libvirt_kvm import LibvirtKvm
uris, peers, move = (json.loads(word) for word in sys.argv[1:])
inventory = collect(uris, peer_uris=peers, clock=lambda: datetime.now(UTC), interval_s=0.1).inventory
move = Move(**{**move, "transfer": Transfer(**move["transfer"])})
def listen(progress):
    if progress.sent_mib > 1:
        print("under way", flush=True)
LibvirtKvm(inventory).migrate(move, inventory.vm_by_name[move.vm], listen)
"""


def test_a_migration_outlives_its_controller_and_is_found_again(lab: Lab) -> None:
    inventory = read(lab)
    move = move_of(inventory, "busy", bandwidth_mbit_s=SLOW_MBIT_S * 3)
    words = [json.dumps(word) for word in (lab.uris(), lab.peer_uris(), asdict(move))]
    controller = subprocess.Popen(
        [sys.executable, "-c", CONTROLLER, *words],
        stdout=subprocess.PIPE,
        text=True,
    )
    with lab.probe(["busy"]) as probe:
        assert controller.stdout is not None
        assert controller.stdout.readline() == "under way\n"
        controller.kill()
        controller.wait()
        controller.stdout.close()
        door, seen = LibvirtKvm(inventory), list[Progress]()
        outcome = door.watch(move, inventory.vm_by_name["busy"], seen.append)
        view = probe.report()["busy"]
    assert outcome.status == "moved"
    assert outcome.downtime_ms is not None
    assert seen
    assert where(lab, "busy") == [move.target]
    assert (view.broken, view.lost) == (False, 0)
    assert_whole(lab, "busy")
    door.close()


@pytest.mark.parametrize("end", ["source", "target"])
def test_a_daemon_killed_in_the_middle_costs_the_migration_and_nothing_else(lab: Lab, end: str) -> None:
    inventory = read(lab)
    door, vm = LibvirtKvm(inventory), inventory.vm_by_name["busy"]
    move = move_of(inventory, "busy", bandwidth_mbit_s=SLOW_MBIT_S)
    started, outcomes = threading.Event(), list[Outcome]()

    def listen(progress: Progress) -> None:
        if progress.sent_mib > 1:
            started.set()

    with lab.probe(["busy"]) as probe:
        thread = threading.Thread(target=lambda: outcomes.append(door.migrate(move, vm, listen)))
        thread.start()
        assert started.wait(20)
        lab.daemon(getattr(move, end), "kill")
        time.sleep(1.0)
        lab.daemon(getattr(move, end), "start")
        thread.join(40)
        view = probe.report()["busy"]
    assert outcomes[0].status == "stayed"
    assert outcomes[0].reason.startswith(f"'busy' stayed on {move.source}: ")
    assert where(lab, "busy") == [move.source]
    assert (view.broken, view.lost) == (False, 0)
    assert_whole(lab, "busy")
    door.close()


def test_a_target_without_power_leaves_the_guest_at_the_source(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libvirt_kvm, "SETTLE_S", 1.0)
    inventory = read(lab)
    door, vm = LibvirtKvm(inventory), inventory.vm_by_name["idle"]
    move = Move(id="m-dark", vm="idle", source=vm.host, target="h3", reason="test")
    lab.crash("h3")
    try:
        outcome = door.migrate(move, vm, lambda progress: None)
        facts = door.facts("h3")
    finally:
        lab.restart("h3")
    assert facts.state == "unknown"
    # The target cannot be asked, so it cannot be known that the guest does not run there as well.
    assert outcome.status == "unknown"
    assert "h3 cannot be asked" in outcome.reason
    assert where(lab, "idle") == [move.source]
    assert door.watch(move, vm, lambda progress: None).status == "stayed"
    door.close()


def test_facts_are_the_hosts_own(lab: Lab) -> None:
    inventory = read(lab)
    door = LibvirtKvm(inventory)
    host = inventory.vm_by_name["busy"].host
    expected = sum(vm.memory_mib for vm in inventory.vms if vm.host == host)
    facts = door.facts(host)
    assert (facts.state, facts.guests_memory_mib, facts.networks) == ("up", expected, ("br0",))
    assert facts.memory_free_mib is not None
    assert 0 < facts.memory_free_mib < inventory.host_by_name[host].memory_mib
    door.close()
