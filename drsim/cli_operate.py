"""The command that lets a cluster live through days."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer


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
    change: Annotated[
        list[str] | None, typer.Option(help="add:COUNT:LIKE: what if the balancer had more hosts as well; repeat.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write tables and figures into this folder.")] = None,
    seed: Annotated[int, typer.Option(help="Same input and seed: same days.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,
) -> None:
    """Let the estate live through days: with nobody in charge, and with a balancer."""
    from drsim import check
    from drsim.cli import console, print_json, read_estate
    from drsim.cli_progress import progress
    from drsim.errors import DrsimError, InventoryError, PolicyError
    from drsim.formats import read_demand, write_tables
    from drsim.show import operations_view
    from drsim.simulate.operate import Watch
    from drsim.simulate.operate import operate as live
    from drsim.whatif import AddHosts, apply_all, balancer, parse_change, parse_happening, read_moved, restarter
    from drsim.workload import Demand

    estate, rules = read_estate(inventory, policy)
    if problems := check.inventory_problems(estate):
        raise InventoryError(*problems)
    if problems := check.policy_problems(rules, estate):
        raise PolicyError(*problems)
    wanted = (
        read_demand(demand) if demand else Demand.daily(estate, days=days, seed=seed, growth_per_day=growth / 100.0)
    )
    changes = tuple(parse_change(text) for text in change or [])
    for one in changes:
        if not isinstance(one, AddHosts):
            raise DrsimError(
                f"--change '{one}': expected add:COUNT:LIKE; hosts are lost by --happening fail:HOST@00:00."
            )
    happenings = [one for text in happening or [] for one in parse_happening(text, rules)]
    common: dict[str, Any] = {"restart": restarter(rules), "limits": rules.limits, "rules": rules.rules}
    led = {"planner": balancer(rules, above=above, seed=seed), "every_s": every * 60.0, "watch": Watch(cpu_share=above)}
    lives: dict[str, dict[str, Any]] = {"nobody in charge": {"happenings": happenings}}
    if moved:
        lives["as it happened"] = {"happenings": [*happenings, *read_moved(moved)]}
    lives["balancer"] = {"happenings": happenings, **led}
    estates = dict.fromkeys(lives, estate)
    if changes:
        name = f"balancer, {', '.join(str(one) for one in changes)}"
        lives[name], estates[name] = lives["balancer"], apply_all(changes, estate)
    operations = {}
    with progress() as begin:
        for name, orders in lives.items():
            operations[name] = live(estates[name], wanted, on_progress=begin(name), **orders, **common)
    if out:
        from drsim.report import draw_heatmap, draw_links, draw_migrations, write_svg

        for name, operation in operations.items():
            folder = out / name.replace(",", "").replace(" ", "-")
            write_tables(operation.to_frames(), folder)
            write_svg(draw_heatmap(operation), folder / "hosts.svg")
            write_svg(draw_migrations(operation), folder / "migrations.svg")
            write_svg(draw_links(operation.link_use), folder / "links.svg")
    if as_json:
        print_json({name: operation.summary() for name, operation in operations.items()})
    else:
        console().print(operations_view(operations))
        if out:
            console().print(f"Tables and figures are in {out}.")
