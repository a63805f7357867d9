"""The constants of the model as a table: name, value, unit, meaning, where the default comes from, what tunes it."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import get_type_hints

from drsim.migration.parameters import DEFAULT, Parameters
from drsim.migration.tune import KNOBS
from drsim.units import About


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One constant.

    Parameters
    ----------
    name, unit, meaning : str
        What it is.
    value, default : float
        What it is here, and what it is where nothing was tuned.
    uncertainty : float or None
        Standard deviation over bootstrap samples.
    source : str
        Where the default comes from.
    tuned_by : str
        What measured migrations must hold to tell it; empty: it is taken as given.
    """

    name: str
    unit: str
    meaning: str
    value: float
    default: float
    uncertainty: float | None
    source: str
    tuned_by: str


def table(parameters: Parameters = DEFAULT, uncertainty: Mapping[str, float] | None = None) -> tuple[Entry, ...]:
    """Return all constants in the order in which they are defined."""
    hints = get_type_hints(Parameters, include_extras=True)
    sources = _sources()
    tuned = {knob.name: knob.tells for knob in KNOBS}
    entries = []
    for field in fields(Parameters):
        about = next(note for note in hints[field.name].__metadata__ if isinstance(note, About))
        entries.append(
            Entry(
                name=field.name,
                unit=about.unit,
                meaning=about.meaning,
                value=float(getattr(parameters, field.name)),
                default=float(getattr(DEFAULT, field.name)),
                uncertainty=(uncertainty or {}).get(field.name),
                source=sources.get(field.name, ""),
                tuned_by=tuned.get(field.name, ""),
            )
        )
    return tuple(entries)


def _sources() -> dict[str, str]:
    """Read the text under each field: the one place where its source is told."""
    body = ast.parse(inspect.getsource(Parameters)).body[0]
    assert isinstance(body, ast.ClassDef)
    found: dict[str, str] = {}
    for before, after in zip(body.body, body.body[1:], strict=False):
        if (
            isinstance(before, ast.AnnAssign)
            and isinstance(before.target, ast.Name)
            and isinstance(after, ast.Expr)
            and isinstance(after.value, ast.Constant)
        ):
            found[before.target.id] = " ".join(str(after.value.value).split())
    return found
