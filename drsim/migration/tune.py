"""Constants of the model from migrations that happened: which values explain them best."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from drsim.migration.observation import MEASURES, Floats, Observation, expected, measured
from drsim.migration.parameters import Parameters

STEPS = 25
"""Steps of the search at most."""

DIFFERENCE = 0.03
"""Step for derivatives, as a logarithm: wide enough that the turns of QEMU's loop do not show."""

TRUST = (0.1 / 0.5) ** 2
"""Weight of the defaults: a prediction is typically off by 0.1, a default by 0.5, both as logarithms."""

FARTHEST = 4.6
"""No constant goes farther from its default, as a logarithm: a factor of 100."""

OUTLIER = 0.15
"""Errors beyond this count in proportion, not squared."""

DOWNTIME_GRAIN_MS = 20.0
"""Standstills are compared to this grain: a few milliseconds more or less are the machine's."""

FAR_APART = (0.03, 0.06, 0.12, 0.25, 0.5, 2.0, 4.0)
"""Values of limits tried first, as shares of the default."""

GRAINS = np.array([DOWNTIME_GRAIN_MS if measure.endswith("_ms") else 0.0 for measure in MEASURES])
"""By measure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Knob:
    """A constant that migrations tell.

    Parameters
    ----------
    name : str
        Field of `Parameters`.
    scale : float
        Step in its unit where its value is 0.
    tells : str
        What in the migrations tells it.
    most : float
        Largest value.
    limits : bool
        Whether it is a limit, which tells nothing about small steps while it does not bind.
    """

    name: str
    scale: float
    tells: str
    most: float = float("inf")
    limits: bool = False


ALWAYS = (
    Knob(name="resident_extra_mib", scale=100.0, tells="traffic of quiet guests"),
    Knob(name="resident_extra_boot_mib", scale=100.0, tells="traffic of guests that had not moved before"),
    Knob(name="resident_extra_postcopy_mib", scale=100.0, tells="traffic of guests that had come by post-copy"),
    Knob(name="stream_limit_mbit_s", scale=1000.0, tells="time on fast lines", limits=True),
    Knob(name="goodput", scale=1.0, tells="time on slow lines", most=1.0),
    Knob(name="prepare_s", scale=1.0, tells="time of small guests"),
    Knob(name="switchover_ms", scale=50.0, tells="downtime of quiet guests"),
    Knob(name="stop_lag_ms", scale=10.0, tells="downtime of busy guests"),
    Knob(name="tail_mib", scale=10.0, tells="downtime of quiet guests with many zeros"),
    Knob(name="zero_run", scale=0.5, tells="downtime of quiet guests with some zeros", most=1.0),
    Knob(name="client_ms", scale=50.0, tells="a client's silence"),
)
FAR = (
    Knob(name="prepare_rtts", scale=5.0, tells="time over lines with latency"),
    Knob(name="switchover_rtts", scale=3.0, tells="downtime over lines with latency"),
    Knob(name="socket_share", scale=5.0, tells="downtime over slow lines with latency"),
    Knob(name="tcp_window_mib", scale=3.0, tells="time over fast lines with latency", limits=True),
)
POSTCOPY = (
    Knob(name="postcopy_ms", scale=10.0, tells="downtime of post-copy"),
    Knob(name="postcopy_resume_s", scale=0.1, tells="downtime of post-copy"),
    Knob(name="serve_pages", scale=100.0, tells="a client's silence after post-copy"),
    Knob(name="serve_written_pages", scale=20.0, tells="a client's silence after hybrids"),
    Knob(name="fault_lead_mib", scale=0.3, tells="a client's silence after post-copy on slow lines"),
)
MULTIFD = (
    Knob(name="multifd_rtts", scale=3.0, tells="downtime with multifd over lines with latency"),
    Knob(name="multifd_queue_mib", scale=1.0, tells="downtime with multifd"),
)
TLS = (Knob(name="tls_mbit_s", scale=10_000.0, tells="time with TLS", limits=True),)
ZSTD = (
    Knob(name="zstd_mbit_s", scale=2_000.0, tells="time with zstd", limits=True),
    Knob(name="zstd_ratio", scale=0.3, tells="traffic with zstd", most=1.0),
)
XBZRLE = (Knob(name="xbzrle_ratio", scale=0.3, tells="traffic with xbzrle", most=1.0),)
TUNNEL = (Knob(name="tunnel_limit_mbit_s", scale=1_000.0, tells="time of tunnelled migrations", limits=True),)
COPIES = (
    Knob(name="copy_mib_s", scale=100.0, tells="time of large disks moved on their host", limits=True),
    Knob(name="copy_s", scale=0.5, tells="time of small disks moved on their host"),
    Knob(name="pivot_ms", scale=20.0, tells="a client's silence when a disk is moved on its host"),
)

COPY = "copy_"
"""Before the names of measures of disks that moved alone."""

KNOBS = (*ALWAYS, *FAR, *POSTCOPY, *MULTIFD, *TLS, *ZSTD, *XBZRLE, *TUNNEL, *COPIES)
"""All constants that migrations can tell."""


def knobs(observations: Sequence[Observation]) -> tuple[Knob, ...]:
    """Return the constants that these migrations can tell anything about."""
    found: list[Knob] = []
    for wanted, some in (
        (any(not one.storage_only for one in observations), ALWAYS),
        (any(one.storage_only for one in observations), COPIES),
        (any(one.path.rtt_ms > 0.0 for one in observations), FAR),
        (any(one.options.postcopy for one in observations), POSTCOPY),
        (any(one.options.parallel_connections for one in observations), MULTIFD),
        (any(one.options.tls for one in observations), TLS),
        (any(one.options.compression == "zstd" for one in observations), ZSTD),
        (any(one.options.compression == "xbzrle" for one in observations), XBZRLE),
        (any(one.options.tunnelled for one in observations), TUNNEL),
    ):
        if wanted:
            found += some
    return tuple(found)


def tune(observations: Sequence[Observation], base: Parameters) -> Parameters:
    """Return the constants that explain the migrations best, those of `base` where they do not matter.

    The most probable ones: errors are logarithms of predicted over measured, large ones counting less (Huber), and each
    constant is expected not far from its default. First each is tried at values far apart, then all are
    moved together (Levenberg and Marquardt, derivatives by differences).
    """
    actual = measured(observations)
    turned = knobs(observations)
    values = np.array([float(getattr(base, knob.name)) for knob in turned])

    def at(x: Floats) -> Parameters:
        return _moved(base, turned, values, x)

    def errors(x: Floats) -> Floats:
        off = np.log((expected(observations, at(x)) + GRAINS) / (actual + GRAINS))
        known: Floats = off[np.isfinite(off)]
        return known

    def cost(off: Floats, x: Floats) -> float:
        return float(_huber(off).sum() + TRUST * np.square(x).sum() / 2.0)

    x = np.zeros(len(turned))
    off = errors(x)
    if not off.size:
        return base
    least = cost(off, x)
    for number, knob in enumerate(turned):
        for factor in FAR_APART if knob.limits else ():
            tried = x.copy()
            tried[number] = np.log(factor)
            if (found := cost(far := errors(tried), tried)) < least:
                x, off, least = tried, far, found
    damping = 1e-3
    slopes = _slopes(errors, off, x)
    for _ in range(STEPS):
        weight = np.minimum(1.0, OUTLIER / np.maximum(np.abs(off), 1e-12))
        pull = slopes.T @ (weight * off) + TRUST * x
        bend = slopes.T @ (weight[:, None] * slopes) + TRUST * np.eye(x.size)
        tried = x - np.linalg.solve(bend + damping * np.diag(np.diag(bend)), pull)
        tried = np.clip(tried, -FARTHEST, FARTHEST)
        if (found := cost(there := errors(tried), tried)) < least - 1e-9:
            x, off, least, damping = tried, there, found, damping / 3.0
            slopes = _slopes(errors, off, x)
        else:
            damping *= 5.0
            if damping > 1e6:
                break
    return at(x)


def _slopes(errors: Callable[[Floats], Floats], off: Floats, x: Floats) -> Floats:
    columns = []
    for number in range(x.size):
        near = x.copy()
        near[number] += DIFFERENCE
        columns.append((errors(near) - off) / DIFFERENCE)
    return np.stack(columns, axis=1)


def _huber(off: Floats) -> Floats:
    size = np.abs(off)
    result: Floats = np.where(size <= OUTLIER, size**2 / 2.0, OUTLIER * (size - OUTLIER / 2.0))
    return result


def _moved(base: Parameters, turned: Sequence[Knob], values: Floats, x: Floats) -> Parameters:
    """Return the constants at a place of the search: by factors of e from a default, in steps of its scale from 0."""
    changed = {}
    for knob, value, step in zip(turned, values, x, strict=True):
        if step != 0.0 and np.isfinite(value):
            moved = value * float(np.exp(step)) if value > 0.0 else max(0.0, float(step)) * knob.scale
            changed[knob.name] = min(float(f"{moved:.4g}"), knob.most)  # no more digits than a person would write
    return replace(base, **changed)  # type: ignore[arg-type]


def loss(observations: Sequence[Observation], parameters: Parameters) -> float:
    """Return the mean absolute logarithm of predicted over measured, of all that was measured; 0 is perfect."""
    off = np.log((expected(observations, parameters) + GRAINS) / (measured(observations) + GRAINS))
    known = np.abs(off[np.isfinite(off)])
    return float(known.mean()) if known.size else 0.0


def residuals(observations: Sequence[Observation], parameters: Parameters) -> dict[str, list[float]]:
    """Return by measure the logarithms of measured over predicted, of all that was measured.

    Disks that moved alone have measures of their own, ``copy_`` before the name: nothing of a migration is like them.
    """
    found: dict[str, list[float]] = {}
    for alone in (False, True):
        some = [one for one in observations if one.storage_only is alone]
        if not some:
            continue
        actual, said = measured(some), np.maximum(expected(some, parameters), 1e-9)
        off = np.log(np.where(actual > 0.0, actual, np.nan) / said)
        for measure, column in zip(MEASURES, off.T, strict=True):
            found[f"{COPY}{measure}" if alone else measure] = column[np.isfinite(column)].tolist()
    return found
