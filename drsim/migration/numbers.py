"""What a plain pre-copy is made of, as the numbers that `drsim.migration.plain` plays."""

from __future__ import annotations

from collections.abc import Collection

from drsim.inventory import Vm
from drsim.migration.dirty import rows, unwritten
from drsim.migration.first import first, layout
from drsim.migration.guest import load
from drsim.migration.options import PLAIN, Options
from drsim.migration.parameters import Parameters
from drsim.migration.plain import ONE_PAGE_MIB
from drsim.migration.rates import confirm_s, memory_rates, prepare_s, rates, waking
from drsim.topology import Path

Numbers = tuple[list[float], tuple[list[float], list[float], list[float]]]
"""Columns of `drsim.migration.plain` in their order, and the first three rows of its page classes."""


def numbers(
    vm: Vm,
    path: Path,
    *,
    max_downtime_ms: float,
    bandwidth_mbit_s: float | None,
    copy_disks: Collection[str],
    parameters: Parameters,
    line_mbit_s: float,
    options: Options = PLAIN,
) -> Numbers | None:
    """Return what a migration is made of, if it is plain; arguments as for `drsim.migration.Migration`.

    Plain is pre-copy of memory alone of which numbers say what happens: nothing is chosen under way, and a page takes
    the same to send each time.
    """
    if copy_disks or options.postcopy or options.throttles or options.compression == "xbzrle":
        return None
    p = parameters
    guest, limits = load(vm, (), p, options), rates(path, bandwidth_mbit_s, line_mbit_s, p, options)
    first_mib, classes = guest.first_mib, rows(guest, p)
    other_mib, other_wire = unwritten(guest, sum(classes[0]), p)
    first_rate, later_rate = memory_rates(first_mib, guest.zero_scan_s, limits)
    wakes_s, queued_s, qemu_s = waking(limits, p, options)
    where = layout(guest, p)
    fixed = [
        *(prepare_s(later_rate, first_mib, limits, p), first_rate, later_rate, limits.line_mib_s, limits.stream_mib_s),
        *(limits.cap_mib_s, max_downtime_ms / 1e3, first_mib, other_mib, other_wire, guest.data_wire),
        *(guest.memory_mib / p.chunk_mib, wakes_s, queued_s, confirm_s(limits, p)),
        *(p.window_s, p.turn_s, p.stop_lag_ms / 1e3, p.device_mib, float(p.most_passes), float(p.full_passes)),
        *(p.stop_pages * ONE_PAGE_MIB, qemu_s),
        *first(where, first_rate, max_downtime_ms / 1e3, limits, p, options),
        *(where.memory_mib, where.data_mib, where.run_mib, where.tail_mib, where.zero_wire, where.body_wire),
    ]
    return fixed, classes
