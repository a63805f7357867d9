from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from drsim.inventory import Host, Inventory, Site, Vm
from drsim.report import Actual, comparison_table, goals_table, host_table, moves_table
from tests.report.plans import estate, of_two_goals, outcome_of, plan_of

TWO_HOSTS = Inventory(
    sites=(Site(name="s"),),
    hosts=(
        Host(name="a", site="s", cores=10, memory_mib=1100, reserved_memory_mib=100),
        Host(name="b", site="s", cores=20, memory_mib=1000, memory_overcommit=2.0),
    ),
    vms=(
        Vm(name="x", host="a", vcpus=4, memory_mib=300, cpu_demand_cores=1.0),
        Vm(name="y", host="a", vcpus=4, memory_mib=200),
        Vm(name="off", host="a", vcpus=4, memory_mib=400, state="stopped"),
    ),
)


def test_moves_table_says_what_the_plan_says() -> None:
    plan = plan_of(estate(4), 6)
    table = moves_table(plan)
    assert list(table.index) == [move.id for move in plan.moves]
    assert list(table["vm"]) == [move.vm for move in plan.moves]
    assert table["sent_mib"].sum() == pytest.approx(sum(m.prediction.sent_mib for m in plan.moves if m.prediction))
    assert table["rounds"].dtype == "Int64"


def test_moves_without_prediction_have_no_numbers() -> None:
    plan = plan_of(estate(4), 6)
    bare = replace(plan, moves=tuple(replace(move, prediction=None) for move in plan.moves))
    table = moves_table(bare)
    assert table[["start_s", "total_time_s", "downtime_ms", "sent_mib", "rounds", "converges"]].isna().all(axis=None)


def test_a_plan_without_moves_has_empty_tables() -> None:
    plan = replace(plan_of(estate(4), 6), moves=())
    assert moves_table(plan).empty
    assert comparison_table(plan, ()).empty


def test_goals_table_says_how_far_each_goal_is_from_its_bound() -> None:
    table = goals_table(of_two_goals(plan_of(estate(4), 6)))
    assert list(table.index) == ["spread", "balance"]
    assert list(table["rank"]) == [1, 2]
    assert list(table["lower_bound"]) == [4.0, 1.0]
    assert list(table["known"]) == ["lower bound 4, proven optimal", "lower bound 1, gap 20.0 %"]
    assert (table.loc["balance", "share_before"], table.loc["balance", "share_after"]) == (0.8, 0.25)
    assert goals_table(plan_of(estate(4), 6)).empty


def test_host_table_counts_demand_where_nothing_was_measured_and_not_what_is_stopped() -> None:
    table = host_table(TWO_HOSTS, {"x": "b", "y": "a", "off": "b"})
    a, b = table.loc["a"], table.loc["b"]
    assert (a["guests_before"], a["guests_after"], b["guests_after"]) == (3, 1, 2)
    # y was not measured: all its vCPUs; off asks for nothing.
    assert (a["cpu_demand_cores_before"], a["cpu_demand_cores_after"], b["cpu_demand_cores_after"]) == (5.0, 4.0, 1.0)
    assert a["memory_share_before"] == pytest.approx(500 / 1000)
    assert b["memory_share_after"] == pytest.approx(300 / 2000)


def test_host_table_keeps_totals() -> None:
    inventory = estate(10)
    table = host_table(inventory, plan_of(inventory, 20).target)
    for what in ("guests", "cpu_demand_cores", "memory_configured_mib"):
        assert table[f"{what}_before"].sum() == pytest.approx(table[f"{what}_after"].sum())


def test_host_table_without_placement_and_without_guests() -> None:
    table = host_table(replace(TWO_HOSTS, vms=()))
    assert (table[["guests_before", "guests_after"]] == 0).all(axis=None)


def test_comparison_errors_are_relative_to_what_happened() -> None:
    plan = plan_of(estate(4), 6)
    first, p = plan.moves[0], plan.moves[0].prediction
    assert p is not None
    record = Actual(
        move_id=first.id, status="done", total_time_s=p.total_time_s * 2, downtime_ms=0.0, sent_mib=p.sent_mib
    )
    row = comparison_table(plan, [record]).loc[first.id]
    assert row["error_share_total_time_s"] == pytest.approx(-0.5)
    assert row["error_share_sent_mib"] == 0.0
    assert np.isnan(row["error_share_downtime_ms"])


def test_comparison_shows_moves_not_run_and_failed_without_an_error() -> None:
    plan = plan_of(estate(4), 6)
    failed = replace(outcome_of(plan)[-1], move_id=plan.moves[0].id)
    table = comparison_table(plan, [failed])
    assert list(table["status"]) == ["failed"] + ["not run"] * 5
    assert table["reason"].iloc[0] == "the target refused it"
    assert table["actual_total_time_s"].notna().iloc[0]
    assert table.filter(like="error_share").isna().all(axis=None)


def test_the_last_record_of_a_move_counts() -> None:
    plan = plan_of(estate(4), 6)
    done = outcome_of(plan)[0]
    table = comparison_table(plan, [replace(done, status="failed"), done])
    assert table["status"].iloc[0] == "done"
    assert isinstance(table["actual_rounds"].dtype, pd.Int64Dtype)
