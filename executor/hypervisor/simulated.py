"""The protocol played without any hypervisor: an inventory that changes as migrations, played by the model, end."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path as FilePath
from typing import TypeVar

import numpy as np

from drsim.disk_lines import HOME, DiskLines
from drsim.errors import HypervisorError
from drsim.formats import InventoryText, read_inventory, write_text
from drsim.inventory import Disk, Host, Inventory, PageClass, Vm
from drsim.migration import DEFAULT, Course, DiskCopy, Migration, Options, Parameters
from drsim.plan import Move
from drsim.topology import Topology
from drsim.transfer import contradictions
from drsim.units import MIB_S_PER_MBIT_S
from executor.hypervisor.base import HostFacts, Line, Outcome, ProgressListener, Sighting, Whereabouts, judge
from executor.hypervisor.faults import (
    Break,
    ControllerKilled,
    Elsewhere,
    Fault,
    Hang,
    HostBecomes,
    Kill,
    MemoryTaken,
    Refuse,
    Unclear,
)
from executor.hypervisor.world import Job, World
from executor.refusal import Refusal

_GuestFault = TypeVar("_GuestFault", Refuse, Break, Hang, Unclear, Kill)


class SimulatedHypervisor:
    """Hosts that exist in an inventory only.

    Migrations share the lines that they cross max-min fairly. What happens differs from what was predicted, as it does
    in reality: per move a generator seeded with `seed` and the move draws log-normal factors with standard deviation
    `noise` for the rate of the line (never above what the line carries), for the fixed times, and, with twice that,
    for the guest's dirty rates.

    Parameters
    ----------
    source : path or Inventory
        Inventory file, rewritten whole after each migration and read again when somebody else changed it, so that runs
        carry on across processes; or an inventory, kept in memory. A migration under way when its process dies leaves
        the guest on its source.
    speed : float or None
        Simulated seconds per second; None or 0: as fast as it goes.
    seed : int
        Same seed and moves: same outcomes.
    noise : float
        0: migrations take exactly what the simulation predicts.
    faults : sequence of Fault
        What goes wrong.
    parameters : Parameters
        Constants of the migration model.
    settle_s : float
        Real time that an idle world waits so that migrations asked for together begin together, seconds.
    """

    def __init__(
        self,
        source: str | FilePath | Inventory,
        *,
        speed: float | None = None,
        seed: int = 0,
        noise: float = 0.05,
        faults: Sequence[Fault] = (),
        parameters: Parameters = DEFAULT,
        settle_s: float = 0.01,
    ) -> None:
        self._file = None if isinstance(source, Inventory) else FilePath(source)
        self._known = source if isinstance(source, Inventory) else read_inventory(str(source))
        self._stamp = self._stat()
        self._text = InventoryText()
        self.name = "simulated" if self._file is None else f"simulated:{self._file.resolve()}"
        self._seed, self._noise, self._parameters = seed, noise, parameters
        self._faults = list(faults)
        self._world = World(speed, settle_s)
        self._completed = 0
        self._taken_mib: dict[str, float] = {}
        self._unclear: dict[str, Unclear] = {}

    # The protocol

    def inventory(self) -> Inventory:
        """Return the estate as it is now."""
        with self._world.lock:
            if self._file is not None and self._stat() != self._stamp:
                self._stamp = self._stat()
                self._known = read_inventory(str(self._file))
            return self._known

    def locate(self, vm: Vm) -> Whereabouts:
        """Look for a guest on all hosts; those that are down do not answer."""
        with self._world.lock:
            now = self.inventory()
            mute = tuple(host.name for host in now.hosts if host.state in ("down", "unknown"))
            if (unclear := self._unclear.get(vm.name)) is not None:
                return Whereabouts(
                    vm=vm.name, sightings=unclear.sightings, unreachable=tuple(sorted({*mute, *unclear.unreachable}))
                )
            found = next((other for other in now.vms if _same(other, vm)), None)
            if found is None:
                return Whereabouts(vm=vm.name, unreachable=mute)
            job = next((job for job in self._world.jobs.values() if job.move.vm == found.name), None)
            disks = tuple((disk.name, disk.path or "") for disk in found.disks)
            seen = [Sighting(host=found.host, state=found.state, disks=disks)]
            if job is not None and job.move.storage_only:
                seen = [replace(seen[0], copying=job.move.copy_disks)]
            elif job is not None:
                over = job.switched_over
                seen = [
                    Sighting(host=job.move.source, state="paused" if over else "running", job=True),
                    Sighting(host=job.move.target, state="running" if over else "incoming", job=True),
                ]
            return Whereabouts(vm=vm.name, sightings=tuple(s for s in seen if s.host not in mute), unreachable=mute)

    def objections(self, move: Move, vm: Vm) -> tuple[Refusal, ...]:
        """Refuse what no hypervisor could do; see `Hypervisor.objections`."""
        wrong = contradictions(move.transfer, copies_disks=bool(move.copy_disks))
        return tuple(Refusal(kind="transfer", text=f"Move {move.id}:", remedy=f"{text}.") for text in wrong)

    def line(self, source: str, target: str) -> Line:
        """Say what the inventory has between two hosts now; see `Hypervisor.line`."""
        with self._world.lock:
            path = Topology(self.inventory()).path(source, target)
        if path is None:
            return Line(a=source, b=target, note="no links join them")
        return Line(a=source, b=target, rtt_ms=path.rtt_ms, rate_mbit_s=path.bandwidth_mbit_s)

    def facts(self, host: str) -> HostFacts:
        """Say what a host holds now."""
        with self._world.lock:
            now = self.inventory()
            found = now.host_by_name.get(host)
            if found is None or found.state in ("down", "unknown"):
                note = f"'{host}' is not in the inventory any more" if found is None else f"'{host}' does not answer"
                return HostFacts(host=host, state="unknown", note=note)
            guests = [vm for vm in now.vms if vm.host == host and vm.state != "stopped"]
            memory = float(sum(vm.memory_mib for vm in guests))
            incoming = sum(
                min(job.migration.sent_mib, now.vm_by_name[job.move.vm].memory_mib)
                for job in self._world.jobs.values()
                if job.move.target == host and not job.move.storage_only and job.move.vm in now.vm_by_name
            )
            taken = self._taken_mib.get(host, 0.0)
            return HostFacts(
                host=host,
                state=found.state,
                memory_free_mib=max(0.0, found.guest_memory_mib - memory - incoming - taken),
                cpu_model=found.cpu_model,
                arch=found.arch,
                networks=tuple(network.name for network in now.networks if host in network.hosts),
                datastores={
                    store.name: None if store.capacity_mib is None else store.capacity_mib - (store.used_mib or 0.0)
                    for store in now.datastores
                    if host in store.hosts
                },
                guests_memory_mib=memory,
                guests_vcpus=float(sum(vm.vcpus for vm in guests)),
            )

    def migrate(self, move: Move, vm: Vm, on_progress: ProgressListener) -> Outcome:
        """Play a migration to its end."""
        kill = self._order(Kill, vm.name)
        if kill is not None and kill.when == "before":
            raise ControllerKilled(move.id)
        refusal = self._order(Refuse, vm.name)
        with self._world.lock:
            now = self.inventory()
            text = refusal.text if refusal is not None else _unfit(move, vm, now)
            job = None if text else self._begin(move, vm, now)
        if job is None:
            return self._look(move, vm, None, text)

        def tell(progress: object) -> None:
            if kill is not None and kill.when == "under_way" and job.migration.sent_mib > 0.0:
                raise ControllerKilled(move.id)
            on_progress(job.progress())

        self._world.follow(job, tell)
        if kill is not None:
            raise ControllerKilled(move.id)
        return self._look(move, vm, job, job.text)

    def watch(self, move: Move, vm: Vm, on_progress: ProgressListener) -> Outcome:
        """Follow a migration of this process whose caller has died."""
        with self._world.lock:
            job = self._world.jobs.get(move.id)
        if job is not None:
            self._world.follow(job, on_progress)
        return self._look(move, vm, job, "" if job is None else job.text)

    def recover(self, move: Move, vm: Vm, on_progress: ProgressListener) -> Outcome:
        """Look again; a simulated post-copy has no halves to join. See `Hypervisor.recover`."""
        return self.watch(move, vm, on_progress)

    def abort(self, move: Move, vm: Vm) -> None:
        """Stop a migration that has not switched over."""
        self._world.abort(move.id)

    def close(self) -> None:
        """Do nothing: nothing is held."""

    # For those who play with it

    def mend(self, vm: str, host: str) -> None:
        """Clear an `Unclear` fault up as a person would: the guest runs on `host`, and only there."""
        with self._world.lock:
            self._unclear.pop(vm, None)
            now = self.inventory()
            self._write(replace(now, vms=tuple(replace(v, host=host) if v.name == vm else v for v in now.vms)))

    def elapsed_s(self) -> float:
        """Return the simulated time, seconds since this object was made."""
        with self._world.lock:
            return self._world.now_s

    # Behind it

    def _order(self, kind: type[_GuestFault], vm: str) -> _GuestFault | None:
        """Take an ordered fault of this kind for this guest off the list."""
        with self._world.lock:
            for fault in self._faults:
                if isinstance(fault, kind) and fault.vm == vm:
                    self._faults.remove(fault)
                    return fault
        return None

    def _begin(self, move: Move, vm: Vm, now: Inventory) -> Job:
        topology, p = Topology(now), self._parameters
        disks = DiskLines(now, (move,), p.copy_mib_s)
        path = HOME if move.storage_only else topology.path(move.source, move.target)
        if path is None:
            raise HypervisorError(f"No links join {move.source} and {move.target}; add one to the inventory.")
        path = disks.over(path, move)
        rate, times, dirty = self._factors(move)
        guest = replace(
            now.vm_by_name[vm.name],
            dirty=tuple(
                PageClass(size_mib=c.size_mib, dirty_rate_mib_s=c.dirty_rate_mib_s * dirty)
                for c in now.vm_by_name[vm.name].dirty
            ),
        )
        noisy = replace(
            p,
            prepare_s=p.prepare_s * times,
            confirm_s=p.confirm_s * times,
            switchover_ms=p.switchover_ms * times,
            copy_s=p.copy_s * times,
            copy_mib_s=p.copy_mib_s * rate,
        )
        migration: Course
        if move.storage_only:
            options = Options.of(move.transfer)
            cap = move.bandwidth_mbit_s
            migration = DiskCopy(guest, move.copy_disks, bandwidth_mbit_s=cap, parameters=noisy, options=options)
        else:
            migration = Migration(
                guest,
                path,
                max_downtime_ms=move.aim_downtime_ms,
                bandwidth_mbit_s=move.bandwidth_mbit_s,
                copy_disks=move.copy_disks,
                parameters=noisy,
                line_mbit_s=path.bandwidth_mbit_s * rate,
                options=Options.of(move.transfer, bandwidth_mbit_s=move.bandwidth_mbit_s),
            )
        broken, hang = self._order(Break, vm.name), self._order(Hang, vm.name)
        trap: tuple[float, str | None] | None = None
        if broken is not None:
            trap = (broken.fraction, broken.text)
        elif hang is not None:
            trap = (hang.fraction, None)
        job = Job(move, migration, path, self._ended, trap)
        network = {edge: topology.capacity_mbit_s[edge] * MIB_S_PER_MBIT_S * p.goodput for edge in path.edges}
        self._world.begin(job, network | disks.capacity_mib_s)
        return job

    def _factors(self, move: Move) -> tuple[float, float, float]:
        generator = np.random.default_rng([self._seed, zlib.crc32(f"{move.id}/{move.vm}/{move.target}".encode())])
        rate, times, dirty = np.exp(self._noise * generator.standard_normal(3) * (1.0, 1.0, 2.0)).tolist()
        return min(1.0, rate), times, dirty

    def _look(self, move: Move, vm: Vm, job: Job | None, text: str) -> Outcome:
        verdict = judge(move, self.locate(vm))
        if verdict.status == "moved" and job is not None:
            migration = job.migration
            return Outcome(
                status="moved",
                total_time_s=migration.elapsed_s,
                downtime_ms=migration.downtime_s * 1e3,
                sent_mib=migration.sent_mib,
                rounds=migration.passes + 1,
            )
        if verdict.status == "moved":
            return Outcome(status="moved", reason=verdict.text)
        if verdict.status == "stayed":
            return Outcome(status="stayed", reason=text or verdict.text)
        return Outcome(status="unknown", reason=verdict.text)

    def _ended(self, job: Job) -> None:
        """Record the end of a migration; called with the world locked."""
        unclear = self._order(Unclear, job.move.vm)
        if unclear is not None:
            self._unclear[job.move.vm] = unclear
        if job.ending != "completed":
            return
        self._completed += 1
        now = _after(self.inventory(), job.move)
        for fault in list(self._faults):
            if getattr(fault, "after_moves", None) == self._completed:
                self._faults.remove(fault)
                now = self._strike(fault, now)
        self._write(now)

    def _strike(self, fault: Fault, now: Inventory) -> Inventory:
        match fault:
            case HostBecomes():
                hosts = tuple(replace(h, state=fault.state) if h.name == fault.host else h for h in now.hosts)
                return replace(now, hosts=hosts)
            case Elsewhere(host=None):
                return replace(now, vms=tuple(vm for vm in now.vms if vm.name != fault.vm))
            case Elsewhere(host=str(host)):
                return replace(now, vms=tuple(replace(v, host=host) if v.name == fault.vm else v for v in now.vms))
            case MemoryTaken():
                self._taken_mib[fault.host] = self._taken_mib.get(fault.host, 0.0) + fault.memory_mib
        return now

    def _write(self, now: Inventory) -> None:
        """Make this the state, whole or not at all."""
        if self._file is not None:
            write_text(self._text.of(now), self._file)
        self._known = now
        self._stamp = self._stat()

    def _stat(self) -> tuple[int, int, int]:
        if self._file is None:
            return (0, 0, 0)
        try:
            stat = self._file.stat()
        except OSError as error:
            raise HypervisorError(f"{self._file}: the simulated estate cannot be read: {error.strerror}.") from None
        return (stat.st_ino, stat.st_size, stat.st_mtime_ns)


def _same(one: Vm, other: Vm) -> bool:
    """Whether two records are of one guest: by UUID if both have one, else by name."""
    if one.uuid is not None and other.uuid is not None:
        return one.uuid == other.uuid
    return one.name == other.name


def _unfit(move: Move, vm: Vm, now: Inventory) -> str:
    """Say why a hypervisor would refuse the migration at once; empty if it would not."""
    found, target = now.vm_by_name.get(vm.name), now.host_by_name.get(move.target)
    if found is None or found.host != move.source:
        return f"Domain not found: no domain with matching name '{vm.name}' on {move.source}"
    if found.state != "running":
        return f"Requested operation is not valid: domain '{vm.name}' is {found.state}"
    if target is None or target.state in ("down", "unknown"):
        return f"unable to connect to server at '{move.target}': No route to host"
    return ""


def _after(now: Inventory, move: Move) -> Inventory:
    """Return the inventory after a completed migration, the measured load of both hosts included."""
    guest = now.vm_by_name.get(move.vm)
    if guest is None:
        return now
    disks = tuple(_landed(disk, move, now) if disk.name in move.copy_disks else disk for disk in guest.disks)
    moved = replace(guest, host=move.target, disks=disks)

    def shifted(host: Host) -> Host:
        sign = (host.name == move.target) - (host.name == move.source)
        memory, cpu = host.memory_used_mib, host.cpu_used_cores
        return replace(
            host,
            memory_used_mib=None if memory is None else max(0.0, memory + sign * guest.data_mib),
            cpu_used_cores=None if cpu is None else max(0.0, cpu + sign * guest.cpu_cores),
        )

    return replace(
        now,
        hosts=tuple(shifted(h) if h.name in (move.source, move.target) else h for h in now.hosts),
        vms=tuple(moved if vm.name == move.vm else vm for vm in now.vms),
    )


def _landed(disk: Disk, move: Move, now: Inventory) -> Disk:
    """Put a copied disk where its target keeps such disks: a datastore of the same kind if there is one."""
    kinds = {store.name: store.kind for store in now.datastores}
    landing = next((each for each in move.landings if each.disk == disk.name), None)
    if landing is not None:
        return replace(disk, datastore=landing.datastore, path=landing.path)
    stores = [store for store in now.datastores if move.target in store.hosts]
    stores.sort(key=lambda store: store.kind != kinds.get(disk.datastore))
    return replace(disk, datastore=stores[0].name) if stores else disk
