"""A PostgreSQL guest of 8 GiB migrated by QEMU over a unix socket (LordWicked/live-migration-thesis-code).

Every run is predicted from other runs: what the guest dirties and how much data it holds from runs of its own scenario,
in another fold; QEMU's constants from `drsim.migration.DEFAULT`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path as File
from typing import Any

import numpy as np
import pandas as pd

from drsim.inventory import PageClass, Vm
from drsim.migration import DEFAULT, Options, Parameters, draws
from drsim.migration.bands import band
from drsim.plan import Prediction
from drsim.topology import Path
from drsim.units import MIB, MIB_S_PER_MBIT_S
from drsim.workload import Habit, Series, first_pass_mib, learn, looks
from tests.benchmarks.errors import errors

CAP_MIB_S = 128.0
LIMIT_MS = 300.0
"""QEMU's default bandwidth cap and downtime limit, which the runs kept."""

VCPUS = 4
FOLDS = 3

QEMU_ALONE = replace(
    DEFAULT, prepare_s=0.0, prepare_rtts=0.0, confirm_s=0.0, confirm_rtts=0.0, switchover_ms=3.0, libvirt_ms=0.0
)
"""No libvirt, and `total-time` starts with the migrate command."""

SOCKET = Path(edges=(), bandwidth_mbit_s=100_000.0, rtt_ms=0.0, loss=0.0)
"""Nothing but QEMU's thread and its cap limits the rate."""

RATE_MIB_S = CAP_MIB_S * QEMU_ALONE.cap_overshoot


@dataclass(frozen=True)
class Runs:
    """The runs of one scenario."""

    name: str
    series: dict[int, pd.DataFrame]
    final: pd.DataFrame


def load(folder: File) -> list[Runs]:
    """Read all scenarios of a folder."""
    samples = pd.read_csv(folder / "query_migrate_timeseries.csv.gz")
    final = pd.read_csv(folder / "final_stats.csv")
    final = final[final.status == "completed"]
    found = []
    for name, rows in final.groupby("scenario"):
        series = {
            int(run): part.sort_values("total_time_ms")
            for run, part in samples[samples.scenario == name].groupby("run")
        }
        rows = rows[rows.run.isin(list(series))].drop_duplicates("run").set_index("run")
        found.append(Runs(name=str(name), series=series, final=rows))
    return found


def series_of(run: pd.DataFrame, memory_mib: float) -> Series:
    """Return the pre-copy part of a run."""
    run = run[run.status == "active"]
    return Series(
        time_s=run.total_time_ms.to_numpy(float) / 1e3,
        remaining_mib=run.remaining.to_numpy(float) / MIB,
        data_pages=run.normal.to_numpy(float),
        zero_pages=run.duplicate.to_numpy(float),
        looks=run.dirty_sync_count.to_numpy(np.int64),
        throttle=run.cpu_throttle_pct.fillna(0.0).to_numpy(float) / 100.0,
        memory_mib=memory_mib,
        limit_mib=RATE_MIB_S * LIMIT_MS / 1e3,
    )


