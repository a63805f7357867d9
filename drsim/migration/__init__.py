"""What one migration costs: total time, downtime and traffic of pre-copy, disks included."""

from drsim.migration.automaton import Migration, Phase
from drsim.migration.calibration import Calibration, calibrate
from drsim.migration.choose import Choice, aim_ms, calm_cap_mbit_s, choose_mode, converging_rate_mbit_s
from drsim.migration.disk_copy import Course, DiskCopy
from drsim.migration.disks import copied_disks
from drsim.migration.estimate import Costs, Guests, estimate
from drsim.migration.groups import group_keys
from drsim.migration.observation import MEASURES, Observation, foresee
from drsim.migration.options import Compression, Options
from drsim.migration.parameters import DEFAULT, Parameters
from drsim.migration.predict import TracePoint, draws, played, predict, predict_copy, prediction, trace
from drsim.migration.presets import G5K, LAB_TCG, SIMGRID, VMOTION, XEN, XEN_2005
from drsim.migration.quick import quick
from drsim.migration.rates import sender_mib_s, thread_cores
from drsim.migration.table import Entry, table
from drsim.migration.tune import COPY

__all__ = [
    "COPY",
    "DEFAULT",
    "G5K",
    "LAB_TCG",
    "MEASURES",
    "SIMGRID",
    "VMOTION",
    "XEN",
    "XEN_2005",
    "Calibration",
    "Choice",
    "Compression",
    "Costs",
    "Course",
    "DiskCopy",
    "Entry",
    "Guests",
    "Migration",
    "Observation",
    "Options",
    "Parameters",
    "Phase",
    "TracePoint",
    "aim_ms",
    "calibrate",
    "calm_cap_mbit_s",
    "choose_mode",
    "converging_rate_mbit_s",
    "copied_disks",
    "draws",
    "estimate",
    "foresee",
    "group_keys",
    "played",
    "predict",
    "predict_copy",
    "prediction",
    "quick",
    "sender_mib_s",
    "table",
    "thread_cores",
    "trace",
]
