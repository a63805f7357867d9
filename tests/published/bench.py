"""Where the measured data sets of others are."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def migrations(name: str) -> Path:
    """Return a folder of measured migrations; skip the test if it is not here."""
    root = os.environ.get("DRSIM_BENCH_DATA")
    if not root:
        pytest.skip("DRSIM_BENCH_DATA is not set")
    folder = Path(root) / "migrations" / name
    if not folder.is_dir():
        pytest.skip(f"DRSIM_BENCH_DATA holds no migrations/{name}")
    return folder
