"""Tables by their suffix: CSV, Parquet or JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path as File
from typing import TYPE_CHECKING

from drsim.errors import DataError
from drsim.formats.text import refuse

if TYPE_CHECKING:
    import pandas as pd


def read_table(path: str | File, remedy: str) -> pd.DataFrame:
    """Read a table, CSV, Parquet or JSON (a list of records).

    Raises
    ------
    DataError
        If it cannot be read; `remedy` says what to do.
    """
    import pandas as pd

    place = File(path)
    try:
        match place.suffix:
            case ".parquet":
                return pd.read_parquet(place)
            case ".json":
                return pd.DataFrame(json.loads(place.read_text()))
            case _:
                return pd.read_csv(place)
    except (OSError, ValueError, ImportError) as error:
        raise refuse(DataError, str(path), f"it cannot be read: {error}.", remedy) from error


def write_tables(frames: Mapping[str, pd.DataFrame], folder: File) -> None:
    """Write tables into a folder, a file each: Parquet, or CSV where that is not installed (``drsim[parquet]``)."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, frame in frames.items():
        if find_spec("pyarrow"):
            frame.to_parquet(folder / f"{name}.parquet")
        else:
            frame.to_csv(folder / f"{name}.csv", index=False)
