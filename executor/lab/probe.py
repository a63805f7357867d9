"""What a user of the guests sees: connections held and packets counted through every migration.

Run as a program (in the client's namespaces) it holds the connections; imported it starts that program and asks it.
"""

from __future__ import annotations

import json
import selectors
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType

from drsim.errors import LabError
from executor.lab import cgroup, namespace

UDP_PORT, TCP_PORT = 7001, 7000
MESSAGE = struct.Struct("<QQ")
"""Sequence number and the guest's clock in ns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestView:
    """What the client saw of one guest since the last reset.

    Parameters
    ----------
    udp_gap_ms, tcp_gap_ms : float
        Longest time without a packet, ms: the downtime that a user sees.
    received : int
        Messages over both.
    lost, repeated : int
        Sequence numbers missing from, or seen again on, the TCP stream.
    udp_lost : int
        Packets missing over UDP, which promises nothing.
    broken : bool
        Whether the TCP connection was lost.
    """

    udp_gap_ms: float = 0.0
    tcp_gap_ms: float = 0.0
    received: int = 0
    lost: int = 0
    repeated: int = 0
    udp_lost: int = 0
    broken: bool = False


class Stream:
    """One stream of numbered messages."""

    def __init__(self) -> None:
        self.last_s: float | None = None
        self.sequence = 0
        self.broken = False
        self.reset()

    def reset(self) -> None:
        """Count anew from here."""
        self.gap_ms, self.received, self.lost, self.repeated = 0.0, 0, 0, 0

    def take(self, sequence: int, now_s: float) -> None:
        """Count a message that came at `now_s`, seconds on any clock."""
        if self.last_s is not None:
            self.gap_ms = max(self.gap_ms, (now_s - self.last_s) * 1e3)
            self.lost += max(0, sequence - self.sequence - 1)
            self.repeated += sequence <= self.sequence
        self.last_s, self.sequence = now_s, sequence
        self.received += 1


def view(udp: Stream, tcp: Stream, now_s: float) -> GuestView:
    """Sum up two streams; a silence that still lasts counts as a gap."""

    def gap(stream: Stream) -> float:
        open_ms = (now_s - stream.last_s) * 1e3 if stream.last_s is not None else 0.0
        return round(max(stream.gap_ms, open_ms), 1)

    return GuestView(
        udp_gap_ms=gap(udp),
        tcp_gap_ms=gap(tcp),
        received=udp.received + tcp.received,
        lost=tcp.lost,
        repeated=tcp.repeated,
        udp_lost=udp.lost,
        broken=tcp.broken,
    )


class Probe:
    """Holds one TCP connection to each guest and counts its UDP packets.

    Parameters
    ----------
    client_pid : int
        PID 1 of the client's namespaces.
    folder : Path
        Folder of the lab.
    addresses : mapping of str to str
        Guest name to address.

    Raises
    ------
    LabError
        If a guest does not accept a connection.
    """

    def __init__(self, client_pid: int, folder: Path, addresses: Mapping[str, str]) -> None:
        group = cgroup.group_of(folder, cgroup.FABRIC)
        self._process = subprocess.Popen(
            [
                *namespace.inside(group),
                "nsenter",
                f"--net=/proc/{client_pid}/ns/net",
                "--",
                sys.executable,
                "-m",
                "executor.lab.probe",
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            env=namespace.environment(folder),
            cwd=Path(__file__).parents[2],
        )
        answer = self._ask(json.dumps(dict(addresses)))
        if answer != "ok":
            self.close()
            raise LabError(f"The probe cannot connect: {answer}")

    def _ask(self, line: str) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        return self._process.stdout.readline().strip()

    def reset(self) -> None:
        """Count anew from here; connections are kept."""
        self._ask("reset")

    def report(self) -> dict[str, GuestView]:
        """Return what was seen of each guest since the last reset."""
        return {name: GuestView(**seen) for name, seen in json.loads(self._ask("report")).items()}

    def close(self) -> None:
        """Let go of the connections."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def __enter__(self) -> Probe:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _serve() -> None:
    """Hold the connections and answer questions on standard input until it ends."""
    addresses: dict[str, str] = json.loads(sys.stdin.readline())
    names = {address: name for name, address in addresses.items()}
    udp, tcp = ({name: Stream() for name in addresses} for _ in range(2))
    rest = dict.fromkeys(addresses, b"")
    selector = selectors.DefaultSelector()
    try:
        port = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        port.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        port.bind(("", UDP_PORT))
        port.setblocking(False)
        selector.register(port, selectors.EVENT_READ, None)
        for name, address in addresses.items():
            connection = socket.create_connection((address, TCP_PORT), 10.0)
            connection.setblocking(False)
            selector.register(connection, selectors.EVENT_READ, name)
    except OSError as error:
        _say(str(error))
        return
    selector.register(sys.stdin, selectors.EVENT_READ, "")
    _say("ok")
    while True:
        for key, _ in selector.select():
            if key.data is None:
                _take_packets(port, udp, names)
            elif key.data:
                name, stream = key.data, key.fileobj
                assert isinstance(stream, socket.socket)
                try:
                    data = stream.recv(65536)
                except OSError:
                    data = b""
                if not data:
                    tcp[name].broken = True
                    selector.unregister(stream)
                    continue
                now_s = time.monotonic()
                data = rest[name] + data
                whole = len(data) // MESSAGE.size * MESSAGE.size
                for sequence, _ in MESSAGE.iter_unpack(data[:whole]):
                    tcp[name].take(sequence, now_s)
                rest[name] = data[whole:]
            else:
                line = sys.stdin.readline().strip()
                if not line:
                    return
                if line == "reset":
                    for counted in (*udp.values(), *tcp.values()):
                        counted.reset()
                    _say("ok")
                else:
                    now_s = time.monotonic()
                    _say(json.dumps({name: asdict(view(udp[name], tcp[name], now_s)) for name in addresses}))


def _take_packets(port: socket.socket, udp: dict[str, Stream], names: dict[str, str]) -> None:
    while True:
        try:
            data, (address, _) = port.recvfrom(64)
        except BlockingIOError:
            return
        if len(data) == MESSAGE.size and address in names:
            udp[names[address]].take(MESSAGE.unpack(data)[0], time.monotonic())


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    _serve()
