"""The commands that act: collect, apply, resume, runs, audit, the demos and the lab."""

from __future__ import annotations

import getpass
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from drsim.cli import ERROR, NOTHING_TO_DO, PROPOSED, console, print_json
from drsim.errors import DrsimError
from drsim.report.text import visible
from executor.lab.cli import app as lab_app

if TYPE_CHECKING:
    from executor.window import Window

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
StoreOption = Annotated[str | None, typer.Option(help="SQLAlchemy URL of the record of runs.", envvar="DRSIM_STORE")]
ShellsOption = Annotated[
    Path | None,
    typer.Option("--hosts-file", help="Its 'shell' words let lines be measured before each move; ssh needs none."),
]
AtOption = Annotated[
    str | None,
    typer.Option("--at", help="Wait and begin then, 2026-11-28T22:00+01:00; what is wrong now shows at once."),
]
UntilOption = Annotated[
    str | None, typer.Option("--until", help="Begin no move that might not have ended by then; resume the rest later.")
]
OnOption = Annotated[str | None, typer.Option("--on", help="libvirt, or simulated:FILE (an inventory, which changes).")]


def add_commands(app: typer.Typer) -> None:
    """Mount the commands on drsim's command line."""
    for command in (collect, apply, resume, report, runs, audit, unlock, demo):
        app.command()(command)
    lab_app.command("demo")(lab_demo)
    lab_app.command("record")(lab_record)
    app.add_typer(lab_app, name="lab")


def _now() -> datetime:
    return datetime.now(UTC)


def _store(url: str | None) -> Any:
    from executor.settings import Settings
    from executor.store import Store

    return Store(url or Settings().store_url, clock=_now)


def _hypervisor(on: str | None, plan: Any, hosts_file: Path | None) -> Any:
    """Open the hypervisor that a command names; libvirt if the plan's hosts have URIs."""
    if on is None and any(host.uri for host in plan.inventory.hosts):
        on = "libvirt"
    kind, _, path = (on or "").partition(":")
    if kind == "libvirt" and not path:
        from executor.estate import read_hosts_file
        from executor.hypervisor.libvirt_kvm import LibvirtKvm

        declared = read_hosts_file(hosts_file).hosts if hosts_file else ()
        return LibvirtKvm(
            plan.inventory, shells={each.name: each.shell for each in declared if each.name and each.shell}
        )
    if kind == "simulated" and path:
        from executor.hypervisor.simulated import SimulatedHypervisor

        return SimulatedHypervisor(Path(path))
    raise DrsimError(
        f"--on {on}: expected libvirt or simulated:FILE, where FILE is the inventory to play with."
        if on
        else "The plan's hosts have no libvirt URI. Name the hypervisor: --on simulated:FILE, or collect the inventory."
    )


