"""Real migrations in the lab, measured from all sides: the rows that the migration model is compared with.

Run as a program it brings a lab up, records and takes the lab down: ``python -m executor.record data/lab``.
"""

from __future__ import annotations

import csv
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, get_type_hints

from drsim.formats import write_inventory
from drsim.inventory import Vm
from drsim.plan import Move
from drsim.units import MIB, PAGE_BYTES, About
from executor.collect import collect_estate
from executor.estate import read_hosts_file
from executor.hypervisor.base import Outcome
from executor.hypervisor.libvirt_domain import parse_domain
from executor.hypervisor.libvirt_kvm import LibvirtKvm
from executor.lab.guest import Verdict
from executor.lab.lab import Lab
from executor.lab.probe import GuestView, Probe
from executor.lab.topology import LabGuest, LabHost, LabTopology

SETTLE_S = 1.5
"""Time for a guest to get into its stride before, and for the last packets to come in after a migration, seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One migration to record.

    Parameters
    ----------
    guest : str
        Guest of the lab.
    working_set_mib, dirty_rate_mib_s : int
        What it does meanwhile, MiB and MiB/s.
    link_mbit_s, rtt_ms : float
        Line between the hosts.
    max_downtime_ms : float
        Limit given to the hypervisor, ms.
    bandwidth_mbit_s : float or None
        Cap given to the hypervisor, Mbit/s.
    """

    guest: str = "small"
    working_set_mib: int = 64
    dirty_rate_mib_s: int = 10
    link_mbit_s: float = 1000.0
    rtt_ms: float = 0.0
    max_downtime_ms: float = 300.0
    bandwidth_mbit_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What was measured of one migration; a column of the CSV file each."""

    case: Annotated[int, About("Number of the case, from 1.")]
    memory_mib: Annotated[int, About("Configured memory of the guest.", "MiB")]
    memory_used_mib: Annotated[
        float | None, About("Memory that held data just before, from the resident size of QEMU.", "MiB")
    ]
    working_set_mib: Annotated[int, About("Memory that the guest writes to in turn.", "MiB")]
    dirty_rate_mib_s: Annotated[int, About("Rate at which it was told to do so.", "MiB/s")]
    achieved_rate_mib_s: Annotated[float, About("Rate that it reached in the seconds before.", "MiB/s")]
    disk_write_kib_s: Annotated[int, About("Rate of its disk writes.", "KiB/s")]
    link_mbit_s: Annotated[float, About("Emulated line between the hosts.", "Mbit/s")]
    rtt_ms: Annotated[float, About("Round-trip time between the hosts.", "ms")]
    max_downtime_ms: Annotated[float, About("Downtime limit given to the hypervisor.", "ms")]
    bandwidth_mbit_s: Annotated[float | None, About("Cap given to the hypervisor; empty: none.", "Mbit/s")]
    status: Annotated[str, About("moved, stayed or unknown.")]
    total_time_s: Annotated[float | None, About("Whole migration as libvirt measured it.", "s")]
    downtime_ms: Annotated[float | None, About("Standstill as libvirt measured it.", "ms")]
    tcp_gap_ms: Annotated[float, About("Longest silence that a TCP client saw.", "ms")]
    udp_gap_ms: Annotated[float, About("Longest silence that a UDP client saw.", "ms")]
    sent_mib: Annotated[float | None, About("Memory traffic.", "MiB")]
    rounds: Annotated[int | None, About("Passes over dirty memory, the first included.")]
    lost: Annotated[int, About("Sequence numbers missing from the TCP stream.")]
    repeated: Annotated[int, About("Sequence numbers seen twice in the TCP stream.")]
    udp_lost: Annotated[int, About("UDP packets missing.")]
    broken: Annotated[bool, About("Whether the TCP connection was lost.")]
    bad_pages: Annotated[int, About("Pages that did not hold what the guest had written.")]
    bad_blocks: Annotated[int, About("Disk blocks that did not hold what the guest had written.")]
    wall_s: Annotated[float, About("Time from the call to the verdict of the executor.", "s")]
    load_average: Annotated[float, About("Load average of the machine over one minute, just before.")]
    cores: Annotated[int, About("Logical CPUs of the machine, shared by all hosts of the lab.")]
    accelerator: Annotated[str, About("kvm, or qemu for emulation (TCG).")]
    qemu: Annotated[str, About("Version of QEMU.")]
    libvirt: Annotated[str, About("Version of libvirt.")]
    kernel: Annotated[str, About("Kernel of the machine.")]
    recorded_at: Annotated[str, About("When, ISO 8601 in UTC.")]


TOPOLOGY = LabTopology(
    name="record",
    hosts=tuple(LabHost(name=name) for name in ("h1", "h2", "h3")),
    guests=(
        LabGuest(name="small", host="h1", memory_mib=256),
        LabGuest(name="large", host="h1", memory_mib=512, working_set_mib=128, dirty_rate_mib_s=20, tags=("large",)),
    ),
)
"""The lab that is recorded by default."""

CASES = (
    Case(working_set_mib=0, dirty_rate_mib_s=0),
    Case(dirty_rate_mib_s=0),
    Case(),
    Case(dirty_rate_mib_s=40),
    Case(working_set_mib=128, dirty_rate_mib_s=60),
    Case(working_set_mib=128, dirty_rate_mib_s=60, max_downtime_ms=1000.0),
    Case(link_mbit_s=250.0),
    Case(rtt_ms=20.0),
    Case(rtt_ms=100.0),
    Case(dirty_rate_mib_s=40, rtt_ms=100.0),
    Case(working_set_mib=0, dirty_rate_mib_s=0, bandwidth_mbit_s=200.0),
    Case(guest="large", working_set_mib=256, dirty_rate_mib_s=20),
    Case(guest="large", working_set_mib=128, dirty_rate_mib_s=20, link_mbit_s=500.0),
)
"""What is recorded by default: each changes one thing against the third."""


def record(lab: Lab, cases: Sequence[Case], out: Path, on_row: Callable[[Row], None] = lambda row: None) -> list[Row]:
    """Carry the cases out and write ``inventory.json``, ``migrations.csv`` and ``README.md``.

    Parameters
    ----------
    lab : Lab
        Up; guests named by the cases run on it.
    cases : sequence of Case
        In this order.
    out : Path
        Folder; made if it is not there.
    on_row : callable, optional
        Told of each row.

    Raises
    ------
    DrsimError
        If the lab or a host of it cannot be reached.
    """
    estate = read_hosts_file(lab.state.folder / "hosts.yaml")
    first = collect_estate(estate, clock=_now, name=f"lab {lab.state.topology.name}").inventory
    door = LibvirtKvm(first)
    rows = []
    try:
        with lab.probe(sorted({case.guest for case in cases})) as probe:
            for number, case in enumerate(cases, 1):
                rows.append(_one(lab, door, probe, number, case))
                on_row(rows[-1])
    finally:
        door.close()
        for host in lab.state.hosts:
            lab.line(host, rate_mbit_s=1000.0, rtt_ms=0.0)
    out.mkdir(parents=True, exist_ok=True)
    write_inventory(first, out / "inventory.json")
    with (out / "migrations.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Row)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)
    (out / "README.md").write_text(readme(rows))
    return rows


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """One migration as it was seen from all sides.

    Parameters
    ----------
    vm : Vm
        The guest just before.
    achieved_rate_mib_s : float
        Rate at which it wrote to memory in the seconds before.
    outcome : Outcome
        The executor's verdict.
    wall_s : float
        Time from the call to it.
    view : GuestView
        What the client saw.
    verdict : Verdict
        What the guest found in its memory and on its disks afterwards.
    load_average : float
        Of the machine over one minute, just before.
    kind, qemu, libvirt : str
        ``kvm`` or ``qemu`` (emulation); versions.
    """

    vm: Vm
    achieved_rate_mib_s: float
    outcome: Outcome
    wall_s: float
    view: GuestView
    verdict: Verdict
    load_average: float
    kind: str
    qemu: str
    libvirt: str


def observe(
    lab: Lab, door: LibvirtKvm, probe: Probe, guest: str, move_from: Callable[[Vm], Move], prepare: Sequence[str]
) -> Observation:
    """Let a guest do something, move it, and look.

    Parameters
    ----------
    lab : Lab
        Up, its lines shaped.
    door : LibvirtKvm
        The hypervisor.
    probe : Probe
        Holds a connection to the guest.
    guest : str
        The guest.
    move_from : callable
        From the guest as it is just before to the move that it is to make.
    prepare : sequence of str
        Orders to the guest beforehand.

    Raises
    ------
    DrsimError
        If the lab, a host of it or the guest cannot be reached.
    """
    with lab.control(guest) as control:
        for order in prepare:
            control.order(order)
        time.sleep(SETTLE_S)
        before = control.stat()
        time.sleep(SETTLE_S)
        after = control.stat()
    vm = door.inventory().vm_by_name[guest]
    move = move_from(vm)
    load_average = os.getloadavg()[0]
    probe.reset()
    started = time.monotonic()
    outcome = door.migrate(move, vm, lambda progress: None)
    wall_s = time.monotonic() - started
    time.sleep(SETTLE_S)
    view = probe.report()[guest]
    with lab.control(guest) as control:
        verdict = control.verify()
    connection = lab.connection(move.target if outcome.status == "moved" else move.source)
    try:
        qemu, libvirt = _version(connection.getVersion()), _version(connection.getLibVersion())
        kind = parse_domain(connection.lookupByName(guest).XMLDesc(0), place=move.target).kind
    finally:
        connection.close()
    pages_s = (after["pages"] - before["pages"]) / ((after["up_ns"] - before["up_ns"]) / 1e9)
    return Observation(
        vm=vm,
        achieved_rate_mib_s=round(pages_s * PAGE_BYTES / MIB, 1),
        outcome=outcome,
        wall_s=round(wall_s, 3),
        view=view,
        verdict=verdict,
        load_average=round(load_average, 2),
        kind=kind,
        qemu=qemu,
        libvirt=libvirt,
    )


def _one(lab: Lab, door: LibvirtKvm, probe: Probe, number: int, case: Case) -> Row:
    for host in lab.state.hosts:
        lab.line(host, rate_mbit_s=case.link_mbit_s, rtt_ms=case.rtt_ms)

    def move_from(vm: Vm) -> Move:
        others = [host for host in lab.state.hosts if host != vm.host]
        return Move(
            id=f"case-{number}",
            vm=vm.name,
            source=vm.host,
            target=others[number % len(others)],
            reason="recorded",
            max_downtime_ms=case.max_downtime_ms,
            bandwidth_mbit_s=case.bandwidth_mbit_s,
        )

    orders = [f"dirty {case.working_set_mib} {case.dirty_rate_mib_s}"]
    seen = observe(lab, door, probe, case.guest, move_from, orders)
    member = next(guest for guest in lab.state.topology.guests if guest.name == case.guest)
    outcome, view = seen.outcome, seen.view
    return Row(
        case=number,
        memory_mib=seen.vm.memory_mib,
        memory_used_mib=_rounded(seen.vm.memory_used_mib),
        working_set_mib=case.working_set_mib,
        dirty_rate_mib_s=case.dirty_rate_mib_s,
        achieved_rate_mib_s=seen.achieved_rate_mib_s,
        disk_write_kib_s=member.disk_write_kib_s,
        link_mbit_s=case.link_mbit_s,
        rtt_ms=case.rtt_ms,
        max_downtime_ms=case.max_downtime_ms,
        bandwidth_mbit_s=case.bandwidth_mbit_s,
        status=outcome.status,
        total_time_s=_rounded(outcome.total_time_s, 3),
        downtime_ms=outcome.downtime_ms,
        tcp_gap_ms=view.tcp_gap_ms,
        udp_gap_ms=view.udp_gap_ms,
        sent_mib=_rounded(outcome.sent_mib),
        rounds=outcome.rounds,
        lost=view.lost,
        repeated=view.repeated,
        udp_lost=view.udp_lost,
        broken=view.broken,
        bad_pages=seen.verdict.bad_pages,
        bad_blocks=seen.verdict.bad_blocks,
        wall_s=seen.wall_s,
        load_average=seen.load_average,
        cores=os.cpu_count() or 1,
        accelerator=seen.kind,
        qemu=seen.qemu,
        libvirt=seen.libvirt,
        kernel=platform.release(),
        recorded_at=_now().isoformat(timespec="seconds"),
    )


def _version(number: int) -> str:
    """Spell a version as libvirt encodes it: ``1000000 * major + 1000 * minor + release``."""
    return f"{number // 1_000_000}.{number // 1000 % 1000}.{number % 1000}"


def _rounded(value: float | None, digits: int = 1) -> float | None:
    return None if value is None else round(value, digits)


def readme(rows: Sequence[Row]) -> str:
    """Compose the text that goes with the recording: origin, columns, units."""
    table = "\n".join(f"| `{name}` | {unit or '-'} | {meaning} |" for name, unit, meaning in _columns())
    gaps, loads = sorted(row.tcp_gap_ms for row in rows), sorted(row.load_average for row in rows)
    return f"""# Migrations measured in the lab

