"""The link emulator between two real network namespaces.

Times are only bounded from below: a cable may not be faster than it was told; a busy machine may make it slower.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from executor.lab.build import linkem_binary

A, B = "10.99.0.1", "10.99.0.2"
ETHERNET, IP_UDP, WIRE = 14, 28, 24  # headers; preamble, check sequence and gap
MTU = 1500

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not Path("/dev/net/tun").exists() or not (shutil.which("ip") and shutil.which("gcc")),
    reason="needs root, /dev/net/tun, ip and gcc",
)


class Cable:
    """Two namespaces and the emulator between them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.control = folder / "control"
        self.ends = [
            subprocess.Popen(["unshare", "--net", "sh", "-c", "ip link set lo up; echo; exec sleep 600"], stdout=-1)
            for _ in "ab"
        ]
        for end in self.ends:
            assert end.stdout
            assert end.stdout.readline() == b"\n"
            # Neighbour discovery would add frames of its own to the counters.
            disable = "echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6"
            subprocess.run([*self.inside(end), "sh", "-c", disable], check=False, stderr=subprocess.DEVNULL)
        a, b = (f"/proc/{end.pid}/ns/net" for end in self.ends)
        command = [str(linkem_binary()), a, "left", b, "right", str(self.control)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert self.process.stdout
        assert self.process.stdout.readline() == b"up\n"
        for end, name, address in zip(self.ends, ("left", "right"), (A, B), strict=True):
            subprocess.run([*self.inside(end), "ip", "address", "add", f"{address}/24", "dev", name], check=True)

    @staticmethod
    def inside(end: "subprocess.Popen[bytes]") -> list[str]:
        return ["nsenter", f"--net=/proc/{end.pid}/ns/net"]

    def tell(self, *commands: str) -> None:
        self.control.write_text("".join(f"{command}\n" for command in commands))

    def stat(self) -> dict[str, dict[str, int]]:
        path = self.folder / f"stat-{time.monotonic_ns()}"
        self.tell(f"stat {path}")
        while not path.exists():
            assert self.process.poll() is None
            time.sleep(0.002)
        return json.loads(path.read_text())

    def exchange(self, server: str, client: str) -> str:
        """Run Python in both ends; the client starts when the server has said a line; return what it prints."""
        run = [sys.executable, "-c"]
        prelude = "import socket, time\n"
        listening = subprocess.Popen([*self.inside(self.ends[1]), *run, prelude + server], stdout=subprocess.PIPE)
        try:
            assert listening.stdout
            assert listening.stdout.readline()
            command = [*self.inside(self.ends[0]), *run, prelude + client]
            done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
        finally:
            listening.kill()
            listening.wait()
            listening.stdout.close()
        return done.stdout.strip()

    def close(self) -> None:
        for process in (self.process, *self.ends):
            process.terminate()
            process.wait()
            for stream in (process.stdout, process.stderr):
                if stream:
                    stream.close()


ECHO = f"""
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("{B}", 9)); print("up", flush=True)
while True:
    data, peer = s.recvfrom(2000); s.sendto(data, peer)
"""


def ask(count: int, timeout_s: float) -> str:
    """Client of the echo: prints how many answers came and the shortest round trip, s."""
    return f"""
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout({timeout_s}); best = 99.0; came = 0
for _ in range({count}):
    start = time.monotonic(); s.sendto(b"x" * 100, ("{B}", 9))
    try: s.recv(2000)
    except TimeoutError: continue
    came += 1; best = min(best, time.monotonic() - start)
print(came, best)
"""


def sink(payload: int) -> tuple[str, str]:
    """Server and client of a TCP transfer; the client prints the seconds it took until the far side had all."""
    server = f"""
l = socket.create_server(("{B}", 80)); print("up", flush=True); c, _ = l.accept(); n = 0
while n < {payload}: n += len(c.recv(1 << 20))
c.send(b"!")
time.sleep(60)
"""
    client = f"""
s = socket.create_connection(("{B}", 80)); start = time.monotonic(); s.sendall(bytes({payload})); s.recv(1)
print(time.monotonic() - start)
"""
    return server, client


@pytest.fixture
def cable(tmp_path: Path) -> Iterator[Cable]:
    made = Cable(tmp_path)
    yield made
    made.close()


def test_delay_is_paid_once_in_each_direction(cable: Cable) -> None:
    cable.tell("delay 40")
    came, best_s = cable.exchange(ECHO, ask(3, 5.0)).split()
    assert int(came) == 3
    assert float(best_s) >= 0.080


def test_jitter_comes_on_top_and_keeps_the_order(cable: Cable) -> None:
    cable.tell("delay 10", "jitter 30")
    server = f"""
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("{B}", 9)); print("up", flush=True)
s.recvfrom(100)  # finds the neighbour
came = []
while len(came) < 100:
    data, peer = s.recvfrom(100); came.append((int(data), time.monotonic_ns()))
spread_ms = [(at - int(came[0][1])) / 1e6 - 5 * n for n, (_, at) in enumerate(came)]
s.sendto(f"{{[n for n, _ in came] == sorted(n for n, _ in came)}} {{max(spread_ms) - min(spread_ms)}}".encode(), peer)
time.sleep(60)
"""
    client = f"""
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.sendto(b"-1", ("{B}", 9)); time.sleep(0.2)
start = time.monotonic()
for n in range(100):
    time.sleep(max(0, start + n * 0.005 - time.monotonic())); s.sendto(str(n).encode(), ("{B}", 9))
print(s.recv(100).decode())
"""
    in_order, spread_ms = cable.exchange(server, client).split()
    assert in_order == "True"
    assert float(spread_ms) > 5.0


def test_counters_are_bytes_on_the_wire(cable: Cable) -> None:
    cable.exchange(ECHO, ask(1, 5.0))  # finds the neighbour
    before = cable.stat()
    cable.exchange(ECHO, ask(50, 5.0))
    after = cable.stat()
    for way in ("a_to_b", "b_to_a"):
        assert after[way]["frames"] - before[way]["frames"] == 50
        assert after[way]["bytes"] - before[way]["bytes"] == 50 * (100 + IP_UDP + ETHERNET + WIRE)
        assert after[way]["held_bytes"] == after[way]["dropped"] == 0


def test_rate_counts_every_segment_with_its_headers(cable: Cable) -> None:
    payload, rate_mbit_s = 5_000_000, 100
    cable.tell(f"rate {rate_mbit_s}", "queue 200")
    elapsed_s = float(cable.exchange(*sink(payload)))
    counted = cable.stat()["a_to_b"]
    segment = MTU - 20 - 32  # IP, TCP with time stamps
    least = payload / segment * (MTU + ETHERNET + WIRE)
    assert counted["bytes"] >= least
    # What is still in the queue when the last byte arrives is nothing: the transfer is as slow as the wire.
    assert elapsed_s >= least * 8 / (rate_mbit_s * 1e6)
    # Offload stays on: far fewer frames than segments cross, which is what makes Gbit/s affordable.
    assert counted["frames"] < payload / segment / 2


def test_loss_cuts_segments_apart_and_loses_some(cable: Cable) -> None:
    cable.tell("loss 2")
    payload = 2_000_000
    cable.exchange(*sink(payload))
    counted = cable.stat()["a_to_b"]
    assert counted["frames"] >= payload / (MTU - 40)
    assert counted["dropped"] > 0


def test_full_queue_drops(cable: Cable) -> None:
    cable.tell("rate 1", "queue 20")
    burst = f"""
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.sendto(b"x", ("{B}", 9)); time.sleep(0.2)
for _ in range(100): s.sendto(bytes(1000), ("{B}", 9))
"""
    cable.exchange(ECHO, burst)
    counted = cable.stat()["a_to_b"]
    # 20 ms at 1 Mbit/s are 2500 bytes: two or three frames wait, one is on the wire; 100 were sent at once.
    assert counted["dropped"] > 50


@pytest.mark.parametrize("fair", [True, False])
def test_a_flow_that_sends_little_does_not_wait_for_one_that_sends_much(cable: Cable, fair: bool) -> None:
    cable.tell("rate 5", "queue 2000", f"fair {int(fair)}")
    count_until_asked = f"""
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("{B}", 9)); print("up", flush=True); came = 0
while True:
    data, peer = s.recvfrom(2000); came += data != b"?"
    if data == b"?": s.sendto(str(came).encode(), peer)
"""
    much_then_little = f"""
much, little = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in "ab")
much.sendto(b"x", ("{B}", 9)); time.sleep(0.2)
for _ in range(100): much.sendto(bytes(1400), ("{B}", 9))
little.sendto(b"?", ("{B}", 9)); print(little.recv(99).decode())
"""
    came_before = int(cable.exchange(count_until_asked, much_then_little))
    # At 5 Mbit/s the hundred take 0.23 s, which is far longer than it takes to ask.
    assert came_before < 60 if fair else came_before == 101


def test_cut_is_a_black_hole_and_heals(cable: Cable) -> None:
    assert cable.exchange(ECHO, ask(2, 5.0)).split()[0] == "2"
    cable.tell("cut 1")
    assert cable.exchange(ECHO, ask(2, 0.2)).split()[0] == "0"
    cable.tell("cut 0")
    assert cable.exchange(ECHO, ask(2, 5.0)).split()[0] == "2"


def test_commands_in_pieces_and_nonsense(cable: Cable) -> None:
    with cable.control.open("w") as control:
        for piece in ("nonsense\nde", "lay ", "30\n"):
            control.write(piece)
            control.flush()
    assert float(cable.exchange(ECHO, ask(2, 5.0)).split()[1]) >= 0.060
    cable.process.terminate()
    assert cable.process.stderr
    assert b"not understood: nonsense" in cable.process.stderr.read()


def test_ends_when_a_tap_is_taken_away(cable: Cable) -> None:
    subprocess.run([*cable.inside(cable.ends[0]), "ip", "link", "delete", "left"], check=True)
    assert cable.process.wait(timeout=10) == 1


def test_refuses_a_wrong_call(tmp_path: Path) -> None:
    assert subprocess.run([linkem_binary()], capture_output=True).returncode == 2
    missing = ["/proc/self/ns/none", "a", "/proc/self/ns/net", "b", str(tmp_path / "control")]
    told = subprocess.run([linkem_binary(), *missing], capture_output=True, text=True)
    assert told.returncode == 1
    assert "/proc/self/ns/none" in told.stderr
