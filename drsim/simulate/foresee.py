"""What the moves of a plan will cost, and nothing else: as simulated, without the course of things."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from drsim.inventory import Inventory
from drsim.migration import DEFAULT, Parameters, played
from drsim.migration.numbers import Numbers, numbers
from drsim.migration.plain import CONVERGES, DOWN_S, ELAPSED_S, OF_CLASS, PASSES, QEMU_DOWN_S, SENT_MIB, STATE
from drsim.plan import Move, Prediction
from drsim.policy import Limits
from drsim.simulate.compiled import pays
from drsim.simulate.flows import Flows
from drsim.simulate.network import Floats
from drsim.simulate.play import simulate
from drsim.simulate.start import guest_of, path_of, terms
from drsim.topology import Path, Topology

ENDED = [ELAPSED_S, DOWN_S, QEMU_DOWN_S, SENT_MIB, PASSES, CONVERGES]
"""What is told of a migration that has ended, as `drsim.migration.plain.play` does."""


def foresee(
    inventory: Inventory,
    moves: Sequence[Move],
    limits: Limits,
    parameters: Parameters = DEFAULT,
    *,
    own: Mapping[str, Parameters] | None = None,
    topology: Topology | None = None,
) -> dict[str, Prediction]:
    """Predict each move among the others of its wave.

    Parameters
    ----------
    inventory, moves, limits, parameters, own
        As for `simulate`.
    topology : Topology, optional
        Of the inventory, if somebody has it already.

    Returns
    -------
    dict of str to Prediction
        `Simulation.predictions`; many plain pre-copies are played by numbers alone, several times faster.

    Raises
    ------
    PlanError
        As `simulate`.
    """
    topology = topology or Topology(inventory)
    made = _plain(inventory, topology, moves, limits, parameters, own or {}) if moves and pays(len(moves)) else None
    if made is None:
        return dict(simulate(inventory, moves, limits, parameters, own=own).predictions)
    paths, plain = made
    flows = Flows(topology.capacity_mbit_s, parameters.goodput, parameters.return_share, fast=True)
    starts_s, _, state = rush_waves(flows, paths, plain, waves(moves))
    ended = zip(moves, paths, starts_s, state[:, ENDED].tolist(), strict=True)
    return {
        move.id: played(figures, path.rtt_ms / 1e3, (own or {}).get(move.id, parameters), start_s=start_s)
        for move, path, start_s, figures in ended
    }


def waves(moves: Sequence[Move]) -> list[list[int]]:
    """Return the numbers of the moves of each wave, in the order of waves."""
    found: dict[int, list[int]] = {}
    for number, move in enumerate(moves):
        found.setdefault(move.wave, []).append(number)
    return [members for _, members in sorted(found.items())]


def rush_waves(
    flows: Flows, paths: Sequence[Path], plain: Sequence[Numbers], order: Sequence[Sequence[int]]
) -> tuple[list[float], float, Floats]:
    """Play waves of plain pre-copies by numbers alone.

    Parameters
    ----------
    flows : Flows
        The lines that they share.
    paths, plain : sequence
        The way of each, and what it is made of.
    order : sequence of sequences of int
        Who starts together.

    Returns
    -------
    list of float
        When each starts, seconds.
    float
        When the last has ended.
    array of float, shape (n, STATE)
        Where each stands in the end (`drsim.migration.plain`).
    """
    fixed = np.array([row for row, _ in plain])
    counts = np.array([len(own[0]) for _, own in plain])
    classes = np.zeros((len(plain), OF_CLASS, counts.max()))
    for number, (_, own) in enumerate(plain):
        classes[number, : len(own), : counts[number]] = own
    state, starts_s, now_s = np.empty((len(plain), STATE)), [0.0] * len(plain), 0.0
    for wave in order:
        members = list(wave)
        ways = [flows.open(paths[number].edges) for number in members]
        ran = np.zeros((len(members), STATE))
        for number in members:
            starts_s[number] = now_s
        now_s = flows.rush([way.number for way in ways], fixed[members], classes[members], counts[members], ran, now_s)
        state[members] = ran
        for way in ways:
            flows.close(way, now_s)
    return starts_s, now_s, state


def _plain(
    inventory: Inventory,
    topology: Topology,
    moves: Sequence[Move],
    limits: Limits,
    parameters: Parameters,
    own: Mapping[str, Parameters],
) -> tuple[list[Path], list[Numbers]] | None:
    """Return the path of each move and what it is made of; None if one of them is more than a plain pre-copy."""
    paths: list[Path] = []
    plain: list[Numbers] = []
    for move in moves:
        if move.storage_only or move.copy_disks:
            return None
        path = path_of(inventory, topology, move)
        found = numbers(guest_of(inventory, move), path, **terms(path, move, limits, own.get(move.id, parameters)))
        if found is None:
            return None
        paths.append(path)
        plain.append(found)
    return paths, plain
