"""The examples are read by the readers, and show every field."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from executor.lab.dirty import Burst, Dirtying, Phase
from executor.lab.matrix import read_matrix
from executor.lab.topology import LabDisk, LabGuest, LabHost, LabTopology, read_topology
from executor.lab.wire import LabNetwork, Line, Wan

EXAMPLES = Path(__file__).parents[3] / "executor" / "lab" / "examples"


@pytest.mark.parametrize("name", ["two-sites", "everything"])
def test_a_topology_can_be_built(name: str) -> None:
    assert read_topology(EXAMPLES / f"{name}.yaml").name == name


def test_every_field_is_shown() -> None:
    text = (EXAMPLES / "everything.yaml").read_text()
    for kind in (LabTopology, LabHost, LabGuest, LabDisk, LabNetwork, Line, Wan, Dirtying, Phase, Burst):
        for field in fields(kind):
            assert f"{field.name}:" in text, f"{kind.__name__}.{field.name}"


def test_the_experiment_has_something_to_do() -> None:
    matrix = read_matrix(EXAMPLES / "matrix.yaml")
    assert len(matrix.runs()) == 2 * len(matrix.trials()) > 100
