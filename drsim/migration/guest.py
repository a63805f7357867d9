"""What a migration has to carry, taken apart by how it behaves."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from drsim.inventory import PageClass, Vm
from drsim.migration.disks import named_disks
from drsim.migration.options import Options
from drsim.migration.parameters import Parameters
from drsim.units import MIB, PAGE_BYTES
from drsim.workload import dirty_classes


class Load(NamedTuple):
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
    vcpus : int
        Virtual CPUs.
    busy : float
        Share of their time that the guest wants, 0 to 1; 1 if nobody measured.
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
    vcpus: int
    busy: float

    @property
    def first_mib(self) -> float:
        """Traffic of the first pass over memory, MiB."""
        return self.first_wire * self.memory_mib


def sent_data_mib(vm: Vm, parameters: Parameters) -> float:
    """Return what of the guest's memory is sent as data in the first pass, MiB.

    What was measured as used holds more than that (`Parameters.resident_extra_mib`, more after a boot and less after a
    post-copy); what the guest is known to write to is data in any case.
    """
    extra_mib = {
        "boot": parameters.resident_extra_boot_mib,
        "postcopy": parameters.resident_extra_postcopy_mib,
    }.get(vm.arrived or "migration", parameters.resident_extra_mib)
    if vm.memory_used_mib is None or extra_mib <= 0.0:
        return vm.data_mib
    written = sum(c.size_mib for c in dirty_classes(vm) if c.dirty_rate_mib_s > 0.0)
    return max(vm.data_mib - extra_mib, min(vm.data_mib, written))


def wire_of_data(parameters: Parameters, options: Options) -> float:
    """Return what is sent for each MiB of data, MiB: its size after compression and the page headers."""
    p = parameters
    ratio = {"zlib": p.zlib_ratio, "zstd": p.zstd_ratio}.get(options.compression, 1.0)
    return ratio + (p.multifd_header_bytes if options.parallel_connections else p.page_header_bytes) / PAGE_BYTES


def load(vm: Vm, copy_disks: Collection[str], parameters: Parameters, options: Options) -> Load:
    """Return what a migration of the guest has to carry.

    Raises
    ------
    PlanError
        If a disk to copy is not one of the guest's.
    """
    p = parameters
    classes = dirty_classes(vm)
    memory = float(vm.memory_mib)
    data = sent_data_mib(vm, p)
    zero = memory - data
    data_wire = wire_of_data(p, options)
    disks = named_disks(vm, copy_disks) if copy_disks else ()
    return Load(
        memory_mib=memory,
        data_mib=data,
        classes=classes,
        disk_mib=sum(disk.data_mib for disk in disks),
        disk_write_mib_s=sum((disk.write_rate_mib_s for disk in disks), 0.0),
        disks=len(disks),
        data_wire=data_wire,
        first_wire=(data * data_wire + zero * p.zero_page_bytes / PAGE_BYTES) / memory,
        zero_scan_s=zero * (MIB / PAGE_BYTES) / (p.zero_scan_pages_s * options.channels),
        vcpus=vm.vcpus,
        busy=min(1.0, vm.cpu_cores / vm.vcpus),
    )
