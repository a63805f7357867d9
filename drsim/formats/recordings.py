"""Migrations that happened, read from where they were recorded: the lab's tables, exported audit trails with plans."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path as File
from typing import TYPE_CHECKING, Any

from drsim.disk_lines import DiskLines
from drsim.errors import DataError
from drsim.formats.tables import read_table
from drsim.formats.text import read_text, refuse
from drsim.inventory import PageClass, Vm
from drsim.migration import DEFAULT, Observation, Options, group_keys
from drsim.plan import Move, Plan
from drsim.topology import Path, Topology
from drsim.transfer import Transfer
from drsim.units import MIB_S_PER_MBIT_S

if TYPE_CHECKING:
    import pandas as pd

TRANSFER = ("mode", "precopy_passes", "transport", "tls", "auto_converge", "parallel_connections", "compression")
"""Fields of `drsim.transfer.Transfer` that a row may tell, with ``transfer_`` before their names or without."""

CELL = (
    *("memory_mib", "working_set_mib", "dirty_rate_mib_s", "dirty", "link_mbit_s", "rtt_ms", "loss"),
    *("max_downtime_ms", "bandwidth_mbit_s", "datastore", *(f"transfer_{name}" for name in TRANSFER), *TRANSFER),
)
"""Columns that make a cell: migrations that share them were made under the same conditions."""

NEEDED = ("memory_mib", "link_mbit_s", "max_downtime_ms", "status")


def read_recording(path: str | File) -> tuple[Observation, ...]:
    """Read a table of recorded migrations, CSV, Parquet or JSON (a list of records), by its suffix.

    Raises
    ------
    DataError
        If it cannot be read or lacks a column.
    """
    table = read_table(path, "Name a CSV, Parquet or JSON table as 'python -m executor.record' writes it.")
    return observations_of(table, str(path))


def observations_of(table: pd.DataFrame, place: str = "recording") -> tuple[Observation, ...]:
    """Take the migrations that reached their target from a table as `executor.record` writes it.

    Raises
    ------
    DataError
        If a column is missing.
    """
    if missing := [name for name in NEEDED if name not in table.columns]:
        remedy = "Name a table as 'python -m executor.record' writes it."
        raise refuse(DataError, place, f"column {missing[0]} is missing.", remedy, missing[0])
    moved = table[table.status == "moved"]
    return tuple(_observation({str(key): value for key, value in row.items()}) for row in moved.to_dict("records"))


def _observation(row: dict[str, Any]) -> Observation:
    import pandas as pd

    def known(name: str, default: float | None = None) -> float | None:
        value = row.get(name)
        return default if value is None or pd.isna(value) else float(value)

    working_set, rate = known("working_set_mib", 0.0) or 0.0, known("achieved_rate_mib_s", 0.0) or 0.0
    # The lab's guest writes to its working set from end to end.
    dirty = PageClass(size_mib=max(1.0, working_set), dirty_rate_mib_s=rate if working_set else 0.0, in_order=True)
    told = {name: row.get(f"transfer_{name}", row.get(name)) for name in TRANSFER}
    transfer = Transfer(**{name: value for name, value in told.items() if value is not None and not pd.isna(value)})
    cap = known("bandwidth_mbit_s")
    return Observation(
        vm=Vm(
            name=str(row.get("guest", "guest")),
            host="source",
            vcpus=int(known("vcpus", 1) or 1),
            memory_mib=int(row["memory_mib"]),
            memory_used_mib=known("memory_used_mib"),
            arrived=None if pd.isna(row.get("arrived")) else row["arrived"],
            dirty=(dirty,),
        ),
        path=Path(
            edges=(),
            bandwidth_mbit_s=float(row["link_mbit_s"]),
            rtt_ms=known("rtt_ms", 0.0) or 0.0,
            loss=known("loss", 0.0) or 0.0,
        ),
        max_downtime_ms=float(row["max_downtime_ms"]),
        bandwidth_mbit_s=cap,
        options=Options.of(transfer, bandwidth_mbit_s=cap),
        total_time_s=known("wall_s", known("total_time_s")),
        downtime_ms=known("downtime_ms"),
        qemu_downtime_ms=known("qemu_downtime_ms"),
        sent_mib=known("sent_mib"),
        client_gap_ms=known("tcp_gap_ms"),
        cell="/".join(str(row.get(name)) for name in CELL),
        at=None if row.get("recorded_at") is None else str(row["recorded_at"]),
    )


def read_trail(path: str | File, plans: Sequence[Plan]) -> tuple[Observation, ...]:
    """Read the migrations of an exported audit trail (``drsim audit --jsonl``) whose plans are at hand.

    Migrations of one wave that crossed one line are taken to have shared it evenly; so are copies of disks that landed
    on one datastore.

    Raises
    ------
    DataError
        If the export cannot be read.
    """
    by_hash = {plan.hash: plan for plan in plans}
    plan_of: dict[str, Plan] = {}
    found: list[Observation] = []
    for number, line in enumerate(
        read_text(path, DataError, "an export written by 'drsim audit --jsonl'").splitlines(), 1
    ):
        try:
            record = json.loads(line)
            event, detail, run = record["event"], record["detail"], record["run_id"]
        except (ValueError, KeyError, TypeError) as error:
            remedy = "Export the trail anew: drsim audit --jsonl FILE."
            raise refuse(DataError, str(path), f"line {number} is no audit record.", remedy) from error
        if event == "run_started" and detail.get("plan_hash") in by_hash:
            plan_of[run] = by_hash[detail["plan_hash"]]
        elif event == "move_ended" and detail.get("state") == "done" and run in plan_of:
            one = _moved(plan_of[run], record["move_id"], detail, record["at"])
            if one is not None:
                found.append(one)
    return tuple(found)


def _moved(plan: Plan, move_id: str, detail: dict[str, Any], at: str) -> Observation | None:
    move = next((one for one in plan.moves if one.id == move_id), None)
    if move is None:
        return None
    if move.storage_only:
        return _copied(plan, move, detail, at)
    topology = Topology(plan.inventory)
    path = topology.path(move.source, move.target)
    if path is None:
        return None
    beside = [topology.path(one.source, one.target) for one in plan.moves if one.wave == move.wave]
    crowd = max(sum(edge in other.edges for other in beside if other is not None) for edge in path.edges)
    vm = plan.inventory.vm_by_name[move.vm]
    return Observation(
        vm=vm,
        path=replace(path, bandwidth_mbit_s=path.bandwidth_mbit_s / crowd),
        max_downtime_ms=move.max_downtime_ms,
        bandwidth_mbit_s=move.bandwidth_mbit_s,
        copy_disks=move.copy_disks,
        options=Options.of(move.transfer, bandwidth_mbit_s=move.bandwidth_mbit_s),
        total_time_s=detail.get("total_time_s"),
        downtime_ms=detail.get("downtime_ms"),
        sent_mib=detail.get("sent_mib"),
        cell=f"{vm.name}/{move.source}/{move.target}",
        groups=group_keys(plan.inventory.host_by_name[move.source], plan.inventory.host_by_name[move.target]),
        at=at,
    )


def _copied(plan: Plan, move: Move, detail: dict[str, Any], at: str) -> Observation:
    """Return a move of disks on their host; that no guest stood still is said by nobody's clock, so it is left out."""
    wave = [one for one in plan.moves if one.wave == move.wave]
    rate_mib_s = DiskLines(plan.inventory, wave, DEFAULT.copy_mib_s).datastores_mib_s(move)
    stores = ",".join(dict.fromkeys(landing.datastore for landing in move.landings))
    return Observation(
        vm=plan.inventory.vm_by_name[move.vm],
        path=Path(edges=(), bandwidth_mbit_s=rate_mib_s / MIB_S_PER_MBIT_S, rtt_ms=0.0, loss=0.0),
        max_downtime_ms=move.max_downtime_ms,
        bandwidth_mbit_s=move.bandwidth_mbit_s,
        copy_disks=move.copy_disks,
        options=Options.of(move.transfer),
        total_time_s=detail.get("total_time_s"),
        sent_mib=detail.get("sent_mib"),
        cell=f"{move.vm}/{move.source}/{stores}",
        at=at,
        storage_only=True,
    )
