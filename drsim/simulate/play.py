"""Play the moves of a plan, wave by wave."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import simpy

from drsim import migration
from drsim.disk_lines import DiskLines
from drsim.inventory import Inventory, Vm
from drsim.migration import DEFAULT, Course, Options, Parameters, Phase, TracePoint, prediction
from drsim.plan import Move
from drsim.policy import Limits
from drsim.simulate.carry import Process, carry
from drsim.simulate.compiled import pays
from drsim.simulate.lines import Lines
from drsim.simulate.result import Event, EventKind, Simulation
from drsim.simulate.start import guest_of, path_of, start
from drsim.topology import Path, Topology


def simulate(
    inventory: Inventory,
    moves: Sequence[Move],
    limits: Limits,
    parameters: Parameters = DEFAULT,
    *,
    own: Mapping[str, Parameters] | None = None,
    starts_s: Mapping[str, float] | None = None,
    compiled: bool | None = None,
) -> Simulation:
    """Play moves in their waves and return what became of them.

    A wave starts when the one before has ended; the moves of a wave start together. Migrations share the lines that
    they cross max-min fairly, each up to what its cap, TCP and its sending thread allow; copies of disks share the
    datastores that they land on, and what a host copies between its own (`drsim.disk_lines`).

    Parameters
    ----------
    inventory : Inventory
        Hosts, links and guests; checked (`drsim.check`).
    moves : sequence of Move
        What to play.
    limits : Limits
        Bandwidth cap of moves that name none. How many moves may be under way at once is the schedule's business:
        waves are played as they are.
    parameters : Parameters
        Constants of the hosts.
    own : mapping of str to Parameters, optional
        Constants of single moves, by id, in place of those (`drsim.migration.Calibration.by_move`).
    starts_s : mapping of str to float, optional
        When each move starts, by its id, seconds; in place of waves.
    compiled : bool, optional
        Whether to use the compiled lines; the results are the same. By default if there are moves enough for it, or
        they are loaded already.

    Returns
    -------
    Simulation
        The same for the same input, to the last bit. A migration that does not converge at the share it has is brought
        to its end by force, as `drsim.migration.predict` describes.

    Raises
    ------
    PlanError
        If a move names a guest, a host or a disk that the inventory does not have, or hosts that nothing joins.
    """
    topology = Topology(inventory)
    env = simpy.Environment()
    events: list[Event] = []

    def tell(kind: EventKind, move: Move | None, text: str) -> None:
        events.append(Event(time_s=env.now, kind=kind, move_id=move.id if move else None, text=text))

    disks = DiskLines(inventory, moves, parameters.copy_mib_s)
    runs: dict[str, Course] = {}
    paths: dict[str, Path] = {}
    waves: dict[int, list[Move]] = {}
    for move in moves:
        paths[move.id] = disks.over(path_of(inventory, topology, move), move)
        runs[move.id] = start(
            guest_of(inventory, move), paths[move.id], move, limits, (own or {}).get(move.id, parameters)
        )
        waves.setdefault(move.wave, []).append(move)
    lines = Lines(
        env,
        topology.capacity_mbit_s,
        parameters.goodput,
        parameters.return_share,
        fast=pays(len(moves)) if compiled is None else compiled,
        disks_mib_s=disks.capacity_mib_s,
    )
    starts: dict[str, float] = {}

    def plan() -> Process:
        for wave, members in sorted(waves.items()):
            tell("wave_start", None, f"wave {wave} starts: {len(members)} moves")
            for move in members:
                starts[move.id] = env.now
            yield env.all_of(
                [env.process(_migrate(env, lines, move, paths[move.id], runs[move.id], tell)) for move in members]
            )
            tell("wave_end", None, f"wave {wave} has ended")

    def at(move: Move, start_s: float) -> Process:
        yield env.timeout(start_s)
        starts[move.id] = env.now
        yield from _migrate(env, lines, move, paths[move.id], runs[move.id], tell)

    if starts_s is None:
        env.process(plan())
    else:
        for move in moves:
            env.process(at(move, starts_s[move.id]))
    env.run()
    predictions = {move.id: prediction(runs[move.id], starts[move.id]) for move in moves}
    return Simulation(
        moves=tuple(moves),
        predictions=predictions,
        makespan_s=max((p.end_s for p in predictions.values()), default=0.0),
        events=tuple(events),
        link_use=lines.uses(),
    )


def trace(vm: Vm, path: Path, move: Move, parameters: Parameters = DEFAULT) -> tuple[TracePoint, ...]:
    """Return the course of one move that has its path to itself: what `drsim.migration.predict` sums up.

    Raises
    ------
    PlanError
        If the move copies a disk that the guest does not have.
    """
    return migration.trace(
        vm,
        path,
        max_downtime_ms=move.aim_downtime_ms,
        bandwidth_mbit_s=move.bandwidth_mbit_s,
        copy_disks=move.copy_disks,
        parameters=parameters,
        options=Options.of(move.transfer, bandwidth_mbit_s=move.bandwidth_mbit_s),
    )


def _migrate(
    env: simpy.Environment,
    lines: Lines,
    move: Move,
    path: Path,
    run: Course,
    tell: Callable[[EventKind, Move | None, str], None],
) -> Process:
    """Live one migration, and tell what people want to know of it."""
    if move.storage_only:
        names = ", ".join(move.copy_disks)
        tell("start", move, f"{names} of {move.vm} leave for {', '.join(each.datastore for each in move.landings)}")
        yield from carry(env, lines, path.edges, run, disk_edges=path.disk_edges)
        tell("end", move, f"{move.vm} uses {names} at their new places")
        return
    tell("start", move, f"{move.vm} leaves {move.source} for {move.target}")

    def became(phase: Phase) -> None:
        if phase == "switchover":
            tell("switchover", move, f"{move.vm} stops on {move.source}, {run.remaining_mib:.1f} MiB are left to send")

    yield from carry(env, lines, path.edges, run, became, disk_edges=path.disk_edges)
    tell("end", move, f"{move.vm} runs on {move.target}")