@dataclass(frozen=True)
class Fitted:
    """What was learnt from the runs that are not under test."""

    vm: Vm
    options: Options
    parameters: Parameters
    spread_mib: float
    limit_ms: float

    def predict(self) -> Prediction:
        """Return the middle of the outcomes drawn, and the band that 90 % of them fill."""
        found = draws(
            self.vm,
            SOCKET,
            max_downtime_ms=self.limit_ms,
            bandwidth_mbit_s=CAP_MIB_S / MIB_S_PER_MBIT_S,
            parameters=self.parameters,
            options=self.options,
            spread_mib=self.spread_mib,
            count=31 if self.spread_mib else 1,
        )
        middle = found[len(found) // 2]
        time, sent, stop = (
            np.quantile([float(getattr(one, name)) for one in found], (0.05, 0.95)).tolist()
            for name in ("total_time_s", "sent_mib", "qemu_downtime_ms")
        )
        return replace(
            middle,
            throttle=float(np.median([one.throttle for one in found])),
            total_time_low_s=time[0],
            total_time_high_s=time[1],
            sent_low_mib=sent[0],
            sent_high_mib=sent[1],
            downtime_low_ms=stop[0],
            downtime_high_ms=stop[1],
        )


def fit(runs: Runs, fitted: list[int], habits: dict[str, Habit]) -> Fitted:
    """Learn from some runs of a scenario; `habits` holds those of scenarios by their load."""
    final = runs.final.loc[fitted]
    memory = float(final.total.iloc[0]) / MIB
    series = [series_of(runs.series[run], memory) for run in fitted]
    if (final.postcopy_requests > 0).any() or (final.postcopy_bytes > 0).any():
        return _postcopy(runs, fitted, memory, habits)
    used = float(np.mean([first_pass_mib(one) for one in series]))
    throttled = any((one.throttle > 0.0).any() for one in series)
    habit = None if stands_still(runs.name, series) else learn(series, within_mib=used)
    vm = Vm(
        name="pg",
        host="h",
        vcpus=VCPUS,
        memory_mib=round(memory),
        memory_used_mib=used,
        dirty=habit.classes if habit else (),
        state="running" if habit else "paused",
        cpu_demand_cores=VCPUS * (habit.busy if habit else 0.0),
    )
    made = Fitted(
        vm=vm,
        options=Options(auto_converge=throttled),
        parameters=replace(QEMU_ALONE, switchover_ms=0.0, chunk_mib=habit.chunk_mib if habit else DEFAULT.chunk_mib),
        spread_mib=habit.spread_mib if habit else 0.0,
        limit_ms=LIMIT_MS,
    )
    # What the standstill takes beside its data.
    fixed_ms = max(0.0, float(np.median(final.downtime_ms)) - (made.predict().qemu_downtime_ms or 0.0))
    return replace(made, parameters=replace(made.parameters, switchover_ms=fixed_ms))


def stands_still(name: str, series: list[Series]) -> bool:
    """Whether the guest was paused before: no look after the first pass found anything to speak of."""
    fresh = [look.fresh_mib for one in series for look in looks(one)]
    return not fresh or float(np.median(fresh)) < 1.0


def load_of(name: str) -> str:
    """Return the load that a scenario's name tells, e.g. ``16T`` threads, with reads only or not."""
    threads = re.search(r"\d+T", name)
    return ("reads " if "OnlyReads" in name else "") + (threads.group() if threads else "")


def _postcopy(runs: Runs, fitted: list[int], memory: float, habits: dict[str, Habit]) -> Fitted:
    final = runs.final.loc[fitted]
    series = [series_of(runs.series[run], memory) for run in fitted]
    habit = habits.get(load_of(runs.name))
    if habit is None and any((one.looks > 2).any() for one in series):
        habit = learn(series, within_mib=memory)
    after_s = float(np.median(final.precopy_bytes / MIB / RATE_MIB_S))
    # Data of the guest: what all passes sent, less what was sent twice; at the start nothing was.
    data_mib = float(np.median(final.normal)) * 4096 / MIB
    ended_first = any((one.looks > 1).any() for one in series)
    if ended_first:
        data_mib = float(np.mean([first_pass_mib(one) for one in series if (one.looks > 1).any()]))
    push_s = final.total_time_ms / 1e3 - after_s - final.downtime_ms / 1e3
    pushed_mib = final.postcopy_bytes / MIB
    zeros = np.maximum(
        0.0, final.duplicate - [float(one.zero_pages[-1]) if one.zero_pages.size else 0.0 for one in series]
    )
    send_s = push_s - zeros / QEMU_ALONE.zero_scan_pages_s
    rate = float(np.median(pushed_mib / np.maximum(send_s, 0.05)))
    parameters = replace(
        QEMU_ALONE,
        stream_limit_mbit_s=min(rate, 1e5) / MIB_S_PER_MBIT_S,
        postcopy_ms=float(np.median(final.downtime_ms)),
        discard_us=0.0,
        postcopy_resume_s=_resume_s(runs, fitted, after_s),
        chunk_mib=habit.chunk_mib if habit else DEFAULT.chunk_mib,
    )
    classes = habit.classes if habit else (PageClass(size_mib=data_mib, dirty_rate_mib_s=data_mib),)
    vm = Vm(name="pg", host="h", vcpus=VCPUS, memory_mib=round(memory), memory_used_mib=data_mib, dirty=classes)
    made = Fitted(
        vm=vm,
        options=Options(mode="postcopy", postcopy_after_s=after_s),
        parameters=replace(parameters, fault_share=1.0),
        spread_mib=0.0,
        limit_ms=LIMIT_MS,
    )
    # Faults are in proportion to the share but for the time that they cost: two steps settle it.
    wanted, share = float(np.median(final.postcopy_requests)), 1.0
    for _ in range(3):
        got = replace(made, parameters=replace(parameters, fault_share=share)).predict().faults
        share *= wanted / max(got, 1)
    return replace(made, parameters=replace(parameters, fault_share=share))


def _resume_s(runs: Runs, fitted: list[int], after_s: float) -> float:
    """Return how long after the stop the guest began to ask for pages: the last sample before requests rise."""
    found = []
    for run in fitted:
        part = runs.series[run]
        part = part[part.postcopy_requests < 10]
        found.append(float(part.total_time_ms.max()) / 1e3 - after_s)
    return max(0.0, float(np.median(found)))


def evaluate(folder: File) -> dict[str, Any]:
    """Predict every run from the other folds of its scenario; return the figures by scenario and quantity."""
    scenarios = load(folder)
    report: dict[str, Any] = {}
    verdicts = {"right": 0, "wrong": 0}
    for runs in scenarios:
        numbers = sorted(runs.final.index)
        if len(numbers) < 2:
            report[runs.name] = {"left out": "one run only: nothing to learn from"}
            continue
        rows = []
        folds = min(FOLDS, len(numbers))
        for fold in range(folds):
            tested = numbers[fold::folds]
            fitted = [run for run in numbers if run not in tested]
            made = fit(runs, fitted, _habits(scenarios, set(tested)))
            result = made.predict()
            known = _outcomes(runs, fitted)
            rows += [_row(result, outcome, known) for outcome in _outcomes(runs, tested).itertuples()]
        table = pd.DataFrame(rows)
        for alike in table.flagged == ("Nonconvergent" in runs.name):
            verdicts["right" if alike else "wrong"] += 1
        report[runs.name] = _figures(table, ended_by_itself="Nonconvergent" not in runs.name)
    report["flagged before the start as not converging"] = {"n": sum(verdicts.values()), **verdicts}
    return report


def _outcomes(runs: Runs, numbers: list[int]) -> pd.DataFrame:
    final = runs.final.loc[numbers]
    return pd.DataFrame(
        {
            "time_s": final.total_time_ms / 1e3,
            "sent_mib": final.transferred / MIB,
            "downtime_ms": final.downtime_ms.astype(float),
            "faults": final.postcopy_requests.astype(float),
            "throttle": [float(runs.series[run].cpu_throttle_pct.max()) / 100.0 for run in numbers],
            "rounds": final.dirty_sync_count - 1,
        }
    ).fillna(0.0)


def _row(result: Prediction, outcome: Any, known: pd.DataFrame) -> dict[str, Any]:
    """Return one run beside its prediction; the bands come from what the runs learnt from were off."""
    predicted = {
        "time_s": result.total_time_s,
        "sent_mib": result.sent_mib,
        "downtime_ms": result.qemu_downtime_ms,
        "faults": float(result.faults),
    }
    drawn = {
        "time_s": (result.total_time_low_s, result.total_time_high_s),
        "sent_mib": (result.sent_low_mib, result.sent_high_mib),
        "downtime_ms": (result.downtime_low_ms, result.downtime_high_ms),
    }
    row: dict[str, Any] = {
        "flagged": not result.converges,
        "throttle": result.throttle,
        "throttle_was": outcome.throttle,
    }
    for name, value in predicted.items():
        actual = float(getattr(outcome, name))
        off = np.log(np.maximum(known[name].to_numpy(), 1e-9) / max(value or 0.0, 1e-9))
        reach = band(max(value or 0.0, 1e-9), off.tolist())
        low, high = drawn.get(name, (None, None))
        # Runs differ by how the guest happened to dirty and by what was not modelled: the wider of both.
        row |= {
            name: value,
            f"{name}_was": actual,
            f"{name}_low": min(reach.low, low or reach.low),
            f"{name}_high": max(reach.high, high or reach.high),
        }
    return row


def _figures(table: pd.DataFrame, *, ended_by_itself: bool) -> dict[str, Any]:
    found: dict[str, Any] = {"flagged": f"{int(table.flagged.sum())} of {len(table)} as not converging"}
    if not ended_by_itself:
        return found
    for name in ("time_s", "sent_mib"):
        found[name] = errors(table[name], table[f"{name}_was"], table[f"{name}_low"], table[f"{name}_high"])
    of_downtime = ("downtime_ms", "downtime_ms_was", "downtime_ms_low", "downtime_ms_high")
    found["downtime_ms"] = errors(*(table[column] for column in of_downtime), relative=False)
    off = (table.downtime_ms - table.downtime_ms_was).abs()
    within = (off <= 10.0) | (off <= 0.2 * table.downtime_ms_was)
    found["downtime_ms"]["within 10 ms or 20 %"] = round(float(within.mean()), 3)
    if (table.faults_was > 0).any():
        found["faults"] = errors(table.faults, table.faults_was, table.faults_low, table.faults_high)
        mean = table.faults.mean() / table.faults_was.mean() - 1.0
        found["faults"]["error of the mean"] = round(float(mean), 4)
    if (table.throttle_was > 0).any():
        found["throttle"] = {
            "n": len(table),
            "exact": round(float(np.isclose(table.throttle, table.throttle_was, atol=0.01).mean()), 3),
            "within a step": round(float((np.abs(table.throttle - table.throttle_was) < 0.11).mean()), 3),
            "predicted": round(float(table.throttle.median()), 2),
            "most often": round(float(table.throttle_was.mode().iloc[0]), 2),
        }
    return found


def _habits(scenarios: list[Runs], without: set[int]) -> dict[str, Habit]:
    """Learn the load of each name from the scenarios that were looked at more than once, without some runs."""
    found: dict[str, Habit] = {}
    for runs in scenarios:
        keep = [run for run in runs.final.index if run not in without]
        series = [series_of(runs.series[run], float(runs.final.total.iloc[0]) / MIB) for run in keep]
        if load_of(runs.name) in found or not series or stands_still(runs.name, series):
            continue
        if any((one.looks > 2).any() for one in series):
            used = float(np.mean([first_pass_mib(one) for one in series]))
            found[load_of(runs.name)] = learn(series, within_mib=used)
    return found
