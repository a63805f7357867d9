"""Demand of guests over time, from tables."""

from __future__ import annotations

from pathlib import Path

from drsim.errors import DataError
from drsim.formats.tables import read_table
from drsim.workload import Demand


def read_demand(path: str | Path) -> Demand:
    """Read demand over time, CSV, Parquet or JSON: columns ``time_s``, ``vm``, ``cpu_cores``; ``memory_used_mib`` too.

    Raises
    ------
    DataError
        If it cannot be read, or is not a whole table of demand (`drsim.workload.Demand.of_frame`).
    """
    table = read_table(path, "Name a CSV, Parquet or JSON table with the columns time_s, vm and cpu_cores.")
    try:
        return Demand.of_frame(table)
    except DataError as error:
        raise error.at(str(path)) from error
