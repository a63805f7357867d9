"""``drsim demo``: the main job from beginning to end on an invented cluster, with no hypervisor at all."""

from __future__ import annotations

import shutil
import threading
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from drsim import check
from drsim.cli import ERROR, console
from drsim.formats import write_inventory, write_plan, write_policy
from drsim.inventory import Inventory
from drsim.planner import make_plan, simulate_plan
from drsim.policy import Objective, Policy
from drsim.report.text import duration
from drsim.show import plan_view, violations_view
from drsim.synthetic import demo as demo_cluster
from executor.audit import verify
from executor.hypervisor.simulated import SimulatedHypervisor
from executor.lifecycle import RunState
from executor.live import LiveView
from executor.outcome import run_table, write_report
from executor.run import apply
from executor.store import Store

SEED, TIME_LIMIT_S = 1, 5.0
SPEED = 60.0
"""Simulated seconds a second of the demo: fast enough not to wait, slow enough to watch."""


def step(terminal: Console, command: str) -> None:
    """Announce the command that a user would type for what follows."""
    terminal.print(f"\n[bold]$ drsim {escape(command)}[/bold]")


def run_demo(out: Path) -> int:
    """Run it; everything written stands in `out`.

    Returns
    -------
    int
        Exit code: 0 if every move reached its target and the audit trail is whole.
    """
    terminal = console()
    inventory, policy = demo_cluster()
    folder = fresh(out, "demo")
    cluster, rules, plan_file, page = (folder / n for n in ("cluster.json", "policy.yaml", "plan.json", "report.html"))
    write_inventory(inventory, cluster)
    write_policy(policy, rules)
    terminal.print(f"An invented cluster: {len(inventory.hosts)} hosts, {len(inventory.vms)} guests. Files: {folder}")

    step(terminal, f"check {cluster} {rules}")
    terminal.print(violations_view(check.violations(inventory, policy)))

    step(terminal, f"plan {cluster} {rules} --objective balance --seed {SEED} -o {plan_file}")
    plan = make_plan(inventory, policy, Objective(goal="balance"), time_limit_s=TIME_LIMIT_S, seed=SEED)
    write_plan(plan, plan_file)
    terminal.print(plan_view(plan))

    step(terminal, f"simulate {plan_file}")
    played = simulate_plan(plan)
    terminal.print(f"{len(played.predictions)} migrations played, all done after {duration(played.makespan_s)}.")

    step(terminal, f"apply {plan_file} --on simulated:{cluster} --report {page}")
    store = Store(f"sqlite:///{folder / 'runs.sqlite'}", clock=lambda: datetime.now(UTC))
    hypervisor = SimulatedHypervisor(cluster, speed=SPEED)
    with LiveView(terminal) as view:
        result = apply(
            plan,
            hypervisor,
            store,
            actor="demo",
            on_event=view,
            stop=threading.Event(),
            clock=lambda: datetime.now(UTC),
        )
    terminal.print(run_table(result))
    write_report(plan, result, page)

    step(terminal, f"audit {result.run_id}")
    records = store.audit()
    problems = verify(records)
    terminal.print(f"{len(records)} records, " + ("the chain is whole." if not problems else str(problems[0])))

    step(terminal, f"check {cluster} {rules}")
    after = hypervisor.inventory()
    terminal.print(violations_view(check.violations(after, policy)))
    good = result.state is RunState.DONE and not problems and not check.violations(after, policy)
    terminal.print(f"\n{escape(result.text)} {_verdict(inventory, after, policy)}")
    terminal.print(
        f"Score {plan.before.objective:.3f} -> {plan.after.objective:.3f} ({plan.after.unit}). Report: {page}"
    )
    return 0 if good else ERROR


def _verdict(before: Inventory, after: Inventory, policy: Policy) -> str:
    broken, left = (len(check.violations(estate, policy)) for estate in (before, after))
    return f"Violations: {broken} before, {left} after."


def fresh(out: Path, name: str) -> Path:
    """Make a demo's own folder empty; whatever else lies in `out` is left alone."""
    folder = out / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
