"""Pre-copy page by page, with a real bitmap: what the model counts by class is done here to each page.

QEMU's migration/ram.c: pages are sent in the order of their addresses, from where the last turn ended; the dirty log of
a chunk is cleared when the first page of the chunk is about to be sent; a look adds the log to the bitmap.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from drsim.inventory import PageClass
from drsim.migration import Parameters
from drsim.units import MIB, MIB_S_PER_MBIT_S, PAGE_BYTES

PAGES_A_MIB = MIB // PAGE_BYTES


@dataclass(frozen=True)
class Played:
    """What came of it."""

    memory_s: float
    sent_mib: float
    passes: int
    left_mib: float
    sent_twice: int


def play(
    memory_mib: int,
    used_mib: int,
    classes: tuple[PageClass, ...],
    line_mbit_s: float,
    limit_ms: float,
    p: Parameters,
    seed: int,
    most_passes: int = 200,
) -> Played:
    """Send a guest's memory until what is left fits the limit."""
    random = np.random.default_rng(seed)
    pages, used = memory_mib * PAGES_A_MIB, used_mib * PAGES_A_MIB
    data = np.zeros(pages, dtype=bool)
    run = round(p.zero_run * (pages - used))
    tail = min(used, round(p.tail_mib * PAGES_A_MIB)) if run else 0
    data[random.permutation(pages - run - tail)[: used - tail]] = True
    data[pages - tail :] = True
    places = random.permutation(np.flatnonzero(data))
    sets, start = [], 0
    for c in classes:
        count = round(c.size_mib * PAGES_A_MIB)
        mine = places[start : start + count]
        sets.append((mine, c.dirty_rate_mib_s * PAGES_A_MIB, c.in_order))
        start += count
    written_so_far = [float(random.random() * places_of.size) for places_of, _, _ in sets]

    rate = min(line_mbit_s * p.goodput, p.stream_limit_mbit_s) * MIB_S_PER_MBIT_S * MIB  # bytes/s
    cost_s = np.where(
        data,
        (PAGE_BYTES + p.page_header_bytes) / rate,
        p.zero_page_bytes / rate + 1.0 / p.zero_scan_pages_s,
    )
    size = np.where(data, PAGE_BYTES + p.page_header_bytes, p.zero_page_bytes)
    chunk = int(p.chunk_mib * PAGES_A_MIB)
    bitmap, written = np.ones(pages, dtype=bool), np.zeros(pages, dtype=bool)
    armed = np.zeros(pages // chunk + 1, dtype=bool)
    sent_count = np.zeros(pages, dtype=np.int16)
    now, sent, passes, cursor = 0.0, 0.0, 0, 0
    limit_pages = rate * limit_ms / 1e3 / PAGE_BYTES

    def write(time_s: float) -> None:
        for number, (places_of, writes_s, in_order) in enumerate(sets):
            if in_order:
                first = written_so_far[number]
                written_so_far[number] += writes_s * time_s
                which = np.arange(int(first), int(written_so_far[number])) % places_of.size
            else:
                which = random.integers(0, places_of.size, random.poisson(writes_s * time_s))
            written[places_of[which]] = True

    while True:
        todo = np.flatnonzero(bitmap)
        todo = np.roll(todo, -int(np.searchsorted(todo, cursor)))
        taken = int(np.searchsorted(np.cumsum(cost_s[todo]), p.turn_s, side="right"))
        batch = todo[: max(taken, 1)]
        spent_s = p.turn_s if taken < todo.size else float(cost_s[batch].sum())
        for one in np.unique(batch // chunk):
            if not armed[one]:
                armed[one] = True
                written[one * chunk : (one + 1) * chunk] = False
        bitmap[batch] = False
        sent_count[batch] += 1
        sent += float(size[batch].sum())
        cursor = int(batch[-1]) + 1
        write(spent_s)
        now += spent_s
        left = todo.size - batch.size
        if left and (left >= limit_pages or now < p.window_s - 1e-9):
            continue
        bitmap |= written
        armed[:] = False
        passes += 1
        left = int(bitmap.sum())
        if (left < limit_pages and now >= p.window_s - 1e-9) or passes >= most_passes:
            break
    write(p.stop_lag_ms / 1e3)
    bitmap |= written
    rest = float(size[bitmap].sum())
    return Played(
        memory_s=now,
        sent_mib=(sent + rest) / MIB,
        passes=passes,
        left_mib=rest / MIB,
        sent_twice=int((sent_count > 1).sum()),
    )
