"""Vector bin packing: ``python -m tests.benchmarks.vbp [--every 10] [--time-limit 2]`` prints JSON.

Panigrahy's instances (3 to 10 dimensions), each within its time limit, beside the best of the published heuristics per
instance, the lower bound and the optimum where it is known. Every answer is counted again from the instance.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
import tarfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from joblib import Parallel, delayed

from drsim.optimize.engine.fewest import fewest
from drsim.optimize.engine.fill import filled, least
from drsim.optimize.engine.model import bare


@dataclass(frozen=True, slots=True)
class Instance:
    """Items of several dimensions, and the size of a bin."""

    name: str
    size: np.ndarray
    items: np.ndarray


def read(data: Path) -> list[Instance]:
    """Read the instances from their archive."""
    found = []
    with tarfile.open(data / "vbp" / "Panigrahy_instances.tar.gz") as archive:
        for member in archive.getmembers():
            if member.name.endswith(".vbp"):
                file = archive.extractfile(member)
                assert file is not None
                found.append(parse(Path(member.name).stem, file.read().decode()))
    return sorted(found, key=lambda one: one.name)


def parse(name: str, text: str) -> Instance:
    """Read dimensions, bin, number of items, and a line for each item: its sizes and how many there are of it."""
    numbers = np.loadtxt(io.StringIO(text.replace("\n", " ")), ndmin=1)
    dimensions = int(numbers[0])
    size, kinds = numbers[1 : dimensions + 1], int(numbers[dimensions + 1])
    rows = numbers[dimensions + 2 :].reshape(kinds, dimensions + 1)
    return Instance(name, size, np.repeat(rows[:, :-1], rows[:, -1].astype(int), axis=0))


def pack(instance: Instance, limit_s: float, seed: int) -> dict[str, object]:
    """Pack one instance and count the bins of what came out."""
    began = time.process_time()
    items, size = instance.items, instance.size
    start, bound = filled(items, size), least(items, size)
    model = bare(items, np.tile(size, (int(start.max()) + 1, 1)))
    place = fewest(model, start, lambda: (time.process_time() - began) / limit_s, least=bound, seed=seed)
    spent = time.process_time() - began
    bins = np.unique(place)
    for number in bins:
        assert (instance.items[place == number].sum(axis=0) <= instance.size + 1e-9).all(), instance.name
    assert len(bins) >= bound, instance.name
    return {"instance_name": instance.name, "bins": len(bins), "bound": bound, "cpu_s": spent}


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(prog="vbp", description=__doc__)
    parser.add_argument("--every", type=int, default=8)
    parser.add_argument("--offset", type=int, default=0)
    parser.add_argument("--time-limit", type=float, default=2.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--worse", action="store_true", help="list the instances on which others do better")
    arguments = parser.parse_args()
    data = Path(os.environ["DRSIM_BENCH_DATA"])
    known = pd.read_csv(data / "vbp" / "Panigrahy_summary_known.csv", sep="\t").set_index("instance_name")
    chosen = read(data)[arguments.offset :: arguments.every]
    found = Parallel(n_jobs=arguments.processes)(
        delayed(pack)(one, arguments.time_limit, arguments.seed) for one in chosen
    )
    table = pd.DataFrame(found).set_index("instance_name").join(known)
    # The table says -1 where the optimum is not known.
    proven = table[table["OPT"] > 0]
    result: dict[str, object] = {
        "instances": len(table),
        "mean_bins": float(table["bins"].mean()),
        "mean_best_published": float(table["best_overall"].mean()),
        "better": int((table["bins"] < table["best_overall"]).sum()),
        "worse": int((table["bins"] > table["best_overall"]).sum()),
        "optima_known": len(proven),
        "optima_hit": int((proven["bins"] == proven["OPT"]).sum()),
        "optima_hit_by_best_published": int((proven["best_overall"] == proven["OPT"]).sum()),
        "mean_over_optimum": float((proven["bins"] / proven["OPT"] - 1).mean()),
        "mean_over_optimum_of_best_published": float((proven["best_overall"] / proven["OPT"] - 1).mean()),
        "proven_by_own_bound": int((table["bins"] == table["bound"]).sum()),
        "cpu_s_median": float(table["cpu_s"].median()),
        "cpu_s_max": float(table["cpu_s"].max()),
    }
    if arguments.worse:
        result["list"] = table[table["bins"] > table["best_overall"]].reset_index().to_dict("records")
    sys.stdout.write(json.dumps(result, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
