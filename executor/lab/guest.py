"""Talking to a guest: what it does, whether its memory and its disk are whole."""

from __future__ import annotations

import re
import socket
import time
from dataclasses import dataclass
from types import TracebackType

from drsim.errors import LabError
from executor.lab import namespace
from executor.lab.dirty import Dirtying

CONTROL_PORT = 7002
SWEEP = Dirtying()


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a guest found when it read all that it had written.

    Parameters
    ----------
    pages, bad_pages : int
        Pages of its working set; those that do not hold what it wrote.
    bad_blocks : int
        Blocks of its disk that do not.
    """

    pages: int
    bad_pages: int
    bad_blocks: int


class GuestControl:
    """A line to the text port of a guest.

    Parameters
    ----------
    client_pid : int
        PID 1 of the client's namespace.
    address : str
        Address of the guest.
    wait_s : float
        How long to wait for a guest that still boots, seconds.

    Raises
    ------
    LabError
        If it does not answer.
    """

    def __init__(self, client_pid: int, address: str, wait_s: float = 5.0) -> None:
        deadline = time.monotonic() + wait_s
        patience_s = 0.2  # a first packet that nobody heard is sent again after a second only: better to begin anew
        while True:
            try:
                self._socket = namespace.connect(client_pid, (address, CONTROL_PORT), patience_s)
                break
            except OSError as error:
                if time.monotonic() > deadline:
                    raise LabError(f"The guest at {address} does not answer: {error}.") from error
                patience_s = min(1.0, 1.2 * patience_s)
                time.sleep(0.05)
        self._socket.settimeout(90.0)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._file = self._socket.makefile("rw")

    def __enter__(self) -> GuestControl:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the line."""
        self._file.close()
        self._socket.close()

    def ask(self, line: str) -> str:
        """Send one line and return the answer.

        Raises
        ------
        LabError
            If the guest hangs up or does not answer.
        """
        try:
            self._file.write(line + "\n")
            self._file.flush()
            answer = self._file.readline().strip()
        except OSError as error:
            raise LabError(f"The guest does not answer '{line}': {error}.") from error
        if not answer:
            raise LabError(f"The guest hung up on '{line}'.")
        return answer

    def stat(self) -> dict[str, int]:
        """Return its counters: uptime, pages dirtied, blocks written, errors."""
        return {key: int(value) for key, _, value in (word.partition("=") for word in self.ask("stat").split())}

    def dirty(self, working_set_mib: int, rate_mib_s: int, dirtying: Dirtying = SWEEP) -> None:
        """Set its working set, its dirty rate and which page is next.

        Raises
        ------
        LabError
            If it cannot, e.g. for want of memory.
        """
        self.order(f"dirty {working_set_mib} {rate_mib_s} {dirtying.text}")

    def order(self, line: str) -> None:
        """Send one line that is answered with ``ok``.

        Raises
        ------
        LabError
            With the guest's own words, if it is not.
        """
        if (answer := self.ask(line)) != "ok":
            raise LabError(f"The guest answers '{line}' with {answer!r}.")

    def verify(self) -> Verdict:
        """Let it read all that it wrote."""
        answer = self.ask("verify")
        numbers = {key: (int(a), int(b)) for key, a, b in re.findall(r"(\w+)=(\d+) of (\d+)", answer)}
        if "bad" not in numbers:
            raise LabError(f"The guest's answer to 'verify' is not understood: {answer!r}")
        bad_pages, pages = numbers["bad"]
        return Verdict(pages=pages, bad_pages=bad_pages, bad_blocks=numbers.get("disk_bad", (0, 0))[0])
