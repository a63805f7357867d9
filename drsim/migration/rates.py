"""How fast one migration can be on its path when nobody else is there."""

from __future__ import annotations

import math
from typing import NamedTuple

from drsim.migration.options import PLAIN, Options
from drsim.migration.parameters import Parameters
from drsim.topology import Path
from drsim.units import MIB, MIB_S_PER_MBIT_S


class Rates(NamedTuple):
    """Limits on the data rate of one migration, MiB/s.

    Parameters
    ----------
    line_mib_s : float
        Most that the line and the sending threads allow.
    stream_mib_s : float
        Most that memory reaches before any cap: line, threads, TCP window and loss.
    tcp_mib_s : float
        Most that one TCP connection reaches (card of a bond, window, loss); infinite without bonds and latency.
    cap_mib_s : float
        What the bandwidth cap allows, its overshoot included; infinite without a cap.
    push_mib_s : float
        Most that post-copy pushes.
    rtt_s : float
        Round-trip time, seconds.
    """

    line_mib_s: float
    stream_mib_s: float
    tcp_mib_s: float
    cap_mib_s: float
    push_mib_s: float
    rtt_s: float


def rates(
    path: Path, bandwidth_mbit_s: float | None, line_mbit_s: float, parameters: Parameters, options: Options = PLAIN
) -> Rates:
    """Return the limits of one migration.

    Parameters
    ----------
    path : Path
        For round-trip time, loss and what one connection gets.
    bandwidth_mbit_s : float or None
        Cap given to the hypervisor.
    line_mbit_s : float
        Line rate available, normally ``path.bandwidth_mbit_s``.
    parameters : Parameters
        Constants.
    options : Options
        Channels, compression and encryption.

    Notes
    -----
    Window: no more than one window a round trip. Loss: ``MSS / RTT * sqrt(3 / (2 p))``, Mathis, Semke, Mahdavi, Ott,
    "The macroscopic behavior of the TCP congestion avoidance algorithm", CCR 27(3), 1997, DOI 10.1145/263932.264023;
    it describes loss-based congestion control (Reno, roughly CUBIC), not BBR.
    """
    rtt_s = path.rtt_ms / 1e3
    tcp = path.connection_mbit_s * parameters.goodput * MIB_S_PER_MBIT_S
    if rtt_s > 0.0:
        tcp = min(tcp, parameters.tcp_window_mib / rtt_s)
        if path.loss > 0.0:
            segment_mib = parameters.tcp_segment_bytes / MIB
            tcp = min(tcp, segment_mib / rtt_s * math.sqrt(1.5 / path.loss))
    sender = sender_mbit_s(parameters, options)
    line = min(line_mbit_s * parameters.goodput, max(sender, parameters.stream_limit_mbit_s)) * MIB_S_PER_MBIT_S
    stream = min(line, sender * MIB_S_PER_MBIT_S, tcp * options.channels)
    push = math.inf if options.postcopy_bandwidth_mbit_s is None else options.postcopy_bandwidth_mbit_s
    return Rates(
        line_mib_s=line,
        stream_mib_s=stream,
        tcp_mib_s=tcp,
        cap_mib_s=math.inf
        if bandwidth_mbit_s is None
        else bandwidth_mbit_s * MIB_S_PER_MBIT_S * parameters.cap_overshoot,
        push_mib_s=min(stream, push * MIB_S_PER_MBIT_S),
        rtt_s=rtt_s,
    )


def sender_mbit_s(parameters: Parameters, options: Options) -> float:
    """Return what the sending threads manage together, Mbit/s on the wire.

    A thread compresses, encrypts and sends in turn, so the times that a byte needs add up.
    """
    p = parameters
    limit = p.tunnel_limit_mbit_s if options.tunnelled else math.inf
    if not options.tls and options.compression in ("none", "xbzrle"):
        return min(p.stream_limit_mbit_s * options.channels, limit)
    time_s = 1.0 / p.stream_limit_mbit_s
    if options.tls:
        time_s += 1.0 / p.tls_mbit_s
    if options.compression in ("zlib", "zstd"):
        speed, ratio = (p.zlib_mbit_s, p.zlib_ratio) if options.compression == "zlib" else (p.zstd_mbit_s, p.zstd_ratio)
        time_s += 1.0 / (speed * ratio)
    return min(options.channels / time_s, limit)


def thread_cores(rate_mib_s: float, sender_mib_s: float, threads: int) -> float:
    """Return the CPU that a migration takes on either host while it moves data, cores.

    QEMU sends from one thread, or from one a channel (migration/multifd.c), and receives in as many; a thread is busy
    for the share of what it manages that is sent.

    Parameters
    ----------
    rate_mib_s : float
        What is sent.
    sender_mib_s : float
        What the threads manage together (`sender_mib_s`).
    threads : int
        `Options.channels`.
    """
    return threads * min(1.0, rate_mib_s / sender_mib_s)