@contextmanager
def _interruptible() -> Iterator[threading.Event]:
    """Turn the first Ctrl-C or SIGTERM into a request to stop; a second one asks to stop what is under way, too."""
    stop = threading.Event()

    def ask(signum: int, frame: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def collect(
    uris: Annotated[list[str] | None, typer.Argument(metavar="[URI]...", help="libvirt URIs.")] = None,
    hosts_file: Annotated[Path | None, typer.Option(help="YAML: hosts with name, uri, peer_uri, site, ...")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="FILE.json, or a folder for CSV.")] = None,
    name: Annotated[str, typer.Option(help="Name of the inventory.")] = "inventory",
    nic_mbit_s: Annotated[float | None, typer.Option(help="Rate of the cards that carry migrations.")] = None,
    shared: Annotated[list[str] | None, typer.Option(help="Folder that is the same on all hosts.")] = None,
    network: Annotated[list[str] | None, typer.Option(help="Bridge that all hosts have.")] = None,
    interval: Annotated[float, typer.Option(min=0.1, help="Seconds over which use is measured.")] = 1.0,
    measure_dirty: Annotated[
        bool, typer.Option("--measure-dirty", help="Measure dirty rates, where no profile is declared.")
    ] = False,
    dirty_mode: Annotated[
        str | None,
        typer.Option(
            help="Measure them by page-sampling, dirty-bitmap (KVM), dirty-ring (guests that have one), or auto."
        ),
    ] = None,
    measure_lines: Annotated[
        bool, typer.Option(help="Measure round-trip time and rate between hosts; fills each line for two seconds.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Read hosts over libvirt into an inventory."""
    from drsim.formats import inventory_to_json, write_inventory
    from executor.collect import collect as read
    from executor.collect import collect_estate
    from executor.estate import read_hosts_file
    from executor.hypervisor.libvirt_dirty import DIRTY_MODES

    wanted = dirty_mode or ("auto" if measure_dirty else None)
    how = next((each for each in DIRTY_MODES if each == wanted), None)
    if wanted and how is None:
        raise DrsimError(f"--dirty-mode {wanted}: expected one of {', '.join(DIRTY_MODES)}.")
    if measure_lines and not hosts_file:
        raise DrsimError("--measure-lines needs --hosts-file: it says which sites there are and how to reach a shell.")
    if bool(uris) == bool(hosts_file):
        raise DrsimError("collect needs libvirt URIs or --hosts-file FILE, one of the two.")
    if hosts_file:
        estate = read_hosts_file(hosts_file)
        result = collect_estate(
            estate,
            clock=_now,
            name=name,
            interval_s=interval,
            measure_dirty=how,
            measure_lines=measure_lines,
        )
    else:
        result = read(
            uris or [],
            clock=_now,
            name=name,
            nic_mbit_s=nic_mbit_s,
            shared_paths=shared or [],
            networks=network or [],
            interval_s=interval,
            measure_dirty=how,
        )
    for remark in result.remarks:
        sys.stderr.write(f"Note: {visible(remark)}\n")
    for line in result.lines:
        if line.rtt_ms is not None and line.rate_mbit_s is not None:
            sys.stderr.write(f"{line.a} -> {line.b}: {line.rtt_ms:.1f} ms, {line.rate_mbit_s:.0f} Mbit/s\n")
    if out:
        write_inventory(result.inventory, out)
    if as_json or not out:
        sys.stdout.write(inventory_to_json(result.inventory))
    else:
        read_one = result.inventory
        console().print(f"{len(read_one.hosts)} hosts and {len(read_one.vms)} guests written to {out}.")
    raise typer.Exit(PROPOSED if result.unreachable else NOTHING_TO_DO)


def apply(
    plan: Annotated[Path, typer.Argument(help="Plan file.")],
    on: OnOption = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    dry_run: Annotated[bool, typer.Option(help="Print what would be called, and call nothing.")] = False,
    at: AtOption = None,
    until: UntilOption = None,
    report: Annotated[Path | None, typer.Option(help="Write an HTML report here, predicted beside actual.")] = None,
    hosts_file: ShellsOption = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Carry a plan out, exactly as it was reviewed."""
    from drsim.formats import read_plan
    from drsim.show import plan_view
    from executor.actions import actions
    from executor.run import apply as carry_out
    from executor.run import rehearse
    from executor.window import Window

    read = read_plan(plan)
    window = Window.read(at, until, _now())
    if dry_run:
        for action in actions(read):
            console().print(escape(visible(str(action))))
        return
    if not yes and not as_json:
        console().print(plan_view(read))
        if read.moves and not typer.confirm("Apply this plan?"):
            raise DrsimError("Nothing was done.")
    if window.begin and read.moves:
        with closing(_hypervisor(on, read, hosts_file)) as hypervisor:
            rehearse(read, hypervisor, window.begin)
    if outlook := window.outlook(read, _now()):
        sys.stderr.write(f"{outlook}\n")
    with _due(window, on, read, hosts_file) as (hypervisor, stop):
        _finish(
            lambda view: carry_out(
                read,
                hypervisor,
                _store(store),
                actor=_actor(),
                on_event=view,
                stop=stop,
                clock=_now,
                window=window,
            ),
            read,
            report,
            as_json,
        )


def resume(
    run: Annotated[str, typer.Argument(help="Run, as 'drsim runs' lists it.")],
    on: OnOption = None,
    at: AtOption = None,
    until: UntilOption = None,
    report: Annotated[Path | None, typer.Option(help="Write an HTML report here, predicted beside actual.")] = None,
    recover: Annotated[
        bool, typer.Option("--recover", help="Bring post-copies that lost their connection to their end.")
    ] = False,
    hosts_file: ShellsOption = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Go on with a run that was interrupted: look at the hosts first, then do what is left."""
    from executor.run import plan_of
    from executor.run import resume as go_on
    from executor.window import Window

    records = _store(store)
    plan = plan_of(records, run)
    window = Window.read(at, until, _now())
    with _due(window, on, plan, hosts_file) as (hypervisor, stop):
        _finish(
            lambda view: go_on(
                run,
                hypervisor,
                records,
                actor=_actor(),
                on_event=view,
                stop=stop,
                clock=_now,
                window=window,
                recover=recover,
            ),
            plan,
            report,
            as_json,
        )


@contextmanager
def _due(window: Window, on: str | None, plan: Any, hosts_file: Path | None) -> Iterator[tuple[Any, threading.Event]]:
    """Wait for a window to begin, then open the hypervisor; with it goes what a Ctrl-C sets, in both."""
    from executor.window import wait_for

    with _interruptible() as stop:
        if window.begin:
            sys.stderr.write(f"Waits until {window.begin:%Y-%m-%d %H:%M:%S} UTC. Ctrl-C: nothing is done.\n")
            wait_for(window.begin, stop, _now)
        with closing(_hypervisor(on, plan, hosts_file)) as hypervisor:
            yield hypervisor, stop


def _actor() -> str:
    return getpass.getuser()


def _finish(carry_out: Any, plan: Any, report: Path | None, as_json: bool) -> None:
    """Draw a run while it goes on, tell its result, write the report, and leave with its exit code."""
    from executor.live import LiveView
    from executor.outcome import run_table, write_report

    if as_json:
        result = carry_out(lambda event: None)
        print_json({"run": result.run_id, "state": str(result.state), "text": result.text, "moves": result.compare()})
    else:
        with LiveView(console()) as view:
            result = carry_out(view)
        console().print(run_table(result))
        console().print(escape(visible(result.text)))
    if report:
        write_report(plan, result, report)
        if not as_json:
            console().print(f"Report: {report}")
    raise typer.Exit(result.exit_code)


def report(
    plan: Annotated[Path | None, typer.Argument(metavar="[PLAN]", help="Plan file.")] = None,
    run: Annotated[str | None, typer.Option("--run", help="A run instead, predicted beside actual.")] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="HTML file.")] = Path("report.html"),
    window: Annotated[float | None, typer.Option(min=0, help="Minutes that there are for the plan.")] = None,
    replications: Annotated[int, typer.Option(min=1, help="How often it is played for its chance.")] = 200,
    parameters: Annotated[str | None, typer.Option(help="Tuned constants, as drsim calibrate writes them.")] = None,
    store: StoreOption = None,
) -> None:
    """Write one self-contained HTML page about a plan, or about a run on record and what came of it."""
    from drsim.formats import read_calibration, read_plan, write_text
    from drsim.report import Chance, render
    from drsim.simulate import replicate
    from executor.outcome import write_report
    from executor.run import plan_of
    from executor.run import report as outcome_of

    if (plan is None) == (run is None):
        raise DrsimError("report takes a plan file or --run RUN ('drsim runs' lists them), one of the two.")
    if run is not None:
        if window is not None:
            raise DrsimError("--window asks how surely a plan will fit; a run is over. Name the plan file.")
        records = _store(store)
        write_report(plan_of(records, run), outcome_of(records, run), out)
    elif plan is not None:
        made, chance = read_plan(plan), None
        if made.moves:
            tuned = read_calibration(parameters or "default")
            drawn = replicate(
                *(made.inventory, made.moves, made.policy.limits, tuned), replications=replications, processes=-1
            )
            chance = Chance.of(drawn, None if window is None else window * 60.0)
        write_text(render(made, chance=chance), out)
    console().print(f"Written to {out}.")


def runs(store: StoreOption = None, as_json: JsonOption = False) -> None:
    """List the runs on record."""
    found = _store(store).runs()
    if as_json:
        print_json({"runs": [{**{f: str(getattr(run, f)) for f in run.__slots__}} for run in found]})
        return
    table = Table("run", "state", "estate", "by", "started", "ended", "plan", box=None)
    for run in found:
        estate = escape(visible(run.estate))
        table.add_row(
            run.id, str(run.state), estate, run.actor, run.started_at, run.ended_at or "-", run.plan_hash[:12]
        )
    console().print(table if found else "No runs on record.")


def audit(
    run: Annotated[str | None, typer.Argument(help="Only this run; the whole trail is verified all the same.")] = None,
    head: Annotated[str | None, typer.Option(help="Last hash, kept elsewhere: shows a trail that was cut off.")] = None,
    jsonl: Annotated[Path | None, typer.Option(help="Write the whole trail here, one record a line.")] = None,
    file: Annotated[Path | None, typer.Option("--file", help="Verify such a file instead of the store.")] = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show who did what when, and verify that nothing was changed since."""
    from dataclasses import asdict

    from drsim.formats import write_text
    from executor.audit import from_lines, to_lines, verify

    if file:
        records, problems = from_lines(file.read_text())
        problems += verify(records, head)
    else:
        records = _store(store).audit()
        problems = verify(records, head)
    if jsonl:
        write_text(to_lines(records), jsonl)
    shown = [record for record in records if run is None or record.run_id == run]
    if as_json:
        print_json(
            {"records": [asdict(record) for record in shown], "problems": [str(problem) for problem in problems]}
        )
    else:
        table = Table("#", "at", "by", "event", "run", "move", "detail", box=None)
        for record in shown:
            detail = ", ".join(f"{key}={value}" for key, value in record.detail.items())
            cells = (record.actor, record.event, record.run_id or "", record.move_id or "", detail)
            table.add_row(str(record.sequence), record.at, *(escape(visible(cell)) for cell in cells))
        console().print(table)
        for problem in problems:
            console().print(f"[red]{escape(visible(str(problem)))}[/red]")
        if not problems:
            last = records[-1].hash if records else "-"
            console().print(f"{len(records)} records, the chain is whole. Its head: {last}")
    raise typer.Exit(ERROR if problems else NOTHING_TO_DO)


def unlock(token: Annotated[str, typer.Argument(help="As the refusal named it.")], store: StoreOption = None) -> None:
    """Give the hosts of a controller free that is certainly gone."""
    hosts = _store(store).unlock(token, actor=_actor())
    console().print(f"Free: {', '.join(hosts)}.")


def demo(out: Annotated[Path, typer.Option(help="Folder for what it writes.")] = Path("out")) -> None:
    """Do the whole main job on an invented cluster: check, plan, simulate, apply, audit, report."""
    from executor.demo import run_demo

    raise typer.Exit(run_demo(out))


def lab_record(
    matrix: Annotated[Path, typer.Argument(help="YAML file: factors and levels; see executor/lab/README.md.")],
    out: Annotated[Path, typer.Option("--out", help="Folder; what it holds already is not done again.")],
) -> None:
    """Record a designed experiment of real migrations; killed, it goes on where it was when called again."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from executor.lab.matrix import read_matrix
    from executor.record import Step, record_matrix

    wanted = read_matrix(matrix)
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console()) as progress:
        task = progress.add_task("", total=None)

        def show(step: Step) -> None:
            progress.update(task, total=step.all, completed=step.done, description=step.says)

        rows = record_matrix(wanted, out, on_step=show)
    console().print(f"{len(rows)} migrations in {out}, {sum(row['status'] == 'moved' for row in rows)} of them moved.")


def lab_demo(out: Annotated[Path, typer.Option(help="Folder for what it writes.")] = Path("out")) -> None:
    """Do the main job on real hypervisors: bring a lab up, evacuate a host live, compare, take it down."""
    from executor.lab_demo import run_lab_demo

    raise typer.Exit(run_lab_demo(out))