Recorded by `python -m executor.record` (root, Debian or Ubuntu) on real QEMU and libvirt: one guest at a time moves
between hosts of a lab on one machine while a client holds a TCP connection to it and counts its UDP packets.
Running the command again with this folder as argument replaces these files.

- Recorded on {rows[0].recorded_at[:10]} with QEMU {rows[0].qemu} (accelerator `{rows[0].accelerator}`) and libvirt
  {rows[0].libvirt} on Linux {rows[0].kernel}.
- {rows[0].cores} cores shared by all hosts, guests and the client; load average {loads[0]:g} to {loads[-1]:g}. Where it
  exceeds the cores, times are those of a busy machine.
- {len(rows)} migrations; longest silence seen by the TCP client {gaps[0]:g} to {gaps[-1]:g} ms, median
  {statistics.median(gaps):g} ms.
- Connections broken: {sum(row.broken for row in rows)}; sequence numbers lost: {sum(row.lost for row in rows)}; corrupt
  pages: {sum(row.bad_pages for row in rows)}.

- `inventory.json`: the lab as collected over libvirt just before (format of `drsim.formats`).
- `migrations.csv`: one row a migration.

| column | unit | meaning |
|---|---|---|
{table}
"""


def _columns() -> list[tuple[str, str, str]]:
    hints = get_type_hints(Row, include_extras=True)
    abouts = {name: next(note for note in hint.__metadata__ if isinstance(note, About)) for name, hint in hints.items()}
    return [(name, about.unit, about.meaning) for name, about in abouts.items()]


def main(out: Path) -> None:
    """Bring the default lab up, record the default cases and take the lab down."""

    def tell(row: Row) -> None:
        sys.stdout.write(f"{row}\n")

    lab = Lab.up(TOPOLOGY)
    try:
        record(lab, CASES, out, on_row=tell)
    finally:
        lab.down()


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "data/lab"))
