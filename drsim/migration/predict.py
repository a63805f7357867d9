"""One migration alone on its path, played to its end."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from drsim.inventory import Vm
from drsim.migration.automaton import Migration, Phase
from drsim.migration.compiled import player
from drsim.migration.disk_copy import Course, DiskCopy
from drsim.migration.leg import net_rate, over_s
from drsim.migration.numbers import numbers
from drsim.migration.options import PLAIN, Options
from drsim.migration.parameters import DEFAULT, Parameters
from drsim.migration.rates import client_gap_s
from drsim.plan import Prediction
from drsim.topology import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class TracePoint:
    """Where a migration stands at one instant; between two points everything is linear in time.

    Parameters
    ----------
    time_s : float
        Seconds after its start.
    phase : Phase
        What it does from now on.
    sent_mib, remaining_mib : float
        Sent so far; known to be left. New dirty pages become known at once, at the end of a pass: then two points have
        the same time.
    """

    time_s: float
    phase: Phase
    sent_mib: float
    remaining_mib: float


def predict(
    vm: Vm,
    path: Path,
    *,
    max_downtime_ms: float,
    bandwidth_mbit_s: float | None,
    copy_disks: Collection[str] = (),
    parameters: Parameters = DEFAULT,
    rate_mbit_s: float | None = None,
    options: Options = PLAIN,
) -> Prediction:
    """Return what migrating the guest costs when nothing else uses the path.

    Parameters
    ----------
    vm : Vm
        The guest; what nobody measured about it is assumed (`drsim.workload.dirty_classes`).
    path : Path
        What lies between the hosts.
    max_downtime_ms : float
        Downtime limit given to the hypervisor, ms.
    bandwidth_mbit_s : float or None
        Bandwidth cap given to the hypervisor.
    copy_disks : collection of str
        Disks that move along.
    parameters : Parameters
        Constants of the hosts.
    rate_mbit_s : float, optional
        Line rate that it gets, if less than the path's.
    options : Options
        Mode, channels, compression, encryption, throttling; plain pre-copy by default.

    Returns
    -------
    Prediction
        Total time is that of the whole call, from the request to its return. Downtime is what the hypervisor measures:
        from the stop on the source until the guest runs on the target. Rounds count the last one, with the guest
        stopped, too. If the migration does not converge, the prediction is for stopping the guest as soon as passes no
        longer get shorter and sending all that is left: the least that ending it by force can cost.

    Raises
    ------
    PlanError
        If a disk to copy is not one of the guest's.
    """
    play = player()
    if play is not None:
        own = numbers(
            vm,
            path,
            max_downtime_ms=max_downtime_ms,
            bandwidth_mbit_s=bandwidth_mbit_s,
            copy_disks=copy_disks,
            parameters=parameters,
            line_mbit_s=_line(path, rate_mbit_s),
            options=options,
        )
        if own is not None:
            return played(play(np.array(own[0]), np.array(own[1])), path.rtt_ms / 1e3, parameters)
    migration = _begin(vm, path, max_downtime_ms, bandwidth_mbit_s, copy_disks, parameters, rate_mbit_s, options)
    while not migration.done:
        _go_on(migration)
    return prediction(migration, start_s=0.0)


def predict_copy(
    vm: Vm,
    copy_disks: Collection[str],
    *,
    bandwidth_mbit_s: float | None = None,
    most_mib_s: float = math.inf,
    parameters: Parameters = DEFAULT,
    options: Options = PLAIN,
) -> Prediction:
    """Return what it costs to copy disks of a running guest to other datastores of its host when nobody else does.

    Parameters
    ----------
    vm : Vm
        The guest.
    copy_disks : collection of str
        Its disks that are copied.
    bandwidth_mbit_s : float, optional
        Cap given to the hypervisor, for each disk.
    most_mib_s : float
        What the datastores that take them leave for it, MiB/s.
    parameters, options
        As for `predict`.

    Returns
    -------
    Prediction
        The guest does not stand still; traffic holds what it writes meanwhile. It does not converge if the guest writes
        more than a mirror gets rid of, and its writes are not to end on both disks.

    Raises
    ------
    PlanError
        If a disk is not one of the guest's.
    """
    copy = DiskCopy(vm, copy_disks, bandwidth_mbit_s=bandwidth_mbit_s, parameters=parameters, options=options)
    while not copy.done:
        rate = min(copy.limit_mib_s, most_mib_s)
        copy.advance(copy.wait_s(rate), rate)
        copy.happen()
    return prediction(copy, start_s=0.0)


def played(figures: Sequence[float], rtt_s: float, parameters: Parameters, start_s: float = 0.0) -> Prediction:
    """Return the outcome of a plain pre-copy from what `drsim.migration.plain.play` tells of it."""
    elapsed_s, downtime_s, qemu_s, sent_mib, passes, converges = figures
    return Prediction(
        start_s=start_s,
        total_time_s=elapsed_s,
        downtime_ms=downtime_s * 1e3,
        sent_mib=sent_mib,
        rounds=int(passes) + 1,
        converges=converges > 0.0,
        qemu_downtime_ms=qemu_s * 1e3,
        client_gap_ms=client_gap_s(downtime_s, rtt_s, parameters) * 1e3,
    )


def draws(
    vm: Vm,
    path: Path,
    *,
    max_downtime_ms: float,
    bandwidth_mbit_s: float | None,
    copy_disks: Collection[str] = (),
    parameters: Parameters = DEFAULT,
    rate_mbit_s: float | None = None,
    options: Options = PLAIN,
    spread_mib: float,
    count: int = 31,
    seed: int = 0,
) -> tuple[Prediction, ...]:
    """Return possible outcomes of one migration whose guest dirties now more, now less than on average.

    A guest near the edge of converging gets there in a quiet moment: earlier than its average would. To what it dirtied
    a normal number is added at each look.

    Parameters
    ----------
    spread_mib : float
        Standard deviation of that (`drsim.workload.Habit.spread_mib`).
    count : int
        Outcomes to draw.
    seed : int
        Same seed, same outcomes.
    vm, path, max_downtime_ms, bandwidth_mbit_s, copy_disks, parameters, rate_mbit_s, options
        As for `predict`.

    Returns
    -------
    tuple of Prediction
        In the order of total time.
    """
    found = []
    for number in range(count):
        generator = np.random.default_rng([seed, number])

        def burst(of: np.random.Generator = generator) -> float:
            return spread_mib * float(of.standard_normal())

        migration = _begin(
            vm, path, max_downtime_ms, bandwidth_mbit_s, copy_disks, parameters, rate_mbit_s, options, burst
        )
        while not migration.done:
            _go_on(migration)
        found.append(prediction(migration, start_s=0.0))
    return tuple(sorted(found, key=lambda one: one.total_time_s))


def trace(
    vm: Vm,
    path: Path,
    *,
    max_downtime_ms: float,
    bandwidth_mbit_s: float | None,
    copy_disks: Collection[str] = (),
    parameters: Parameters = DEFAULT,
    rate_mbit_s: float | None = None,
    options: Options = PLAIN,
) -> tuple[TracePoint, ...]:
    """Return the course of the migration that `predict` predicts, from its start to its end; same arguments."""
    migration = _begin(vm, path, max_downtime_ms, bandwidth_mbit_s, copy_disks, parameters, rate_mbit_s, options)
    return (_point(migration), *_play(migration))


def _go_on(migration: Migration) -> None:
    """Advance to the next thing that happens, at all the rate that it could use, and do it."""
    rate = migration.limit_mib_s
    if rate > 0.0:
        leg = migration.leg  # looked at once: `wait_s` and `advance` would each
        net = net_rate(leg, rate)
        time_s = over_s(leg, 0.0, 0.0, net)
        rose = migration.phase == "memory" and net > migration.last_rate_mib_s
        migration.sent(time_s, rate * time_s, net * time_s, rate, net, rose)
    else:
        migration.advance(migration.wait_s(rate), rate)
    migration.happen()


def prediction(migration: Course, start_s: float) -> Prediction:
    """Return the outcome of a migration, or of a copy of disks alone, that has ended."""
    return Prediction(
        start_s=start_s,
        total_time_s=migration.elapsed_s,
        downtime_ms=migration.downtime_s * 1e3,
        sent_mib=migration.sent_mib,
        rounds=migration.passes + 1,
        converges=migration.converges,
        qemu_downtime_ms=migration.qemu_downtime_s * 1e3,
        client_gap_ms=migration.client_gap_s * 1e3,
        held_back_s=migration.held_back_s,
        faults=round(migration.faults),
        throttle=migration.throttle,
    )


def _begin(
    vm: Vm,
    path: Path,
    max_downtime_ms: float,
    bandwidth_mbit_s: float | None,
    copy_disks: Collection[str],
    parameters: Parameters,
    rate_mbit_s: float | None,
    options: Options,
    burst: Callable[[], float] | None = None,
) -> Migration:
    return Migration(
        vm,
        path,
        max_downtime_ms=max_downtime_ms,
        bandwidth_mbit_s=bandwidth_mbit_s,
        copy_disks=copy_disks,
        parameters=parameters,
        line_mbit_s=_line(path, rate_mbit_s),
        options=options,
        burst=burst,
    )


def _line(path: Path, rate_mbit_s: float | None) -> float:
    return path.bandwidth_mbit_s if rate_mbit_s is None else min(rate_mbit_s, path.bandwidth_mbit_s)


def _play(migration: Migration) -> Iterator[TracePoint]:
    while not migration.done:
        rate = migration.limit_mib_s
        migration.advance(migration.wait_s(rate), rate)
        yield _point(migration)
        migration.happen()
        yield _point(migration)


def _point(migration: Migration) -> TracePoint:
    return TracePoint(
        time_s=migration.elapsed_s,
        phase=migration.phase,
        sent_mib=migration.sent_mib,
        remaining_mib=migration.remaining_mib,
    )
