"""Waves of migrations played straight through, without processes: for plans that are played a thousand times.

The same flows, the same migrations and the same order of events as in `drsim.simulate.simulate`; nobody is told what
happens meanwhile, and nothing can happen from outside.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence

from drsim.disk_lines import LOADING
from drsim.migration import Course
from drsim.simulate.flows import Flow, Flows
from drsim.topology import Path


def drive(flows: Flows, waves: Sequence[Sequence[tuple[Course, Path]]]) -> float:
    """Let migrations run to their ends, wave by wave; return the end of the last one, seconds.

    Parameters
    ----------
    flows : Flows
        The lines that they share.
    waves : sequence of sequences of (Course, Path)
        What starts together; a wave starts when the one before has ended. The migrations tell what became of them.
    """
    end_s = 0.0
    for wave in waves:
        end_s = _wave(flows, wave, end_s)
    return end_s


def _wave(flows: Flows, wave: Sequence[tuple[Course, Path]], now_s: float) -> float:
    """Play one wave; return its end."""
    runs = [run for run, _ in wave]
    ways: list[Flow] = [flows.open((*path.disk_edges, *path.edges)) for _, path in wave]
    narrow = {number for number, (_, path) in enumerate(wave) if path.disk_edges}
    sends = {way.number: number for number, way in enumerate(ways)}
    timers: list[tuple[float, int, int]] = []  # when, in the order of their making, whose
    waits_s = [0.0] * len(wave)
    made, under_way, next_s = 0, len(wave), float("inf")
    moving = list(range(len(wave)))
    while True:
        for number in moving:
            run, way = runs[number], ways[number]
            if run.done:
                next_s = min(next_s, flows.close(way, now_s) or next_s)
                under_way -= 1
                continue
            if number in narrow and run.phase not in LOADING:  # its disks are there
                narrow.remove(number)
                next_s = min(next_s, flows.close(way, now_s) or next_s)
                way = ways[number] = flows.open(wave[number][1].edges)
                sends[way.number] = number
            flows.limit(way, run.limit_mib_s)
            if run.limit_mib_s > 0.0:
                next_s = min(next_s, flows.begin(way, run, now_s))
            else:
                waits_s[number] = run.wait_s(0.0)
                heapq.heappush(timers, (now_s + waits_s[number], made, number))
                made += 1
        if not under_way:
            return now_s
        if flows.unsettled:
            next_s = flows.settle(now_s)
        now_s = min(next_s, timers[0][0] if timers else next_s)
        moving = []
        if next_s <= now_s:
            for row in flows.due(now_s):
                number = sends[row]
                flows.end(ways[number], runs[number], now_s)
                moving.append(number)
            next_s = flows.next_s()
        while timers and timers[0][0] <= now_s:
            number = heapq.heappop(timers)[2]
            runs[number].advance(waits_s[number], 0.0)
            moving.append(number)
        for number in moving:
            runs[number].happen()
