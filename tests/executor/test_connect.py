"""What the connection to a host tells about the way there."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

pytest.importorskip("libvirt", reason="libvirt-python is not installed: make kvm")

from executor.hypervisor import libvirt_connect
from executor.hypervisor.libvirt_connect import round_trip_ms


class Daemon:
    """A daemon that answers after given milliseconds, then for ever after the last of them, by a clock of its own."""

    def __init__(self, answers_ms: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s, self.asked, self._answers_ms = 0.0, 0, self._of(answers_ms)
        monkeypatch.setattr(libvirt_connect.time, "perf_counter", lambda: self.now_s)
        monkeypatch.setattr(libvirt_connect.time, "sleep", self._pass)

    def getLibVersion(self) -> int:
        self.asked += 1
        self._pass(next(self._answers_ms) / 1e3)
        return 11_003_000

    @staticmethod
    def _of(answers_ms: list[float]) -> Iterator[float]:
        yield from answers_ms
        while True:
            yield answers_ms[-1]

    def _pass(self, seconds: float) -> None:
        self.now_s += seconds


def test_a_line_answers_alike_and_is_asked_three_times(monkeypatch: pytest.MonkeyPatch) -> None:
    daemon = Daemon([80.4, 80.2, 80.3], monkeypatch)
    assert round_trip_ms(daemon) == pytest.approx(80.2)
    assert daemon.asked == 3


def test_a_busy_host_is_asked_until_it_has_answered_at_once_three_times(monkeypatch: pytest.MonkeyPatch) -> None:
    daemon = Daemon([177.0, 201.0, 0.4, 350.0, 0.9, 90.0, 0.3], monkeypatch)
    assert round_trip_ms(daemon) == pytest.approx(0.3)


def test_what_a_host_that_is_busy_all_the_time_hides_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    daemon = Daemon([150.0 * 1.2**number for number in range(20)], monkeypatch)
    assert round_trip_ms(daemon) is None
    assert daemon.asked == 20


def test_the_event_loop_ends_before_the_process_does() -> None:
    """What was registered first is called last: by then the loop must be over."""
    script = (
        "import atexit, threading\n"
        "from executor.hypervisor.libvirt_connect import EVENTS, open_connection\n"
        "alive = lambda: [t.name for t in threading.enumerate() if t.name == EVENTS]\n"
        "atexit.register(lambda: print('at the end', alive()))\n"
        "connection = open_connection('test:///default', read_only=True, timeout_s=5.0)\n"
        "print('before', alive() == [EVENTS])\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["before True", "at the end []"]
