"""A plan, its hosts and its outcome as DataFrames; units are in the column names, one row per thing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from drsim.inventory import Inventory
from drsim.placement import Placement
from drsim.plan import Plan
from drsim.report.actual import Actual
from drsim.report.shares import contention
from drsim.report.text import above


def moves_table(plan: Plan) -> pd.DataFrame:
    """List the moves of a plan in their order.

    Returns
    -------
    DataFrame
        Index ``move``; columns wave, vm, source, target, start_s, total_time_s, downtime_ms, sent_mib, rounds,
        converges, max_downtime_ms, stop_over, copy_disks, reason. NaN where nothing was predicted.
    """
    known = [move.prediction for move in plan.moves]
    return pd.DataFrame(
        {
            "wave": [move.wave for move in plan.moves],
            "vm": [move.vm for move in plan.moves],
            "source": [move.source for move in plan.moves],
            "target": [move.target for move in plan.moves],
            "start_s": [np.nan if p is None else p.start_s for p in known],
            "total_time_s": [np.nan if p is None else p.total_time_s for p in known],
            "downtime_ms": [np.nan if p is None else p.downtime_ms for p in known],
            "sent_mib": [np.nan if p is None else p.sent_mib for p in known],
            "rounds": pd.array([pd.NA if p is None else p.rounds for p in known], dtype="Int64"),
            "converges": pd.array([pd.NA if p is None else p.converges for p in known], dtype="boolean"),
            "max_downtime_ms": [move.max_downtime_ms for move in plan.moves],
            "stop_over": [move.stop_over for move in plan.moves],
            "copy_disks": [", ".join(move.copy_disks) for move in plan.moves],
            "reason": [move.reason for move in plan.moves],
        },
        index=pd.Index([move.id for move in plan.moves], name="move"),
    )


def goals_table(plan: Plan) -> pd.DataFrame:
    """List what each of several goals comes to.

    Returns
    -------
    DataFrame
        Index ``goal``, in the order of their ranks; columns rank, weight, unit, before, after, lower_bound, known,
        share_before, share_after (`drsim.terms`). Empty for a plan with one goal.
    """
    rows = list(zip(plan.before.parts, plan.after.parts, strict=True))
    return pd.DataFrame(
        {
            "rank": [after.rank for _, after in rows],
            "weight": [after.weight for _, after in rows],
            "unit": [after.unit for _, after in rows],
            "before": [before.value for before, _ in rows],
            "after": [after.value for _, after in rows],
            "lower_bound": [np.nan if after.lower_bound is None else after.lower_bound for _, after in rows],
            "known": ["" if a.lower_bound is None else above(a.value, a.lower_bound) for _, a in rows],
            "share_before": [before.share for before, _ in rows],
            "share_after": [after.share for _, after in rows],
        },
        index=pd.Index([after.goal for _, after in rows], name="goal"),
    )


def host_table(inventory: Inventory, placement: Mapping[str, str] | None = None) -> pd.DataFrame:
    """Lay out what guests ask of each host, as the inventory records them and as a placement would put them.

    Stopped guests count as guests but ask for nothing. CPU is demand over cores, memory is configured memory over what
    the host may hold (`Host.guest_memory_mib`).

    Parameters
    ----------
    inventory : Inventory
        Hosts and guests.
    placement : mapping of str to str, optional
        Guest to host; by default the placement of the inventory, so that before and after are the same.

    Returns
    -------
    DataFrame
        Index ``host``; columns site, state, cores, guest_memory_mib, then guests, cpu_demand_cores, cpu_share,
        memory_configured_mib, memory_share, each with ``_before`` and ``_after``.
    """
    hosts = inventory.hosts
    row = {host.name: i for i, host in enumerate(hosts)}
    cores = np.array([host.cores for host in hosts], dtype=float)
    room_mib = np.array([host.guest_memory_mib for host in hosts], dtype=float)
    active = np.array([vm.state != "stopped" for vm in inventory.vms], dtype=bool)
    cpu = np.where(active, [vm.cpu_cores for vm in inventory.vms], 0.0)
    memory = np.where(active, [vm.memory_mib for vm in inventory.vms], 0.0)

    columns: dict[str, object] = {
        "site": [host.site for host in hosts],
        "state": [host.state for host in hosts],
        "cores": [host.cores for host in hosts],
        "guest_memory_mib": room_mib,
    }
    before = Placement.of(inventory)
    for when, where in (("before", before), ("after", before if placement is None else placement)):
        at = np.array([row[where[vm.name]] for vm in inventory.vms], dtype=int)
        demand = np.bincount(at, weights=cpu, minlength=len(hosts)).astype(float)
        configured = np.bincount(at, weights=memory, minlength=len(hosts)).astype(float)
        columns |= {
            f"guests_{when}": np.bincount(at, minlength=len(hosts)),
            f"cpu_demand_cores_{when}": demand,
            f"cpu_share_{when}": demand / cores,
            f"memory_configured_mib_{when}": configured,
            f"memory_share_{when}": np.divide(configured, room_mib, out=np.zeros_like(configured), where=room_mib > 0),
        }
    return pd.DataFrame(columns, index=pd.Index([host.name for host in hosts], name="host"))


def shares_table(plan: Plan) -> pd.DataFrame:
    """Lay out the CPU of each guest that is not stopped where it is divided by shares; empty where nobody named any.

    Returns
    -------
    DataFrame
        Index ``vm``; columns host_before, host_after, asks_cores, kept_cores, entitled_cores (what it would get if
        all hosts were one), gets_cores_before, gets_cores_after, lacks_cores_before, lacks_cores_after (by how much it
        gets less than it is entitled to).
    """
    both = contention(plan)
    was = {each.vm: each for each in both.before}
    rows = [(was.get(each.vm), each) for each in both.after]
    return pd.DataFrame(
        {
            "host_before": ["" if before is None else before.host for before, _ in rows],
            "host_after": [after.host for _, after in rows],
            "asks_cores": [after.asks_cores for _, after in rows],
            "kept_cores": [after.kept_cores for _, after in rows],
            "entitled_cores": [after.entitled_cores for _, after in rows],
            "gets_cores_before": [np.nan if before is None else before.gets_cores for before, _ in rows],
            "gets_cores_after": [after.gets_cores for _, after in rows],
            "lacks_cores_before": [np.nan if before is None else before.lacks_cores for before, _ in rows],
            "lacks_cores_after": [after.lacks_cores for _, after in rows],
        },
        index=pd.Index([after.vm for _, after in rows], name="vm"),
    )


MEASURES = ("total_time_s", "downtime_ms", "sent_mib")
"""What is both predicted and measured."""


def comparison_table(plan: Plan, actual: Sequence[Actual]) -> pd.DataFrame:
    """Lay what was predicted beside what happened.

    The error of a prediction is (predicted - actual) / actual: +0.10 says that the prediction was 10 % too high.
    It is NaN where one of the two is missing, the actual value is zero, or the guest did not arrive. A move tried more
    than once counts with its last record.

    Returns
    -------
    DataFrame
        Index ``move``, every move of the plan; columns vm, source, target, status (``"not run"`` without a record),
        then for each of total_time_s, downtime_ms and sent_mib ``predicted_``, ``actual_`` and ``error_share_``,
        then actual_start_s, predicted_rounds, actual_rounds, reason.
    """
    last = {record.move_id: record for record in actual}
    predicted = moves_table(plan)
    records = [last.get(move.id) for move in plan.moves]
    table = predicted[["vm", "source", "target"]].copy()
    table["status"] = ["not run" if r is None else r.status for r in records]
    arrived = np.array([r is not None and r.arrived for r in records], dtype=bool)
    for measure in MEASURES:
        values = [None if r is None else getattr(r, measure) for r in records]
        expected = predicted[measure].astype(float)
        measured = pd.Series(pd.to_numeric(pd.Series(values, dtype=object)), dtype=float).set_axis(table.index)
        table[f"predicted_{measure}"] = expected
        table[f"actual_{measure}"] = measured
        table[f"error_share_{measure}"] = (expected - measured) / measured.where(arrived & (measured > 0))
    table["actual_start_s"] = np.array([np.nan if r is None or r.started_s is None else r.started_s for r in records])
    table["predicted_rounds"] = predicted["rounds"]
    rounds = [pd.NA if r is None or r.rounds is None else r.rounds for r in records]
    table["actual_rounds"] = pd.array(rounds, dtype="Int64")
    table["reason"] = ["" if r is None else r.reason for r in records]
    return table
