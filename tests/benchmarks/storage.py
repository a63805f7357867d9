"""Datastores relieved beside linear bounds and a greedy rule: ``python -m tests.benchmarks.storage``; JSON.

Invented estates: guests with a disk or two on datastores that groups of hosts share, some too full, some written too
hard to. Peaks are the highest share of space, or of write rate, in use. Two relaxations in which disks may be split
(GLOP): the lowest peak that any way to lay them reaches, and the least that must be copied for the peak that drsim
reached. The greedy rule takes from the worst datastore the disk that helps most to the emptiest that takes it, while
any is over its threshold. With a threshold of 0 datastores are evened out as far as drsim ever does. CPU seconds of
the call alone.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass

import numpy as np
from ortools.linear_solver import pywraplp

from drsim import check
from drsim.inventory import Datastore, Disk, Host, Inventory, Site, Vm
from drsim.planner import make_plan
from drsim.policy import MOST_USED, Objective, Policy
from drsim.storage import landed

GIB = 1024.0


def estate(hosts: int, guests: int, stores: int, groups: int, seed: int) -> Inventory:
    """Invent an estate: each group of hosts shares its part of the datastores, filled unevenly."""
    draw = np.random.default_rng(seed)
    names = [f"h{number:03d}" for number in range(hosts)]
    group_of = {name: number * groups // hosts for number, name in enumerate(names)}
    mine = {group: [s for s in range(stores) if s * groups // stores == group] for group in range(groups)}
    pull = draw.dirichlet(np.full(stores, 8.0))
    vms, held, written = [], np.zeros(stores), np.zeros(stores)
    for number in range(guests):
        host = names[number * hosts // guests]
        choice = mine[group_of[host]]
        disks = []
        for disk in range(1 + int(draw.random() < 0.3)):
            store = int(draw.choice(choice, p=pull[choice] / pull[choice].sum()))
            size = float(draw.choice([20, 40, 80, 160, 320, 640], p=[0.2, 0.3, 0.25, 0.15, 0.07, 0.03])) * GIB
            used, writes = size * float(draw.uniform(0.7, 1.0)), float(np.round(draw.lognormal(-0.5, 1.0), 3))
            held[store] += used
            written[store] += writes
            path = f"/ds{store}/v{number}-{disk}.qcow2"
            disks.append(
                Disk(
                    name=f"vd{'ab'[disk]}",
                    datastore=f"ds{store}",
                    size_mib=size,
                    used_mib=round(used),
                    write_rate_mib_s=writes,
                    path=path,
                )
            )
        vms.append(Vm(name=f"v{number:05d}", host=host, vcpus=2, memory_mib=4096, disks=tuple(disks)))
    sizes = np.full(stores, held.sum() / stores / 0.68)  # 68 % of all space and 60 % of all writes in use
    rates = np.full(stores, written.sum() / stores / 0.6)
    sizes = np.maximum(sizes, held * 1.02)
    return Inventory(
        sites=(Site(name="s"),),
        hosts=tuple(Host(name=name, site="s", cores=256, memory_mib=1 << 20) for name in names),
        datastores=tuple(
            Datastore(
                name=f"ds{store}",
                kind="nfs",
                path=f"/ds{store}",
                capacity_mib=float(sizes[store]),
                write_rate_mib_s=float(rates[store]),
                hosts=tuple(name for name in names if store in mine[group_of[name]]),
            )
            for store in range(stores)
        ),
        vms=tuple(vms),
    )


@dataclass
class Columns:
    """An estate as arrays: D disks, S datastores."""

    size: np.ndarray
    data: np.ndarray
    writes: np.ndarray
    at: np.ndarray
    to: list[list[int]]
    capacity: np.ndarray
    rate: np.ndarray

    @classmethod
    def of(cls, made: Inventory) -> Columns:
        index = {store.name: number for number, store in enumerate(made.datastores)}
        mounted = {
            host.name: [index[store.name] for store in made.datastores if host.name in store.hosts]
            for host in made.hosts
        }
        disks = [(vm, disk) for vm in made.vms for disk in vm.disks]
        return cls(
            size=np.array([disk.size_mib for _, disk in disks]),
            data=np.array([disk.data_mib for _, disk in disks]),
            writes=np.array([disk.write_rate_mib_s for _, disk in disks]),
            at=np.array([index[disk.datastore] for _, disk in disks]),
            to=[[store for store in mounted[vm.host] if store != index[disk.datastore]] for vm, disk in disks],
            capacity=np.array([store.capacity_mib for store in made.datastores]),
            rate=np.array([store.write_rate_mib_s for store in made.datastores]),
        )

    def shares(self, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return what of each datastore's space and write rate is in use."""
        count = self.capacity.size
        return (
            np.bincount(at, self.data, count) / self.capacity,
            np.bincount(at, self.writes, count) / self.rate,
        )

    def free_mib(self) -> np.ndarray:
        """Return what may still come: disks count with the size that they may grow to."""
        return np.maximum(0.0, self.capacity - np.bincount(self.at, self.size, self.capacity.size))


