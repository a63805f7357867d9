"""The command that lets a cluster live through days."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


def operate(
    inventory: Annotated[str, typer.Argument(metavar="INVENTORY", help="As for drsim plan.")],
    policy: Annotated[str | None, typer.Argument(metavar="[POLICY]", help="YAML or JSON file.")] = None,
    demand: Annotated[
        Path | None, typer.Option(help="Table with time_s, vm and cpu_cores; invented with a daily rhythm by default.")
    ] = None,
    days: Annotated[float, typer.Option(min=0.01, help="Days of invented demand.")] = 7.0,
    growth: Annotated[float, typer.Option(help="Growth of invented demand a day, percent.")] = 0.0,
    above: Annotated[float, typer.Option(min=0.1, max=1.0, help="Share of CPU from which a host is hot.")] = 0.9,
    every: Annotated[float, typer.Option(min=1.0, help="Minutes between two looks of the balancer.")] = 5.0,
    happening: Annotated[
        list[str] | None,
        typer.Option("--happening", help="fail:HOST@HH:MM, cut:LINK@1d14:00+30m, maintain:HOST@22:00+3h; repeat."),
    ] = None,
    moved: Annotated[
        Path | None,
        typer.Option(help="Table of moves that really happened (time_s, vm, host), lived through beside the balancer."),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write tables and figures into this folder.")] = None,
    seed: Annotated[int, typer.Option(help="Same input and seed: same days.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,
) -> None:
    """Let the estate live through days: with nobody in charge, and with a balancer."""
    from drsim import check
    from drsim.cli import console, print_json, read_estate
    from drsim.errors import InventoryError, PolicyError
    from drsim.formats import read_demand
    from drsim.show import operations_view
    from drsim.simulate.operate import Watch
    from drsim.simulate.operate import operate as live
    from drsim.whatif import balancer, parse_happening, read_moved, restarter
    from drsim.workload import Demand

    estate, rules = read_estate(inventory, policy)
    if problems := check.inventory_problems(estate):
        raise InventoryError(*problems)
    if problems := check.policy_problems(rules, estate):
        raise PolicyError(*problems)
    wanted = (
        read_demand(demand) if demand else Demand.daily(estate, days=days, seed=seed, growth_per_day=growth / 100.0)
    )
    happenings = [one for text in happening or [] for one in parse_happening(text, rules)]
    common: dict[str, Any] = {"restart": restarter(rules), "limits": rules.limits}
    led = {"planner": balancer(rules, above=above, seed=seed), "every_s": every * 60.0, "watch": Watch(cpu_share=above)}
    lives: dict[str, dict[str, Any]] = {"nobody in charge": {"happenings": happenings}}
    if moved:
        lives["as it happened"] = {"happenings": [*happenings, *read_moved(moved)]}
    lives["balancer"] = {"happenings": happenings, **led}
    operations = {}
    with _progress() as bar:
        for name, orders in lives.items():
            task = bar.add_task(name, total=1.0)

            def tell(share: float, task: TaskID = task) -> None:
                bar.update(task, completed=share)

            operations[name] = live(estate, wanted, on_progress=tell, **orders, **common)
            bar.update(task, completed=1.0)
    if out:
        from drsim.report import draw_heatmap, draw_links, draw_migrations

        for name, operation in operations.items():
            folder = out / name.replace(" ", "-")
            folder.mkdir(parents=True, exist_ok=True)
            for table, frame in operation.to_frames().items():
                frame.to_parquet(folder / f"{table}.parquet")
            draw_heatmap(operation).savefig(folder / "hosts.svg")
            draw_migrations(operation).savefig(folder / "migrations.svg")
            draw_links(operation.link_use).savefig(folder / "links.svg")
    if as_json:
        print_json({name: operation.summary() for name, operation in operations.items()})
    else:
        console().print(operations_view(operations))
        if out:
            console().print(f"Tables and figures are in {out}.")


def _progress() -> Progress:
    """Make bars on the standard error, gone in the end; none if that is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description:>16}"), BarColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
