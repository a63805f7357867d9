"""How fast guests write to their memory, as QEMU measures it, in the way that suits each.

What each way is worth: page sampling hashes 512 pages a GiB twice; it costs the guest nothing, is coarse for small
working sets, and over-reports where there is no KVM (10 MiB/s were reported as 52 under TCG). The bitmap counts every
page written, but makes the first write to each page slower while it counts, and finds nothing without KVM (0 under TCG,
whatever the guest does). The ring counts every page at little cost, for guests that were started with one
(``<kvm><dirty-ring state='on'/></kvm>``).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, get_args

from drsim.inventory import PageClass
from executor.hypervisor.libvirt_connect import load_libvirt, message
from executor.hypervisor.libvirt_domain import DomainConfig

DirtyMode = Literal["auto", "page-sampling", "dirty-bitmap", "dirty-ring"]
"""How to measure; QEMU's names. ``auto``: by the ring where a guest has one, else by sampling."""

DIRTY_MODES: tuple[DirtyMode, ...] = get_args(DirtyMode)
"""All of them."""

PERIOD_S = 1
"""Period of one measurement, seconds; libvirt takes whole seconds from 1 to 60."""


def mode_for(config: DomainConfig, wanted: DirtyMode) -> tuple[DirtyMode, str]:
    """Return how a guest is measured, or why it cannot be measured as wanted (then the first is of no use)."""
    if wanted == "auto":
        return ("dirty-ring" if config.dirty_ring else "page-sampling"), ""
    if wanted == "dirty-ring" and not config.dirty_ring:
        return wanted, "it was started without a dirty ring"
    if wanted == "dirty-bitmap" and config.kind != "kvm":
        return wanted, "without KVM the dirty bitmap finds nothing; sample pages instead"
    return wanted, ""


def measure_dirty(
    connection: Any,
    guests: Sequence[tuple[Any, DomainConfig]],
    mode: DirtyMode,
    remark: Callable[[str], None],
) -> Mapping[str, tuple[PageClass, ...]]:
    """Let QEMU measure the dirty rate of the running guests that declare none, all at once.

    Parameters
    ----------
    connection : libvirt.virConnect
        Their host; not read-only.
    guests : sequence of (libvirt.virDomain, DomainConfig)
        All guests of the host.
    mode : DirtyMode
        How.
    remark : callable
        Told, as a sentence, of each that could not be measured.

    Returns
    -------
    mapping of str to tuple of PageClass
        By UUID.
    """
    lv = load_libvirt()
    flags = {
        "page-sampling": lv.VIR_DOMAIN_DIRTYRATE_MODE_PAGE_SAMPLING,
        "dirty-bitmap": lv.VIR_DOMAIN_DIRTYRATE_MODE_DIRTY_BITMAP,
        "dirty-ring": lv.VIR_DOMAIN_DIRTYRATE_MODE_DIRTY_RING,
    }
    asked = []
    for domain, config in guests:
        if config.dirty or not _runs(domain):
            continue
        way, why_not = mode_for(config, mode)
        if not why_not:
            try:
                domain.startDirtyRateCalc(PERIOD_S, flags[way])
            except lv.libvirtError as error:
                why_not = message(error)
        if why_not:
            remark(f"domain '{config.name}': dirty rate not measured: {why_not}")
        else:
            asked.append((domain, config))
    if asked:
        time.sleep(PERIOD_S + 0.5)
    found = {}
    for domain, config in asked:
        try:
            ((_, stats),) = connection.domainListGetStats([domain], lv.VIR_DOMAIN_STATS_DIRTYRATE)
        except (lv.libvirtError, ValueError):
            stats = {}
        if stats.get("dirtyrate.calc_status") == lv.VIR_DOMAIN_DIRTYRATE_MEASURED:
            found[config.uuid] = page_class(
                float(stats.get("dirtyrate.megabytes_per_second", 0)), float(config.memory_mib)
            )
        else:
            remark(f"domain '{config.name}': QEMU did not finish the dirty rate.")
    return found


def _runs(domain: Any) -> bool:
    try:
        return bool(domain.isActive())
    except load_libvirt().libvirtError:
        return False  # it has just gone


def page_class(unique_mib: float, memory_mib: float) -> tuple[PageClass, ...]:
    """Return the page class that dirties `unique_mib` unique MiB of `memory_mib` in one measurement period.

    Inverse of ``U(t) = size * (1 - exp(-rate * t / size))``, the curve of `PageClass`, with all memory as the size:
    one measurement tells a rate, not the size of the working set.
    """
    share = min(unique_mib / memory_mib, 0.999)
    rate = -memory_mib * math.log1p(-share) / PERIOD_S
    return (PageClass(size_mib=memory_mib, dirty_rate_mib_s=rate),)
