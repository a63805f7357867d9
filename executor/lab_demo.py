"""``drsim lab demo``: the main job on real hypervisors, with a client that holds a connection to each guest."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from drsim.cli import console
from drsim.errors import LabError
from drsim.formats import write_inventory, write_plan
from drsim.migration import LAB_TCG
from drsim.planner import make_plan
from drsim.policy import Objective, Policy
from drsim.report.text import milliseconds
from drsim.show import plan_view
from executor.audit import verify
from executor.collect import collect_estate
from executor.demo import fresh, step
from executor.estate import read_hosts_file
from executor.hypervisor.libvirt_kvm import LibvirtKvm
from executor.lab.guest import Verdict
from executor.lab.lab import Lab, take_down
from executor.lab.probe import GuestView
from executor.lab.state import lab_names, labs_root
from executor.lab.topology import LabGuest, LabHost, LabTopology
from executor.lifecycle import RunState
from executor.live import LiveView
from executor.outcome import run_table, write_report
from executor.result import RunReport
from executor.run import apply
from executor.store import Store

NAME = "demo"
TOPOLOGY = LabTopology(
    name=NAME,
    hosts=tuple(LabHost(name=name) for name in ("h1", "h2", "h3")),
    guests=(
        LabGuest(name="web-1", host="h1", working_set_mib=32, dirty_rate_mib_s=5, tags=("web",)),
        LabGuest(name="db-1", host="h1", working_set_mib=64, dirty_rate_mib_s=20, tags=("db",)),
        LabGuest(name="batch-1", host="h1", working_set_mib=0, dirty_rate_mib_s=0, disk_write_kib_s=0),
        LabGuest(name="web-2", host="h2", working_set_mib=32, dirty_rate_mib_s=5, tags=("web",)),
    ),
)
"""Three hosts on gigabit lines and four guests, three of them on the host that is to be evacuated."""

EVACUATED = "h1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Aftermath:
    """What the guests and their client found afterwards.

    Parameters
    ----------
    views : dict of str to GuestView
        What the client saw, by guest.
    verdicts : dict of str to Verdict
        What each guest found in its own memory and on its own disk.
    places : dict of str to tuple of str
        Hosts that hold the guest, in whatever state.
    """

    views: dict[str, GuestView]
    verdicts: dict[str, Verdict]
    places: dict[str, tuple[str, ...]]

    @property
    def broken(self) -> int:
        """Connections that were lost."""
        return sum(view.broken for view in self.views.values())

    @property
    def lost(self) -> int:
        """Sequence numbers that were lost or came twice."""
        return sum(view.lost + view.repeated for view in self.views.values())

    @property
    def corrupt(self) -> int:
        """Pages and blocks that do not hold what was written."""
        return sum(verdict.bad_pages + verdict.bad_blocks for verdict in self.verdicts.values())

    @property
    def once(self) -> bool:
        """Whether each guest is in exactly one place."""
        return all(len(hosts) == 1 for hosts in self.places.values())


def run_lab_demo(out: Path) -> int:
    """Bring the lab up, evacuate a host, compare, take the lab down; everything written stands in `out`.

    Returns
    -------
    int
        Exit code 0.

    Raises
    ------
    LabError
        If anything was lost, broken or corrupted, or a guest does not run exactly once.
    """
    terminal = console()
    folder = fresh(out, "lab-demo")
    if NAME in lab_names():
        take_down(labs_root() / NAME)
    began = time.monotonic()
    step(terminal, f"lab up --name {NAME}")
    lab = Lab.up(TOPOLOGY, on_step=lambda name: terminal.print(f"  {name}"))
    terminal.print(
        f"{len(TOPOLOGY.hosts)} hosts and {len(TOPOLOGY.guests)} guests after {time.monotonic() - began:.1f} s."
    )
    try:
        return _evacuate(terminal, lab, folder)
    finally:
        step(terminal, f"lab down --name {NAME}")
        lab.down()


def _evacuate(terminal: Console, lab: Lab, folder: Path) -> int:
    hosts_file = lab.state.folder / "hosts.yaml"
    cluster, plan_file, page = (folder / name for name in ("cluster.json", "plan.json", "report.html"))
    step(terminal, f"collect --hosts-file {hosts_file} -o {cluster}")
    collected = collect_estate(read_hosts_file(hosts_file), clock=lambda: datetime.now(UTC), name=NAME)
    write_inventory(collected.inventory, cluster)
    terminal.print(f"{len(collected.inventory.hosts)} hosts, {len(collected.inventory.vms)} guests")

    step(terminal, f"plan {cluster} --objective evacuate --host {EVACUATED} -o {plan_file}")
    wish = Objective(goal="evacuate", hosts=(EVACUATED,))
    plan = make_plan(collected.inventory, Policy(), wish, time_limit_s=5.0, seed=1, parameters=LAB_TCG)
    write_plan(plan, plan_file)
    terminal.print(plan_view(plan))

    step(terminal, f"apply {plan_file} --report {page}")
    store = Store(f"sqlite:///{folder / 'runs.sqlite'}", clock=lambda: datetime.now(UTC))
    with lab.probe() as probe:
        probe.reset()
        with LiveView(terminal) as view:
            result = apply(
                plan,
                LibvirtKvm(collected.inventory),
                store,
                actor="demo",
                on_event=view,
                stop=threading.Event(),
                clock=lambda: datetime.now(UTC),
            )
        time.sleep(1.0)  # a silence that began with the last switchover would show as a gap
        after = _look(lab, probe.report())
    terminal.print(run_table(result))
    terminal.print(_client_table(after))
    write_report(plan, result, page)
    return _verdict(terminal, lab, result, after, not verify(store.audit()), page)


def _look(lab: Lab, views: dict[str, GuestView]) -> Aftermath:
    verdicts = {}
    for guest in TOPOLOGY.guests:
        with lab.control(guest.name) as control:
            verdicts[guest.name] = control.verify()
    held = {host: lab.guests_on(host) for host in lab.state.hosts}
    places = {
        guest.name: tuple(host for host, guests in held.items() if guest.name in guests) for guest in TOPOLOGY.guests
    }
    return Aftermath(views=views, verdicts=verdicts, places=places)


def _client_table(after: Aftermath) -> Table:
    table = Table(box=None, header_style="bold", padding=(0, 1))
    for title in ("guest", "now on", "longest gap TCP", "UDP", "messages", "lost", "connection", "memory"):
        table.add_column(title)
    for name, view in after.views.items():
        verdict = after.verdicts[name]
        table.add_row(
            name,
            ", ".join(after.places[name]) or "nowhere",
            milliseconds(view.tcp_gap_ms),
            milliseconds(view.udp_gap_ms),
            str(view.received),
            str(view.lost + view.repeated),
            "broken" if view.broken else "held",
            "whole" if verdict.bad_pages + verdict.bad_blocks == 0 else "CORRUPT",
        )
    return table


def _verdict(terminal: Console, lab: Lab, result: RunReport, after: Aftermath, whole: bool, page: Path) -> int:
    left = lab.guests_on(EVACUATED)
    terminal.print(
        f"\n{escape(result.text)} {len(left)} guests left on {EVACUATED}. {after.broken} connections broken, "
        f"{after.lost} sequence numbers lost, {after.corrupt} pages or blocks corrupt, every guest running "
        f"{'exactly once' if after.once else 'NOT exactly once: ' + str(after.places)}; audit trail "
        f"{'whole' if whole else 'NOT WHOLE'}.\nReport: {page}"
    )
    good = result.state is RunState.DONE and after.once and whole and not left
    if not good or after.broken or after.lost or after.corrupt:
        raise LabError(f"The evacuation did not go as promised; see above and {page}.")
    return 0
