"""Thousands of migrations at once, beside SimGrid: ``python -m tests.benchmarks.network [--count N ...] [--fat-tree]``.

1,000 hosts with cards of 1, 10 or 25 Gbit/s behind a non-blocking switch, or below a fat tree of 320 switches whose
lines all have 25 Gbit/s; migrations between random pairs, starting at random. The same input, ways included, goes to
SimGrid's live-migration plugin, a C++ program beside this file that is compiled here (Debian: ``apt-get install g++
libsimgrid-dev``); it takes guests whose memory holds no zeros and who dirty it in order, and so do we. JSON on standard
output: times of the simulations alone, and how far the migrations' times are apart.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from drsim.inventory import Host, HostNic, Inventory, Link, PageClass, Site, Switch, Vm
from drsim.migration import SIMGRID
from drsim.plan import Move
from drsim.policy import Limits
from drsim.simulate import simulate
from drsim.topology import Topology

HOSTS = 1000
PORTS = 16
"""Of each switch of the fat tree: 16 pods of 8 edge and 8 aggregation switches, 64 cores, room for 1,024 hosts."""

TRUNK_MBIT_S = 25_000.0
RATES_MBIT_S = (1000.0, 10_000.0, 25_000.0)
MEMORY_MIB = (1024, 2048, 4096, 8192)
WORKING_SET = 0.9
"""Share of its memory that a guest writes to: SimGrid's default."""

DIRTY = 0.0003
"""Share of its working set that a guest dirties in a second."""

PROGRAM = Path(__file__).parent / "simgrid" / "migrations.cpp"
SETTINGS = (
    "--log=root.thres:error",
    "--cfg=contexts/guard-size:0",
    "--cfg=contexts/stack-size:64",
    "--cfg=network/crosstraffic:0",
    "--cfg=network/weight-S:0",
)
"""Ten thousand stacks want no guard pages and little room; acknowledgements take no bandwidth in our model, and flows
have equal shares whatever the rates of the lines that they cross."""


@dataclass(frozen=True)
class Case:
    """One input for both."""

    rate_mbit_s: list[float]
    start_s: list[float]
    source: list[int]
    target: list[int]
    memory_mib: list[int]
    dirty_mib_s: list[float]
    fat_tree: bool


def case(count: int, gap_s: float, dirty: float, seed: int, *, fat_tree: bool = False) -> Case:
    """Return `count` migrations, one each `gap_s` seconds on average."""
    draw = np.random.default_rng(seed)
    source = draw.integers(0, HOSTS, count)
    memory = draw.choice(MEMORY_MIB, count)
    return Case(
        rate_mbit_s=draw.choice(RATES_MBIT_S, HOSTS).tolist(),
        start_s=np.sort(draw.uniform(0.0, gap_s * count, count)).tolist(),
        source=source.tolist(),
        target=((source + draw.integers(1, HOSTS, count)) % HOSTS).tolist(),
        memory_mib=memory.tolist(),
        dirty_mib_s=(memory * WORKING_SET * dirty).tolist(),
        fat_tree=fat_tree,
    )


def fabric() -> tuple[tuple[Switch, ...], tuple[Link, ...]]:
    """Return the switches and lines of a fat tree (Al-Fares, Loukissas, Vahdat, SIGCOMM 2008)."""
    half = PORTS // 2
    edge = [[f"edge-{pod}-{n}" for n in range(half)] for pod in range(PORTS)]
    inner = [[f"aggregation-{pod}-{n}" for n in range(half)] for pod in range(PORTS)]
    core = [[f"core-{n}-{m}" for m in range(half)] for n in range(half)]
    pairs = [(a, b) for pod in range(PORTS) for a in edge[pod] for b in inner[pod]]
    pairs += [(inner[pod][n], b) for pod in range(PORTS) for n in range(half) for b in core[n]]
    switches = tuple(Switch(name=name) for group in (*edge, *inner, *core) for name in group)
    return switches, tuple(Link(a=a, b=b, bandwidth_mbit_s=TRUNK_MBIT_S) for a, b in pairs)


def wired(given: Case) -> Inventory:
    """Return the hosts and what joins them."""
    switches, links = fabric() if given.fat_tree else ((), ())
    half = PORTS // 2

    def plug(number: int) -> str | None:
        pod, port = divmod(number, half * half)
        return f"edge-{pod}-{port // half}" if given.fat_tree else None

    hosts = tuple(
        Host(
            name=f"h{n}",
            site="s",
            cores=64,
            memory_mib=1 << 20,
            nics=(HostNic(name="eno1", rate_mbit_s=rate, switch=plug(n)),),
        )
        for n, rate in enumerate(given.rate_mbit_s)
    )
    return Inventory(sites=(Site(name="s"),), hosts=hosts, switches=switches, links=links)


