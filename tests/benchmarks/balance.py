"""Balance beside a lower bound: ``python -m tests.benchmarks.balance [--size HOSTSxGUESTS@SECONDS ...]``; JSON.

Clusters are drawn, and answers judged, by the independent programs in ``DRSIM_BENCH_DATA/peers``; CPU seconds are those
of the whole command ``drsim plan``, reading, ordering and predicting included, once it is compiled (`drsim.warm`).
Where hbal (Debian: ``ganeti-htools``) is installed, it is run on small clusters, and drsim again with as many moves as
it made. ``DRSIM_PROXLB_PYTHON`` names the Python of a virtual environment with proxlb-solver (PyPI); that is then given
its 30 s beside 1 s of drsim.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

PEERS = Path(os.environ.get("DRSIM_BENCH_DATA", "")) / "peers"
DRSIM = Path(sys.executable).with_name("drsim")
INSTALLED = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
"""As a user runs it: Python keeps the bytecode of what it has loaded."""
PROXLB = os.environ.get("DRSIM_PROXLB_PYTHON")
SIZES = ("100x2000@1", "96x8000@2", "96x10000@2", "1000x20000@5", "5000x100000@60")
HBAL_SIZES = ("20x400@1", "50x1000@1")
PROXLB_SIZES = ("10x100@1", "20x400@1", "50x1000@1")
LOOSE = "1.03"
"""Load at which memory moved is compared with its bound, too."""


def said(*command: str | Path) -> str:
    """Run a program of the peers' folder and return what it prints."""
    return subprocess.run([sys.executable, *command], check=True, capture_output=True, text=True).stdout


def judged(cluster: Path, placement: Path) -> dict[str, Any]:
    """Return the judge's verdict and the lower bound of memory moved."""
    verdict = said(PEERS / "evaluate.py", cluster, placement).splitlines()[-1]
    bound = re.search(r"GiB=\S+ \(bound \S+, x([\d.]+)\)", said(PEERS / "bound.py", cluster, placement))
    found = json.loads(verdict[verdict.index("{") :])
    keys = ("max_over_bound", "std_cpu", "std_ram", "moves", "gib", "aa_viol", "ram_over", "vcpu_over", "unorderable")
    return {key: found[key] for key in keys} | {"gib_over_bound": float(bound[1]) if bound else None}


def plan(cluster: Path, limit_s: float, seed: int, *more: str) -> dict[str, Any]:
    """Run ``drsim plan`` and judge it."""
    placement = cluster.with_suffix(".placement")
    command = [DRSIM, "plan", f"neutral:{cluster}", "--time-limit", str(limit_s), "--seed", str(seed), *more]
    begun, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [*command, "--placement-out", placement], capture_output=True, text=True, check=False, env=INSTALLED
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode not in (0, 2):
        raise SystemExit(done.stderr)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    cost = {"cpu_s": round(used, 2), "wall_s": round(time.perf_counter() - begun, 2)}
    return cost | judged(cluster, placement)


def hbal(cluster: Path, limit_s: float, seed: int) -> dict[str, Any]:
    """Run hbal, and drsim with as many moves."""
    begun = resource.getrusage(resource.RUSAGE_CHILDREN)
    text = said(PEERS / "run_hbal.py", cluster, "-", "3000")
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    theirs = json.loads(text.splitlines()[-1])
    theirs["cpu_s"] = round(ended.ru_utime - begun.ru_utime, 2)
    return {"hbal": theirs, "drsim": plan(cluster, limit_s, seed, "--max-moves", str(theirs["moves"]))}


def proxlb(cluster: Path, limit_s: float, seed: int) -> dict[str, Any]:
    """Run proxlb-solver for the 30 s that it takes by default, and drsim."""
    command = [str(PROXLB), PEERS / "run_proxlb.py", cluster, "solver", "global_smart", "30"]
    begun = resource.getrusage(resource.RUSAGE_CHILDREN)
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    last = text.splitlines()[-1]
    theirs = json.loads(last) if last.startswith("{") else {"answer": last}
    theirs["cpu_s"] = round(ended.ru_utime - begun.ru_utime, 2)
    return {"proxlb-solver": theirs, "drsim": plan(cluster, limit_s, seed)}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", nargs="+", default=SIZES)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    if not PEERS.is_dir():
        raise SystemExit("Set DRSIM_BENCH_DATA to the folder that holds peers/.")
    subprocess.run([sys.executable, "-m", "drsim.warm"], check=True, env=INSTALLED)
    rows: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:

        def drawn(size: str) -> tuple[Path, float]:
            shape, _, limit = size.partition("@")
            path = Path(folder) / f"c{shape}.json"
            said(PEERS / "gen_cluster.py", *shape.split("x"), str(asked.seed), path)
            return path, float(limit)

        for size in asked.size:
            rows[size] = plan(*drawn(size), asked.seed)
            rows[f"{size} --aim {LOOSE}"] = plan(*drawn(size), asked.seed, "--aim", LOOSE)
        if shutil.which("hbal"):
            rows |= {f"hbal {size}": hbal(*drawn(size), asked.seed) for size in HBAL_SIZES}
        if PROXLB:
            rows |= {f"proxlb-solver {size}": proxlb(*drawn(size), asked.seed) for size in PROXLB_SIZES}
    sys.stdout.write(json.dumps({"seed": asked.seed, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
