"""A designed experiment: which migrations are to be recorded, as a YAML file says."""

from __future__ import annotations

import hashlib
import itertools
import json
import random
from collections import Counter
from dataclasses import asdict, field, replace
from pathlib import Path
from typing import Annotated, Any

import yaml
from annotated_types import Ge, Gt, Le, MinLen
from pydantic import TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from drsim.errors import LabError
from drsim.transfer import Transfer, contradictions
from executor.lab.dirty import Dirtying
from executor.lab.mistakes import mistakes
from executor.lab.topology import Datastore, LabGuest, LabHost, LabTopology, checked
from executor.lab.wire import STRICT

KERNEL_MIB = 96
"""Memory of a guest that its working set cannot have."""


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Trial:
    """One migration to record.

    Parameters
    ----------
    memory_mib, vcpus, disk_mib : int
        The guest.
    working_set_mib, dirty_rate_mib_s, dirty, disk_write_kib_s, traffic_kib_s
        What it does meanwhile; as of `LabGuest`.
    datastore : {"shared", "local", "iscsi", "nfs"}
        Where its disk lies; a local one is copied along.
    link_mbit_s, rtt_ms, jitter_ms, loss : float
        Line between the hosts.
    max_downtime_ms, bandwidth_mbit_s : float, float or None
        Limits given to the hypervisor.
    transfer : Transfer
        How it travels; all its fields.
    """

    memory_mib: Annotated[int, Ge(128)] = 256
    vcpus: Annotated[int, Ge(1), Le(8)] = 1
    disk_mib: Annotated[int, Ge(1)] = 64
    working_set_mib: Annotated[int, Ge(0)] = 64
    dirty_rate_mib_s: Annotated[int, Ge(0)] = 10
    dirty: Dirtying = Dirtying()
    disk_write_kib_s: Annotated[int, Ge(0)] = 100
    traffic_kib_s: Annotated[int, Ge(0)] = 0
    datastore: Datastore = "shared"
    link_mbit_s: Annotated[float, Ge(0)] = 1000.0
    rtt_ms: Annotated[float, Ge(0)] = 0.0
    jitter_ms: Annotated[float, Ge(0)] = 0.0
    loss: Annotated[float, Ge(0), Le(1)] = 0.0
    max_downtime_ms: Annotated[float, Gt(0)] = 300.0
    bandwidth_mbit_s: Annotated[float, Gt(0)] | None = None
    transfer: Transfer = Transfer()

    @property
    def machine(self) -> tuple[int, int, int, str]:
        """What a guest must be like for it; trials that agree share one."""
        return (self.memory_mib, self.vcpus, self.disk_mib, self.datastore)


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Run:
    """A trial with its place in the experiment.

    Parameters
    ----------
    key : str
        The same for the same trial and repetition, whatever else is in the matrix.
    trial : Trial
        What is to be done.
    repetition : int
        From 1.
    """

    key: str
    trial: Trial
    repetition: int


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Matrix:
    """An experiment.

    Parameters
    ----------
    name : str
        Of the experiment and of the lab that it is made in.
    base : Trial
        What every trial has unless told otherwise.
    design : dict of str to list
        Factors and their levels: fields of `Trial`; every combination is a trial.
    sample : int or None
        So many of the possible combinations, drawn by the seed; None: all.
    also : tuple of dict
        Single trials beside: fields that differ from the base.
    repeat : int
        How often each is done.
    seed : int or None
        Of the order: trials of the same guest are shuffled, so that what drifts does not fall on one factor; without
        a seed they keep the order in which they are written.
    other_load_cores : float
        It waits while others keep more cores than this busy.
    timeout_s : float
        A migration that takes longer is given up, where the trial's transfer does not say.
    """

    name: Annotated[str, MinLen(1)] = "record"
    base: Trial = Trial()
    design: dict[str, list[Any]] = field(default_factory=dict)
    sample: Annotated[int, Ge(1)] | None = None
    also: tuple[dict[str, Any], ...] = ()
    repeat: Annotated[int, Ge(1)] = 1
    seed: int | None = 1
    other_load_cores: Annotated[float, Gt(0)] = 0.5
    timeout_s: Annotated[float, Gt(0)] = 120.0

    def trials(self) -> tuple[Trial, ...]:
        """All trials that can be done, each once.

        Raises
        ------
        ValidationError
            If a level does not fit its factor.
        """
        base = asdict(self.base)
        combinations = itertools.product(*self.design.values())
        wanted = [dict(zip(self.design, levels, strict=True)) for levels in combinations] if self.design else []
        designed, single = (
            dict.fromkeys(self._bounded(trial) for trial in map(_TRIAL.validate_python, made) if not _impossible(trial))
            for made in ([{**base, **fields} for fields in wanted], [{**base, **fields} for fields in self.also])
        )
        if self.sample is not None and self.sample < len(designed):
            designed = dict.fromkeys(random.Random(self.seed).sample(list(designed), self.sample))
        return tuple(designed | single)

    def why_nothing(self) -> str:
        """Say why no trial is left."""
        base = asdict(self.base)
        levels = (dict(zip(self.design, each, strict=True)) for each in itertools.product(*self.design.values()))
        wanted = [*(levels if self.design else ()), *self.also]
        if not wanted:
            return "It has neither 'design' nor 'also': say what is to be tried."
        reasons = Counter(_impossible(_TRIAL.validate_python({**base, **fields})) for fields in wanted)
        (reason, _), *_ = reasons.most_common(1)
        return f"None of {len(wanted)} trials is possible; most often: {reason}. Change the levels."

    def _bounded(self, trial: Trial) -> Trial:
        if trial.transfer.timeout_s is not None:
            return trial
        return replace(trial, transfer=replace(trial.transfer, timeout_s=self.timeout_s))

    def runs(self) -> tuple[Run, ...]:
        """Everything to be done, in order: guest by guest, shuffled within."""
        runs = [
            Run(key=_key(trial, repetition), trial=trial, repetition=repetition)
            for trial in self.trials()
            for repetition in range(1, self.repeat + 1)
        ]
        if self.seed is not None:
            random.Random(self.seed).shuffle(runs)
        return tuple(sorted(runs, key=lambda run: run.trial.machine))

    def topology(self) -> LabTopology:
        """Compose the lab: two hosts, and a guest of each kind that is not booted yet."""
        machines = sorted({trial.machine for trial in self.trials()})
        guests = tuple(
            LabGuest(
                name=f"g{number}",
                host="h1",
                memory_mib=memory_mib,
                vcpus=vcpus,
                disk_mib=disk_mib,
                datastore=datastore,  # type: ignore[arg-type]  # it came out of a Trial
                working_set_mib=0,
                dirty_rate_mib_s=0,
                autostart=False,
            )
            for number, (memory_mib, vcpus, disk_mib, datastore) in enumerate(machines, 1)
        )
        hosts = tuple(LabHost(name=name) for name in ("h1", "h2"))
        return checked(LabTopology(name=self.name, hosts=hosts, guests=guests, monitor_log=True), "matrix")


