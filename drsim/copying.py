"""What copies of disks on their hosts are expected to cost, and how their writes end that they come to rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from drsim.inventory import Inventory
from drsim.migration import Calibration
from drsim.plan import Move
from drsim.policy import Limits
from drsim.simulate import Simulation, simulate

GUESS = (
    "How fast disks are copied on these hosts was never measured: times are within a factor of four, at {rate:g} MiB/s "
    "a host. 'drsim calibrate' on the trail of such moves tells it; copy_mib_s in a parameters file sets it."
)
"""Said of a plan whose constants were not tuned on copies."""


def foreseen(
    inventory: Inventory, moves: Sequence[Move], limits: Limits, calibration: Calibration
) -> tuple[tuple[Move, ...], float, tuple[str, ...]]:
    """Predict moves of disks alone, wave by wave; those of a wave share the datastores that they write to.

    A guest that writes more than a mirror in the background gets rid of has its writes end on both disks: otherwise the
    copy would never be like the disk.

    Parameters
    ----------
    inventory, moves, limits : Inventory, sequence of Move, Limits
        Of a plan; `drsim.plan.Move.storage_only` holds for all moves.
    calibration : Calibration
        Constants, and what is known of their errors.

    Returns
    -------
    moves : tuple of Move
        With predictions and bands.
    makespan_s : float
        Expected time of all, seconds.
    notes : tuple of str
        What a person should know of it.
    """

    def play() -> Simulation:
        return simulate(inventory, moves, limits, calibration.parameters)

    if not moves:
        return (), 0.0, ()
    played = play()
    busy = {move.id for move in moves if not played.predictions[move.id].converges}
    if busy:
        moves = [
            replace(move, transfer=replace(move.transfer, synchronous_writes=True)) if move.id in busy else move
            for move in moves
        ]
        played = play()
    notes = []
    if busy:
        names = ", ".join(f"'{name}'" for name in dict.fromkeys(move.vm for move in moves if move.id in busy))
        notes.append(f"Writes of {names} end on both disks while these are copied: they are too many for a mirror.")
    if not calibration.knows_copies:
        notes.append(GUESS.format(rate=calibration.parameters.copy_mib_s))
    said = (calibration.with_copy_bands(played.predictions[move.id]) for move in moves)
    done = tuple(replace(move, prediction=each) for move, each in zip(moves, said, strict=True))
    return done, played.makespan_s, tuple(notes)
