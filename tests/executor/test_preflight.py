"""The look at both ends just before a move, and the look at the whole estate before the first."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from drsim.inventory import Inventory, PageClass
from drsim.plan import Plan
from drsim.policy import Limits, Policy, Quiet
from executor.drift import differences
from executor.hypervisor.base import HostFacts, Line, Sighting, Whereabouts
from executor.preflight import Promised, recheck, way_between
from tests.executor.estates import estate, moves, plan

MOVE = moves()[0]  # c, 6144 MiB, from h2 to h4
HERE = Whereabouts(vm="c", sightings=(Sighting(host="h2", state="running"),))
FACTS = HostFacts(
    host="h4",
    state="up",
    memory_free_mib=8000.0,
    cpu_model="EPYC-Rome",
    arch="x86_64",
    networks=("br0",),
    datastores={"ceph": None},
)


def seen(*sightings: Sighting, unreachable: tuple[str, ...] = ()) -> Whereabouts:
    return Whereabouts(vm="c", sightings=sightings, unreachable=unreachable)


def test_a_plan_that_is_still_true_is_not_refused() -> None:
    assert recheck(MOVE, plan(), HERE, FACTS) == ()


@pytest.mark.parametrize(
    ("whereabouts", "text"),
    [
        (seen(), "nowhere else"),
        (seen(Sighting(host="h2", state="stopped")), "is stopped"),
        (seen(Sighting(host="h2", state="paused")), "is paused on h2"),
        (seen(Sighting(host="h3", state="running")), "running on h3"),
        (seen(Sighting(host="h2", state="running", job=True)), "Somebody else is migrating"),
        (seen(Sighting(host="h2", state="running"), Sighting(host="h4", state="paused")), "paused on h4"),
        (seen(unreachable=("h2",)), "cannot be asked"),
    ],
)
def test_a_guest_that_is_not_as_planned_is_refused(whereabouts: Whereabouts, text: str) -> None:
    (refusal,) = recheck(MOVE, plan(), whereabouts, FACTS)
    assert refusal.kind == "guest"
    assert text in refusal.text
    assert refusal.remedy


@pytest.mark.parametrize(
    ("facts", "kind", "text"),
    [
        (replace(FACTS, state="maintenance"), "host", "state maintenance"),
        (replace(FACTS, state="unknown", note="timed out"), "host", "timed out"),
        (replace(FACTS, memory_free_mib=6000.0), "memory", "by its own figures"),
        (replace(FACTS, guests_memory_mib=2049.0), "memory", "would hold 8193 MiB"),
        (replace(FACTS, guests_vcpus=63.0), "cpu", "65 vCPUs"),
        (replace(FACTS, cpu_model="Skylake-Server"), "cpu", "Skylake-Server"),
        (replace(FACTS, arch="aarch64"), "cpu", "aarch64"),
        (replace(FACTS, networks=()), "network", "lacks br0"),
        (replace(FACTS, datastores={}), "disk", "does not see ceph"),
    ],
)
def test_a_target_that_is_not_as_planned_is_refused(facts: HostFacts, kind: str, text: str) -> None:
    (refusal,) = recheck(MOVE, plan(), HERE, facts)
    assert refusal.kind == kind
    assert text in refusal.text
    assert refusal.remedy


def test_a_guest_whose_cpu_is_known_goes_to_another_model_that_gives_it() -> None:
    other, made = replace(FACTS, cpu_model="Skylake-Server"), plan()

    def told(*given: str) -> Plan:
        vms = tuple(replace(each, cpu_model="Westmere") for each in made.inventory.vms)
        hosts = tuple(replace(host, cpu_models=given) for host in made.inventory.hosts)
        return replace(made, inventory=replace(made.inventory, vms=vms, hosts=hosts))

    assert recheck(MOVE, told("Westmere", "Nehalem"), HERE, other) == ()
    (refusal,) = recheck(MOVE, told("Nehalem"), HERE, other)
    assert (refusal.kind, "Westmere" in refusal.text) == ("cpu", True)


def test_headroom_and_promises_count() -> None:
    tight = replace(plan(), policy=Policy(limits=Limits(memory_headroom=0.3)))
    assert [r.kind for r in recheck(MOVE, tight, HERE, FACTS)] == ["memory"]
    promised = recheck(MOVE, plan(), HERE, FACTS, Promised(memory_mib=2000.0))
    assert "beside 2000 MiB promised" in " ".join(r.text for r in promised)


def test_copied_disks_need_space_and_not_the_old_datastore() -> None:
    copying = replace(MOVE, copy_disks=("vda",))
    facts = replace(FACTS, datastores={"local-h4": 20_000.0})
    assert recheck(copying, plan(), HERE, facts) == ()
    (refusal,) = recheck(copying, plan(), HERE, facts, Promised(disk_mib=15_000.0))
    assert (refusal.kind, "25240 MiB free" in refusal.text) == ("disk", True)


def vm(now: Inventory, **changes: object) -> Inventory:
    return replace(now, vms=(replace(now.vms[0], **changes), *now.vms[1:]))  # type: ignore[arg-type]


def h1(now: Inventory, **changes: object) -> Inventory:
    return replace(now, hosts=(replace(now.hosts[0], **changes), *now.hosts[1:]))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("now", "text", "refuses"),
    [
        (h1(estate(), state="maintenance"), "state was up, is maintenance", True),
        (h1(estate(), cores=4), "cores was 8, is 4", True),
        (h1(estate(), memory_mib=8190), "memory was 8192 MiB, is 8190 MiB", False),
        (h1(estate(), memory_mib=4096), "memory was 8192 MiB, is 4096 MiB", True),
        (h1(estate(), tags=("new",)), "labels", False),
        (vm(estate(), uuid="11111111-0000-0000-0000-000000000000"), "is another one now", True),
        (vm(estate(), disks=()), "its disks were vda (10240 MiB on ceph), are none", True),
        (vm(estate(), nics=()), "its networks were br0, are none", True),
        (vm(estate(), unmovable_reason="a host device"), "cannot be moved any more: a host device", True),
        (vm(estate(), dirty=(PageClass(size_mib=256.0, dirty_rate_mib_s=90.0),)), "dirty_rate_mib_s was 20.0", False),
        (vm(estate(), cpu_demand_cores=0.6), None, False),
        (vm(estate(), cpu_shares=2000.0), "its CPU shares were edited", False),
        (replace(estate(), datastores=()), "datastore 'ceph' is no longer on", True),
        (replace(estate(), links=()), "link paris--lyon", False),
        (replace(estate(), captured_at="2026-01-01T00:00:00Z"), None, False),
    ],
)
def test_differences(now: Inventory, text: str | None, refuses: bool) -> None:
    changes = differences(estate(), now)
    if text is None:
        assert changes == ()
    else:
        (change,) = changes
        assert text in change.text
        assert change.refuses is refuses


def test_a_line_that_became_too_slow_for_the_guest_refuses_its_move() -> None:
    whole = plan()
    move = whole.moves[0]  # dirties 20 MiB/s, planned over 1000 Mbit/s
    line = Line(a="h2", b="h4", rtt_ms=10.0, rate_mbit_s=900.0)
    for enough in (line, replace(line, rate_mbit_s=500.0), replace(line, rate_mbit_s=None)):
        assert recheck(move, whole, HERE, FACTS, line=enough) == ()
    for short in (60.0, 0.0):
        (refusal,) = recheck(move, whole, HERE, FACTS, line=replace(line, rate_mbit_s=short))
        assert (refusal.kind, "would not come to rest" in refusal.text) == ("line", True)


def test_what_is_known_of_a_line_is_said_with_its_age() -> None:
    now = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
    measured = Line(a="h2", b="h4", rtt_ms=10.2, rate_mbit_s=900.0)
    assert way_between(MOVE, plan(), measured, now) == "The line was measured just before: 10.2 ms, 900 Mbit/s."
    unknown = Line(a="h2", b="h4", note="no shell")
    old = replace(estate(), captured_at="2026-11-25T11:30:00+00:00")
    said = way_between(MOVE, plan(old), unknown, now)
    assert said == "The line was not measured (no shell); the plan's inventory, 30 min old says: 10 ms, 1000 Mbit/s."


def test_a_guest_is_left_alone_in_its_quiet_time() -> None:
    quiet = replace(plan(), policy=Policy(quiet=(Quiet(vms=("c",), begin="08:00", end="18:00"),)))
    noon = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
    (refusal,) = recheck(MOVE, quiet, HERE, FACTS, now=noon)
    assert refusal.kind == "quiet"
    assert "may begin at 2026-11-25 18:00 UTC" in refusal.text
    assert recheck(MOVE, quiet, HERE, FACTS, now=noon.replace(hour=18)) == ()
    late = replace(MOVE, prediction=replace(quiet.moves[0].prediction, total_time_high_s=120.0))  # type: ignore[type-var]
    assert recheck(late, quiet, HERE, FACTS, now=noon.replace(hour=7, minute=58)) != ()
    assert recheck(late, quiet, HERE, FACTS, now=noon.replace(hour=7, minute=57)) == ()
