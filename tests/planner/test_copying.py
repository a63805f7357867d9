"""What plans of disks say about their time: predicted, banded, kept within limits, drawn, carried out."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from drsim import check
from drsim.errors import DrsimError, PlanError
from drsim.formats import read_trail
from drsim.migration import DEFAULT, Calibration
from drsim.planner import make_plan, simulate_plan
from drsim.policy import Limits, Objective, Policy
from drsim.report import render
from drsim.show import plan_view, simulation_view
from drsim.storing import plan_storage
from drsim.whatif import EmptyDatastore, compare, parse_case
from executor.audit import to_lines
from executor.hypervisor.faults import Break, Hang
from executor.hypervisor.simulated import SimulatedHypervisor
from executor.run import apply
from executor.store import Store
from tests.planner.test_datastores import GIB, OLD, STORAGE, estate

FULL = estate(["h1:/old"] * 9)
FAST = Calibration(parameters=replace(DEFAULT, copy_mib_s=512.0), residuals={"copy_total_time_s": (-0.1, 0.0, 0.1)})


def told(view: object) -> str:
    console = Console(width=250, record=True, file=StringIO())
    console.print(view)
    return console.export_text()


def test_each_move_says_how_long_it_takes_and_how_sure_that_is() -> None:
    plan = make_plan(FULL, Policy(), STORAGE)
    (move,) = plan.moves
    said = move.prediction
    assert said is not None
    assert said.total_time_s == pytest.approx(DEFAULT.copy_s + GIB / DEFAULT.copy_mib_s)
    assert (said.sent_mib, said.downtime_ms, said.in_range) == (pytest.approx(GIB), 0.0, False)
    assert plan.makespan_s == said.total_time_s
    assert any("within a factor of four, at 200 MiB/s a host" in note for note in plan.notes)
    assert simulate_plan(plan).makespan_s == plan.makespan_s
    assert "5.6 s (1.4 s to 22.5 s)" in told(plan_view(plan))
    assert "no guest stands still" in told(plan_view(plan))
    assert "vda on h1" in told(simulation_view(simulate_plan(plan), plan.moves))
    page = render(plan)
    assert "5.6 s (1.4 s to 22.5 s)" in page
    assert "vda on h1" in page


def test_a_calibration_makes_it_surer() -> None:
    for plan in (
        make_plan(FULL, Policy(), STORAGE, calibration=FAST),
        plan_storage(FULL, vms=["v1"], to="h1:/new", calibration=FAST),
    ):
        said = plan.moves[0].prediction
        assert said is not None
        assert said.total_time_s == pytest.approx(2.5)
        assert said.in_range
        assert said.total_time_high_s is not None
        assert said.total_time_high_s < 4.0
        assert not any("never measured" in note for note in plan.notes)


def test_long_copies_of_several_hosts_are_made_beside_each_other() -> None:
    made = estate(["h1:/old"] * 3 + ["h2:/old"] * 3)
    twin = replace(made.datastores[1], name="h2:/new", hosts=("h2",))
    sizes = (1.0, 3.0, 2.0, 3.0, 1.0, 2.0)
    vms = tuple(
        replace(vm, disks=(replace(vm.disks[0], size_mib=size * GIB),))
        for vm, size in zip(made.vms, sizes, strict=True)
    )
    made = replace(made, vms=vms, datastores=(*made.datastores, twin))
    plan = make_plan(made, Policy(), replace(OLD, datastores=("h1:/old", "h2:/old")))
    assert len(plan.waves) == 3
    assert plan.makespan_s == pytest.approx(3 * DEFAULT.copy_s + 6.0 * GIB / DEFAULT.copy_mib_s)


def test_the_time_that_a_plan_may_take_is_kept() -> None:
    whole = make_plan(FULL, Policy(), OLD)
    assert whole.makespan_s == pytest.approx(9 * (DEFAULT.copy_s + GIB / DEFAULT.copy_mib_s))
    short = make_plan(FULL, Policy(limits=Limits(max_minutes=0.5)), OLD)
    assert 0 < len(short.moves) < 9
    assert short.makespan_s <= 30.0
    assert any("moves fit 0.5 minutes" in note for note in short.notes)
    with pytest.raises(PlanError, match="more than max_minutes"):
        plan_storage(FULL, Policy(limits=Limits(max_minutes=0.1)), vms=["v1", "v2"], to="h1:/new")


def test_the_checker_does_not_believe_a_makespan_or_a_silence() -> None:
    plan = make_plan(FULL, Policy(), OLD)
    limited = replace(plan, policy=Policy(limits=Limits(max_minutes=0.5)), makespan_s=1.0)
    assert "more than max_minutes" in check.plan_violations(limited)[0].text
    silent = replace(limited, moves=tuple(replace(move, prediction=None) for move in plan.moves))
    assert {v.kind for v in check.plan_violations(silent)} == {"limit"}
    assert "is not predicted" in check.plan_violations(silent)[0].text


def test_a_guest_that_writes_too_much_for_a_mirror_writes_to_both_disks() -> None:
    disk = replace(FULL.vms[0].disks[0], write_rate_mib_s=190.0)
    busy = replace(FULL, vms=(replace(FULL.vms[0], disks=(disk,)), *FULL.vms[1:]))
    plan = plan_storage(busy, vms=["v1", "v2"], to="h1:/new")
    assert [move.transfer.synchronous_writes for move in plan.moves] == [True, False]
    assert all(move.prediction is not None and move.prediction.converges for move in plan.moves)
    assert any(note.startswith("Writes of 'v1' end on both disks") for note in plan.notes)


def test_what_if_a_datastore_were_emptied() -> None:
    small = estate(["h1:/old"] * 3)
    both = compare(small, cases={"old": parse_case("empty:h1:/old")}, time_limit_s=2.0)
    (_, found), row = both.cases, both.table.loc["old"]
    assert found.changes == (EmptyDatastore("h1:/old"),)
    assert found.plan is not None
    assert found.plan.objective == Objective(goal="evacuate", datastores=("h1:/old",))
    assert (row["feasible"], row["moves"], row["moved_gib"]) == (True, 3, pytest.approx(3.0))
    assert row["makespan_s"] == found.plan.makespan_s > 0.0
    with pytest.raises(DrsimError, match="no datastore 'h9'"):
        compare(small, cases={"x": (EmptyDatastore("h9"),)})
    with pytest.raises(DrsimError, match="Make two cases"):
        compare(small, cases={"x": parse_case("empty:h1:/old,drain:h1")})


def test_without_noise_the_simulated_hypervisor_takes_what_was_predicted(tmp_path: Path) -> None:
    plan = make_plan(FULL, Policy(), replace(STORAGE, most_full=0.6))
    hypervisor = SimulatedHypervisor(FULL, noise=0.0)
    store = Store(f"sqlite:///{tmp_path / 'runs.db'}")
    result = apply(plan, hypervisor, store, actor="test")
    assert [row.state for row in result.moves] == ["done"] * len(plan.moves)
    for row in result.moves:
        assert row.move.prediction is not None
        assert row.total_time_s == pytest.approx(row.move.prediction.total_time_s)
        assert row.sent_mib == pytest.approx(row.move.prediction.sent_mib)
    (tmp_path / "trail.jsonl").write_text(to_lines(store.audit()))
    seen = read_trail(tmp_path / "trail.jsonl", [plan])
    assert [(one.storage_only, one.copy_disks, one.downtime_ms) for one in seen] == [(True, ("vda",), None)] * len(seen)
    assert len(seen) == len(plan.moves)


@pytest.mark.parametrize(("fault", "text"), [(Break(vm="v1", fraction=0.5, text="no space"), "no space")])
def test_a_copy_that_breaks_off_leaves_the_disk_where_it_was(fault: Break, text: str) -> None:
    plan = plan_storage(FULL, vms=["v1"], to="h1:/new")
    hypervisor = SimulatedHypervisor(FULL, noise=0.0, faults=[fault])
    outcome = hypervisor.migrate(plan.moves[0], FULL.vms[0], lambda progress: None)
    assert (outcome.status, outcome.reason) == ("stayed", text)
    assert hypervisor.inventory() == FULL


def test_while_disks_are_copied_they_are_seen_to_be() -> None:
    plan = plan_storage(FULL, vms=["v1"], to="h1:/new")
    hypervisor = SimulatedHypervisor(FULL, noise=0.0, faults=[Hang(vm="v1", fraction=0.5)])
    (move,), looks = plan.moves, []

    def listen(progress: object) -> None:
        looks.append((hypervisor.locate(FULL.vms[0]), hypervisor.facts("h1").memory_free_mib))
        if looks[-1][0].sightings[0].copying:
            hypervisor.abort(move, FULL.vms[0])

    outcome = hypervisor.migrate(move, FULL.vms[0], listen)
    assert (outcome.status, outcome.reason) == ("stayed", "aborted on request")
    assert [s.copying for s in looks[-1][0].sightings] == [("vda",)]
    assert len({free for _, free in looks}) == 1  # nothing of it comes into memory
