"""What must fit between the two ends of a move: clocks, certificates, ports, the way between them; pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from drsim.plan import Move
from drsim.policy import Limits
from executor.hypervisor.base import HostFacts, Line
from executor.hypervisor.certificate import Certificate
from executor.refusal import Refusal

MAX_SKEW_S = 2.0
"""Largest difference between the clocks of two hosts, seconds: a guest's hardware clock is its host's, and jumps by it;
hosts that keep time by NTP differ by milliseconds."""

MEASURED = 1.05
"""A line at the limit is measured a little longer than it is: by a millisecond and this share."""

LEAST_VALID_S = 3600.0
"""For how long a certificate must be valid at least, seconds: what is reconnected is checked anew."""


def between(
    move: Move,
    source: HostFacts,
    target: HostFacts,
    limits: Limits,
    now: datetime,
    *,
    promised_ports: int = 0,
    line: Line | None = None,
) -> Iterator[Refusal]:
    """Yield what stands between two ends; what neither end could tell is not held against the move.

    Parameters
    ----------
    move : Move
        The move about to be made.
    source, target : HostFacts
        What both say of themselves just now.
    limits : Limits
        Of the policy.
    now : datetime
        By the controller's clock, timezone-aware.
    promised_ports : int
        Ports of the target that moves admitted a moment before will take.
    line : Line, optional
        The way between them, measured just now.
    """
    yield from _clocks(source, target)
    yield from _certificates(move, source, target, now)
    yield from _ports(move, target, promised_ports)
    yield from _outgoing(move, source)
    yield from _way(source, target, limits, line)


def ports_of(move: Move) -> int:
    """Return how many ports of the migration range a move takes on its target: for memory, and for disks."""
    if move.storage_only or move.transfer.transport == "tunnelled":
        return 0
    return 2 if move.copy_disks else 1


def _clocks(source: HostFacts, target: HostFacts) -> Iterator[Refusal]:
    if source.clock_ahead_s is None or target.clock_ahead_s is None:
        return
    apart_s = abs(target.clock_ahead_s - source.clock_ahead_s)
    if apart_s - source.clock_error_s - target.clock_error_s > MAX_SKEW_S:
        behind = source.host if source.clock_ahead_s < target.clock_ahead_s else target.host
        yield Refusal(
            kind="clock",
            text=f"The clocks of '{source.host}' and '{target.host}' are {apart_s:.1f} s apart ('{behind}' is behind); "
            f"{MAX_SKEW_S:g} s are allowed, as the guest's clock would jump.",
            remedy="Let both keep time (chronyc makestep), then resume or make a new plan.",
        )


def _certificates(move: Move, source: HostFacts, target: HostFacts, now: datetime) -> Iterator[Refusal]:
    if not move.transfer.tls:
        return
    expected_s = 0.0 if move.prediction is None else 2 * move.prediction.total_time_s
    needed_s = max(LEAST_VALID_S, expected_s, move.transfer.timeout_s or 0.0)
    for facts, what in ((target, "QEMU as server"), (source, "QEMU as client")):
        for certificate in facts.certificates:
            if certificate.what == what:
                there = now + timedelta(seconds=facts.clock_ahead_s or 0.0)
                yield from _certificate(facts.host, certificate, there, needed_s)


def _certificate(host: str, certificate: Certificate, now: datetime, needed_s: float) -> Iterator[Refusal]:
    place = f"The certificate of {certificate.what} on '{host}' ({certificate.path})"
    remedy = f"Put a valid one there, signed by the authority that both hosts trust; nothing on '{host}' is restarted."
    begin, end = certificate.valid_from, certificate.valid_until
    if begin is None or end is None:
        yield Refusal(kind="tls", text=f"{place} is missing or no certificate.", remedy=remedy)
    elif begin > now:
        text = f"{place} is valid from {begin:%Y-%m-%d %H:%M} UTC only; it is {now:%Y-%m-%d %H:%M} there."
        yield Refusal(kind="tls", text=text, remedy=remedy)
    elif end < now:
        yield Refusal(kind="tls", text=f"{place} expired on {end:%Y-%m-%d %H:%M} UTC.", remedy=remedy)
    elif end < now + timedelta(seconds=needed_s):
        text = f"{place} expires on {end:%Y-%m-%d %H:%M} UTC; the move may need it for {needed_s / 3600:.1f} h."
        yield Refusal(kind="tls", text=text, remedy=remedy)


def _ports(move: Move, target: HostFacts, promised: int) -> Iterator[Refusal]:
    needed = ports_of(move)
    if target.free_ports is not None and target.free_ports - promised < needed:
        beside = f" beside {promised} promised to this wave" if promised else ""
        yield Refusal(
            kind="ports",
            text=f"'{target.host}' has {target.free_ports} ports of its migration range free; '{move.vm}' needs "
            f"{needed}{beside}.",
            remedy="See who listens there (ss -tln), or widen migration_port_min and migration_port_max in qemu.conf.",
        )


def connections_of(move: Move) -> int:
    """Return how many connections the source opens for a move: to the target's daemon, for memory, for each disk."""
    daemon = move.transfer.transport != "direct"
    if move.transfer.transport == "tunnelled":
        return int(daemon)
    return int(daemon) + 1 + move.transfer.parallel_connections + len(move.copy_disks)


def _outgoing(move: Move, source: HostFacts) -> Iterator[Refusal]:
    needed = connections_of(move)
    if source.outgoing_ports is not None and source.outgoing_ports < needed:
        yield Refusal(
            kind="ports",
            text=f"'{source.host}' has {source.outgoing_ports} ports left to connect from; '{move.vm}' needs {needed}.",
            remedy="See who holds so many connections there (ss -tan), or widen net.ipv4.ip_local_port_range.",
        )


_LONG_LINE = "See why the line is that long, or allow it: drsim plan --max-rtt MS (max_rtt_ms in the policy)."


def _way(source: HostFacts, target: HostFacts, limits: Limits, line: Line | None) -> Iterator[Refusal]:
    """Refuse what is not within the limit as measured between the hosts; if it was not, what cannot be within it: no
    way between two hosts is shorter than the difference of two ways.
    """
    if line is not None and line.rtt_ms is not None:
        if line.rtt_ms > MEASURED * limits.max_rtt_ms + 1.0:
            yield Refusal(
                kind="line",
                text=f"From '{source.host}' to '{target.host}' a round trip takes {line.rtt_ms:.0f} ms, measured just "
                f"now; the limit is {limits.max_rtt_ms:g} ms.",
                remedy=_LONG_LINE,
            )
        return
    if source.rtt_ms is None or target.rtt_ms is None:
        return
    least_ms = abs(source.rtt_ms - target.rtt_ms)
    if least_ms > limits.max_rtt_ms:
        yield Refusal(
            kind="line",
            text=f"From here '{source.host}' is {source.rtt_ms:.0f} ms away, '{target.host}' {target.rtt_ms:.0f} ms: "
            f"there are at least {least_ms:.0f} ms between them, the limit is {limits.max_rtt_ms:g} ms.",
            remedy=_LONG_LINE,
        )
