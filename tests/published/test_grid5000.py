"""Isolated migrations of Kherbache's measurements on Grid'5000 (btrplace/kherbache-thesis).

Tuned: one stream's limit and the fixed cost, on the guests at 1 Gbit/s. Tested: those at 500 Mbit/s.
"""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest

from drsim.inventory import PageClass
from drsim.migration import G5K, predict
from tests.benchmarks import grid5000
from tests.migration.guests import guest, line
from tests.published.bench import migrations

MB = 1e6 / 2**20


def _alone(rows: pd.DataFrame) -> pd.DataFrame:
    """Keep migrations during which no other one touched either host."""
    kept = []
    for _, plan in rows.groupby(["scenario", "replica", "prefix"]):
        for index, row in plan.iterrows():
            others = plan[(plan.index != index) & (plan.start_s < row.end_s) & (plan.end_s > row.start_s)]
            ends = {row.src, row.dst}
            if not (others.src.isin(ends) | others.dst.isin(ends)).any():
                kept.append(index)
    # Hosts 0 and 1 have cards of 500 Mbit/s, hosts 2 and 3 of 1 Gbit/s.
    alone = rows.loc[kept]
    slow = (alone.src < 2) | (alone.dst < 2)
    return alone.assign(line_mbit_s=slow.map({True: 500.0, False: 1000.0}))


@pytest.mark.parametrize(
    ("line_mbit_s", "memory_mb", "within"),
    [(1000.0, 2000, 0.02), (1000.0, 3000, 0.02), (500.0, 2000, 0.04), (500.0, 3000, 0.02)],
)
def test_isolated_migrations(line_mbit_s: float, memory_mb: int, within: float) -> None:
    """Guests write 96 MB in 2 s over and over, and 2 MB/s elsewhere (columns of the data set)."""
    alone = _alone(pd.read_csv(migrations("kherbache_g5k") / "migrations.csv"))
    measured = alone[(alone.line_mbit_s == line_mbit_s) & (alone.mem_used_mb == memory_mb)].measured_s
    assert len(measured) >= 4
    vm = guest(
        round(memory_mb * MB),
        dirty=(
            PageClass(size_mib=96 * MB, dirty_rate_mib_s=48 * MB),
            PageClass(size_mib=(memory_mb - 96) * MB, dirty_rate_mib_s=2 * MB),
        ),
    )
    result = predict(vm, line(line_mbit_s), max_downtime_ms=300.0, bandwidth_mbit_s=None, parameters=G5K)
    assert result.converges
    assert result.total_time_s == pytest.approx(measured.mean(), rel=within)


def test_plans_with_several_migrations_at_once() -> None:
    """Every second plan, played on shared lines; the constants are those that the other plans tune."""
    table = pd.read_csv(migrations("kherbache_g5k") / "migrations.csv")
    plans = sorted(table.scenario.unique())
    table = table[table.scenario.isin(plans[::2])].reset_index(drop=True)
    tuned = replace(G5K, goodput=0.9, return_share=0.9, prepare_s=1.0, stream_limit_mbit_s=850.0)
    found = grid5000.predict(table, tuned)
    each = (found.duration_s / table.measured_s - 1.0).abs()
    ends = found.assign(was=table.end_s, scenario=table.scenario, replica=table.replica)
    spans = ends.groupby(["scenario", "replica"])[["end_s", "was"]].max()
    assert each.mean() < 0.045
    assert (spans.end_s / spans.was - 1.0).abs().mean() < 0.012
