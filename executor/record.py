"""Real migrations in the lab, measured from all sides: the rows that the migration model is compared with.

A designed experiment, resumable, told on its way, every row with what it depends on. As a program it records the
experiment of ``data/lab``: ``python -m executor.record data/lab``.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from drsim.errors import DrsimError, LabError
from drsim.formats import write_inventory
from drsim.inventory import Arrival, Vm
from drsim.plan import Move
from executor.collect import collect_estate
from executor.estate import read_hosts_file
from executor.hypervisor.libvirt_kvm import LibvirtKvm
from executor.lab import load
from executor.lab.lab import Lab, take_down
from executor.lab.matrix import Matrix, Run, Trial, read_matrix
from executor.lab.state import lab_names, labs_root
from executor.observe import observe
from executor.record_table import INVENTORY, ROWS, Suffix, write_table

STANDARD = Path(__file__).parent / "lab" / "examples" / "standard.yaml"
"""The experiment of ``data/lab``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What a recording tells on its way.

    Parameters
    ----------
    done, all : int
        Runs done so far, and in all.
    says : str
        What is being done.
    """

    done: int
    all: int
    says: str


def record_matrix(
    matrix: Matrix, out: Path, on_step: Callable[[Step], None] = lambda step: None, suffix: Suffix = "parquet"
) -> list[dict[str, Any]]:
    """Carry an experiment out, or what is left of it, and write the table.

    A row is on disk before the next run begins. Killed at any time and called again with the same folder, it does what
    is not there yet; a lab left by the run before is taken down first.

    Parameters
    ----------
    matrix : Matrix
        What is to be done.
    out : Path
        Folder: ``rows.jsonl`` and ``inventory.json`` while it runs, then also the table and ``README.md``.
    on_step : callable, optional
        Told of each step.
    suffix : {"parquet", "csv"}
        Of the table, ``migrations.SUFFIX``.

    Returns
    -------
    list of dict
        All rows of the folder, column to value.

    Raises
    ------
    DrsimError
        If the lab cannot be brought up, or nothing could be recorded twice in a row.
    """
    out.mkdir(parents=True, exist_ok=True)
    rows = read_rows(out / ROWS)
    known = {row["run"] for row in rows}
    runs = matrix.runs()
    left = [run for run in runs if run.key not in known]
    if left:
        name = matrix.name
        if name in lab_names():
            take_down(labs_root() / name)
        on_step(Step(done=len(runs) - len(left), all=len(runs), says="lab up"))
        session = _Session(Lab.up(matrix.topology()), matrix, out / INVENTORY)
        try:
            for number, run in enumerate(left):
                done = len(runs) - len(left) + number

                def tell(says: str, done: int = done) -> None:
                    on_step(Step(done=done, all=len(runs), says=says))

                row = session.carry_out(run, tell)
                with (out / ROWS).open("a") as file:
                    file.write(json.dumps(row) + "\n")
                    file.flush()
                    os.fsync(file.fileno())
                rows.append(row)
        finally:
            session.close()
    write_table(rows, out, matrix.name, suffix)
    on_step(Step(done=len(runs), all=len(runs), says="done"))
    return rows


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Read what was recorded so far; a last line cut short by a kill is dropped, and is taken off the file."""
    if not path.exists():
        return []
    text = path.read_text()
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        path.write_text(whole)
    return [json.loads(line) for line in whole.splitlines()]