def sender_mib_s(parameters: Parameters, options: Options = PLAIN) -> float:
    """Return what the sending threads manage together while they have the CPU that they want, MiB/s."""
    return sender_mbit_s(parameters, options) * MIB_S_PER_MBIT_S


def memory_rates(first_mib: float, zero_scan_s: float, limits: Rates) -> tuple[float, float]:
    """Return how fast the first pass over memory is sent, and later ones, MiB/s.

    Parameters
    ----------
    first_mib, zero_scan_s : float
        Traffic of the first pass, and the time that it takes to look at zeros: one thread alternates between both, so
        both take time unless a cap leaves it idle.
    limits : Rates
        Its limits.
    """
    first_s = first_mib / limits.stream_mib_s + zero_scan_s
    return min(first_mib / first_s, limits.cap_mib_s), min(limits.stream_mib_s, limits.cap_mib_s)


def prepare_s(rate_mib_s: float, data_mib: float, limits: Rates, parameters: Parameters) -> float:
    """Return the time before anything is sent, slow start of sending `data_mib` at `rate_mib_s` included, seconds."""
    ramp_s = slow_start_s(rate_mib_s, limits.rtt_s, data_mib, parameters)
    return parameters.prepare_s + parameters.prepare_rtts * limits.rtt_s + ramp_s


def waking(limits: Rates, parameters: Parameters, options: Options) -> tuple[float, float, float]:
    """Return what the standstill of a pre-copy holds beside sending the rest, seconds.

    What comes after it; what comes before its data is out; and QEMU's part of both.
    """
    p, rtts = parameters, still_rtts(limits, parameters)
    joining_s, queued_s = joining(limits, p, options)
    own_s = max(0.0, p.switchover_ms - p.libvirt_ms) / 1e3 + joining_s + queued_s
    qemu_s = own_s + max(0.0, rtts - p.libvirt_rtts) * limits.rtt_s
    return p.switchover_ms / 1e3 + rtts * limits.rtt_s + joining_s, queued_s, qemu_s


def confirm_s(limits: Rates, parameters: Parameters) -> float:
    """Return the time from the guest's going on to the end of the whole call, seconds."""
    return parameters.confirm_s + parameters.confirm_rtts * limits.rtt_s


def client_gap_s(still_s: float, rtt_s: float, parameters: Parameters) -> float:
    """Return the silence that a client sees of a guest that stands still so long: announcement, half a round trip."""
    return still_s + parameters.client_ms / 1e3 + rtt_s / 2.0


def still_rtts(limits: Rates, parameters: Parameters) -> float:
    """Return the round trips of the standstill; fewer where a cap keeps the socket empty."""
    empty = limits.cap_mib_s <= parameters.empty_share * limits.stream_mib_s
    return max(0.0, parameters.switchover_rtts - (parameters.socket_rtts if empty else 0.0))


def socket_mib(limits: Rates, parameters: Parameters, options: Options) -> float:
    """Return what lies unsent in the sockets of a migration when the guest stops, MiB; nothing under a low cap."""
    p = parameters
    if limits.rtt_s <= 0.0 or limits.cap_mib_s <= p.empty_share * limits.stream_mib_s:
        return 0.0
    return min(p.socket_share * limits.stream_mib_s * limits.rtt_s, options.channels * p.socket_most_mib)


def joining(limits: Rates, parameters: Parameters, options: Options) -> tuple[float, float]:
    """Return how long joining the channels of multifd takes, and sending what QEMU took for sent, seconds."""
    held_mib = socket_mib(limits, parameters, options)
    if not options.parallel_connections:
        return 0.0, held_mib / limits.stream_mib_s
    held_mib += parameters.multifd_queue_mib * options.channels
    return parameters.multifd_rtts * limits.rtt_s, held_mib / limits.stream_mib_s


def slow_start_s(rate_mib_s: float, rtt_s: float, data_mib: float, parameters: Parameters) -> float:
    """Return the time that TCP's slow start adds to sending `data_mib` at `rate_mib_s`, seconds.

    The window doubles each round trip from its initial value until it fills the line, or until all is sent; taken as
    continuous growth, ``w(t) = w0 * 2^(t / RTT)``, whose integral is what was sent meanwhile.
    """
    if rtt_s == 0.0 or data_mib == 0.0:
        return 0.0
    first_mib = parameters.tcp_initial_segments * parameters.tcp_segment_bytes / MIB
    growth = min(rate_mib_s * rtt_s / first_mib, 1.0 + data_mib * math.log(2.0) / first_mib)
    if growth <= 1.0:
        return 0.0
    return rtt_s * math.log2(growth) - (growth - 1.0) * first_mib / math.log(2.0) / rate_mib_s
