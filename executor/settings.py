"""Settings from the environment; each has a default that works."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


def _default_store() -> str:
    state = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return f"sqlite:///{Path(state) / 'drsim' / 'runs.sqlite'}"


class Settings(BaseSettings):
    """What the executor takes from the environment (``DRSIM_...``)."""

    model_config = SettingsConfigDict(env_prefix="DRSIM_", extra="ignore", populate_by_name=True)

    store_url: str = Field(
        default_factory=_default_store,
        validation_alias="DRSIM_STORE",
        description="SQLAlchemy URL of the record of runs; several machines that work on one estate must share one.",
    )
