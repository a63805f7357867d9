"""A machine reassignment problem of any size: ``python -m tests.benchmarks.gmrp_invented FOLDER --processes 50000
--machines 1000 --resources 12 --transient 4 --services 20000 --seed 1`` writes ``model.txt`` and ``assignment.txt`` in
the format of the ROADEF/EURO challenge 2012, and prints a bound of the cost: what all demand together is over all
safety capacities, resource by resource, and what all free room together is out of balance. The same arguments, the same
files.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

LOAD_PRICE, BALANCE_PRICE, PRICES = 10, 10, (1, 10, 100)
"""Prices of load and of balance; those of moving a process, a service and between two machines."""

MOST_ON = 0.5
"""A service has no more processes than this share of the machines: no two of it may be on one."""

NEEDS = 12
"""Services that half of them may depend on."""


def invent(
    processes: int, machines: int, resources: int, transient: int, services: int, seed: int
) -> tuple[str, str, int]:
    """Return the model, the assignment and the bound.

    Machines come in eight types; sizes of processes follow a power law, cut; each machine is filled to a share of its
    own of each resource, so that the start is legal and uneven.
    """
    random = np.random.default_rng(seed)
    locations, neighbourhoods = max(4, machines // 20), max(5, machines // 20)
    location, neighbourhood = random.integers(0, locations, machines), random.integers(0, neighbourhoods, machines)
    kinds = random.lognormal(0.0, 0.35, (8, resources))
    room = (kinds[random.integers(0, 8, machines)] * random.uniform(0.9, 1.1, (machines, resources)) * 1e6).astype(
        np.int64
    )
    safe = (room * random.uniform(0.75, 0.95, resources)).astype(np.int64)
    service = _services(random, processes, machines, services)
    at, on = _start(random, service, machines, services)
    demand = _demand(random, at, room)
    spread = [
        1 + int(random.random() * len({int(location[m]) for m in those})) if random.random() < 0.5 else 0
        for those in on
    ]
    near = [{int(neighbourhood[m]) for m in those} for those in on]
    needs = [
        [int(t) for t in random.integers(0, services, NEEDS) if t != s and near[s] <= near[t]]
        if random.random() < 0.5
        else []
        for s in range(services)
    ]
    route, moving = random.integers(0, 3, (machines, machines)), random.integers(1, 100, processes)
    lines = [str(resources), *(f"{int(number < transient)} {LOAD_PRICE}" for number in range(resources)), str(machines)]
    lines += [_line(neighbourhood[m], location[m], *room[m], *safe[m], *route[m]) for m in range(machines)]
    lines += [str(services), *(_line(spread[s], len(needs[s]), *needs[s]) for s in range(services))]
    lines += [str(processes), *(_line(service[p], *demand[p], moving[p]) for p in range(processes))]
    left, bound = (room.sum(axis=0) - demand.sum(axis=0)).tolist(), 0
    balances = random.integers(1, 3, min(3, resources // 2)).tolist()
    lines.append(str(len(balances)))
    for number, times in enumerate(balances):
        first, second = 2 * number, 2 * number + 1
        lines += [_line(first, second, times), str(BALANCE_PRICE)]
        bound += BALANCE_PRICE * max(0, times * left[first] - left[second])
    lines.append(_line(*PRICES))
    bound += int((np.maximum(demand.sum(axis=0) - safe.sum(axis=0), 0) * LOAD_PRICE).sum())
    return "\n".join(lines) + "\n", _line(*at) + "\n", bound


def _services(random: np.random.Generator, processes: int, machines: int, services: int) -> Ints:
    """Return the service of each process: a few are large, most small, each has one process at least."""
    service = np.minimum((services * random.random(processes) ** 1.5).astype(np.int64), services - 1)
    service[:services] = np.arange(services)
    most = max(1, int(MOST_ON * machines))
    while (count := np.bincount(service, minlength=services)).max() > most:
        too_many = np.flatnonzero(service == count.argmax())[most:]
        service[too_many] = random.integers(services // 2, services, too_many.size)
    return service


def _start(random: np.random.Generator, service: Ints, machines: int, services: int) -> tuple[Ints, list[set[int]]]:
    """Return where each process is, no two of a service on one machine, and the machines of each service."""
    at, on = random.integers(0, machines, service.size), [set[int]() for _ in range(services)]
    for process in random.permutation(service.size).tolist():
        there = on[service[process]]
        while int(at[process]) in there:
            at[process] = random.integers(0, machines)
        there.add(int(at[process]))
    return at, on


def _demand(random: np.random.Generator, at: Ints, room: Ints) -> Ints:
    """Return what each process needs; every machine is full to a share of its own of each resource."""
    machines, resources = room.shape
    size = random.pareto(1.6, at.size) + 0.2
    size = np.minimum(size, np.quantile(size, 0.998))
    parts = (
        size[:, None] * random.lognormal(0.0, 0.5, (at.size, resources)) * (random.random((at.size, resources)) > 0.1)
    )
    use = np.zeros((machines, resources))
    np.add.at(use, at, parts)
    full = np.clip(random.uniform(0.68, 0.85, resources) * random.normal(1.0, 0.25, (machines, resources)), 0.1, 0.99)
    demand: Ints = (parts * (full * room / np.maximum(use, 1e-9))[at]).astype(np.int64)
    return demand


def _line(*numbers: object) -> str:
    return " ".join(map(str, numbers))


def main(words: list[str]) -> int:
    """Write the files; print the bound as JSON."""
    parser = argparse.ArgumentParser(prog="gmrp_invented", description=__doc__)
    parser.add_argument("folder", type=Path)
    for name, usual in (
        ("processes", 50_000),
        ("machines", 1_000),
        ("resources", 12),
        ("transient", 4),
        ("services", 20_000),
    ):
        parser.add_argument(f"--{name}", type=int, default=usual)
    parser.add_argument("--seed", type=int, default=1)
    told = vars(parser.parse_args(words))
    folder = told.pop("folder")
    model, assignment, bound = invent(**told)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.txt").write_text(model)
    (folder / "assignment.txt").write_text(assignment)
    sys.stdout.write(json.dumps({**told, "bound": bound}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
