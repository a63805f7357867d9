"""The door to libvirt without a hypervisor behind it: what it never says, how it judges, what it reports."""

from __future__ import annotations

import ast
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import executor.hypervisor
from drsim.errors import HypervisorError
from drsim.inventory import Host, Inventory, Site, Vm
from drsim.plan import Move
from executor.hypervisor.libvirt_stats import figures_of, progress_of

FORBIDDEN = {
    "create",
    "createXML",
    "createWithFlags",
    "destroy",
    "destroyFlags",
    "shutdown",
    "shutdownFlags",
    "undefine",
    "undefineFlags",
    "resume",
    "suspend",
    "reboot",
    "reset",
    "managedSave",
    "restore",
    "pMSuspendForDuration",
    "delete",
}
"""Calls of libvirt that start, stop, freeze or remove a guest or its disks."""


ALLOWED = {("libvirt_volumes.py", "createXML"), ("libvirt_files.py", "destroy")}
"""An empty volume for a disk to be copied into, and a transient pool that is forgotten: neither file handles guests."""


def sources() -> Iterator[Path]:
    yield from sorted(Path(executor.hypervisor.__path__[0]).rglob("libvirt_*.py"))


def test_no_verb_that_could_cost_a_guest_is_ever_spoken() -> None:
    files = list(sources())
    assert len(files) >= 7
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Attribute) and (file.name, node.attr) not in ALLOWED:
                assert node.attr not in FORBIDDEN, f"{file.name}:{node.lineno} says {node.attr}"
            if isinstance(node, ast.Constant) and isinstance(node.value, str):  # nor by getattr
                assert node.value not in FORBIDDEN, f"{file.name}:{node.lineno} names {node.value}"


def test_progress_in_the_words_of_the_executor() -> None:
    # Shape and keys as QEMU 10.0.2 with libvirt 11.3 reported them in the second pass over dirty memory.
    stats = {
        "type": 2, "operation": 5, "time_elapsed": 1960, "memory_total": 286 << 20, "memory_processed": 142 << 20,
        "memory_remaining": 3 << 20, "memory_bps": 100 << 20, "memory_dirty_rate": 2560, "memory_page_size": 4096,
        "memory_iteration": 2, "disk_processed": 0, "disk_remaining": 0,
    }  # fmt: skip
    progress = progress_of("m001", stats)
    assert (progress.phase, progress.sent_mib, progress.remaining_mib) == ("memory", 142, 3)
    assert (progress.rate_mib_s, progress.dirty_rate_mib_s, progress.rounds) == (100, 10, 2)
    assert progress.elapsed_s == pytest.approx(1.96)


@pytest.mark.parametrize(
    ("stats", "phase"),
    [
        ({}, "starting"),
        ({"disk_remaining": 5, "disk_processed": 1}, "disks"),
        ({"memory_iteration": 1, "memory_remaining": 9}, "memory"),
        ({"memory_iteration": 4, "memory_processed": 9, "memory_remaining": 0}, "switchover"),
    ],
)
def test_phases(stats: dict[str, int], phase: str) -> None:
    assert progress_of("m", stats).phase == phase


def test_figures_of_a_completed_job() -> None:
    stats = {"time_elapsed": 1980, "downtime": 280, "memory_processed": 146 << 20, "memory_iteration": 3}
    stats |= {"memory_constant": 16384, "memory_page_size": 4096}
    expected = {"total_time_s": 1.98, "downtime_ms": 280.0, "sent_mib": 146.0, "zero_mib": 64.0, "rounds": 3}
    assert figures_of(stats) == expected
    assert set(figures_of({"type": 0}).values()) == {None}


# Against libvirt's own test driver: it can be asked about guests, and refuses to migrate


@pytest.fixture
def estate(tmp_path: Path) -> Inventory:
    pytest.importorskip("libvirt", reason="libvirt-python is not installed: make kvm")
    node = tmp_path / "node.xml"
    node.write_text(
        "<node><domain type='test'><name>g1</name><uuid>6a1f3c1e-27a5-4a0e-9f53-5d0b6c4d7a11</uuid>"
        "<memory unit='MiB'>256</memory><vcpu>1</vcpu><os><type>hvm</type></os></domain></node>"
    )
    empty = tmp_path / "empty.xml"
    empty.write_text("<node/>")
    hosts = tuple(
        Host(name=name, site="s", cores=16, memory_mib=3072, uri=uri)
        for name, uri in (
            ("h1", f"test://{node}"),
            ("h2", f"test://{empty}"),
            ("h3", "qemu+unix:///system?socket=/nonexistent"),
        )
    )
    vm = Vm(name="g1", host="h1", vcpus=1, memory_mib=256, uuid="6a1f3c1e-27a5-4a0e-9f53-5d0b6c4d7a11")
    return Inventory(sites=(Site(name="s"),), hosts=hosts, vms=(vm,))


MOVE = Move(id="m001", vm="g1", source="h1", target="h2", reason="test")


