"""Constants of the model from migrations that happened: which values explain them best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from drsim.migration.observation import MEASURES, Observation, foresee
from drsim.migration.parameters import Parameters
from drsim.plan import Prediction

STEPS = (0.4, 0.2, 0.1, 0.04)
"""Steps tried for each constant, as shares of its value, coarse ones first."""

DOWNTIME_GRAIN_MS = 20.0
"""Standstills are compared to this grain: a few milliseconds more or less are the machine's."""

STAY = 2e-4
"""Loss by which a constant must gain to leave its default: what the migrations do not tell stays as it is."""


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
    """

    name: str
    scale: float
    tells: str
    most: float = float("inf")


ALWAYS = (
    Knob(name="resident_extra_mib", scale=100.0, tells="traffic of quiet guests"),
    Knob(name="stream_limit_mbit_s", scale=1000.0, tells="time on fast lines"),
    Knob(name="goodput", scale=1.0, tells="time on slow lines", most=1.0),
    Knob(name="prepare_s", scale=1.0, tells="time of small guests"),
    Knob(name="confirm_s", scale=0.5, tells="time of small guests"),
    Knob(name="switchover_ms", scale=50.0, tells="downtime of quiet guests"),
    Knob(name="stop_lag_ms", scale=10.0, tells="downtime of busy guests"),
    Knob(name="client_ms", scale=50.0, tells="a client's silence"),
)
FAR = (
    Knob(name="prepare_rtts", scale=5.0, tells="time over lines with latency"),
    Knob(name="switchover_rtts", scale=3.0, tells="downtime over lines with latency"),
    Knob(name="confirm_rtts", scale=3.0, tells="time over lines with latency"),
    Knob(name="tcp_window_mib", scale=3.0, tells="time over fast lines with latency"),
)
POSTCOPY = (
    Knob(name="postcopy_ms", scale=10.0, tells="downtime of post-copy"),
    Knob(name="postcopy_resume_s", scale=0.1, tells="downtime of post-copy"),
)
TLS = (Knob(name="tls_mbit_s", scale=10_000.0, tells="time with TLS"),)
ZSTD = (
    Knob(name="zstd_mbit_s", scale=2_000.0, tells="time with zstd"),
    Knob(name="zstd_ratio", scale=0.3, tells="traffic with zstd", most=1.0),
)
XBZRLE = (Knob(name="xbzrle_ratio", scale=0.3, tells="traffic with xbzrle", most=1.0),)
TUNNEL = (Knob(name="tunnel_limit_mbit_s", scale=1_000.0, tells="time of tunnelled migrations"),)

KNOBS = (*ALWAYS, *FAR, *POSTCOPY, *TLS, *ZSTD, *XBZRLE, *TUNNEL)
"""All constants that migrations can tell."""


def knobs(observations: Sequence[Observation]) -> tuple[Knob, ...]:
    """Return the constants that these migrations can tell anything about."""
    found = list(ALWAYS)
    for wanted, some in (
        (any(one.path.rtt_ms > 0.0 for one in observations), FAR),
        (any(one.options.postcopy for one in observations), POSTCOPY),
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

    One constant after the other is moved as long as that lowers the loss (pattern search, Hooke and Jeeves 1961): the
    mean absolute logarithm of predicted over measured, of all that was measured, large errors counting less.
    """
    best, least = base, loss(observations, base)
    turned = knobs(observations)
    for step in STEPS:
        moved = True
        while moved:
            moved = False
            for knob in turned:
                value = float(getattr(best, knob.name))
                if not np.isfinite(value):
                    continue
                width = step * (value if value > 0.0 else knob.scale)
                for tried in (value + width, max(0.0, value - width)):
                    candidate = _with(best, knob, tried)
                    if candidate is None or (found := loss(observations, candidate)) > least - STAY:
                        continue
                    best, least, moved = candidate, found, True
                    break
    return best


def loss(observations: Sequence[Observation], parameters: Parameters) -> float:
    """Return how badly the constants explain the migrations; 0 is perfect."""
    found = foresee(observations, parameters)
    terms = [
        min(abs(off), 0.5) + 0.1 * max(0.0, abs(off) - 0.5)
        for one, said in zip(observations, found, strict=True)
        for off in (_off(one, said, measure) for measure in MEASURES)
        if off is not None
    ]
    return float(np.mean(terms)) if terms else 0.0


def residual(one: Observation, said: Prediction, measure: str) -> float | None:
    """Return the logarithm of measured over predicted; None if it was not measured."""
    actual, predicted = getattr(one, measure), getattr(said, measure)
    if actual is None or predicted is None or actual <= 0.0 or predicted <= 0.0:
        return None
    return float(np.log(actual / predicted))


def _off(one: Observation, said: Prediction, measure: str) -> float | None:
    actual, predicted = getattr(one, measure), getattr(said, measure)
    if actual is None or predicted is None:
        return None
    grain = DOWNTIME_GRAIN_MS if measure.endswith("_ms") else 0.0
    return float(np.log((actual + grain) / (predicted + grain))) if actual + grain > 0.0 else None


def _with(parameters: Parameters, knob: Knob, value: float) -> Parameters | None:
    value = min(float(f"{value:.4g}"), knob.most)  # no more digits than a person would write
    if value <= 0.0 and knob.name in ("stream_limit_mbit_s", "goodput", "tcp_window_mib"):
        return None
    return replace(parameters, **{knob.name: value})  # type: ignore[arg-type]
