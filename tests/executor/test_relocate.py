"""Disks of a running guest moved on its host: judged by where they lie, carried out, taken up again."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from drsim.errors import HypervisorError
from drsim.inventory import Datastore, Disk, Inventory
from drsim.plan import Landing, Move
from drsim.storing import plan_storage
from executor.actions import actions
from executor.hypervisor.base import HostFacts, Sighting, Whereabouts, judge
from executor.hypervisor.faults import ControllerKilled, Kill, Refuse
from executor.hypervisor.simulated import SimulatedHypervisor
from executor.lifecycle import MoveState, RunState
from executor.preflight import recheck
from executor.run import apply, resume
from executor.store import Store
from tests.executor.estates import estate
from tests.faults.mortal import another_process

MOVE = Move(
    id="m001", vm="g", source="h1", target="h1", reason="test", copy_disks=("vda", "vdb"),
    landings=(Landing(disk="vda", datastore="new", path="/new/a"), Landing(disk="vdb", datastore="new", path="/new/b")),
)  # fmt: skip


def seen(vda: str, vdb: str, *copying: str, state: Any = "running", host: str = "h1") -> Whereabouts:
    disks = (("vda", vda), ("vdb", vdb))
    return Whereabouts(vm="g", sightings=(Sighting(host=host, state=state, disks=disks, copying=copying),))


@pytest.mark.parametrize(
    ("whereabouts", "status"),
    [
        (seen("/new/a", "/new/b"), "moved"),
        (seen("/old/a", "/old/b"), "stayed"),
        (seen("/new/a", "/old/b"), "unknown"),
        (seen("/old/a", "/old/b", "vdb"), "under_way"),
        (seen("/new/a", "/old/b", "vdb"), "under_way"),
        (seen("/old/a", "/old/b", "vdz"), "stayed"),
        (seen("/new/a", "/new/b", state="paused"), "unknown"),
        (seen("/new/a", "/new/b", host="h2"), "unknown"),
        (Whereabouts(vm="g", sightings=(Sighting(host="h1", state="running"),)), "unknown"),
        (Whereabouts(vm="g"), "unknown"),
        (Whereabouts(vm="g", unreachable=("h1",)), "unknown"),
    ],
)
def test_judgement(whereabouts: Whereabouts, status: str) -> None:
    assert judge(MOVE, whereabouts).status == status


def stored() -> Inventory:
    """An estate of which a guest has a disk in a folder of its host, which has another one."""
    base = estate()
    stores = (
        Datastore(name="h1:/srv", kind="local", path="/srv", hosts=("h1",)),
        Datastore(name="h1:/new", kind="local", path="/new", hosts=("h1",), capacity_mib=20_000.0),
    )
    disk = Disk(name="vdb", datastore="h1:/srv", size_mib=1000.0, path="/srv/a.raw")
    vms = tuple(replace(vm, disks=(*vm.disks, disk)) if vm.name == "a" else vm for vm in base.vms)
    return replace(base, vms=vms, datastores=base.datastores + stores)


def wanted() -> Any:
    return plan_storage(stored(), vms=["a"], disks=["vdb"], to="h1:/new")


def test_a_plan_of_disks_is_carried_out_once(tmp_path: Path) -> None:
    hypervisor, store = SimulatedHypervisor(stored()), Store(f"sqlite:///{tmp_path / 'runs'}")
    (action,) = actions(wanted())
    assert "move disks of 'a' on h1" in str(action)
    assert "vdb to /new/a.raw" in str(action)
    result = apply(wanted(), hypervisor, store, actor="ann")
    assert result.state is RunState.DONE
    disks = {disk.name: (disk.datastore, disk.path) for disk in hypervisor.inventory().vm_by_name["a"].disks}
    assert disks["vdb"] == ("h1:/new", "/new/a.raw")
    assert hypervisor.inventory().vm_by_name["a"].host == "h1"
    assert apply(wanted(), hypervisor, store, actor="ann").state is RunState.NOTHING


def test_a_folder_that_its_last_disk_has_left_is_not_missed(tmp_path: Path) -> None:
    hypervisor, store = SimulatedHypervisor(stored()), Store(f"sqlite:///{tmp_path / 'runs'}")
    apply(wanted(), hypervisor, store, actor="ann")
    now = hypervisor.inventory()
    kept = tuple(each for each in now.datastores if each.name != "h1:/srv")
    later = SimulatedHypervisor(replace(now, datastores=kept))
    assert apply(wanted(), later, store, actor="ann").state is RunState.NOTHING


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_controller_that_died_is_followed_by_one_that_looks(tmp_path: Path, when: Any) -> None:
    url = f"sqlite:///{tmp_path / 'runs'}"
    hypervisor = SimulatedHypervisor(stored(), faults=[Kill(vm="a", when=when)])
    with another_process(), pytest.raises(ControllerKilled):
        apply(wanted(), hypervisor, Store(url), actor="ann")
    result = resume("r0001", hypervisor, Store(url), actor="bob")
    assert result.state is RunState.DONE
    assert hypervisor.inventory().vm_by_name["a"].disks[1].path == "/new/a.raw"


def test_what_is_refused_stays(tmp_path: Path) -> None:
    hypervisor = SimulatedHypervisor(stored(), faults=[Refuse(vm="a", text="no space")])
    result = apply(wanted(), hypervisor, Store(f"sqlite:///{tmp_path / 'runs'}"), actor="ann")
    assert [(move.state, move.reason) for move in result.moves] == [(MoveState.FAILED, "no space")]
    assert hypervisor.inventory() == stored()


@pytest.mark.parametrize(("stores", "text"), [({}, "does not see"), ({"h1:/new": 10.0}, "10 MiB free")])
def test_the_last_look_sees_room(stores: dict[str, float | None], text: str) -> None:
    plan = wanted()
    facts = HostFacts(host="h1", state="up", datastores=stores)
    here = Whereabouts(vm="a", sightings=(Sighting(host="h1", state="running"),))
    (refusal,) = recheck(plan.moves[0], plan, here, facts)
    assert refusal.kind == "disk"
    assert text in refusal.text


# Against a domain that answers as libvirt 11.3 does


class Domain:
    def __init__(self) -> None:
        self.disks: dict[str, list[Any]] = {"vda": ["/old/a", None, False], "vdb": ["/old/b", None, False]}
        self.said: list[tuple[Any, ...]] = []

    def XMLDesc(self, flags: int) -> str:
        rows = []
        for name, (path, there, ready) in self.disks.items():
            state = " ready='yes'" if ready else ""
            inner = f"<mirror type='file' job='copy'{state}><source file='{there}'/></mirror>" if there else ""
            rows.append(f"<disk type='file'><source file='{path}'/><target dev='{name}'/>{inner}</disk>")
        return f"<domain><devices>{''.join(rows)}</devices></domain>"

    def blockJobAbort(self, disk: str, flags: int) -> None:
        self.said.append((disk, flags))
        if flags:
            self.disks[disk] = [self.disks[disk][1], None, False]
        else:
            self.disks[disk][1:] = [None, False]


def test_the_switch_waits_until_all_disks_are_alike() -> None:
    libvirt = pytest.importorskip("libvirt", reason="libvirt-python is not installed: make kvm")
    from executor.hypervisor.libvirt_relocate import switch_over

    domain = Domain()
    domain.disks = {"vda": ["/old/a", "/new/a", True], "vdb": ["/old/b", "/new/b", False]}
    assert not switch_over(domain, MOVE)
    assert domain.said == []
    domain.disks["vdb"][2] = True
    assert switch_over(domain, MOVE)
    pivot = libvirt.VIR_DOMAIN_BLOCK_JOB_ABORT_PIVOT
    assert domain.said == [("vda", pivot), ("vdb", pivot)]
    assert switch_over(domain, MOVE)  # again: nothing is left to do
    assert len(domain.said) == 2


def test_a_copy_that_ended_by_itself_or_is_somebody_elses_is_told() -> None:
    pytest.importorskip("libvirt", reason="libvirt-python is not installed: make kvm")
    from executor.hypervisor.libvirt_relocate import cancel, switch_over

    domain = Domain()
    domain.disks["vda"][1:] = ["/new/a", True]
    with pytest.raises(HypervisorError, match="vdb to /new/b ended before it was whole"):
        switch_over(domain, MOVE)
    cancel(domain, MOVE)
    assert domain.said == [("vda", 0)]
    domain.disks["vda"][1:] = ["/elsewhere", True]
    with pytest.raises(HypervisorError, match="somebody else"):
        switch_over(domain, MOVE)
    cancel(domain, MOVE)
    assert domain.said == [("vda", 0)]  # and its copy is not touched


def test_a_target_is_told_of_the_new_paths() -> None:
    pytest.importorskip("libvirt", reason="libvirt-python is not installed: make kvm")
    from executor.hypervisor.libvirt_target import target_xml

    text = target_xml(Domain(), {}, {"vdb": "/new/b"})
    assert text is not None
    paths = [source.get("file") for source in ET.fromstring(text).iterfind("devices/disk/source")]
    assert paths == ["/old/a", "/new/b"]