def test_a_guest_is_found_and_a_mute_host_is_named(estate: Inventory) -> None:
    from executor.hypervisor.libvirt_kvm import LibvirtKvm

    door = LibvirtKvm(estate)
    found = door.locate(estate.vms[0])
    assert [(s.host, s.state, s.job) for s in found.sightings] == [("h1", "running", False)]
    assert found.unreachable == ("h3",)
    door.close()


def test_a_refused_migration_is_an_outcome_with_libvirts_reason(estate: Inventory) -> None:
    from executor.hypervisor.libvirt_kvm import LibvirtKvm

    door = LibvirtKvm(estate)
    outcome = door.migrate(MOVE, estate.vms[0], lambda progress: None)
    assert outcome.status == "stayed"
    assert "migration is not supported" in outcome.reason
    assert door.watch(MOVE, estate.vms[0], lambda progress: None).status == "stayed"
    door.abort(MOVE, estate.vms[0])  # nothing is running: a no-op
    door.close()


def test_facts_of_a_host_and_of_a_mute_one(estate: Inventory) -> None:
    from executor.hypervisor.libvirt_kvm import LibvirtKvm

    door = LibvirtKvm(estate)
    facts = door.facts("h1")
    assert (facts.state, facts.guests_memory_mib, facts.guests_vcpus) == ("up", 256, 1)
    mute = door.facts("h3")
    assert (mute.state, mute.memory_free_mib) == ("unknown", None)
    assert "/nonexistent" in mute.note
    door.close()


def test_an_unreachable_end_is_unknown_and_hands_off(estate: Inventory, monkeypatch: pytest.MonkeyPatch) -> None:
    from executor.hypervisor import libvirt_kvm

    monkeypatch.setattr(libvirt_kvm, "SETTLE_S", 0.1)
    door = libvirt_kvm.LibvirtKvm(estate)
    move = Move(id="m002", vm="g1", source="h1", target="h3", reason="test")
    outcome = door.watch(move, estate.vms[0], lambda progress: None)
    assert outcome.status == "unknown"
    assert "h3 cannot be asked" in outcome.reason
    door.close()


def test_an_inventory_without_uris_is_refused() -> None:
    pytest.importorskip("libvirt", reason="libvirt-python is not installed: make kvm")
    from executor.hypervisor.libvirt_kvm import LibvirtKvm

    with pytest.raises(HypervisorError, match="No host of inventory 'inventory' has a libvirt URI"):
        LibvirtKvm(Inventory(hosts=(Host(name="h", site="s", cores=1, memory_mib=1),)))


def test_the_missing_binding_is_a_sentence_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from executor.hypervisor.libvirt_connect import load_libvirt

    monkeypatch.setitem(sys.modules, "libvirt", None)
    with pytest.raises(HypervisorError, match=r"apt install .*libvirt-dev.*pip install"):
        load_libvirt.__wrapped__()


@pytest.mark.parametrize(("state", "seen"), [("paused", ["paused"]), ("running", [])])
def test_a_guest_whose_qemu_answers_nobody_is_seen_only_if_it_surely_does_not_run(
    estate: Inventory, monkeypatch: pytest.MonkeyPatch, state: str, seen: list[str]
) -> None:
    import libvirt

    from executor.hypervisor import libvirt_kvm

    def stuck(domain: object) -> object:
        error = libvirt.libvirtError("cannot acquire state change lock")
        error.err = (libvirt.VIR_ERR_OPERATION_TIMEOUT, 0, "", 0, "", "", "", 0, 0)
        raise error

    monkeypatch.setattr(libvirt_kvm, "domain_state", stuck)
    monkeypatch.setattr(libvirt_kvm, "plain_state", lambda domain: state)
    door = libvirt_kvm.LibvirtKvm(estate)
    found = door.locate(estate.vms[0])
    assert [sighting.state for sighting in found.sightings] == seen
    assert ("h1" in found.unreachable) == (not seen)
    door.close()


def test_a_qemu_that_answers_nobody_under_way_is_told_and_not_waited_for(
    estate: Inventory, monkeypatch: pytest.MonkeyPatch
) -> None:
    from executor.hypervisor import libvirt_kvm
    from executor.hypervisor.libvirt_bounded import Call

    released = threading.Event()

    def hang(*_: object) -> None:
        released.wait(30.0)

    monkeypatch.setattr(libvirt_kvm, "HUNG_S", 0.3)
    door = libvirt_kvm.LibvirtKvm(estate)
    monkeypatch.setattr(door, "_begin", lambda *_: (Call(hang), None))
    monkeypatch.setattr(door, "_report", hang)
    move = Move(id="m003", vm="g1", source="h1", target="h2", reason="test")
    outcome = door.migrate(move, estate.vms[0], lambda progress: None)
    released.set()
    assert outcome.status == "unknown"
    assert "answered nobody" in outcome.reason
    assert "keeps its hands off" in outcome.reason
    door.close()
