"""Predicted against measured migrations: ``python -m tests.benchmarks.migrations DIR [LAB]`` prints JSON.

DIR holds data sets as DRSIM_BENCH_DATA/migrations does: lordwicked_qemu, kherbache_g5k, osic_openstack, and any folder
with a recording of the lab (migrations.csv or .parquet as `executor.record` writes it). What a set needs to be
tuned on comes from that set, from other runs, plans or cells than those under test. With LAB, a recording of the lab,
recordings of the lab are tuned on that one, without the cells under test.
"""

from __future__ import annotations

import json
import platform
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

if __package__ in (None, ""):  # started as a file: the tests are found from the checkout
    sys.path.insert(0, str(Path(__file__).parents[2]))

from drsim.version import __version__
from tests.benchmarks import grid5000, lab, openstack, postgresql

SETS = {
    "lordwicked_qemu": postgresql.evaluate,
    "kherbache_g5k": grid5000.evaluate,
    "osic_openstack": openstack.evaluate,
}


def evaluate(folder: Path, tuned_on: Path | None = None) -> dict[str, Any]:
    """Return the figures of every data set of a folder, or of the folder itself if it is one."""
    found: dict[str, Any] = {}
    for place in [folder, *sorted(path for path in folder.iterdir() if path.is_dir())]:
        kind = _kind(place)
        if kind is not None:
            found[place.name] = lab.evaluate(place, tuned_on) if kind == "lab" else SETS[kind](place)
    return found


def _kind(folder: Path) -> str | None:
    """Tell a data set by the shape of its files, whatever its name."""
    if (folder / "query_migrate_timeseries.csv.gz").is_file():
        return "lordwicked_qemu"
    for table in (folder / "migrations.parquet", folder / "migrations.csv"):
        if not table.is_file():
            continue
        columns = lab.read(table).columns
        if {"scenario", "replica", "plan_bw_mbps"} <= set(columns):
            return "kherbache_g5k"
        if {"tunneling", "migration_s"} <= set(columns):
            return "osic_openstack"
        if {"memory_mib", "tcp_gap_ms"} <= set(columns):
            return "lab"
    return None


def main() -> None:
    """Print the figures as JSON."""
    folders = [Path(word) for word in sys.argv[1:]]
    if len(folders) not in (1, 2) or not all(folder.is_dir() for folder in folders):
        sys.exit("usage: python -m tests.benchmarks.migrations DIR [LAB]   (a folder of data sets, or one)")
    report = {
        "command": "python -m tests.benchmarks.migrations " + " ".join(sys.argv[1:]),
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.machine()}, Python {platform.python_version()}",
        "drsim": __version__,
        "sets": evaluate(*folders),
    }
    sys.stdout.write(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
