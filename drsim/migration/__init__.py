"""What one migration costs: total time, downtime and traffic of pre-copy, disks included."""

from drsim.migration.disks import copied_disks
from drsim.migration.estimate import Costs, Guests, estimate
from drsim.migration.parameters import DEFAULT, G5K, LAB_TCG, SIMGRID, Parameters
from drsim.migration.precopy import Migration, Phase
from drsim.migration.predict import TracePoint, predict, prediction, trace

__all__ = [
    "DEFAULT",
    "G5K",
    "LAB_TCG",
    "SIMGRID",
    "Costs",
    "Guests",
    "Migration",
    "Parameters",
    "Phase",
    "TracePoint",
    "copied_disks",
    "estimate",
    "predict",
    "prediction",
    "trace",
]
