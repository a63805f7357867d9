"""What a migration has to carry, taken apart by how it behaves."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from drsim.inventory import PageClass, Vm
from drsim.migration.disks import copied_mib, named_disks
from drsim.migration.parameters import Parameters
from drsim.units import MIB, PAGE_BYTES
from drsim.workload import dirty_classes


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Memory and disks of one guest as a migration sees them.

    Parameters
    ----------
    memory_mib : float
        All memory; every page of it is looked at once.
    data_mib : float
        Memory that is not zero when the migration begins; the rest is pages of zeros.
    classes : tuple of PageClass
        Memory that the guest writes to while it is migrated.
    disk_mib, disk_write_mib_s : float
        Disk data to copy, and the guest's writes to those disks.
    disks : int
        Disks to copy.
    data_wire : float
        MiB sent for each MiB of data (page headers).
    first_wire : float
        MiB sent for each MiB of memory in the first pass, zeros included.
    zero_scan_s : float
        Time that one thread needs to look at all pages of zeros, seconds.
    """

    memory_mib: float
    data_mib: float
    classes: tuple[PageClass, ...]
    disk_mib: float
    disk_write_mib_s: float
    disks: int
    data_wire: float
    first_wire: float
    zero_scan_s: float

    @property
    def first_mib(self) -> float:
        """Traffic of the first pass over memory, MiB."""
        return self.first_wire * self.memory_mib


def load(vm: Vm, copy_disks: Collection[str], parameters: Parameters) -> Load:
    """Return what a migration of the guest has to carry.

    Raises
    ------
    PlanError
        If a disk to copy is not one of the guest's.
    """
    classes = dirty_classes(vm)
    memory = float(vm.memory_mib)
    data = vm.data_mib
    zero = memory - data
    data_wire = 1.0 + parameters.page_header_bytes / PAGE_BYTES
    disks = named_disks(vm, copy_disks)
    return Load(
        memory_mib=memory,
        data_mib=data,
        classes=classes,
        disk_mib=sum(copied_mib(disk) for disk in disks),
        disk_write_mib_s=sum(disk.write_rate_mib_s for disk in disks),
        disks=len(disks),
        data_wire=data_wire,
        first_wire=(data * data_wire + zero * parameters.zero_page_bytes / PAGE_BYTES) / memory,
        zero_scan_s=zero * (MIB / PAGE_BYTES) / parameters.zero_scan_pages_s,
    )
