"""The simulated hypervisor itself: sharing, pacing, looking."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from drsim.formats import write_inventory
from drsim.inventory import Datastore, Disk
from drsim.plan import Move
from executor.hypervisor.base import Outcome, Progress
from executor.hypervisor.faults import Hang
from executor.hypervisor.simulated import SimulatedHypervisor
from tests.executor.estates import estate, moves


def migrate_all(hypervisor: SimulatedHypervisor, wanted: list[Move]) -> dict[str, Outcome]:
    outcomes: dict[str, Outcome] = {}

    def work(move: Move) -> None:
        vm = hypervisor.inventory().vm_by_name[move.vm]
        outcomes[move.id] = hypervisor.migrate(move, vm, lambda progress: None)

    threads = [threading.Thread(target=work, args=(move,)) for move in wanted]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


def test_migrations_at_once_share_their_lines() -> None:
    one = Move(id="m1", vm="c", source="h2", target="h4", reason="test")
    other = Move(id="m2", vm="e", source="h3", target="h4", reason="test")
    alone = migrate_all(SimulatedHypervisor(estate(), noise=0.0), [one])["m1"].total_time_s
    beside = migrate_all(SimulatedHypervisor(estate(), noise=0.0), [one, other])["m1"].total_time_s
    assert alone is not None
    assert beside is not None
    assert beside > 1.3 * alone  # the link between the sites is the bottleneck of both


def test_the_end_of_an_abort_is_a_guest_that_stayed() -> None:
    hypervisor = SimulatedHypervisor(estate(), faults=[Hang(vm="c", fraction=0.3)])
    move, seen = moves()[0], list[Progress]()
    vm = estate().vm_by_name["c"]

    def listen(progress: Progress) -> None:
        seen.append(progress)
        if progress.sent_mib > 0.0:
            hypervisor.abort(move, vm)

    outcome = hypervisor.migrate(move, vm, listen)
    assert (outcome.status, outcome.reason) == ("stayed", "aborted on request")
    assert hypervisor.inventory() == estate()
    assert seen[-1].remaining_mib > 0.0


def test_under_way_a_guest_is_seen_on_both_ends_with_its_job() -> None:
    hypervisor = SimulatedHypervisor(estate(), faults=[Hang(vm="c")])
    move, vm = moves()[0], estate().vm_by_name["c"]
    looks = []

    def listen(progress: Progress) -> None:
        if progress.sent_mib > 0.0:
            looks.append(hypervisor.locate(vm))
            hypervisor.abort(move, vm)

    hypervisor.migrate(move, vm, listen)
    assert [(s.host, s.state, s.job) for s in looks[0].sightings] == [("h2", "running", True), ("h4", "incoming", True)]


@pytest.mark.parametrize(
    ("move", "text"),
    [
        (Move(id="m1", vm="c", source="h1", target="h4", reason="test"), "Domain not found"),
        (Move(id="m1", vm="c", source="h2", target="h9", reason="test"), "unable to connect"),
    ],
)
def test_what_cannot_be_is_refused_as_an_outcome(move: Move, text: str) -> None:
    hypervisor = SimulatedHypervisor(estate())
    outcome = hypervisor.migrate(move, estate().vm_by_name["c"], lambda progress: None)
    assert outcome.status != "moved"
    assert text in outcome.reason or "keeps its hands off" in outcome.reason


def test_a_guest_of_the_same_name_but_another_uuid_is_another_guest() -> None:
    hypervisor = SimulatedHypervisor(estate())
    stranger = replace(estate().vm_by_name["c"], uuid="ffffffff-0000-0000-0000-000000000000")
    assert hypervisor.locate(stranger).sightings == ()


def test_copied_disks_land_where_the_target_keeps_such_disks() -> None:
    small = estate()
    stores = tuple(Datastore(name=f"local-{h.name}", kind="local", hosts=(h.name,)) for h in small.hosts)
    vm = replace(small.vm_by_name["a"], disks=(Disk(name="vda", datastore="local-h1", size_mib=1024.0),))
    small = replace(small, datastores=(*small.datastores, *stores), vms=(vm, *small.vms[1:]))
    hypervisor = SimulatedHypervisor(small)
    move = replace(moves()[1], copy_disks=("vda",))
    assert hypervisor.migrate(move, vm, lambda progress: None).status == "moved"
    assert hypervisor.inventory().vm_by_name["a"].disks[0].datastore == "local-h3"


def test_an_estate_that_somebody_else_changed_is_seen(tmp_path: Path) -> None:
    file = tmp_path / "estate.json"
    write_inventory(estate(), file)
    hypervisor = SimulatedHypervisor(file)
    write_inventory(replace(estate(), vms=estate().vms[1:]), file)
    assert "a" not in hypervisor.inventory().vm_by_name


def test_simulated_time_passes_at_the_speed_asked_for() -> None:
    hypervisor = SimulatedHypervisor(estate(), speed=1000.0, noise=0.0)
    outcome = migrate_all(hypervisor, [moves()[0]])["m001"]
    assert outcome.total_time_s == pytest.approx(
        migrate_all(SimulatedHypervisor(estate(), noise=0.0), [moves()[0]])["m001"].total_time_s, rel=1e-6
    )
    assert hypervisor.elapsed_s() == pytest.approx(outcome.total_time_s, rel=1e-6)


def test_a_state_that_cannot_be_written_is_a_migration_that_failed(tmp_path: Path) -> None:
    folder = tmp_path / "estate"
    folder.mkdir()
    write_inventory(estate(), folder / "estate.json")
    hypervisor = SimulatedHypervisor(folder / "estate.json")
    hypervisor._write = lambda now: (_ for _ in ()).throw(OSError(28, "No space left on device"))  # type: ignore[method-assign]
    outcome = hypervisor.migrate(moves()[0], estate().vm_by_name["c"], lambda progress: None)
    assert outcome.status == "stayed"
    assert "No space left" in outcome.reason
