"""Play a plan a thousand times, each time with what is not known drawn anew: how long it may take, and how surely."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from drsim.disk_lines import DiskLines
from drsim.inventory import Inventory, Vm
from drsim.migration import COPY, Calibration
from drsim.migration.numbers import Numbers, numbers
from drsim.migration.plain import CONVERGES, DOWN_S, ELAPSED_S
from drsim.plan import Move
from drsim.policy import Limits
from drsim.simulate.compiled import PAYS_FROM
from drsim.simulate.drive import drive
from drsim.simulate.flows import Flows
from drsim.simulate.foresee import rush_waves, waves
from drsim.simulate.start import guest_of, path_of, start, terms
from drsim.topology import Topology

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float64]

BATCH = 25
"""Replications that one process is given at a time."""

UNKNOWN = math.log(2.0) / 1.645
"""Spread where nothing was ever measured: a factor of two at 90 %, as in `drsim.migration.bands`."""

UNSEEN = 2.0 * UNKNOWN
"""The same of disks that move alone: a factor of four, as in `drsim.migration.Calibration.with_copy_bands`."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Replications:
    """A plan as it may come out; N replications, M moves.

    Parameters
    ----------
    moves : tuple of Move
        What was played.
    makespan_s : array of float, shape (N,)
        End of the last migration.
    total_time_s, downtime_ms : array of float, shape (N, M)
        Of each move.
    converges : array of bool, shape (N, M)
        Whether its memory came to rest by itself.
    """

    moves: tuple[Move, ...]
    makespan_s: Floats
    total_time_s: Floats
    downtime_ms: Floats
    converges: NDArray[np.bool_]

    def chance_within(self, window_s: float) -> float:
        """Return the share of the replications that end within a window, seconds."""
        return float((self.makespan_s <= window_s).mean())

    def makespan_percentile_s(self, percent: float) -> float:
        """Return the makespan that so many percent of the replications do not exceed."""
        return float(np.percentile(self.makespan_s, percent))

    def to_frames(self) -> dict[str, pd.DataFrame]:
        """Return the replications as tables.

        Returns
        -------
        dict of str to DataFrame
            ``plan``: a row a replication, with makespan and the longest standstill; ``moves``: a row a move, with the
            5th, 50th and 95th percentile of time and standstill and the share in which it converges.
        """
        import pandas as pd

        plan = pd.DataFrame({"makespan_s": self.makespan_s, "longest_downtime_ms": self.downtime_ms.max(axis=1)})
        columns: dict[str, object] = {"move": [move.id for move in self.moves], "vm": [move.vm for move in self.moves]}
        for name, values in (("total_time_s", self.total_time_s), ("downtime_ms", self.downtime_ms)):
            for percent in (5, 50, 95):
                columns[f"p{percent}_{name}"] = np.percentile(values, percent, axis=0)
        columns["converges"] = self.converges.mean(axis=0)
        return {"plan": plan, "moves": pd.DataFrame(columns)}


def replicate(
    inventory: Inventory,
    moves: Sequence[Move],
    limits: Limits,
    calibration: Calibration,
    *,
    replications: int = 1000,
    seed: int = 0,
    processes: int = 1,
    on_progress: Callable[[float], None] | None = None,
) -> Replications:
    """Play moves many times over, each guest as much bigger or smaller as predictions were off before.

    Parameters
    ----------
    inventory, moves, limits
        As for `simulate`; one move or more.
    calibration : Calibration
        Constants, and residuals of predictions of total time and downtime; without residuals of its own all moves are
        off by one common factor, of two at 90 %, and copies of disks alone by one of four.
    replications : int
        How often.
    seed : int
        Each replication draws from its own child of it (`numpy.random.SeedSequence.spawn`).
    processes : int
        Processes at work, -1 for one a core; the result does not depend on it. They are joblib's: inside
        ``joblib.parallel_config`` they are those of a cluster of Dask or Ray.
    on_progress : callable, optional
        Told the share of the replications that are done.

    Returns
    -------
    Replications
        In the order of the children.

    Notes
    -----
    A residual is a logarithm of measured over predicted. All of a replication share an error of their mean, that of a
    bootstrap sample of the residuals; each move has an error of its own beside. A guest scaled by a factor, its
    dirtying rate unchanged, takes that factor longer on a line of its own; on shared lines the simulation decides.
    """
    from joblib import Parallel, delayed
    from joblib.parallel import get_active_backend

    estate, disks = _involved(inventory, moves), DiskLines(inventory, moves, calibration.parameters.copy_mib_s)
    children = np.random.SeedSequence(seed).spawn(replications)
    batches = [children[at : at + BATCH] for at in range(0, replications, BATCH)]
    compiled = replications * len(moves) >= PAYS_FROM
    # Ray's backend hands all over at the end.
    one_by_one = get_active_backend()[0].supports_return_generator
    done = Parallel(n_jobs=processes, return_as="generator" if one_by_one else "list")(
        delayed(_play)(estate, disks, moves, limits, calibration, batch, compiled) for batch in batches
    )
    rows: list[Row] = []
    for batch in done:
        rows.extend(batch)
        if on_progress is not None:
            on_progress(len(rows) / replications)
    return Replications(
        moves=tuple(moves),
        makespan_s=np.array([row[0] for row in rows]),
        total_time_s=np.array([row[1] for row in rows]),
        downtime_ms=np.array([row[2] for row in rows]),
        converges=np.array([row[3] for row in rows], dtype=np.bool_),
    )


