"""The commands about the migration model, as a person types them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from drsim.cli import main

RECORDED = Path(__file__).parents[2] / "data" / "lab" / "migrations.csv"
CLUSTER = Path(__file__).parents[2] / "data" / "demo" / "inventory"


def _run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["drsim", *map(str, words)])
    with pytest.raises(SystemExit) as left:
        main()
    said = capsys.readouterr()
    return int(left.value.code or 0), said.out, said.err


def test_calibrate_writes_counts_on_and_is_used(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "lab.yaml"
    words = ("calibrate", RECORDED, "--base", "lab-tcg", "--bootstraps", 0, "-o", file)
    code, out, _ = _run(monkeypatch, capsys, *words)
    assert code == 0
    assert "total_time_s: median error" in out
    assert "version: 1" in file.read_text()
    _run(monkeypatch, capsys, *words)
    assert "version: 2" in file.read_text()
    code, out, _ = _run(monkeypatch, capsys, "parameters", file, "--json")
    assert code == 0
    assert {"name", "value", "unit", "default", "source", "tuned_by"} <= json.loads(out)[0].keys()
    code, out, _ = _run(monkeypatch, capsys, "plan", CLUSTER, "--time-limit", 0.3, "--parameters", file, "--json")
    assert code == 2
    assert json.loads(out)["moves"][0]["prediction"]["total_time_low_s"] > 0.0


def test_parameters_of_a_preset(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = _run(monkeypatch, capsys, "parameters", "simgrid")
    assert code == 0
    assert "zero_scan_pages_s" in out
    assert "inf" in out


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("calibrate", RECORDED, "--base", "moon"), "default, lab-tcg"),
        (("parameters", "nowhere.yaml"), "nowhere.yaml"),
        (("plan", CLUSTER, "--parameters", RECORDED), "migrations.csv"),
    ],
)
def test_mistakes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: tuple[object, ...], expected: str
) -> None:
    code, out, err = _run(monkeypatch, capsys, *words)
    assert (code, out) == (1, "")
    assert expected in err
