"""What to assume about a guest whose dirtying nobody measured."""

from __future__ import annotations

from drsim.inventory import PageClass, Vm

IDLE_GUEST = PageClass(size_mib=5.0, dirty_rate_mib_s=2.5)
"""Dirtying of an idle Linux guest: 5 MiB of hot pages, gone through in 2 s, and nothing else.

The idle profile of the mVM scheduler of Kherbache, Madelaine and Hermenier ("Scheduling live migration of virtual
machines", IEEE Transactions on Cloud Computing 2017), whose code falls back on it for guests nobody measured.
"""


def dirty_classes(vm: Vm) -> tuple[PageClass, ...]:
    """Return the page classes to plan with: measured, else those of an idle guest, scaled into the guest's memory.

    A guest that does not run dirties nothing. Classes larger than the memory together are shrunk in proportion, rates
    kept: a page cannot belong to more memory than there is.
    """
    if vm.state != "running":
        return ()
    classes = vm.dirty or (IDLE_GUEST,)
    total = sum(c.size_mib for c in classes)
    if total <= vm.memory_mib:
        return classes
    shrink = vm.memory_mib / total
    return tuple(PageClass(size_mib=c.size_mib * shrink, dirty_rate_mib_s=c.dirty_rate_mib_s) for c in classes)
