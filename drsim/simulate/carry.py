"""One migration as a process of SimPy's."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

import simpy

from drsim.disk_lines import LOADING
from drsim.migration import Course, Phase
from drsim.simulate.flows import Flow
from drsim.simulate.lines import Lines

Process = Generator[simpy.Event, Any, None]


def carry(
    env: simpy.Environment,
    lines: Lines,
    edges: tuple[str, ...],
    run: Course,
    became: Callable[[Phase], None] | None = None,
    opened: Callable[[Flow], None] | None = None,
    disk_edges: tuple[str, ...] = (),
) -> Process:
    """Live one migration from its present state to its end.

    Parameters
    ----------
    env, lines : simpy.Environment, Lines
        Where.
    edges : tuple of str
        Lines that it crosses.
    run : Course
        Its course; up to date whenever the process ends, interrupted or not.
    became : callable, optional
        Told each phase that it enters.
    opened : callable, optional
        Given its way over the lines before anything is sent.
    disk_edges : tuple of str
        What it crosses besides until its disks are copied.

    Raises
    ------
    simpy.Interrupt
        If somebody interrupted it.
    """
    flow = lines.open((*disk_edges, *edges))
    if opened is not None:
        opened(flow)
    try:
        while not run.done:
            if disk_edges and run.phase not in LOADING:
                lines.close(flow)
                flow, disk_edges = lines.open(edges), ()
                if opened is not None:
                    opened(flow)
            lines.limit(flow, run.limit_mib_s)
            if run.limit_mib_s > 0.0:
                over = lines.send(flow, run)
                try:
                    yield over
                finally:
                    lines.sent(flow, run)
            else:
                began_s, wait_s = env.now, run.wait_s(0.0)
                try:
                    yield env.timeout(wait_s)
                except simpy.Interrupt:
                    run.advance(env.now - began_s, 0.0)
                    raise
                run.advance(wait_s, 0.0)
            phase = run.phase
            run.happen()
            if became is not None and run.phase != phase:
                became(run.phase)
    finally:
        lines.close(flow)