Row = tuple[float, Floats, Floats, NDArray[np.bool_]]


def _play(
    inventory: Inventory,
    disks: DiskLines,
    moves: Sequence[Move],
    limits: Limits,
    calibration: Calibration,
    seeds: Sequence[np.random.SeedSequence],
    compiled: bool,
) -> list[Row]:
    rows: list[Row] = []
    names = list(dict.fromkeys(move.vm for move in moves))
    topology, parameters = Topology(inventory), calibration.parameters
    special = calibration.by_move(inventory, moves)
    paths = [disks.over(path_of(inventory, topology, move), move) for move in moves]
    guests = [guest_of(inventory, move) for move in moves]
    own = [special.get(move.id, parameters) for move in moves]
    how = [terms(path, move, limits, p) for move, path, p in zip(moves, paths, own, strict=True)]
    alone = list(dict.fromkeys(move.vm for move in moves if move.storage_only))
    order = waves(moves)
    for seed in seeds:
        draw = np.random.default_rng(seed)
        time = dict(zip(names, _factors(calibration.residuals, "total_time_s", len(names), draw), strict=True))
        still = _factors(calibration.residuals, "downtime_ms", len(moves), draw)
        drawn = {vm.name: _scaled(vm, float(time[vm.name])) for vm in guests}
        copied: dict[str, Vm] = {}
        if alone:
            more = _factors(calibration.residuals, f"{COPY}total_time_s", len(alone), draw, UNSEEN)
            whose = {vm.name: vm for vm in guests}
            copied = {name: _scaled(whose[name], float(by)) for name, by in zip(alone, more, strict=True)}
        begun = [(copied if move.storage_only else drawn)[move.vm] for move in moves]
        flows = Flows(
            topology.capacity_mbit_s,
            parameters.goodput,
            parameters.return_share,
            fast=compiled,
            disks_mib_s=disks.capacity_mib_s,
        )
        plain: list[Numbers] = []
        if compiled and not alone:
            each = (numbers(vm, path, **of) for vm, path, of in zip(begun, paths, how, strict=True))
            plain = [found for found in each if found is not None]
        if len(plain) == len(begun):
            _, end_s, state = rush_waves(flows, paths, plain, order)
            ended = state[:, [ELAPSED_S, DOWN_S, CONVERGES]]
        else:
            runs = [
                start(vm, path, move, limits, p) for vm, path, move, p in zip(begun, paths, moves, own, strict=True)
            ]
            end_s = drive(flows, [[(runs[number], paths[number]) for number in members] for members in order])
            ended = np.array([(run.elapsed_s, run.downtime_s, run.converges) for run in runs])
        rows.append((end_s, ended[:, 0], ended[:, 1] * 1e3 * still, ended[:, 2] > 0.0))
    return rows


def _factors(
    residuals: Mapping[str, Sequence[float]],
    measure: str,
    count: int,
    draw: np.random.Generator,
    unknown: float = UNKNOWN,
) -> Floats:
    seen = np.asarray(residuals.get(measure, ()), dtype=np.float64)
    if seen.size < 2:
        return np.full(count, math.exp(unknown * float(draw.standard_normal())))
    shared = draw.choice(seen, seen.size).mean() - seen.mean()
    factors: Floats = np.exp(draw.choice(seen, count) + shared)
    return factors


def _scaled(vm: Vm, factor: float) -> Vm:
    used = None if vm.memory_used_mib is None else vm.memory_used_mib * factor
    return replace(
        vm,
        memory_mib=max(1, round(vm.memory_mib * factor)),
        memory_used_mib=used,
        dirty=tuple(replace(part, size_mib=part.size_mib * factor) for part in vm.dirty),
        disks=tuple(
            replace(
                disk,
                size_mib=disk.size_mib * factor,
                used_mib=None if disk.used_mib is None else disk.used_mib * factor,
            )
            for disk in vm.disks
        ),
    )


def _involved(inventory: Inventory, moves: Sequence[Move]) -> Inventory:
    """Leave out what the moves do not touch: it is the same every time, and there is much of it."""
    vms = {move.vm for move in moves}
    hosts = {host for move in moves for host in (move.source, move.target)}
    return replace(
        inventory,
        hosts=tuple(host for host in inventory.hosts if host.name in hosts),
        vms=tuple(vm for vm in inventory.vms if vm.name in vms),
    )
