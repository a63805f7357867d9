"""The command line: the verbs that compute. Verbs that act are mounted through the entry point ``drsim.commands``.

Exit codes: 0 done or nothing to do, 1 error, 2 changes proposed or violations found, 3 applied in part.
"""

from __future__ import annotations

import gc
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from drsim.cli_explain import explain, front
from drsim.cli_migration import ParametersOption, calibrate, parameters
from drsim.cli_operate import operate
from drsim.cli_simulate import simulate
from drsim.errors import DrsimError
from drsim.version import __version__

NOTHING_TO_DO, ERROR, PROPOSED, IN_PART = 0, 1, 2, 3
"""Exit codes."""

COLLECT = 1_000_000, 20, 100
"""When Python looks for cycles of garbage: seldom, for an inventory is many small objects and none of them garbage."""

COMMANDS_GROUP = "drsim.commands"

USAGE_ERROR: Any = typer.BadParameter.__mro__[1]
"""What a wrong option or a missing argument raises; typer does not export it by name."""

app = typer.Typer(
    name="drsim",
    help="Plan, simulate, prove and apply live migrations of KVM guests.",
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

InventoryArgument = Annotated[
    str,
    typer.Argument(metavar="INVENTORY", help="JSON file, CSV folder, neutral:FILE, huawei:FOLDER or planetlab:FILE."),
]
PolicyArgument = Annotated[str | None, typer.Argument(metavar="[POLICY]", help="YAML or JSON file.")]
PlanArgument = Annotated[str, typer.Argument(metavar="PLAN", help="Plan file.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
SeedOption = Annotated[int, typer.Option(help="Same input and seed: same plan.")]
TimeOption = Annotated[float, typer.Option("--time-limit", min=0.1, help="Seconds to search.")]


def console() -> Console:
    """Return the terminal as it is now; wide where the output goes to a file, so that nothing is cut."""
    return Console(width=None if sys.stdout.isatty() else 160, highlight=False, soft_wrap=not sys.stdout.isatty())


def print_json(value: Any) -> None:
    """Write a value of plain JSON types to standard output."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_estate(inventory: str, policy: str | None) -> Any:
    """Read an inventory and a policy; some inventories hold rules themselves."""
    from drsim.formats import read_inventory, read_policy
    from drsim.policy import Policy

    if policy is None and inventory.startswith(("neutral:", "huawei:")):
        policy = inventory
    return read_inventory(inventory), read_policy(policy) if policy else Policy()


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Plan, simulate, prove and apply live migrations of KVM guests."""
    if version:
        console().print(f"drsim {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        console().print(context.get_help())


@app.command()
def check(inventory: InventoryArgument, policy: PolicyArgument = None, as_json: JsonOption = False) -> None:
    """Check an inventory and a policy; list what is violated now."""
    from drsim import check as checks
    from drsim.errors import PolicyError
    from drsim.show import felt_view, violations_view

    estate, rules = read_estate(inventory, policy)
    if problems := checks.policy_problems(rules, estate):
        raise PolicyError(*problems)
    found, felt = checks.violations(estate, rules), checks.felt(estate, rules)
    if as_json:
        said = {"violations": [asdict(violation) for violation in found]}
        print_json({**said, "short_of_cpu": [asdict(each) for each in felt if each.is_short]} if felt else said)
    else:
        console().print(f"{estate.name}: {len(estate.hosts)} hosts, {len(estate.vms)} guests, {len(rules.rules)} rules")
        console().print(violations_view(found))
        if felt:
            console().print(felt_view(felt))
    raise typer.Exit(PROPOSED if found else NOTHING_TO_DO)


@app.command()
def plan(
    inventory: InventoryArgument,
    policy: PolicyArgument = None,
    objective: Annotated[
        str | None,
        typer.Option(
            help="balance, evacuate, consolidate, repair, place, spread, defragment, storage; 'balance=1,spread=0.5' "
            "weighs them, 'spread>balance' seeks one after the other. By default what the policy says, else balance."
        ),
    ] = None,
    host: Annotated[list[str] | None, typer.Option(help="Host to evacuate; repeat for more.")] = None,
    datastore: Annotated[
        list[str] | None, typer.Option(help="evacuate: datastore that disks leave, their guests stay; repeat for more.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write the plan here.")] = None,
    new: Annotated[
        Path | None, typer.Option(help="place: inventory file with the new guests, that have no host yet.")
    ] = None,
    like: Annotated[
        str | None, typer.Option(help="defragment: guest that room is made for another of; the largest by default.")
    ] = None,
    max_moves: Annotated[int | None, typer.Option(min=0, help="Moves at most, whatever the policy allows.")] = None,
    max_gib: Annotated[float | None, typer.Option(min=0, help="GiB of memory, or of disks, moved at most.")] = None,
    max_minutes: Annotated[float | None, typer.Option(min=0.01, help="Minutes that the plan may take at most.")] = None,
    threshold: Annotated[
        int | None,
        typer.Option(min=1, max=5, help="balance: from 1, mend only what must hold, to 5, as even as can be."),
    ] = None,
    most_full: Annotated[
        float | None,
        typer.Option(min=0.0, max=1.0, help="storage: share of a datastore in use from which disks leave it; 0.8."),
    ] = None,
    most_written: Annotated[
        float | None,
        typer.Option(min=0.0, max=1.0, help="storage: the same of what it can be written to at once; 0.8."),
    ] = None,
    demand: Annotated[
        Path | None, typer.Option(help="Demand of guests over time (time_s, vm, cpu_cores): plan for the day ahead.")
    ] = None,
    quantile: Annotated[
        float, typer.Option(min=0.01, max=0.99, help="Share of the time in which demand is no higher than planned for.")
    ] = 0.95,
    parts: Annotated[int, typer.Option(min=1, max=96, help="Parts that the time ahead is divided into.")] = 24,
    forecast: Annotated[
        str, typer.Option(help="profile: as at that time of past days; ets: exponential smoothing (extra 'forecast').")
    ] = "profile",
    aim: Annotated[
        float | None, typer.Option(min=1.0, help="balance: load over mean load that is good enough, e.g. 1.2.")
    ] = None,
    horizon: Annotated[
        float | None,
        typer.Option(min=0.01, help="balance: hours in which what is saved must exceed what the moves cost."),
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(help="When it will be carried out, 2026-11-28T22:00+01:00: guests with a quiet time then stay."),
    ] = None,
    storage_only: Annotated[
        bool, typer.Option("--storage-only", help="Move disks of running guests, not the guests: --vm, --to, --disk.")
    ] = False,
    vm: Annotated[list[str] | None, typer.Option(help="Disks: guest or tag:LABEL; repeat for more.")] = None,
    to: Annotated[str | None, typer.Option(help="Disks: datastore that they go to.")] = None,
    disk: Annotated[list[str] | None, typer.Option(help="Disks: which, e.g. vda; all by default.")] = None,
    max_rtt: Annotated[
        float | None, typer.Option(min=0.0, help="Longest round-trip time of a move, ms, whatever the policy says.")
    ] = None,
    time_limit: Annotated[
        float, typer.Option(min=0.1, help="Seconds of work for all of it; balance: reading to checking included.")
    ] = 10.0,
    gap: Annotated[
        float | None, typer.Option(min=0.0, help="balance: end the search at this relative distance from the bound.")
    ] = None,
    stalled: Annotated[
        float | None, typer.Option(min=0.0, help="balance: end the search after so many seconds without progress.")
    ] = None,
    seed: SeedOption = 0,
    placement_out: Annotated[
        Path | None, typer.Option(help="Write the placement as a JSON list: one host index per guest.")
    ] = None,
    parameters: ParametersOption = None,
    all_moves: Annotated[bool, typer.Option("--all", help="List every move.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Find a better placement and the way to it; Ctrl-C ends a search for balance with the best so far."""
    from drsim.cli_search import tell, watched
    from drsim.compiled import spare_blas
    from drsim.formats import plan_to_json, read_calibration, read_newcomers, write_placement, write_plan
    from drsim.planner import make_plan
    from drsim.show import plan_view
    from drsim.storing import plan_storage

    estate, rules = read_estate(inventory, policy)
    limits = {"max_moves": max_moves, "max_gib": max_gib, "max_minutes": max_minutes, "max_rtt_ms": max_rtt}
    rules = replace(rules, limits=replace(rules.limits, **{k: v for k, v in limits.items() if v is not None}))
    if demand:
        estate = _foreseen(estate, demand, quantile, parts, forecast)
    if storage_only != bool(vm and to) or (disk and not storage_only):
        raise DrsimError("--storage-only needs --vm GUEST and --to DATASTORE, which with --disk belong to it alone.")
    wish = parse_objective(
        objective or rules.wish.spelled,
        host or [],
        datastores=datastore or [],
        aim=aim,
        horizon_h=horizon,
        threshold=threshold,
        like=like,
        most_full=most_full,
        most_written=most_written,
    )
    of_disks = storage_only or wish.of_disks
    if start and of_disks:
        raise DrsimError("--start belongs to moves of guests; disks are moved while 'apply' may.")
    wish = replace(wish, start_at=start)
    if (wish.goal == "place") != (new is not None):
        raise DrsimError("--objective place and --new FILE belong together.")
    if new:
        wish = replace(wish, newcomers=read_newcomers(new))
    calibration = read_calibration(parameters) if parameters else None
    spare_blas()
    with watched(gap, stalled) as stop:
        made = (
            plan_storage(estate, rules, vms=vm or [], to=to or "", disks=disk or [], calibration=calibration)
            if storage_only
            else make_plan(
                estate,
                rules,
                wish,
                time_limit_s=time_limit,
                seed=seed,
                calibration=calibration,
                on_progress=tell,
                stop=stop,
            )
        )
    if out:
        write_plan(made, out)
    if placement_out:
        write_placement(made.target, estate, placement_out)
    if as_json:
        sys.stdout.write(plan_to_json(made))
    else:
        console().print(plan_view(made, all_moves=all_moves))
        if out and made.applyable:
            console().print(f"Written to {out}. Next: drsim simulate {out}; drsim apply {out}")
    raise typer.Exit(PROPOSED if made.moves or made.starts else NOTHING_TO_DO)


def _foreseen(estate: Any, demand: Path, quantile: float, parts: int, method: str) -> Any:
    from drsim.formats import read_demand
    from drsim.workload import foresee

    if method not in ("profile", "ets"):
        raise DrsimError(f"--forecast '{method}': expected profile or ets.")
    return foresee(estate, read_demand(demand), quantile=quantile, parts=parts, method=method)  # type: ignore[arg-type]


def parse_objective(
    goal: str,
    hosts: Sequence[str],
    *,
    aim: float | None = None,
    horizon_h: float | None = None,
    threshold: int | None = None,
    like: str | None = None,
    datastores: Sequence[str] = (),
    most_full: float | None = None,
    most_written: float | None = None,
) -> Any:
    """Compose an objective from its spelling on the command line.

    Raises
    ------
    DrsimError
        If a goal is unknown, or hosts are named where none belong.
    """
    from drsim.policy import MOST_USED, Objective
    from drsim.terms import parse_terms

    terms = parse_terms(goal)
    wish = Objective.seeking(*terms, hosts=tuple(hosts), datastores=tuple(datastores), like=like)
    if datastores and (goal != "evacuate" or hosts):
        raise DrsimError("--datastore belongs to --objective evacuate, and not together with --host. Make two plans.")
    if (wish.goal == "evacuate") != bool(hosts or datastores):
        raise DrsimError(
            "--objective evacuate needs --host HOST, once for each host to evacuate, or --datastore NAME."
            if wish.goal == "evacuate"
            else f"--host belongs to --objective evacuate; '{goal}' takes none. Drop it."
        )
    if (wish.goal != "balance" or wish.terms) and not (aim is None and horizon_h is None and threshold is None):
        raise DrsimError(f"--aim, --threshold and --horizon belong to --objective balance, not to '{goal}'. Drop them.")
    if like is not None and all(term.goal != "defragment" for term in terms):
        raise DrsimError(f"--like belongs to --objective defragment; '{goal}' does not take it. Drop it.")
    if goal != "storage" and not (most_full is None and most_written is None):
        raise DrsimError(f"--most-full and --most-written belong to --objective storage, not to '{goal}'. Drop them.")
    horizon_s = None if horizon_h is None else horizon_h * 3600.0
    return replace(
        wish,
        aim=aim,
        threshold=threshold,
        horizon_s=horizon_s,
        most_full=MOST_USED if most_full is None else most_full,
        most_written=MOST_USED if most_written is None else most_written,
    )


@app.command()
def show(
    plan: PlanArgument,
    all_moves: Annotated[bool, typer.Option("--all", help="List every move.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Print a plan as a person wants to read it."""
    from drsim.formats import plan_to_json, read_plan
    from drsim.show import plan_view

    read = read_plan(plan)
    if as_json:
        sys.stdout.write(plan_to_json(read))
    else:
        console().print(plan_view(read, all_moves=all_moves))


@app.command("what-if")
def what_if(
    inventory: InventoryArgument,
    policy: PolicyArgument = None,
    change: Annotated[
        list[str] | None,
        typer.Option("--change", "-c", help="lose:HOST, drain:HOST, empty:DATASTORE, add:N:LIKE, grow:PERCENT."),
    ] = None,
    report: Annotated[Path | None, typer.Option(help="Write an HTML report here.")] = None,
    time_limit: TimeOption = 5.0,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Compare the estate as it is with what it would be: hosts lost, added or drained, datastores emptied, growth."""
    from drsim.formats import write_text
    from drsim.whatif import compare, comparison_view, parse_case

    estate, rules = read_estate(inventory, policy)
    cases = {text: parse_case(text) for text in change or []}
    if not cases:
        raise DrsimError("what-if needs at least one --change, e.g. --change lose:h3 --change grow:20.")
    comparison = compare(estate, rules, cases, time_limit_s=time_limit, seed=seed)
    if report:
        write_text(comparison.report(), report)
    if as_json:
        print_json(json.loads(comparison.table.to_json(orient="table", index=True))["data"])
    else:
        console().print(comparison_view(comparison))


@app.command()
def convert(
    inventory: InventoryArgument,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="FILE.json, or a folder for CSV.")],
) -> None:
    """Write an inventory in its other shape: JSON file or CSV folder."""
    from drsim.formats import read_inventory, write_inventory

    write_inventory(read_inventory(inventory), out)
    console().print(f"Written to {out}.")


@app.command()
def schema(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="inventory, policy or plan.")],
) -> None:
    """Print the JSON Schema of a file format."""
    from drsim.formats import schema as schema_of

    if kind not in ("inventory", "policy", "plan"):
        raise DrsimError(f"schema '{kind}': expected inventory, policy or plan.")
    print_json(schema_of(kind))  # type: ignore[arg-type]


app.command()(front)
app.command()(explain)
app.command()(simulate)
app.command()(operate)
app.command()(calibrate)
app.command()(parameters)


def mount_commands() -> None:
    """Mount the commands of the executor.

    Raises
    ------
    DrsimError
        If the module found under its name is not drsim's: another distribution may have installed one over it.
    """
    if sys.argv[1:2] and sys.argv[1] in {
        command.name or _verb(command.callback) for command in app.registered_commands
    }:
        return  # it is known here: what acts need not be loaded
    for point in entry_points(group=COMMANDS_GROUP):
        try:
            add_commands = point.load()
        except (ImportError, AttributeError) as error:
            raise DrsimError(shadowed(point.module, error)) from error
        add_commands(app)


def _verb(callback: Any) -> str:
    return str(callback.__name__).replace("_", "-")


def shadowed(module: str, error: Exception) -> str:
    """Explain why the executor could not be loaded, and what to do."""
    import importlib.util

    package = module.partition(".")[0]
    spec = importlib.util.find_spec(package)
    found = spec.origin if spec else "nowhere"
    ours = Path(__file__).parent.parent / package / "__init__.py"
    if found == str(ours):
        return f"drsim's own package '{package}' cannot be loaded: {error}. Install drsim again: pip install drsim"
    return (
        f"Another package named '{package}' ({found}) stands before drsim's own: the one on PyPI installs a module of "
        f"that name. Uninstall it (pip uninstall {package}) or use a virtual environment without it, then "
        "install drsim again."
    )


def main() -> None:
    """Run the command line; an error is one paragraph on standard error and exit code 1."""
    gc.set_threshold(*COLLECT)
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # no large matrices here: NumPy need not start a thread a core
    wants_json = "--json" in sys.argv
    try:
        mount_commands()
        code = app(standalone_mode=False)
    except (DrsimError, OSError) as error:
        if wants_json:
            print_json({"error": str(error)})
        sys.stderr.write(f"Error: {error}\n")
        code = ERROR
    except USAGE_ERROR as error:
        sys.stderr.write(f"Error: {error.format_message()} See 'drsim --help'.\n")
        code = ERROR
    except (typer.Abort, KeyboardInterrupt):
        sys.stderr.write("Stopped.\n")
        code = ERROR
    gc.freeze()  # garbage goes with the process: nobody looks for its cycles at the end
    sys.exit(code or 0)
