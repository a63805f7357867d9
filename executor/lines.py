"""How far hosts are from each other and what the way carries: measured between the hosts themselves.

libvirt cannot tell. So a few lines of Python are run on both ends, by the words that the hosts file names (``shell``),
or by ssh where the URI is one of ssh: one end listens on a port of the migration range, the other connects, lets eight
bytes go to and fro, then sends as fast as it can. Lines are measured one after the other: together they would share
what they have in common.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import shlex
import subprocess
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from urllib.parse import urlsplit

from drsim.inventory import Inventory
from drsim.topology import Topology
from executor.estate import DeclaredHost, Estate
from executor.hypervisor.base import Line

SENDING_S = 2.0
"""Time for which a line is filled, seconds; the second half counts, so that TCP has got going."""

SHORTLY_S = 0.4
"""The same for the look before a move, seconds."""

LEAST_RTTS = 20
"""Round trips for which a line is filled at least: TCP doubles its rate once in each."""

PATIENCE_S = 15.0
"""Time for one line from start to end, seconds; one that takes longer is not known."""

FAR_MS = 5.0
"""By how much longer than planned with a round trip within a site may be before it is remarked on, ms: less than that
is not felt, and busy hosts answer as late."""

MUCH_LESS = 0.8
"""A line that carries less than this share of what was declared is remarked on."""

_LISTEN = """
import socket, sys, time
for port in range(49152, 49216):
    try:
        server = socket.create_server(("", port))
        break
    except OSError:
        continue
else:
    sys.exit("no port of 49152-49215 is free")
server.settimeout(8)
print(port, flush=True)
peer, _ = server.accept()
peer.settimeout(8)
for _ in range(6):
    peer.sendall(peer.recv(8))
seen, count = [(time.monotonic(), 0)], 0
while data := peer.recv(1 << 20):
    count += len(data)
    seen.append((time.monotonic(), count))
end = seen[-1][0]
half, before = min(seen, key=lambda one: abs(one[0] - (seen[0][0] + end) / 2))
print((count - before) * 8e-6 / (end - half) if end > half else 0.0, flush=True)
"""

_SEND = """
import socket, time
peer = socket.create_connection((HOST, PORT), 5)
peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
best = 1e9
for _ in range(6):
    begin = time.perf_counter()
    peer.sendall(b"drsim123")
    peer.recv(8)
    best = min(best, time.perf_counter() - begin)
end, data = time.monotonic() + max(SECONDS, LEAST_RTTS * best), bytes(1 << 18)
while time.monotonic() < end:
    peer.sendall(data)
