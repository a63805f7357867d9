"""The fields of every noun as a table: what JSON Schema, documentation and columns say about them, as data."""

from __future__ import annotations

import difflib
import typing
from dataclasses import MISSING
from dataclasses import fields as fields_of
from typing import TYPE_CHECKING, Any

from drsim import inventory, plan, policy, transfer
from drsim.errors import DrsimError
from drsim.units import About

if TYPE_CHECKING:
    import pandas as pd

NOUNS: dict[str, Any] = {
    noun.__name__: noun
    for noun in (
        inventory.Inventory,
        inventory.Site,
        inventory.Host,
        inventory.HostNic,
        inventory.Device,
        inventory.Datastore,
        inventory.Network,
        inventory.HostBridge,
        inventory.Vm,
        inventory.Disk,
        inventory.VmNic,
        inventory.PageClass,
        inventory.Link,
        inventory.Switch,
        policy.Policy,
        *typing.get_args(policy.Rule),
        policy.Limits,
        policy.Manner,
        transfer.Transfer,
        policy.Objective,
        plan.Move,
        plan.Start,
        plan.Prediction,
        plan.Score,
    )
}
"""What `fields` describes, by name."""


def fields(kind: str | type[Any]) -> pd.DataFrame:
    """Describe the fields of a noun.

    Parameters
    ----------
    kind : str or type
        ``"Host"``, ``"Vm"``, ``"Link"``, ...: any name of `NOUNS`, or the class itself.

    Returns
    -------
    DataFrame
        One row a field in the order of the file formats, indexed by ``name``; columns ``type``, ``unit`` (empty for
        pure numbers and names), ``default`` (empty if the field must be given), ``meaning``.

    Raises
    ------
    DrsimError
        If there is no such noun.
    """
    import pandas as pd

    name = kind if isinstance(kind, str) else kind.__name__
    if name not in NOUNS:
        close = difflib.get_close_matches(name, NOUNS, 1)
        hint = f"Did you mean '{close[0]}'?" if close else f"Known are {', '.join(NOUNS)}."
        raise DrsimError(f"fields '{name}': there is no such noun. {hint}")
    hints = typing.get_type_hints(NOUNS[name], include_extras=True)
    rows = []
    for field in fields_of(NOUNS[name]):
        hint = hints[field.name]
        about = next((note for note in getattr(hint, "__metadata__", ()) if isinstance(note, About)), About(""))
        default = "" if field.default is MISSING else repr(field.default)
        rows.append((field.name, _spelled(hint), about.unit, default, about.meaning))
    return pd.DataFrame(rows, columns=["name", "type", "unit", "default", "meaning"]).set_index("name")


def _spelled(hint: Any) -> str:
    """Spell a type as a user reads it: ``text``, ``whole number or nothing``, ``list of Disk``."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return _spelled(inner[0])
    if origin is tuple:
        return f"list of {_spelled(inner[0])}"
    if origin is typing.Literal:
        return " | ".join(repr(each) for each in inner)
    if inner:
        return " or ".join(_spelled(each) for each in inner)
    words = {str: "text", int: "whole number", float: "number", bool: "true or false", type(None): "nothing"}
    return words.get(hint) or str(hint.__name__)
