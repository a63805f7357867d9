"""Compile what is compiled, once: ``python -m drsim.warm``, so that nobody's first plan waits for it."""

from __future__ import annotations

import itertools

from drsim.migration import Calibration, predict
from drsim.migration import compiled as predictions
from drsim.optimize import optimize
from drsim.plan import Move
from drsim.policy import Goal, Limits, Objective, Policy, Term
from drsim.simulate import replicate, simulate
from drsim.simulate.compiled import PAYS_FROM
from drsim.synthetic import cluster
from drsim.topology import Path


def warm() -> None:
    """Seek goals in a small cluster, alone, together and with few moves; play and predict what compiling pays from.

    The machine code stays on disk beside the modules, or in the user's cache where those cannot be written.
    """
    small = cluster(20, PAYS_FROM, 1)
    goals: tuple[Goal, ...] = ("balance", "consolidate")
    for goal in goals:
        optimize(small, Policy(), Objective(goal=goal), time_limit_s=60.0)
    optimize(small, Policy(limits=Limits(max_moves=5)), Objective(), time_limit_s=60.0)
    optimize(small, Policy(), Objective.seeking(Term(goal="spread"), Term(goal="balance")), time_limit_s=1.0)
    following = dict(itertools.pairwise([*small.host_by_name, small.hosts[0].name]))
    moves = [Move(id=vm.name, vm=vm.name, source=vm.host, target=following[vm.host], reason="") for vm in small.vms]
    simulate(small, moves, Limits())
    replicate(small, moves, Limits(), Calibration(), replications=1)
    alone = Path(edges=(), bandwidth_mbit_s=1000.0, rtt_ms=0.0, loss=0.0)
    for _ in range(predictions.PAYS_FROM + 1):
        predict(small.vms[0], alone, max_downtime_ms=300.0, bandwidth_mbit_s=None)


if __name__ == "__main__":
    warm()
