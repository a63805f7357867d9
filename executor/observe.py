"""One migration in the lab, seen from all sides: by the executor, by a client, and by the guest itself."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from drsim.inventory import Vm
from drsim.plan import Move
from drsim.units import MIB, PAGE_BYTES
from executor.hypervisor.base import Outcome
from executor.hypervisor.libvirt_domain import parse_domain
from executor.hypervisor.libvirt_kvm import LibvirtKvm
from executor.lab import monitor
from executor.lab.guest import Verdict
from executor.lab.lab import Lab
from executor.lab.probe import GuestView, Probe

SETTLE_S = 1.5
"""Time for a guest to get into its stride before, and for the last packets to come in after a migration, seconds."""


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
    qemu_downtime_ms : float or None
        Standstill as QEMU told its libvirtd; None if the lab keeps no log of that.
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
    qemu_downtime_ms: float | None
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
    logged = lab.state.topology.monitor_log
    if logged:
        lab.run(move.source, monitor.FORGET)
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
        qemu_downtime_ms=monitor.qemu_downtime_ms(lab.run(move.source, monitor.READ)) if logged else None,
        kind=kind,
        qemu=qemu,
        libvirt=libvirt,
    )


def _version(number: int) -> str:
    """Spell a version as libvirt encodes it: ``1000000 * major + 1000 * minor + release``."""
    return f"{number // 1_000_000}.{number // 1000 % 1000}.{number % 1000}"
