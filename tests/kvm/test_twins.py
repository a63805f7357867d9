"""A plan ends in the same states on the simulated hypervisor and on real ones; 200 moves: python -m tests.kvm.twins."""

from __future__ import annotations

import pytest

from executor.lab.lab import Lab
from tests.kvm.twins import compare, troubles_of

pytestmark = pytest.mark.kvm


def test_one_plan_ends_alike_in_both_worlds(lab: Lab) -> None:
    assert set(troubles_of(12, 2).values()) == {"kill", "break"}
    result = compare(lab, ("idle", "busy"), 12, at_once=2)
    assert result["same"], result
    assert result["deaths"] == 1
    harm = result["harm"]
    assert isinstance(harm, dict)
    assert not any(harm.values())
