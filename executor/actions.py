"""A plan as the calls that carrying it out would make: pure, printable, comparable."""

from __future__ import annotations

from dataclasses import dataclass

from drsim.plan import Move, Plan
from drsim.transfer import Transfer


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """One migration that would be asked of the hypervisor.

    Parameters
    ----------
    wave : int
        Its wave; the next wave begins when all of this one have ended.
    move_id, vm, source, target : str
        What moves.
    uuid : str or None
        UUID of the guest.
    connect, peer : str or None
        libvirt URI of the source for the controller, and of the target for the source.
    transfer : Transfer
        How it travels.
    max_downtime_ms : float
        Downtime limit given to the hypervisor, ms.
    bandwidth_mbit_s : float or None
        Bandwidth cap.
    copy_disks : tuple of str
        Disks copied along.
    landings : tuple of str
        Disks that land elsewhere: ``vda at PATH``.
    first : tuple of str
        What is looked at just before; any of it amiss, and the migration is not asked for.
    """

    wave: int
    move_id: str
    vm: str
    uuid: str | None
    source: str
    target: str
    connect: str | None
    peer: str | None
    transfer: Transfer
    max_downtime_ms: float
    bandwidth_mbit_s: float | None
    copy_disks: tuple[str, ...]
    landings: tuple[str, ...]
    first: tuple[str, ...]

    def __str__(self) -> str:
        extras = [*_settings(self.transfer), f"downtime at most {self.max_downtime_ms:g} ms"]
        if self.bandwidth_mbit_s is not None:
            extras.append(f"at most {self.bandwidth_mbit_s:g} Mbit/s")
        if self.copy_disks:
            extras.append(f"copying disks {', '.join(self.landings or self.copy_disks)}")
        if self.source == self.target:
            return f"wave {self.wave}: {self.move_id} move disks of '{self.vm}' on {self.source} ({', '.join(extras)})"
        return (
            f"wave {self.wave}: {self.move_id} migrate '{self.vm}' {self.source} -> {self.target} ({', '.join(extras)})"
        )


def actions(plan: Plan) -> tuple[Action, ...]:
    """Return what applying the plan would do, in order; there is no other kind of action than a migration."""
    return tuple(_action(move, plan) for wave in plan.waves for move in wave)


def _action(move: Move, plan: Plan) -> Action:
    vm = plan.inventory.vm_by_name[move.vm]
    source, target = (plan.inventory.host_by_name[name] for name in (move.source, move.target))
    networks = sorted({nic.network for nic in vm.nics})
    stores = sorted({disk.datastore for disk in vm.disks if disk.name not in move.copy_disks})
    first = [
        f"'{vm.name}' runs on {source.name} and nowhere else",
        *(
            ()
            if move.storage_only
            else (f"{target.name} is up and has {vm.memory_mib} MiB and {vm.vcpus} vCPUs to spare",)
        ),
        *(f"{target.name} sees datastore {store}" for store in sorted({each.datastore for each in move.landings})),
        *(f"{target.name} has network {name}" for name in networks),
        *(f"{target.name} sees datastore {name}" for name in stores),
    ]
    return Action(
        wave=move.wave,
        move_id=move.id,
        vm=vm.name,
        uuid=vm.uuid,
        source=source.name,
        target=target.name,
        connect=source.uri,
        peer=target.peer_uri or target.uri,
        transfer=move.transfer,
        max_downtime_ms=move.max_downtime_ms,
        bandwidth_mbit_s=move.bandwidth_mbit_s,
        copy_disks=move.copy_disks,
        landings=tuple(f"{landing.disk} to {landing.path}" for landing in move.landings),
        first=tuple(first),
    )


def _settings(transfer: Transfer) -> list[str]:
    """Name the mode, and every setting that is not what it is by default."""
    said = [f"mode {transfer.mode}"]
    if transfer.mode == "hybrid":
        said[0] += f" after {transfer.precopy_passes} passes"
    if transfer.transport != "peer_to_peer":
        said.append(transfer.transport)
    if transfer.tls:
        said.append("TLS")
    if transfer.auto_converge:
        said.append("auto-converge")
    if transfer.parallel_connections:
        said.append(f"multifd with {transfer.parallel_connections} streams")
    if transfer.compression != "none":
        said.append(transfer.compression)
    if transfer.synchronous_writes:
        said.append("synchronous disk writes")
    if transfer.disk_layers != "all":
        said.append("top layers of disks only")
    if transfer.replace_leftovers:
        said.append("replacing leftovers")
    if transfer.timeout_s is not None:
        said.append(f"given up after {transfer.timeout_s:g} s")
    return said