_TRIAL: TypeAdapter[Trial] = TypeAdapter(Trial)
_MATRIX: TypeAdapter[Matrix] = TypeAdapter(Matrix)


def _impossible(trial: Trial) -> str:
    """Say why a trial cannot be; nothing if it can."""
    room_mib = trial.memory_mib - KERNEL_MIB
    if trial.working_set_mib > room_mib:
        return (
            f"a working set of {trial.working_set_mib} MiB does not fit a guest of {trial.memory_mib} MiB ({room_mib})"
        )
    if trial.dirty.pattern == "hot" and trial.dirty.hot_mib > trial.working_set_mib:
        return f"{trial.dirty.hot_mib} MiB of {trial.working_set_mib} cannot be hot"
    if not trial.working_set_mib and trial.dirty_rate_mib_s:
        return "nothing is made dirty where there is nothing"
    return "; ".join(contradictions(trial.transfer, copies_disks=trial.datastore == "local"))


def _key(trial: Trial, repetition: int) -> str:
    text = json.dumps([asdict(trial), repetition], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def read_matrix(path: Path) -> Matrix:
    """Read an experiment.

    Combinations that cannot be (a working set larger than the guest, settings that exclude each other) are left out.

    Raises
    ------
    LabError, DataError
        If it cannot be read, a field is not known, or nothing is left to do.
    """
    try:
        matrix = _MATRIX.validate_python(yaml.safe_load(path.read_text()))
        runs = matrix.runs()
    except OSError as error:
        raise LabError(f"{path}: {error.strerror}. Name a matrix file.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise LabError(f"{path}: not a YAML file: {' '.join(str(error).split())}. Correct it there.") from error
    except ValidationError as error:
        raise mistakes(path, error, whole="matrix", example="matrix.yaml") from error
    if not runs:
        raise LabError(f"{path}: nothing is left to do. {matrix.why_nothing()}")
    return matrix
