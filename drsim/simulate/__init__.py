"""Plans played in SimPy: migrations as processes, lines shared max-min fairly."""

from drsim.simulate.foresee import foresee
from drsim.simulate.network import fair_share
from drsim.simulate.play import simulate, trace
from drsim.simulate.replicate import Replications, replicate
from drsim.simulate.result import Event, Simulation
from drsim.simulate.use import LinkUse, LinkUses

__all__ = [
    "Event",
    "LinkUse",
    "LinkUses",
    "Replications",
    "Simulation",
    "fair_share",
    "foresee",
    "replicate",
    "simulate",
    "trace",
]
