"""Lines of the lab: a link emulator each, started, shaped and cut."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from drsim.errors import LabError
from executor.lab import namespace
from executor.lab.build import linkem_binary
from executor.lab.wire import Line


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """One end of a line.

    Parameters
    ----------
    pid : int
        PID 1 of the namespaces that it lies in.
    interface : str
        Name of the interface that is made there.
    """

    pid: int
    interface: str


def start_line(folder: Path, control: Path, ends: tuple[End, End], group: Path | None = None) -> int:
    """Start the emulator of a line and return its process number.

    Parameters
    ----------
    folder : Path
        Folder of the lab.
    control : Path
        FIFO that it will obey; its log is beside it.
    ends : tuple of End
        Where it begins and ends.
    group : Path or None
        Control group that it runs in.

    Raises
    ------
    LabError
        With its own words, if it does not come up.
    """
    control.unlink(missing_ok=True)
    log = control.with_suffix(".log")
    words = [word for end in ends for word in (f"/proc/{end.pid}/ns/net", end.interface)]
    with log.open("a") as file:
        process = subprocess.Popen(
            [*namespace.inside(group), str(linkem_binary()), *words, str(control)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=file,
            start_new_session=True,
            env=namespace.environment(folder),
        )
    assert process.stdout is not None
    with process.stdout as says:
        if says.readline().strip() != b"up":
            raise LabError(f"The line {control.stem} does not come up: {log.read_text()[-400:]}")
    return process.pid


def shape(control: Path, line: Line, *, hops: int) -> None:
    """Give a line its rate, delay, jitter, loss and queue.

    Parameters
    ----------
    control : Path
        FIFO of the emulator.
    line : Line
        What it is to be like.
    hops : int
        How many such lines lie between two hosts: the round-trip time is shared out among them.
    """
    tell(
        control,
        f"rate {line.rate_mbit_s}",
        f"delay {line.rtt_ms / 2 / hops}",
        f"jitter {line.jitter_ms / hops}",
        f"loss {line.loss * 100}",
        f"queue {line.queue_ms}",
        f"fair {int(line.fair)}",
    )


def tell(control: Path, *commands: str) -> None:
    """Write commands to an emulator.

    Raises
    ------
    LabError
        If it does not run.
    """
    try:
        # Without a reader this fails at once instead of waiting for one.
        descriptor = os.open(control, os.O_WRONLY | os.O_NONBLOCK)
    except OSError as error:
        raise LabError(
            f"The line {control.stem} is down. If its host crashed, start it again: drsim lab restart HOST"
        ) from error
    with open(descriptor, "w") as file:
        file.write("".join(command + "\n" for command in commands))