def ours(given: Case) -> tuple[np.ndarray, float]:
    """Return how long each migration takes, and the CPU seconds of finding out."""
    began = time.process_time()
    rows = list(zip(given.source, given.target, given.memory_mib, given.dirty_mib_s, strict=True))
    vms = tuple(
        Vm(
            name=f"v{n}",
            host=f"h{source}",
            vcpus=1,
            memory_mib=memory,
            dirty=(PageClass(size_mib=WORKING_SET * memory, dirty_rate_mib_s=dirty),),
        )
        for n, (source, _, memory, dirty) in enumerate(rows)
    )
    moves = [
        Move(id=f"m{n}", vm=f"v{n}", source=f"h{a}", target=f"h{b}", reason="", max_downtime_ms=30.0)
        for n, (a, b, _, _) in enumerate(rows)
    ]
    starts = {f"m{n}": at for n, at in enumerate(given.start_s)}
    inventory = replace(wired(given), vms=vms)
    made = time.process_time()
    played = simulate(inventory, moves, Limits(), SIMGRID, starts_s=starts)
    spent = time.process_time() - made
    sys.stderr.write(f"{len(moves)} migrations: {made - began:.2f} s to make the input, {spent:.2f} s to play it\n")
    return np.array([one.total_time_s for one in played.predictions.values()]), spent


def simgrid(program: Path, given: Case, patience_s: float) -> tuple[np.ndarray, float] | None:
    """Return the same of SimGrid (CPU seconds of its ``engine.run()``); None if it does not end, or not in time."""
    rows = zip(given.start_s, given.source, given.target, given.memory_mib, given.dirty_mib_s, strict=True)
    topology = Topology(wired(given))
    lines = {edge: number for number, edge in enumerate(topology.capacity_mbit_s)}
    pairs = dict.fromkeys(
        pair for a, b in zip(given.source, given.target, strict=True) for pair in ((a, b), (b, a))
    )  # migrations answer by the way back

    def way(a: int, b: int) -> str:
        path = topology.path(f"h{a}", f"h{b}")
        assert path is not None
        return " ".join(str(lines[edge]) for edge in path.edges)

    text = "\n".join(
        (
            f"{len(given.rate_mbit_s)} {len(lines)}",
            # The latency is that of the cards, however many switches are crossed: as in the other network.
            *(f"{rate:.17g} {0 if '->' in edge else 5e-5}" for edge, rate in topology.capacity_mbit_s.items()),
            str(len(pairs)),
            *(f"{a} {b} {len(way(a, b).split())} {way(a, b)}" for a, b in pairs),
            str(len(given.start_s)),
            *(" ".join(f"{value:.17g}" for value in row) for row in rows),
        )
    )
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write(text)
        file.flush()
        try:
            said = subprocess.run(
                [program, file.name, *SETTINGS], check=True, capture_output=True, text=True, timeout=patience_s
            ).stdout.splitlines()
        except subprocess.TimeoutExpired:
            return None
        except subprocess.CalledProcessError as error:
            sys.stderr.write(f"SimGrid ended with {error.returncode}: {error.stderr[:300]}\n")
            return None
    times = np.array([[float(value) for value in line.split()] for line in said[:-1]])
    return times[:, 1] - times[:, 0], float(said[-1].split()[1])


def compiled(folder: Path) -> Path | None:
    """Compile the program; None if that cannot be done here."""
    if shutil.which("g++") is None:
        return None
    program = folder / "migrations"
    done = subprocess.run(
        ["g++", "-O2", "-std=c++17", PROGRAM, "-o", program, "-lsimgrid"], capture_output=True, check=False
    )
    return program if done.returncode == 0 else None


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, nargs="+", default=[100, 300, 1000, 3000, 10_000])
    parser.add_argument(
        "--gap", type=float, default=0.01, help="seconds between two starts, on average; 0: all at once"
    )
    parser.add_argument("--dirty", type=float, default=DIRTY, help="share of its working set dirtied a second")
    parser.add_argument("--fat-tree", action="store_true", help="below a fat tree, not behind one big switch")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--patience", type=float, default=300.0, help="seconds that SimGrid is waited for")
    parser.add_argument("--alone", action="store_true", help="without SimGrid")
    asked = parser.parse_args()
    ours(case(1000, 0.01, DIRTY, 99))  # loads the compiled kernel
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        program = None if asked.alone else compiled(Path(folder))
        waits = program is not None
        for count in sorted(asked.count):
            given = case(count, asked.gap, asked.dirty, asked.seed, fat_tree=asked.fat_tree)
            took_s, cpu_s = ours(given)
            row: dict[str, Any] = {"migrations": count, "ours_s": round(cpu_s, 3)}
            row["s_a_n_log_n"] = cpu_s / (count * math.log(count))
            if program is not None and waits:
                peer = simgrid(program, given, asked.patience)
                waits = peer is not None  # more of them would take longer still
                if peer is None:
                    row["simgrid_s"] = f"none: crashed, or more than {asked.patience:g}"
                else:
                    off = np.abs(took_s / peer[0] - 1.0)
                    row |= {"simgrid_s": round(peer[1], 3), "times_faster": round(peer[1] / cpu_s, 1)}
                    row |= {"total_time_off_mean": float(off.mean()), "total_time_off_most": float(off.max())}
            rows.append(row)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0
    report = {
        "hosts": HOSTS,
        "fat_tree": asked.fat_tree,
        "gap_s": asked.gap,
        "dirty": asked.dirty,
        "seed": asked.seed,
        "rows": rows,
    }
    sys.stdout.write(json.dumps(report | {"peak_memory_mib": round(peak)}, indent=1) + "\n")


if __name__ == "__main__":
    main()