peer.close()
print(best * 1e3)
"""


Runner = Callable[[str, str], "subprocess.Popen[str]"]
"""Starts a script on a host, with its output to be read."""


def pairs(inventory: Inventory) -> tuple[tuple[str, str], ...]:
    """Return between which hosts to measure: along each site from host to host, and once for each link."""
    up = [host for host in inventory.hosts if host.state in ("up", "maintenance")]
    found: list[tuple[str, str]] = []
    for site in dict.fromkeys(host.site for host in up):
        names = [host.name for host in up if host.site == site]
        found += list(itertools.pairwise(names))
    for link in inventory.links:
        ends = [next((host.name for host in up if host.site == site), None) for site in (link.a, link.b)]
        if ends[0] is not None and ends[1] is not None:
            found.append((ends[0], ends[1]))
    return tuple(found)


def measure(estate: Estate, inventory: Inventory, run: Runner | None = None) -> tuple[Line, ...]:
    """Measure the lines of an estate.

    Parameters
    ----------
    estate : Estate
        Its hosts file.
    inventory : Inventory
        As collected from it.
    run : callable, optional
        Starts a script on a host; by default by the host's shell.
    """
    declared = {host.name or inventory.hosts[i].name: host for i, host in enumerate(estate.hosts)}
    start = run or (lambda name, script: _start(declared[name], script))
    return tuple(_measure(a, b, address_of(inventory, b), start, SENDING_S) for a, b in pairs(inventory))


def measure_shortly(source: DeclaredHost, target: DeclaredHost, address: str) -> Line:
    """Measure the line from one host to another before a move.

    Parameters
    ----------
    source, target : DeclaredHost
        Its ends, with their names.
    address : str
        Name or address by which the source reaches the target.
    """
    ends = {source.name or "": source, target.name or "": target}
    if mute := next((host for host in ends.values() if not shell_of(host)), None):
        return Line(a=source.name or "", b=target.name or "", note=_no_way(mute))
    start: Runner = lambda name, script: _start(ends[name], script)  # noqa: E731
    return _measure(source.name or "", target.name or "", address, start, SHORTLY_S)


def address_of(inventory: Inventory, host: str) -> str:
    """Name or address by which the other hosts reach a host."""
    known = inventory.host_by_name[host]
    return urlsplit(known.peer_uri or known.uri or "").hostname or host


def shell_of(host: DeclaredHost) -> tuple[str, ...]:
    """Words that run a script on a host; none if there is no way."""
    if host.shell:
        return tuple(shlex.split(host.shell))
    parts = urlsplit(host.uri)
    if not parts.scheme.endswith("+ssh") or parts.hostname is None:
        return ()
    user = f"{parts.username}@" if parts.username else ""
    port = ("-p", str(parts.port)) if parts.port else ()
    return ("ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=5", *port, f"{user}{parts.hostname}")


def _no_way(host: DeclaredHost) -> str:
    return f"no way to run a command there: set 'shell' of {host.name} in the hosts file, e.g. 'ssh root@h1'"


def _start(host: DeclaredHost, script: str) -> subprocess.Popen[str]:
    words = shell_of(host)
    if not words:
        raise OSError(_no_way(host))
    command = f"exec python3 -c {shlex.quote(script)}"
    return subprocess.Popen(
        [*words, command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def _measure(a: str, b: str, address: str, start: Runner, sending_s: float) -> Line:
    running: list[subprocess.Popen[str]] = []

    def give_up() -> None:
        for process in running:
            process.kill()

    late = threading.Timer(PATIENCE_S, give_up)
    late.daemon = True
    late.start()
    try:
        running.append(start(b, _LISTEN))
        port = _says(running[0])
        script = _SEND.replace("HOST", json.dumps(address)).replace("PORT", str(int(port)))
        script = script.replace("LEAST_RTTS", str(LEAST_RTTS)).replace("SECONDS", str(sending_s))
        running.append(start(a, script))
        rtt_ms = float(_says(running[1]))
        return Line(a=a, b=b, rtt_ms=rtt_ms, rate_mbit_s=float(_says(running[0])))
    except (OSError, ValueError) as error:
        return Line(a=a, b=b, note=" ".join(str(error).split())[:200])
    finally:
        late.cancel()
        for process in running:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            process.communicate()


def _says(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    assert process.stderr is not None
    if line := process.stdout.readline().strip():
        return line
    why = process.stderr.read().strip().splitlines()
    raise OSError(why[-1] if why else f"no answer within {PATIENCE_S:g} s")


def with_lines(inventory: Inventory, lines: Sequence[Line]) -> tuple[Inventory, tuple[str, ...]]:
    """Return the inventory with what was measured of its links, and remarks on lines that are not as declared."""
    site = {host.name: host.site for host in inventory.hosts}
    card = {
        host.name: max((nic.rate_mbit_s for nic in host.nics if nic.carries_migration), default=None)
        for host in inventory.hosts
    }
    remarks = [f"The line from {line.a} to {line.b} was not measured: {line.note}." for line in lines if line.note]
    links = list(inventory.links)
    for line in lines:
        if line.rtt_ms is None or line.rate_mbit_s is None:
            continue
        declared = min((rate for rate in (card[line.a], card[line.b]) if rate is not None), default=None)
        for number, link in enumerate(links):
            if {link.a, link.b} == {site[line.a], site[line.b]} and site[line.a] != site[line.b]:
                links[number] = replace(link, measured_mbit_s=line.rate_mbit_s, measured_rtt_ms=line.rtt_ms)
                declared = min(link.bandwidth_mbit_s, declared or link.bandwidth_mbit_s)
        if site[line.a] == site[line.b] and line.rtt_ms > _planned_ms(inventory, line) + FAR_MS:
            remarks.append(
                f"From {line.a} to {line.b} a round trip takes {line.rtt_ms:.1f} ms; plans take "
                f"{_planned_ms(inventory, line):g} ms. Declare where the way is long: put the two into two sites, or "
                "their cards on switches ('nics'), with a link between them that has this rtt_ms."
            )
        if declared is not None and line.rate_mbit_s < MUCH_LESS * declared:
            remarks.append(
                f"From {line.a} to {line.b} one connection carries {line.rate_mbit_s:.0f} Mbit/s; {declared:g} were "
                "declared. Look at the line and at the socket buffers (net.ipv4.tcp_wmem, tcp_rmem) of both."
            )
    return replace(inventory, links=tuple(links)), tuple(remarks)


def _planned_ms(inventory: Inventory, line: Line) -> float:
    """Round-trip time that plans take for a line, ms."""
    path = Topology(inventory).path(line.a, line.b)
    return 0.0 if path is None else path.rtt_ms
