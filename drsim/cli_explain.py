"""The commands that say why: the plans there are between little and much moving, and the reasons of one."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

_JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


def front(
    inventory: Annotated[
        str,
        typer.Argument(
            metavar="INVENTORY", help="JSON file, CSV folder, neutral:FILE, huawei:FOLDER or planetlab:FILE."
        ),
    ],
    policy: Annotated[str | None, typer.Argument(metavar="[POLICY]", help="YAML or JSON file.")] = None,
    points: Annotated[int, typer.Option(min=2, help="Plans to make.")] = 8,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write the plans into this folder.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw the front: PNG, SVG or PDF file.")] = None,
    time_limit: Annotated[float, typer.Option("--time-limit", min=0.1, help="Seconds to search, in all.")] = 10.0,
    seed: Annotated[int, typer.Option(help="Same input and seed: same front.")] = 0,
    as_json: _JsonOption = False,
) -> None:
    """Weigh balance against moving: the plans of which none is better than another in everything."""
    from drsim.cli import console, print_json, read_estate
    from drsim.formats import write_plan
    from drsim.front import pareto_front
    from drsim.report import draw_front, front_table
    from drsim.show import front_view

    estate, rules = read_estate(inventory, policy)
    found = pareto_front(estate, rules, points=points, time_limit_s=time_limit, seed=seed)
    if out:
        out.mkdir(parents=True, exist_ok=True)
        for number, plan in enumerate(found.plans):
            write_plan(plan, out / f"plan{number}.json")
    if plot:
        draw_front(found).savefig(plot, dpi=120, facecolor="white")
    if as_json:
        print_json(json.loads(front_table(found).to_json(orient="table", index=True))["data"])
    else:
        console().print(front_view(found))
        if out:
            console().print(f"Written to {out}. Next: drsim show {out}/plan{found.knee}.json")


def explain(
    plan: Annotated[str, typer.Argument(metavar="PLAN", help="Plan file.")],
    guests: Annotated[list[str] | None, typer.Argument(metavar="[GUEST]...", help="Guests; all that move.")] = None,
    rules: Annotated[bool, typer.Option("--rules", help="Say what each rule costs: plan without it.")] = False,
    time_limit: Annotated[float, typer.Option("--time-limit", min=0.1, help="Seconds to search, in all.")] = 10.0,
    as_json: _JsonOption = False,
) -> None:
    """Say why guests go where a plan has them: what if one stayed, where else it could go, what each rule costs."""
    from drsim.cli import console, print_json
    from drsim.formats import read_plan
    from drsim.show import explanations_view, prices_view
    from drsim.why import explain as why
    from drsim.why import rule_prices

    read = read_plan(plan)
    names = guests or list(dict.fromkeys(move.vm for move in read.moves))
    found = [why(read, name) for name in names]
    prices = rule_prices(read, time_limit_s=time_limit) if rules else ()
    if as_json:
        print_json({"guests": [asdict(each) for each in found], "rules": [asdict(each) for each in prices]})
        return
    console().print(explanations_view(read, found))
    if rules:
        console().print(prices_view(read, prices))
