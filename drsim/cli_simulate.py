"""The command that plays a plan."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from drsim.cli_migration import ParametersOption
from drsim.errors import DrsimError

if TYPE_CHECKING:
    from drsim.plan import Plan
    from drsim.simulate import Simulation


def simulate(
    plan: Annotated[str, typer.Argument(metavar="PLAN", help="Plan file.")],
    parameters: ParametersOption = None,
    replications: Annotated[int, typer.Option(min=0, help="Play it so often with what is not known drawn anew.")] = 0,
    window: Annotated[float | None, typer.Option(min=0, help="Minutes that there are for it.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write tables and figures into this folder.")] = None,
    seed: Annotated[int, typer.Option(help="Same input and seed: same replications.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,
) -> None:
    """Play a plan on its network: start, end, downtime and traffic of every move; how surely it fits its window."""
    from drsim.cli import console, print_json
    from drsim.cli_progress import progress
    from drsim.formats import read_calibration, read_plan, write_tables
    from drsim.planner import simulate_plan
    from drsim.show import chances_view, simulation_view

    read, calibration = read_plan(plan), read_calibration(parameters or "default")
    if replications and read.moves:
        from drsim.simulate import replicate

        with progress() as begin:
            drawn = replicate(
                read.inventory,
                read.moves,
                read.policy.limits,
                calibration,
                replications=replications,
                seed=seed,
                processes=-1,
                on_progress=begin("replications"),
            )
        if out:
            write_tables(drawn.to_frames(), out)
        if as_json:
            ends = {f"p{percent}": drawn.makespan_percentile_s(percent) for percent in (5, 50, 95)}
            chance = None if window is None else drawn.chance_within(window * 60.0)
            print_json({"replications": replications, "makespan_s": ends, "chance_within_window": chance})
        else:
            console().print(chances_view(drawn, None if window is None else window * 60.0))
        return
    if window is not None:
        raise DrsimError("--window asks for a probability: add --replications, e.g. --replications 1000.")
    played = simulate_plan(read, calibration=calibration)
    if out:
        _write(read, played, out)
    if as_json:
        moves = {move: asdict(prediction) for move, prediction in played.predictions.items()}
        print_json({"makespan_s": played.makespan_s, "moves": moves})
    else:
        console().print(simulation_view(played, read.moves))
        if out:
            console().print(f"Tables and figures are in {out}.")


def _write(plan: Plan, played: Simulation, folder: Path) -> None:
    from drsim.formats import write_tables
    from drsim.report import draw_gantt, draw_links, write_svg

    write_tables(played.to_frames(), folder)
    moves = tuple(replace(move, prediction=played.predictions[move.id]) for move in plan.moves)
    write_svg(draw_gantt(replace(plan, moves=moves)), folder / "gantt.svg")
    write_svg(draw_links(played.link_use), folder / "links.svg")
