"""The laws between the rooms: each contract is broken once, on a copy, and must be caught."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINT_IMPORTS = Path(sys.executable).with_name("lint-imports")

BREACHES = [
    ("drsim/inventory.py", "import executor.run", "drsim never imports the executor or libvirt"),
    ("drsim/report/html.py", "import libvirt", "drsim never imports the executor or libvirt"),
    ("executor/run.py", "import libvirt", "libvirt only in executor.hypervisor and executor.lab"),
    ("executor/run.py", "import simpy", "simpy only in drsim.simulate"),
    (
        "drsim/check/placement.py",
        "from ortools.sat.python import cp_model",
        "ortools only in drsim.optimize and drsim.schedule",
    ),
    ("drsim/plan.py", "import pydantic", "pydantic only at the edges"),
    ("executor/run.py", "import sqlalchemy", "sqlalchemy only in executor.store"),
    ("drsim/check/placement.py", "import drsim.optimize", "the layers of drsim"),
    ("drsim/check/placement.py", "import drsim.sharing", "the layers of drsim"),
    ("drsim/inventory.py", "import drsim.plan", "the layers of drsim"),
    ("executor/hypervisor/base.py", "import executor.run", "the layers of the executor"),
]


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("house")
    for package in ("drsim", "executor"):
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    # The copy must be found before the checkout that is installed in this environment.
    command, environment = [str(LINT_IMPORTS), "--no-cache"], {"PYTHONPATH": str(folder)}
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment, check=False)


def test_the_house_keeps_its_laws(copy: Path) -> None:
    result = lint(copy)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize(("file", "line", "contract"), BREACHES)
def test_each_breach_is_caught(copy: Path, file: str, line: str, contract: str) -> None:
    path = copy / file
    before = path.read_text()
    path.write_text(f"{before}\n\ndef _breach() -> None:\n    {line}\n")
    try:
        result = lint(copy)
    finally:
        path.write_text(before)
    assert result.returncode == 1, result.stdout
    assert f"{contract} BROKEN" in result.stdout
