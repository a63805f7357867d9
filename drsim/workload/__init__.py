"""What guests do: the CPU that they want over time, and how fast they dirty memory, as a curve of unique pages."""

from drsim.workload.ahead import foresee
from drsim.workload.assume import IDLE_GUEST, dirty_classes
from drsim.workload.curve import swept_dirty_mib, unique_dirty_mib, unique_dirty_mib_array
from drsim.workload.daily import Hour, best_hour, by_hour
from drsim.workload.demand import Demand
from drsim.workload.fit import fit
from drsim.workload.profiles import hot_and_cold, of_histogram, of_two_samples, zipf
from drsim.workload.series import Habit, Look, Series, first_pass_mib, learn, looks
from drsim.workload.throttled import slowed

__all__ = [
    "IDLE_GUEST",
    "Demand",
    "Habit",
    "Hour",
    "Look",
    "Series",
    "best_hour",
    "by_hour",
    "dirty_classes",
    "first_pass_mib",
    "fit",
    "foresee",
    "hot_and_cold",
    "learn",
    "looks",
    "of_histogram",
    "of_two_samples",
    "slowed",
    "swept_dirty_mib",
    "unique_dirty_mib",
    "unique_dirty_mib_array",
    "zipf",
]
