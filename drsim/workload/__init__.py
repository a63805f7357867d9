"""What guests do: how fast they dirty their memory, as a curve of unique pages over an interval."""

from drsim.workload.assume import IDLE_GUEST, dirty_classes
from drsim.workload.curve import swept_dirty_mib, unique_dirty_mib, unique_dirty_mib_array
from drsim.workload.fit import fit

__all__ = [
    "IDLE_GUEST",
    "dirty_classes",
    "fit",
    "swept_dirty_mib",
    "unique_dirty_mib",
    "unique_dirty_mib_array",
]
