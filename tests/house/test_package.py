"""The package as a user meets it: version, quick import, the guard against a shadowed name."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import drsim

ROOT = Path(__file__).parents[2]
DRSIM = Path(sys.executable).with_name("drsim")


def test_versions_agree() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == drsim.__version__


def test_every_public_name_is_there() -> None:
    for name in drsim.__all__:
        assert getattr(drsim, name) is not None
    assert len(drsim.__all__) <= 40


def test_import_loads_no_heavy_library_and_prints_nothing() -> None:
    heavy = {"ortools", "matplotlib", "simpy", "pandas", "pydantic"}
    code = f"import sys, drsim; print(sorted({heavy} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"
    assert result.stderr == ""


def test_another_package_named_executor_is_refused_with_its_place(tmp_path: Path) -> None:
    stranger = tmp_path / "executor"
    stranger.mkdir()
    (stranger / "__init__.py").write_text("")
    (stranger / "cli.py").write_text("def main(): print('somebody else')\n")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    result = subprocess.run([DRSIM, "apply", "x.json"], capture_output=True, text=True, env=environment, check=False)
    assert result.returncode == 1
    assert result.stdout == ""
    assert str(stranger) in result.stderr
    assert "pip uninstall executor" in result.stderr
