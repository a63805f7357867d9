"""Tables by their suffix: CSV, Parquet or JSON."""

from __future__ import annotations

import json
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
