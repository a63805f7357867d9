"""Kherbache's migrations on Grid'5000 (btrplace/kherbache-thesis): random plans on four hosts, hosts 0 and 1 with 500
Mbit/s, hosts 2 and 3 with 1 Gbit/s, several migrations at once.

Four constants (share of the line, limit of one stream, fixed time, what is kept while the target's uplink is full) are
tuned on every second plan and tested on the others, and the other way round. A migration starts when it was measured to
start; what is predicted is how long each takes and when the last ends.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from pathlib import Path as File
from typing import Any

import numpy as np
import pandas as pd
import simpy

from drsim.inventory import PageClass, Vm
from drsim.migration import G5K, Migration, Parameters
from drsim.migration.bands import band
from drsim.simulate.carry import carry
from drsim.simulate.lines import Lines
from drsim.topology import Path
from tests.benchmarks.errors import errors

MIB_A_MB = 1e6 / 2**20
CARD_MBIT_S = {0: 500.0, 1: 500.0, 2: 1000.0, 3: 1000.0}
CAPACITY = {edge: rate for host, rate in CARD_MBIT_S.items() for edge in (f"{host}>", f">{host}")}
PLAN = ["scenario", "replica"]

STEPS: dict[str, tuple[float, ...]] = {
    "goodput": (0.94, 0.93, 0.92, 0.91, 0.90, 0.89),
    "return_share": (1.0, 0.96, 0.93, 0.90, 0.87, 0.84),
    "prepare_s": (0.0, 0.5, 1.0, 1.5, 2.0),
    "stream_limit_mbit_s": (850.0, 870.0, 890.0, 910.0),
}
"""Values tried for each constant, one constant after the other."""

ROUNDS = 2
"""Times that all constants are gone through."""

FOLDS = 2


def play(rows: pd.DataFrame, parameters: Parameters) -> pd.DataFrame:
    """Return when each migration of one plan ends if it starts when it did; columns duration_s and end_s."""
    env = simpy.Environment()
    lines = Lines(env, CAPACITY, parameters.goodput, parameters.return_share)
    ends: dict[int, float] = {}
    for number, row in rows.iterrows():
        env.process(_live(env, lines, row, parameters, ends, int(number)))  # type: ignore[call-overload]
    env.run()
    end = pd.Series(ends).reindex(rows.index)
    return pd.DataFrame({"duration_s": end - rows.start_s, "end_s": end})


def _live(
    env: simpy.Environment, lines: Lines, row: Any, parameters: Parameters, ends: dict[int, float], number: int
) -> Generator[simpy.Event, Any, None]:
    yield env.timeout(float(row.start_s))
    rate_mbit_s = min(CARD_MBIT_S[row.src], CARD_MBIT_S[row.dst])
    run = Migration(
        _guest(row),
        Path(edges=(), bandwidth_mbit_s=rate_mbit_s, rtt_ms=0.0, loss=0.0),
        max_downtime_ms=300.0,
        bandwidth_mbit_s=None,
        copy_disks=(),
        parameters=parameters,
        line_mbit_s=rate_mbit_s,
    )
    yield from carry(env, lines, (f"{row.src}>", f">{row.dst}"), run)
    ends[number] = env.now


def _guest(row: Any) -> Vm:
    """Return a guest that dirties its memory at the rate of column dirty_rate_mbps.

    Its hot set (max_dirty_size_mb, an assumption of the plans' own model) is left out: migrations that are alone take
    no longer than their memory and that rate explain.
    """
    memory = row.mem_used_mb * MIB_A_MB
    rate = max(float(row.dirty_rate_mbps), 1e-6) * MIB_A_MB
    dirty = (PageClass(size_mib=memory * 0.999, dirty_rate_mib_s=rate),)
    return Vm(name="vm", host="h", vcpus=1, memory_mib=round(memory), dirty=dirty)


def predict(table: pd.DataFrame, parameters: Parameters) -> pd.DataFrame:
    """Play every plan of a table."""
    return pd.concat([play(rows, parameters) for _, rows in table.groupby(PLAN)]).loc[table.index]


def tune(table: pd.DataFrame) -> Parameters:
    """Return the constants with the smallest mean error of the durations, found one after the other."""
    best = replace(G5K, goodput=0.92, return_share=0.93, prepare_s=1.0)
    least = _loss(table, best)
    for _ in range(ROUNDS):
        for name, values in STEPS.items():
            for value in values:
                tried = replace(best, **{name: value})  # type: ignore[arg-type]
                if tried != best and (loss := _loss(table, tried)) < least:
                    best, least = tried, loss
    return best


def _loss(table: pd.DataFrame, parameters: Parameters) -> float:
    return float((predict(table, parameters).duration_s / table.measured_s - 1.0).abs().mean())


def evaluate(folder: File) -> dict[str, Any]:
    """Tune on a part of the plans, test on the rest, for each part in turn."""
    table = pd.read_csv(folder / "migrations.csv")
    table = table[table.measured_s > 0].reset_index(drop=True)
    plans = sorted(table.scenario.unique())
    durations, spans = [], []
    tuned: list[dict[str, float]] = []
    for fold in range(min(FOLDS, len(plans))):
        tested = table.scenario.isin(plans[fold::FOLDS])
        parameters = tune(table[~tested] if (~tested).any() else table)
        tuned.append({name: float(getattr(parameters, name)) for name in STEPS})
        off = np.log(table[~tested].measured_s / predict(table[~tested], parameters).duration_s).tolist()
        rows = table[tested]
        found = predict(rows, parameters)
        reach = [band(one, off) for one in found.duration_s]
        durations.append(
            pd.DataFrame(
                {
                    "predicted": found.duration_s,
                    "actual": rows.measured_s,
                    "low": [one.low for one in reach],
                    "high": [one.high for one in reach],
                }
            )
        )
        ends = pd.DataFrame({"predicted": found.end_s, "actual": rows.end_s, **rows[PLAN].to_dict("series")})
        spans.append(ends.groupby(PLAN)[["predicted", "actual"]].max())
    each, whole = pd.concat(durations), pd.concat(spans)
    return {
        "duration_s": errors(each.predicted, each.actual, each.low, each.high),
        "makespan_s": errors(whole.predicted, whole.actual),
        "tuned": tuned,
        "plans": len(plans),
    }
