"""Which way a guest is best moved: the ladder that a person would climb, on predictions instead of attempts."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from drsim.inventory import Vm
from drsim.migration.options import PLAIN, Options
from drsim.migration.parameters import DEFAULT, Parameters
from drsim.migration.predict import predict
from drsim.migration.rates import rates, still_rtts
from drsim.plan import Prediction
from drsim.topology import Path
from drsim.units import MIB_S_PER_MBIT_S

USUAL_DOWNTIME_MS = 300.0
"""Downtime limit of QEMU where nobody asked for another."""

CALM_SHARE = 0.6
"""Share of what a line carries at which a guest's standstill is shortest over a long one: below `empty_share`, as what
the line carries is never known exactly. Lab at 100 ms: 213 ms of downtime at half the line's rate, 498 ms uncapped."""

LEAST_SHARE = 1 / 3
"""Smallest share of a guest's downtime limit that is left to its memory, whatever the fixed part takes."""

PATIENT = 2.0
"""So many times as long a migration may take for a shorter standstill."""

FASTEST_MBIT_S = 1e6
"""Rates beyond this are not looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """How to move a guest.

    Parameters
    ----------
    options : Options or None
        Mode and switches; None: none will do, it had better stay.
    max_downtime_ms : float
        Downtime limit to give to the hypervisor.
    prediction : Prediction
        What it is expected to cost; of the last rung tried, if none will do.
    why : str
        One sentence.
    """

    options: Options | None
    max_downtime_ms: float
    prediction: Prediction
    why: str


def choose_mode(
    vm: Vm,
    path: Path,
    *,
    max_downtime_ms: float | None = None,
    bandwidth_mbit_s: float | None = None,
    copy_disks: Collection[str] = (),
    parameters: Parameters = DEFAULT,
    rate_mbit_s: float | None = None,
    base: Options = PLAIN,
    may_throttle: bool = True,
    may_postcopy: bool = True,
    most_throttle: float = 0.5,
) -> Choice:
    """Return the gentlest way that brings the guest over, by prediction.

    The rungs, each only if the one before does not converge: pre-copy at the usual downtime limit; at the longest
    standstill that the guest allows; auto-converge, if it need not take more CPU time than `most_throttle`; hybrid, if
    the standstill fits; then the guest had better stay.

    Parameters
    ----------
    vm : Vm
        The guest; its own `max_downtime_ms` bounds the limit.
    path : Path
        What lies between the hosts.
    max_downtime_ms : float, optional
        Longest standstill, if the guest names none; by default the usual limit of 300 ms.
    bandwidth_mbit_s, copy_disks, parameters, rate_mbit_s
        As for `drsim.migration.predict`.
    base : Options
        Connections, compression, encryption to keep; its mode and its throttling are not looked at.
    may_throttle, may_postcopy : bool
        Rungs that are allowed. Post-copy cannot be undone: a host or a line that fails during it takes the guest along.
    most_throttle : float
        Share of its CPU time that the guest may lose.
    """
    longest_ms = vm.max_downtime_ms or max_downtime_ms or USUAL_DOWNTIME_MS
    usual_ms = min(longest_ms, USUAL_DOWNTIME_MS)
    plain = replace(
        base, mode="precopy", auto_converge=False, dirty_limit_mib_s=None, postcopy_after_s=None,
        postcopy_bandwidth_mbit_s=None,
    )  # fmt: skip

    def foresee(options: Options, limit_ms: float) -> Prediction:
        return predict(
            vm,
            path,
            max_downtime_ms=limit_ms,
            bandwidth_mbit_s=bandwidth_mbit_s,
            copy_disks=copy_disks,
            parameters=parameters,
            rate_mbit_s=rate_mbit_s,
            options=options,
        )

    said = foresee(plain, usual_ms)
    if said.converges:
        why = f"Pre-copy converges within {usual_ms:.0f} ms of downtime."
        return Choice(options=plain, max_downtime_ms=usual_ms, prediction=said, why=why)
    if longest_ms > usual_ms:
        said = foresee(plain, longest_ms)
        if said.converges:
            why = f"Pre-copy does not converge within {usual_ms:.0f} ms, but within the {longest_ms:.0f} ms allowed."
            return Choice(options=plain, max_downtime_ms=longest_ms, prediction=said, why=why)
    if may_throttle:
        slowed = replace(plain, auto_converge=True)
        said = foresee(slowed, longest_ms)
        if said.converges and said.throttle <= most_throttle + 1e-9:
            why = f"Auto-converge brings it to rest by holding back {said.throttle:.0%} of its CPU time."
            return Choice(options=slowed, max_downtime_ms=longest_ms, prediction=said, why=why)
    # QEMU and libvirt do not take these with post-copy (`drsim.transfer.contradictions`).
    alone = base.compression == "none" and not base.parallel_connections and not base.tunnelled
    if may_postcopy and alone:
        hybrid = replace(plain, mode="hybrid", postcopy_bandwidth_mbit_s=bandwidth_mbit_s)
        said = foresee(hybrid, longest_ms)
        if said.converges and said.downtime_ms <= longest_ms:
            why = f"It outruns pre-copy; after {hybrid.precopy_passes} passes the rest follows it by post-copy."
            return Choice(options=hybrid, max_downtime_ms=longest_ms, prediction=said, why=why)
    why = f"It dirties memory faster than can be sent, and nothing that is allowed keeps {longest_ms:.0f} ms."
    return Choice(options=None, max_downtime_ms=longest_ms, prediction=said, why=why)


def aim_ms(
    path: Path,
    *,
    max_downtime_ms: float,
    bandwidth_mbit_s: float | None,
    line_mbit_s: float,
    parameters: Parameters = DEFAULT,
    options: Options = PLAIN,
) -> float:
    """Return the downtime limit to begin with, ms: what a guest allows, less what is not memory.

    Parameters
    ----------
    path, bandwidth_mbit_s, parameters, options
        As for `drsim.migration.predict`.
    max_downtime_ms : float
        Longest standstill that the guest allows.
    line_mbit_s : float
        What it gets of its path beside the other moves.
    """
    limits = rates(path, bandwidth_mbit_s, line_mbit_s, parameters, options)
    fixed_ms = parameters.switchover_ms + still_rtts(limits, parameters) * path.rtt_ms
    return max(LEAST_SHARE * max_downtime_ms, max_downtime_ms - fixed_ms)


def calm_cap_mbit_s(
    vm: Vm,
    path: Path,
    *,
    max_downtime_ms: float,
    line_mbit_s: float,
    bandwidth_mbit_s: float | None = None,
    copy_disks: Collection[str] = (),
    parameters: Parameters = DEFAULT,
    options: Options = PLAIN,
) -> float | None:
    """Return the bandwidth cap under which the guest stands still for less, Mbit/s; None if none is wanted.

    Over a long line a guest's last pages wait behind all that lies unsent in a full socket. Under a cap the socket is
    empty. None is wanted where the whole standstill keeps the limit without one, or where the guest would not come to
    rest under it, or take more than `PATIENT` times as long.

    Parameters
    ----------
    vm, path, copy_disks, parameters, options
        As for `drsim.migration.predict`.
    max_downtime_ms : float
        Longest standstill that the guest allows.
    line_mbit_s : float
        What it gets of its path beside the other moves.
    bandwidth_mbit_s : float, optional
        Cap that holds in any case.
    """
    if options.mode != "precopy" or options.parallel_connections or options.tunnelled or path.rtt_ms == 0.0:
        return None
    carried = rates(path, None, line_mbit_s, parameters, options).stream_mib_s / MIB_S_PER_MBIT_S
    cap_mbit_s = CALM_SHARE * carried

    def foresee(cap: float | None) -> Prediction:
        return predict(
            vm,
            path,
            max_downtime_ms=aim_ms(
                path,
                max_downtime_ms=max_downtime_ms,
                bandwidth_mbit_s=cap,
                line_mbit_s=line_mbit_s,
                parameters=parameters,
                options=options,
            ),
            bandwidth_mbit_s=cap,
            copy_disks=copy_disks,
            parameters=parameters,
            rate_mbit_s=line_mbit_s,
            options=options,
        )

    full = foresee(bandwidth_mbit_s)
    if full.downtime_ms <= max_downtime_ms:
        return None
    calm = foresee(cap_mbit_s)
    good = calm.converges and full.converges and calm.downtime_ms < full.downtime_ms
    return cap_mbit_s if good and calm.total_time_s <= PATIENT * full.total_time_s else None


def converging_rate_mbit_s(
    vm: Vm,
    path: Path,
    *,
    max_downtime_ms: float,
    parameters: Parameters = DEFAULT,
    options: Options = PLAIN,
) -> float | None:
    """Return the line rate from which pre-copy of the guest converges, Mbit/s, to 1 %; None if no rate does.

    Parameters
    ----------
    vm, path, max_downtime_ms, parameters, options
        As for `drsim.migration.predict`; the bandwidth of the path is not looked at, its round-trip time and loss are.
    """

    def converges(rate: float) -> bool:
        wide = replace(path, bandwidth_mbit_s=rate)
        return predict(
            vm, wide, max_downtime_ms=max_downtime_ms, bandwidth_mbit_s=None, parameters=parameters, options=options
        ).converges

    low, high = 0.1, FASTEST_MBIT_S
    if not converges(high):
        return None
    if converges(low):
        return low
    while high / low > 1.01:
        middle = (low * high) ** 0.5
        low, high = (low, middle) if converges(middle) else (middle, high)
    return high
