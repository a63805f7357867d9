"""The table of fields says what the schema says, of every field."""

from __future__ import annotations

import pytest

import drsim as dr
from drsim.errors import DrsimError
from drsim.formats import schema
from drsim.formats.attributes import NOUNS
from drsim.inventory import Host


def test_the_schema_says_the_same_of_every_field_of_an_inventory() -> None:
    for name, body in schema("inventory")["$defs"].items():
        table = dr.fields(name)
        assert list(table.index) == list(body["properties"])
        for field, found in body["properties"].items():
            row = table.loc[field]
            assert found["description"] == (f"{row.meaning} [{row.unit}]" if row.unit else row.meaning)
            assert (row.default == "") == (field in body.get("required", []))


@pytest.mark.parametrize("name", sorted(NOUNS))
def test_every_field_has_a_meaning(name: str) -> None:
    table = dr.fields(name).drop(index="kind", errors="ignore")
    assert (table.meaning.str.len() > 3).all(), table


def test_one_row_in_full_and_a_name_that_is_wrong() -> None:
    assert dr.fields(Host).loc["reserved_memory_mib"].tolist() == [
        "whole number",
        "MiB",
        "0",
        "Memory kept for the host itself.",
    ]
    with pytest.raises(DrsimError, match="Did you mean 'Host'"):
        dr.fields("Hots")