def relaxed(of: Columns, level: float | None) -> float:
    """Return the lowest peak, or the least to be copied for a peak of `level` (MiB), if disks may be split."""
    solver = pywraplp.Solver.CreateSolver("GLOP")
    count, free = of.capacity.size, of.free_mib()
    peak = solver.NumVar(0.0, solver.infinity(), "peak")
    space, writes = of.shares(of.at)
    limits = []
    for store in range(count):
        used = solver.Constraint(-solver.infinity(), -float(space[store]))
        busy = solver.Constraint(-solver.infinity(), -float(writes[store]))
        room = solver.Constraint(-solver.infinity(), float(free[store]))
        used.SetCoefficient(peak, -1.0)
        busy.SetCoefficient(peak, -1.0)
        limits.append((used, busy, room))
    aim = solver.Objective()
    for disk, choice in enumerate(of.to):
        whole, source = solver.Constraint(0.0, 1.0), int(of.at[disk])
        for store in choice:
            share = solver.NumVar(0.0, 1.0, "")
            whole.SetCoefficient(share, 1.0)
            for at, sign in ((source, -1.0), (store, 1.0)):
                limits[at][0].SetCoefficient(share, sign * float(of.data[disk] / of.capacity[at]))
                limits[at][1].SetCoefficient(share, sign * float(of.writes[disk] / of.rate[at]))
            limits[store][2].SetCoefficient(share, float(of.size[disk]))
            if level is not None:
                aim.SetCoefficient(share, float(of.data[disk]))
    if level is None:
        aim.SetCoefficient(peak, 1.0)
    else:
        peak.SetUb(level)
    aim.SetMinimization()
    if solver.Solve() != pywraplp.Solver.OPTIMAL:
        return float("nan")
    return float(aim.Value())


def greedy(of: Columns, threshold: float) -> tuple[float, float, int]:
    """Return peak, MiB and moves of the rule: from the worst datastore what helps most, to the emptiest."""
    at, free, moved, moves = of.at.copy(), of.free_mib(), 0.0, 0
    for _ in range(at.size):
        space, writes = of.shares(at)
        worst = np.maximum(space, writes)
        source = int(worst.argmax())
        if worst[source] <= threshold:
            break
        part, cost = (of.data, of.data) if space[source] >= writes[source] else (of.writes, of.data)
        found = None
        for disk in np.flatnonzero((at == source) & (of.at == source)):
            for store in of.to[disk]:
                after = max(
                    space[store] + of.data[disk] / of.capacity[store], writes[store] + of.writes[disk] / of.rate[store]
                )
                if of.size[disk] <= free[store] and after < worst[source]:
                    gain = part[disk] / cost[disk] - after * 1e-9
                    found = max(found or (-1.0, 0, 0), (gain, int(disk), store))
        if found is None:
            break
        _, disk, store = found
        at[disk], free[store], moved, moves = store, free[store] - of.size[disk], moved + of.data[disk], moves + 1
    return float(max(share.max() for share in of.shares(at))), moved, moves


def measure(size: tuple[int, ...], threshold: float, limit_s: float, seed: int) -> dict[str, object]:
    """Relieve one estate and lay it beside its bounds."""
    hosts, guests, stores, groups = size
    made = estate(hosts, guests, stores, groups, seed)
    wish = Objective(goal="storage", most_full=threshold, most_written=threshold)
    of = Columns.of(made)
    begin = time.process_time()
    plan = make_plan(made, Policy(), wish, time_limit_s=limit_s, seed=seed)
    cpu_s = time.process_time() - begin
    there = Columns.of(landed(made, plan.moves))
    peak = max(share.max() for share in there.shares(there.at))
    mib = float(of.data[there.at != of.at].sum())
    begin = time.process_time()
    lowest, least = relaxed(of, None), relaxed(of, max(threshold, float(peak)) + 1e-9)
    bound_s = time.process_time() - begin
    simple_peak, simple_mib, simple_moves = greedy(of, threshold)
    before = of.shares(of.at)
    return {
        "estate": f"{hosts}x{guests}, {stores} datastores in {groups} groups",
        "disks": int(of.size.size),
        "cpu_s": round(cpu_s, 2),
        "status": plan.status,
        "violations": len(check.plan_violations(plan)),
        "space_peak": [round(float(before[0].max()), 4), round(float(there.shares(there.at)[0].max()), 4)],
        "write_peak": [round(float(before[1].max()), 4), round(float(there.shares(there.at)[1].max()), 4)],
        "peak": round(float(peak), 4),
        "lowest_peak": round(lowest, 4),
        "gib": round(mib / GIB, 1),
        "least_gib": round(least / GIB, 1),
        "over_least": round(mib / least, 3) if least else None,
        "disks_moved": int((there.at != of.at).sum()),
        "predicted_h": round(plan.makespan_s / 3600.0, 2),
        "greedy": {"peak": round(simple_peak, 4), "gib": round(simple_mib / GIB, 1), "disks_moved": simple_moves},
        "bounds_cpu_s": round(bound_s, 2),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--estate", nargs="*", default=["96x2000x8x1", "96x2000x20x1", "96x2000x20x4"])
    parser.add_argument("--threshold", type=float, nargs="*", default=[MOST_USED, 0.0])
    parser.add_argument("--time-limit", type=float, default=10.0)
    parser.add_argument("--seed", type=int, nargs="*", default=[1, 2])
    options = parser.parse_args()
    for each in options.estate:
        for seed in options.seed:
            for threshold in options.threshold:
                size = tuple(map(int, each.split("x")))
                row = measure(size, threshold, options.time_limit, seed)
                print(json.dumps({"seed": seed, "threshold": threshold, **row}), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
