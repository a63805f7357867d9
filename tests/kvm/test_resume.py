"""``kill -9`` of ``drsim apply`` in the middle of a real migration, then ``drsim resume``, at the console."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from executor.lab.lab import Lab
from tests.kvm.conftest import where

pytestmark = pytest.mark.kvm

DRSIM = str(Path(sys.executable).with_name("drsim"))


def drsim(folder: Path, *words: str, codes: tuple[int, ...] = (0,)) -> str:
    result = subprocess.run([DRSIM, *words], capture_output=True, text=True, cwd=folder, env=environment(folder))
    assert result.returncode in codes, result.stdout + result.stderr
    return result.stdout


def environment(folder: Path) -> dict[str, str]:
    return {**os.environ, "DRSIM_STORE": f"sqlite:///{folder / 'runs.sqlite'}"}


def test_a_killed_apply_is_taken_up_again_and_no_guest_is_lost(lab: Lab, tmp_path: Path) -> None:
    guests = ("idle", "busy")
    busiest = where(lab, "busy")[0]
    policy = tmp_path / "policy.yaml"
    # Slow and one after the other, so that it can be killed in the middle of the first move.
    limits = {"bandwidth_mbit_s": 320, "moves_at_once": 1}
    policy.write_text(json.dumps({"format": "drsim-policy", "format_version": 1, "limits": limits}))
    drsim(tmp_path, "collect", "--hosts-file", str(lab.state.folder / "hosts.yaml"), "-o", "cluster.json")
    wish = ("--objective", "evacuate", "--host", busiest, "--time-limit", "2", "--parameters", "lab-tcg")
    drsim(tmp_path, "plan", "cluster.json", "policy.yaml", *wish, "-o", "plan.json", codes=(2,))
    with lab.probe(guests) as probe:
        controller = subprocess.Popen(
            [DRSIM, "apply", "plan.json", "--on", "libvirt", "--yes"],
            cwd=tmp_path,
            env=environment(tmp_path),
            stdout=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 60
        while not any(len(where(lab, guest)) == 2 for guest in guests):  # a copy arrives
            assert controller.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        controller.kill()
        controller.wait()
        (run,) = json.loads(drsim(tmp_path, "runs", "--json"))["runs"]
        drsim(tmp_path, "resume", run["id"])
        time.sleep(0.5)
        seen = probe.report()
    for guest in guests:
        assert len(where(lab, guest)) == 1
        assert where(lab, guest) != [busiest]
        assert (seen[guest].broken, seen[guest].lost, seen[guest].repeated) == (False, 0, 0)
        with lab.control(guest) as control:
            verdict = control.verify()
        assert (verdict.bad_pages, verdict.bad_blocks) == (0, 0)
    trail = drsim(tmp_path, "audit", run["id"], "--json")  # verified on the way: exit code 0
    assert trail.count("intended") >= 2