class _Session:
    """A lab, and the guest that is recorded in it at the moment."""

    def __init__(self, lab: Lab, matrix: Matrix, inventory: Path) -> None:
        self._lab, self._matrix = lab, matrix
        estate = read_hosts_file(lab.state.folder / "hosts.yaml")
        first = collect_estate(estate, clock=_now, name=matrix.name, interval_s=0.1).inventory
        write_inventory(first, inventory)
        self._door = LibvirtKvm(first)
        self._cases = {run.key: number for number, run in enumerate(matrix.runs(), 1)}
        self._guest: str | None = None
        self._arrived: Arrival = "boot"

    def close(self) -> None:
        """Take the lab down."""
        self._door.close()
        self._lab.down()

    def _member(self, trial: Trial) -> str:
        for guest in self._lab.state.topology.guests:
            if (guest.memory_mib, guest.vcpus, guest.disk_mib, guest.datastore) == trial.machine:
                return guest.name
        raise LabError(f"No guest of the lab is like {trial.machine}.")

    def _boot(self, name: str, tell: Callable[[str], None]) -> None:
        """Have this guest running and no other: each takes time from the rest."""
        if self._guest == name:
            return
        if self._guest is not None:
            self._lab.shut(self._guest)
        tell(f"booting {name}")
        self._lab.boot(name)
        self._guest, self._arrived = name, "boot"

    def carry_out(self, run: Run, tell: Callable[[str], None]) -> dict[str, Any]:
        """Do one run; tried once more with a guest booted anew if it could not be observed."""
        name = self._member(run.trial)
        try:
            self._boot(name, tell)
            return self._record(run, name, tell)
        except DrsimError as error:
            tell(f"once more, for: {error}")
            self._anew()
            self._boot(name, tell)
            return self._record(run, name, tell)

    def _anew(self) -> None:
        """Switch the guest off after something that was not foreseen; it is booted again when it is wanted."""
        if self._guest is not None:
            self._lab.shut(self._guest)
            self._guest = None

    def _record(self, run: Run, name: str, tell: Callable[[str], None]) -> dict[str, Any]:
        trial, lab = run.trial, self._lab
        for host in lab.state.hosts:
            shape = {"rtt_ms": trial.rtt_ms, "jitter_ms": trial.jitter_ms, "loss": trial.loss}
            lab.line(host, rate_mbit_s=trial.link_mbit_s, **shape)
        waited_s, before_cores = load.wait_for_quiet(
            lab.state.folder,
            self._matrix.other_load_cores,
            lambda cores: tell(f"waiting: others keep {cores:.1f} cores busy"),
        )
        tell(f"{trial.transfer.mode}, {trial.working_set_mib} MiB at {trial.dirty_rate_mib_s} MiB/s")
        orders = (
            f"disk {trial.disk_write_kib_s}",
            f"net {trial.traffic_kib_s}",
            f"dirty {trial.working_set_mib} {trial.dirty_rate_mib_s} {trial.dirty.text}",
        )
        marks: list[load.Snapshot] = []

        def move_from(vm: Vm) -> Move:
            marks.append(load.snapshot(lab.state.folder))
            return Move(
                id=run.key,
                vm=vm.name,
                source=vm.host,
                target=next(host for host in lab.state.hosts if host != vm.host),
                reason="recorded",
                max_downtime_ms=trial.max_downtime_ms,
                bandwidth_mbit_s=trial.bandwidth_mbit_s,
                transfer=trial.transfer,
                copy_disks=("vda",) if trial.datastore == "local" else (),
            )

        with lab.probe([name]) as probe:
            seen = observe(lab, self._door, probe, name, move_from, orders)
        arrived = self._arrived
        if seen.outcome.status == "moved":
            self._arrived = "postcopy" if trial.transfer.mode == "postcopy" else "migration"
        during_cores = load.other_cores(marks[0], load.snapshot(lab.state.folder))
        if seen.outcome.status == "unknown":
            self._anew()
        return {
            "case": self._cases[run.key],
            "run": run.key,
            "repetition": run.repetition,
            **flat(trial),
            "memory_used_mib": seen.vm.memory_used_mib,
            "arrived": arrived,
            "achieved_rate_mib_s": seen.achieved_rate_mib_s,
            "status": seen.outcome.status,
            "reason": seen.outcome.reason,
            "total_time_s": seen.outcome.total_time_s,
            "downtime_ms": seen.outcome.downtime_ms,
            "qemu_downtime_ms": seen.qemu_downtime_ms,
            "sent_mib": seen.outcome.sent_mib,
            "zero_mib": seen.outcome.zero_mib,
            "rounds": seen.outcome.rounds,
            "wall_s": seen.wall_s,
            **asdict(seen.view),
            **asdict(seen.verdict),
            "waited_s": round(waited_s, 1),
            "other_before_cores": round(before_cores, 2),
            "other_during_cores": round(during_cores, 2),
            "load_average": seen.load_average,
            **_environment(),
            "accelerator": seen.kind,
            "qemu": seen.qemu,
            "libvirt": seen.libvirt,
            "recorded_at": _now().isoformat(timespec="seconds"),
        }


def flat(trial: Trial) -> dict[str, Any]:
    """Spell a trial as columns: what is nested gets the name of the whole before its own."""
    columns: dict[str, Any] = {}
    for key, value in asdict(trial).items():
        if key == "dirty":
            columns[key] = trial.dirty.text
        elif isinstance(value, Mapping):
            columns |= {f"{key}_{name}": each for name, each in value.items()}
        else:
            columns[key] = value
    return columns


def _environment() -> dict[str, Any]:
    return {
        "cpu_model": load.cpu_model(),
        "cores": os.cpu_count() or 1,
        "kernel": platform.release(),
        "python": platform.python_version(),
        "drsim": version("drsim"),
    }


def _now() -> datetime:
    return datetime.now(UTC)


def main(out: Path) -> None:
    """Record the standard experiment as CSV."""
    record_matrix(read_matrix(STANDARD), out, print_step, suffix="csv")


def print_step(step: Step) -> None:
    """Tell a step on the standard output."""
    sys.stdout.write(f"{step.done}/{step.all} {step.says}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "data/lab"))
