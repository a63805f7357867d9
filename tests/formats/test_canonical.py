"""The canonical form: what JSON's own writer makes of a value, with sorted keys and whole numbers written as such."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drsim.canonical import OMITTED, canonical, plain
from drsim.synthetic import cluster


@dataclass(frozen=True)
class Leaf:
    size: float
    share: str = "50 %"
    more: float | None = field(default=None, metadata=OMITTED)


@dataclass(frozen=True)
class Branch:
    name: str
    leaves: tuple[Leaf, ...] = ()
    few: int = 3
    whole: bool = False
    rate: float = 2.0
    known: dict[str, Any] = field(default_factory=dict)


numbers = st.floats(allow_nan=False, allow_infinity=False) | st.integers() | st.sampled_from([-0.0, 1e16, 1e22, 5e-324])
texts = st.text(max_size=8)
leaves = st.builds(Leaf, numbers, texts, st.none() | numbers)
anything = st.recursive(
    st.none() | st.booleans() | numbers | texts | leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
branches = st.builds(
    *(Branch, texts, st.lists(leaves, max_size=3).map(tuple), st.integers(0, 4), st.booleans()),
    *(numbers, st.dictionaries(texts, anything, max_size=3)),
)


def whole(value: Any) -> Any:
    """Write whole numbers as such."""
    if isinstance(value, dict):
        return {key: whole(item) for key, item in value.items()}
    if isinstance(value, list):
        return [whole(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


@given(branches | anything)
def test_it_is_json_with_sorted_keys(value: Any) -> None:
    expected = json.dumps(whole(plain(value)), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert canonical(value) == expected


def test_it_is_the_same_whether_a_field_was_given_or_left_out() -> None:
    assert canonical(Branch("b")) == canonical(Branch("b", (), 3, False, 2.0, {})) == canonical(Branch("b", rate=2))
    host = cluster(2, 2, 1).hosts[0]
    assert canonical(host) == canonical(replace(host, **{one.name: getattr(host, one.name) for one in fields(host)}))


def test_numbers_of_numpy_are_numbers() -> None:
    assert canonical([np.float64(0.25), np.float64(3.0)]) == "[0.25,3]"


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_what_json_cannot_tell_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="no number that JSON can tell"):
        canonical({"memory_mib": value})
