"""The checker's own sums of disks that move along: figures by hand."""

from __future__ import annotations

from dataclasses import replace

from drsim import check
from drsim.inventory import Datastore, Disk, Inventory
from drsim.placement import Placement
from drsim.policy import Policy
from tests.rules.estates import estate


def local(places: str, rooms: list[float | None], *, size_mib: float = 1024.0, rate: float = 1.0) -> Inventory:
    made = estate(places)
    disk = Disk(name="vda", datastore="", size_mib=size_mib, write_rate_mib_s=rate)
    return replace(
        made,
        vms=tuple(replace(vm, disks=(replace(disk, datastore=f"{vm.host}:/d"),)) for vm in made.vms),
        datastores=tuple(
            Datastore(
                name=f"h{n}:/d", kind="local", path="/d", capacity_mib=mib, hosts=(f"h{n}",), write_rate_mib_s=2.5
            )
            for n, mib in enumerate(rooms, 1)
        ),
    )


def test_what_comes_must_fit_beside_what_stays() -> None:
    made = local("112", [None, 2560.0, None])
    assert check.disk_violations(made, Policy(), Placement({"v1": "h2", "v2": "h1", "v3": "h2"})) == ()
    (lack,) = check.disk_violations(made, Policy(), Placement({"v1": "h2", "v2": "h2", "v3": "h2"}))
    assert lack.subject == "h2:/d"
    assert "lacks 0.5 GiB and 0.5 MiB/s of writes" in lack.text


def test_what_leaves_makes_room_for_what_comes() -> None:
    made = local("12", [1024.0, 1024.0, None])
    assert check.disk_violations(made, Policy(), Placement({"v1": "h2", "v2": "h1"})) == ()
    assert check.disk_violations(made, Policy(), Placement({"v1": "h2", "v2": "h2"}))


def test_of_several_datastores_one_with_room_is_taken() -> None:
    made = local("11", [None, 1500.0, None])
    odd = Datastore(name="h2:/e", kind="local", path="/e", capacity_mib=1500.0, hosts=("h2",))
    elsewhere = replace(made.datastores[1], path="/f")
    both = replace(made, datastores=(made.datastores[0], elsewhere, made.datastores[2], odd))
    target = Placement({"v1": "h2", "v2": "h2"})
    assert check.disk_violations(both, Policy(), target) == ()
    assert check.disk_violations(replace(both, datastores=both.datastores[:3]), Policy(), target)
