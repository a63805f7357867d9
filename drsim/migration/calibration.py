"""A calibration: constants tuned on the migrations of an estate, and how far off they were on those not tuned on."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated

import numpy as np

from drsim.errors import DataError, Problem
from drsim.inventory import Host, Inventory, Vm
from drsim.migration.bands import band, beyond
from drsim.migration.disks import named_disks
from drsim.migration.groups import group_keys, own_constants
from drsim.migration.observation import MEASURES, Observation, features
from drsim.migration.parameters import DEFAULT, Parameters
from drsim.migration.tune import COPY, knobs, residuals, tune
from drsim.plan import Move, Prediction
from drsim.topology import Path
from drsim.units import About

FOLDS = 10
"""Parts into which cells are dealt; each is predicted with what was tuned on the others."""

DISKS = "disk_mib"
"""Range of the data of disks that travelled along, MiB; absent if none ever did."""

UNSEEN = 1.0
"""How far out of range a copy of disks lies if none was ever measured: bands of a factor of four, not of two."""


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """What `calibrate` found; a value that is written to a file and read back."""

    name: Annotated[str, About("What it holds for: an estate, a class of hosts, a link.")] = "calibration"
    version: Annotated[int, About("Counts up each time it is made anew.")] = 1
    made_at: Annotated[str | None, About("When, ISO 8601 in UTC.")] = None
    source: Annotated[str, About("What it was made from.")] = ""
    observations: Annotated[int, About("Migrations that it was made from.")] = 0
    parameters: Annotated[Parameters, About("The constants.")] = field(default_factory=lambda: DEFAULT)
    groups: Annotated[
        dict[str, dict[str, float]],
        About("By link and class of hosts, SITE>SITE, CPU>CPU or both: constants that were found to differ there."),
    ] = field(default_factory=dict)
    uncertainty: Annotated[
        dict[str, float], About("Standard deviation of each tuned constant over bootstrap samples, in its unit.")
    ] = field(default_factory=dict)
    residuals: Annotated[
        dict[str, tuple[float, ...]], About("By measure: logarithms of measured over predicted, of cells not tuned on.")
    ] = field(default_factory=dict)
    ranges: Annotated[
        dict[str, tuple[float, float]], About("Lowest and highest of each feature among the migrations.")
    ] = field(default_factory=dict)

    def between(self, source: Host, target: Host) -> Parameters:
        """Return the constants for migrations from one host to another: those of the most special group known."""
        for key in group_keys(source, target):
            if key in self.groups:
                return replace(self.parameters, **self.groups[key])  # type: ignore[arg-type]
        return self.parameters

    def by_move(self, inventory: Inventory, moves: Sequence[Move]) -> dict[str, Parameters]:
        """Return the constants of each move, by its id."""
        hosts = inventory.host_by_name
        return {move.id: self.between(hosts[move.source], hosts[move.target]) for move in moves} if self.groups else {}

    def with_bands(
        self,
        said: Prediction,
        vm: Vm,
        path: Path,
        *,
        max_downtime_ms: float,
        bandwidth_mbit_s: float | None,
        copy_disks: Collection[str] = (),
    ) -> Prediction:
        """Return the prediction with its 90 % bands, widened if no such migration was seen.

        Parameters
        ----------
        said : Prediction
            Made with these `parameters`.
        vm, path, max_downtime_ms, bandwidth_mbit_s, copy_disks
            What it was made for.
        """
        known = features(vm, path, bandwidth_mbit_s, max_downtime_ms)
        if copy_disks:
            known[DISKS] = sum(disk.data_mib for disk in named_disks(vm, copy_disks))
        outside = beyond(known, self.ranges)
        if copy_disks and DISKS not in self.ranges:
            outside += UNSEEN
        time = band(said.total_time_s, self.residuals.get("total_time_s", ()), outside)
        downtime = band(max(said.downtime_ms, 1.0), self.residuals.get("downtime_ms", ()), outside)
        sent = band(max(said.sent_mib, 1.0), self.residuals.get("sent_mib", ()), outside)
        gap = band(max(said.client_gap_ms or 0.0, 1.0), self.residuals.get("client_gap_ms", ()), outside)
        return replace(
            said,
            total_time_low_s=time.low,
            total_time_high_s=time.high,
            downtime_low_ms=downtime.low,
            downtime_high_ms=downtime.high,
            sent_low_mib=sent.low,
            sent_high_mib=sent.high,
            client_gap_low_ms=gap.low,
            client_gap_high_ms=gap.high,
            in_range=outside <= 0.0,
        )

    @property
    def knows_copies(self) -> bool:
        """Whether it was made from enough copies of disks on their hosts to say how sure a prediction of one is."""
        return len(self.residuals.get(f"{COPY}total_time_s", ())) >= 2

    def with_copy_bands(self, said: Prediction) -> Prediction:
        """Return the prediction of disks that move alone with its 90 % bands; wide ones if no such copy was seen."""
        outside = 0.0 if self.knows_copies else UNSEEN
        time = band(said.total_time_s, self.residuals.get(f"{COPY}total_time_s", ()), outside)
        sent = band(max(said.sent_mib, 1.0), self.residuals.get(f"{COPY}sent_mib", ()))
        gap = band(max(said.client_gap_ms or 0.0, 1.0), self.residuals.get(f"{COPY}client_gap_ms", ()), outside)
        return replace(
            said,
            total_time_low_s=time.low,
            total_time_high_s=time.high,
            downtime_low_ms=said.downtime_ms,
            downtime_high_ms=said.downtime_ms,
            sent_low_mib=sent.low,
            sent_high_mib=sent.high,
            client_gap_low_ms=gap.low,
            client_gap_high_ms=gap.high,
            in_range=self.knows_copies,
        )


def calibrate(
    observations: Sequence[Observation],
    *,
    base: Parameters = DEFAULT,
    name: str = "calibration",
    source: str = "",
    made_at: str | None = None,
    before: Calibration | None = None,
    bootstraps: int = 0,
    seed: int = 0,
) -> Calibration:
    """Tune the constants on migrations that happened.

    Parameters
    ----------
    observations : sequence of Observation
        Two cells or more.
    base : Parameters
        Where to begin; what the migrations do not tell stays so.
    name, source, made_at : str
        For the record.
    before : Calibration, optional
        The one that this replaces: its version is counted on.
    bootstraps : int
        Samples drawn, cell by cell, for the uncertainty of the constants; 0: not told.
    seed : int
        Same input and seed: same result.

    Raises
    ------
    DataError
        If there are fewer than two cells.
    """
    cells = sorted({one.cell for one in observations})
    if len(cells) < 2:
        raise DataError(
            Problem(
                place="calibration",
                expected=f"{len(observations)} migrations under {len(cells)} conditions tell too little.",
                remedy="Record migrations under two conditions or more, best ten or more.",
            )
        )
    best = tune(observations, base)
    generator = np.random.default_rng(seed)
    drawn = [tune(_resample(observations, cells, generator), best) for _ in range(bootstraps)]
    turned = [knob.name for knob in knobs(observations)]
    return Calibration(
        name=name,
        version=1 if before is None else before.version + 1,
        made_at=made_at,
        source=source,
        observations=len(observations),
        parameters=best,
        groups=own_constants([one for one in observations if not one.storage_only], best, seed),
        uncertainty={key: float(np.std([getattr(one, key) for one in drawn])) for key in turned} if drawn else {},
        residuals=held_out(observations, best, seed),
        ranges=_ranges(observations),
    )


def held_out(observations: Sequence[Observation], start: Parameters, seed: int) -> dict[str, tuple[float, ...]]:
    """Return residuals by measure, each of a cell that its constants were not tuned on."""
    cells = sorted({one.cell for one in observations})
    order = np.random.default_rng([seed, 1]).permutation(len(cells))
    part = {cells[int(cell)]: place % min(FOLDS, len(cells)) for place, cell in enumerate(order)}
    found: dict[str, list[float]] = {measure: [] for measure in MEASURES}  # in this order
    for fold in range(min(FOLDS, len(cells))):
        kept = [one for one in observations if part[one.cell] != fold]
        tested = [one for one in observations if part[one.cell] == fold]
        for measure, values in residuals(tested, tune(kept, start)).items():
            found.setdefault(measure, []).extend(values)
    return {measure: tuple(sorted(values)) for measure, values in found.items() if values}


def _resample(
    observations: Sequence[Observation], cells: Sequence[str], generator: np.random.Generator
) -> list[Observation]:
    members: dict[str, list[Observation]] = {cell: [] for cell in cells}
    for one in observations:
        members[one.cell].append(one)
    return [one for cell in generator.choice(len(cells), len(cells)) for one in members[cells[int(cell)]]]


def _ranges(observations: Sequence[Observation]) -> dict[str, tuple[float, float]]:
    """Return what was seen of migrations; of disks, only where some travelled along, for most migrations have none."""
    migrations = [one for one in observations if not one.storage_only]
    rows = [features(one.vm, one.path, one.bandwidth_mbit_s, one.max_downtime_ms) for one in migrations]
    found = {key: (min(row[key] for row in rows), max(row[key] for row in rows)) for key in (rows[0] if rows else ())}
    sizes = [sum(disk.data_mib for disk in named_disks(one.vm, one.copy_disks)) for one in migrations if one.copy_disks]
    return found | ({DISKS: (min(sizes), max(sizes))} if sizes else {})
