"""What really happened, to be replayed."""

from __future__ import annotations

from pathlib import Path

from drsim.errors import DataError
from drsim.formats.tables import read_table
from drsim.formats.text import refuse
from drsim.simulate.operate import Recorded


def read_moved(path: str | Path) -> tuple[Recorded, ...]:
    """Read moves that really happened, CSV, Parquet or JSON: columns ``time_s``, ``vm`` and ``host`` (the new one).

    Raises
    ------
    DataError
        If it cannot be read, a column is missing, or a time is no number of seconds.
    """
    import pandas as pd

    remedy = "Name a CSV, Parquet or JSON table with the columns time_s, vm and host."
    table = read_table(path, remedy)
    if missing := [name for name in ("time_s", "vm", "host") if name not in table.columns]:
        raise refuse(DataError, str(path), f"column {missing[0]} is missing.", remedy, missing[0])
    times = pd.to_numeric(table.time_s, errors="coerce")
    if (wrong := ~(times >= 0.0)).any():
        row = int(wrong.to_numpy().argmax())
        said = f"row {row + 1}: '{table.time_s.iloc[row]}' is no time; seconds since the start were expected."
        raise refuse(DataError, str(path), said, "Correct it there.", "time_s")
    return tuple(
        Recorded(at_s=float(at_s), vm=str(vm), host=str(host))
        for at_s, vm, host in zip(times, table.vm, table.host, strict=True)
    )
