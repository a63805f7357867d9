"""Simulated time in which migrations share lines while real threads wait for them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np

from drsim.disk_lines import LOADING
from drsim.migration import Course
from drsim.plan import Move
from drsim.simulate import fair_share
from drsim.topology import Path
from executor.hypervisor.base import Phase, Progress

TICK_S = 0.05
"""Longest wait between two looks at paced migrations, seconds of real time."""

_PHASES: Mapping[str, Phase] = {
    "prepare": "starting",
    "disks": "disks",
    "memory": "memory",
    "switchover": "switchover",
    "resume": "switchover",
}


class Job:
    """A migration in the world.

    Parameters
    ----------
    move : Move
        What is made.
    migration : Course
        Its course.
    path : Path
        Lines that it crosses.
    on_end : callable
        Called once when it has ended, with the world locked.
    trap : (fraction, text) or None
        At this fraction of its first load it fails with this text, or hangs if the text is None.

    Attributes
    ----------
    ending : {"completed", "failed", "aborted"} or None
        How it ended; None while it is under way.
    text : str
        Why it failed.
    """

    def __init__(
        self,
        move: Move,
        migration: Course,
        path: Path,
        on_end: Callable[[Job], None],
        trap: tuple[float, str | None] | None = None,
    ) -> None:
        self.move = move
        self.migration = migration
        self._path = path
        self.rate_mib_s = 0.0
        self.hung = False
        self.ending: Literal["completed", "failed", "aborted"] | None = None
        self.text = ""
        self.closed = False
        self._on_end = on_end
        self._trap_mib = None if trap is None else trap[0] * migration.remaining_mib
        self._trap_text = None if trap is None else trap[1]

    @property
    def edges(self) -> tuple[str, ...]:
        """Lines that it crosses now."""
        loading = self.migration.phase in LOADING
        return (*self._path.disk_edges, *self._path.edges) if loading else self._path.edges

    @property
    def switched_over(self) -> bool:
        """Whether the guest runs on the target by now."""
        return self.migration.phase in ("confirm", "done")

    def wait_s(self) -> float:
        """Time until something happens to it at its present rate, seconds."""
        wait = self.migration.wait_s(self.rate_mib_s)
        if self._trap_mib is not None and self.rate_mib_s > 0.0:
            wait = min(wait, max(0.0, self._trap_mib - self.migration.sent_mib) / self.rate_mib_s)
        return wait

    def advance(self, time_s: float) -> None:
        """Let time pass, and what is due happen."""
        due = self.migration.wait_s(self.rate_mib_s) <= time_s
        self.migration.advance(time_s, self.rate_mib_s)
        if self._trap_mib is not None and self.migration.sent_mib >= self._trap_mib - 1e-9:
            self._trap_mib = None
            self.hung = self._trap_text is None
            if self._trap_text is not None:
                self.end("failed", self._trap_text)
            return
        if due:
            self.migration.happen()
        if self.migration.done:
            self.end("completed", "")

    def end(self, ending: Literal["completed", "failed", "aborted"], text: str) -> None:
        """End it."""
        self.ending, self.text = ending, text
        self._on_end(self)
        self.closed = True

    def progress(self) -> Progress:
        """Say how far it is."""
        migration = self.migration
        return Progress(
            move_id=self.move.id,
            phase=_PHASES.get(migration.phase, "finishing"),
            sent_mib=migration.sent_mib,
            remaining_mib=migration.remaining_mib,
            rate_mib_s=self.rate_mib_s,
            elapsed_s=migration.elapsed_s,
            rounds=migration.passes,
        )


class World:
    """Migrations under way, driven by one thread that lives as long as there are any.

    Parameters
    ----------
    speed : float or None
        Simulated seconds per second; None (or 0): as fast as it goes.
    settle_s : float
        How long an idle world waits for further migrations before it lets time pass (seconds of real time), so that
        migrations asked for together begin together.

    Attributes
    ----------
    lock : threading.Condition
        Guards everything; notified whenever something changed.
    now_s : float
        Simulated seconds since the world began.
    jobs : dict of str to Job
        Migrations under way by the id of their move.
    """

    def __init__(self, speed: float | None, settle_s: float) -> None:
        self.lock = threading.Condition()
        self.now_s = 0.0
        self.jobs: dict[str, Job] = {}
        self._capacity_mib_s: dict[str, float] = {}
        self._speed = speed or None
        self._settle_s = settle_s
        self._arrival = 0.0
        self._driver: threading.Thread | None = None

    def begin(self, job: Job, capacity_mib_s: Mapping[str, float]) -> None:
        """Let a migration begin; the lines that it crosses carry so much data."""
        with self.lock:
            self._capacity_mib_s.update(capacity_mib_s)
            self.jobs[job.move.id] = job
            self._arrival = time.monotonic()
            if self._driver is None:
                self._driver = threading.Thread(target=self._drive, name="simulated hypervisor", daemon=True)
                self._driver.start()
            self.lock.notify_all()

    def abort(self, move_id: str) -> None:
        """Stop a migration that has not switched over; no-op otherwise."""
        with self.lock:
            job = self.jobs.get(move_id)
            if job is not None and not job.switched_over:
                job.end("aborted", "aborted on request")
                del self.jobs[move_id]
                self.lock.notify_all()

    def follow(self, job: Job, on_progress: Callable[[Progress], None]) -> None:
        """Wait in the calling thread until a migration has ended; tell its progress on the way."""
        while True:
            with self.lock:
                if job.closed:
                    return
                progress = job.progress()
            on_progress(progress)
            with self.lock:
                if not job.closed:
                    self.lock.wait()

    def _drive(self) -> None:
        with self.lock:
            try:
                self._play()
            except Exception as error:  # Nobody may wait for ever, e.g. because the state file cannot be written.
                for job in self.jobs.values():
                    job.ending, job.text, job.closed = "failed", f"the simulation failed: {error}", True
                self.jobs.clear()
                self.lock.notify_all()
            self._driver = None

    def _play(self) -> None:
        while (quiet_s := time.monotonic() - self._arrival) < self._settle_s:
            self.lock.wait(self._settle_s - quiet_s)
        while self.jobs:
            moving = [job for job in self.jobs.values() if not job.hung]
            if not moving:
                self.lock.wait()
                continue
            self._share(moving)
            step_s = self._pass(min(job.wait_s() for job in moving))
            self.now_s += step_s
            for job in moving:
                if not job.closed:  # Not aborted while time passed.
                    job.advance(step_s)
                if job.closed:
                    self.jobs.pop(job.move.id, None)
            self.lock.notify_all()

    def _pass(self, step_s: float) -> float:
        """Let real time pass as the speed asks, at most until the step is over; return the simulated time it was."""
        if self._speed is None:
            return step_s
        began = time.monotonic()
        self.lock.wait(min(TICK_S, step_s / self._speed))
        return min(step_s, (time.monotonic() - began) * self._speed)

    def _share(self, jobs: list[Job]) -> None:
        sending = [job for job in jobs if job.migration.limit_mib_s > 0.0]
        index: dict[str, int] = {}
        line = [index.setdefault(edge, len(index)) for job in sending for edge in job.edges]
        rates = fair_share(
            np.array([self._capacity_mib_s[edge] for edge in index]),
            np.array([number for number, job in enumerate(sending) for _ in job.edges], dtype=np.int64),
            np.array(line, dtype=np.int64),
            np.array([job.migration.limit_mib_s for job in sending]),
        )
        for job in jobs:
            job.rate_mib_s = 0.0
        for job, rate in zip(sending, rates.tolist(), strict=True):
            job.rate_mib_s = rate
