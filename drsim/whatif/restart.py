"""Where guests of a failed host can be started again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from drsim import check
from drsim.inventory import Host, Inventory, Vm
from drsim.policy import Policy
from drsim.topology import Topology

ROUNDING = 1e-6
"""What sums of floats may be off by, cores or MiB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Restart:
    """Outcome of starting guests again.

    Parameters
    ----------
    inventory : Inventory
        As it is then; guests that found no place are stopped on the host that failed.
    placed : mapping of str to str
        Guest to the host that it is started on.
    left : mapping of str to str
        Guest to why no host takes it.
    """

    inventory: Inventory
    placed: Mapping[str, str]
    left: Mapping[str, str]


def restart(before: Inventory, after: Inventory, policy: Policy) -> Restart:
    """Start the guests that a loss has stopped on the hosts that are left, without moving any other guest.

    A host takes a guest if it has the networks, the CPU architecture and model, every disk of the guest, the memory,
    the vCPUs and the CPU within the limits, and if no rule that must hold is broken by it. Guests go largest first,
    once each to the emptiest host and once each to the fullest that takes it (best-fit decreasing); the better of the
    two counts. This is a heuristic: a guest may be left over that would fit if other guests moved.

    Parameters
    ----------
    before, after : Inventory
        Without and with the loss.
    policy : Policy
        Rules and limits.

    Returns
    -------
    Restart
        What runs where afterwards, and what does not.
    """
    running = {vm.name: vm for vm in before.vms if vm.state != "stopped"}
    lost = [
        replace(vm, state=running[vm.name].state) for vm in after.vms if vm.state == "stopped" and vm.name in running
    ]
    if not lost:
        return Restart(inventory=after, placed={}, left={})
    alive = {vm.name: vm for vm in lost}
    shared, rules = check.counted(replace(after, vms=tuple(alive.get(vm.name, vm) for vm in after.vms)), policy)
    if rules is not policy:  # guests count with what shares entitle them to, those that start again, too
        stopped = tuple(replace(vm, state="stopped") if vm.name in alive else vm for vm in shared.vms)
        result = restart(before, replace(after, vms=stopped), rules)
        vms = tuple(replace(after.vm_by_name[vm.name], host=vm.host, state=vm.state) for vm in result.inventory.vms)
        return replace(result, inventory=replace(after, vms=vms))
    orders: tuple[Callable[[float], float], ...] = (lambda load: load, lambda load: -load)
    tries = [_place(lost, before, after, policy, prefer) for prefer in orders]
    return min(tries, key=lambda result: len(result.left))


def _place(
    lost: Sequence[Vm], before: Inventory, after: Inventory, policy: Policy, prefer: Callable[[float], float]
) -> Restart:
    names = {vm.name for vm in lost}
    alive = _as_if_alive(lost, before, after)
    # Guests that are not started yet are nowhere: rules about them begin to matter when they run.
    now = replace(after, vms=tuple(vm for vm in after.vms if vm.name not in names))
    broken = set(check.violations(now, policy))
    rooms = {host.name: _Room.of(host, now, policy) for host in after.hosts if host.takes_guests}
    topology = Topology(alive)
    placed: dict[str, str] = {}
    left: dict[str, str] = {}
    largest = max((room.memory_mib for room in rooms.values()), default=1.0) or 1.0
    cores = max((room.usual_cores for room in rooms.values()), default=1.0) or 1.0
    by_size = sorted(lost, key=lambda vm: max(vm.memory_mib / largest, vm.cpu_cores / cores), reverse=True)
    for vm in by_size:
        reasons: dict[str, str] = {}
        fitting = []
        for name, room in rooms.items():
            if reason := _unfit(vm, room, alive, policy, topology):
                reasons[name] = reason
            else:
                fitting.append(name)
        for name in sorted(fitting, key=lambda n: prefer(rooms[n].load)):
            there = replace(now, vms=(*now.vms, replace(vm, host=name)))
            if new := set(check.violations(there, policy)) - broken:
                reasons[name] = min(violation.text for violation in new)
                continue
            now, placed[vm.name] = there, name
            rooms[name] = rooms[name].with_guest(vm)
            break
        else:
            left[vm.name] = _why(reasons)
    by_name = {vm.name: vm for vm in now.vms}
    final = replace(after, vms=tuple(by_name.get(vm.name, vm) for vm in after.vms))
    return Restart(inventory=final, placed=placed, left=left)


def _as_if_alive(lost: Sequence[Vm], before: Inventory, after: Inventory) -> Inventory:
    """Return the inventory to ask whether a guest may run on a host: with the source down, the answer is no."""
    states = {host.name: host.state for host in before.hosts}
    guests = {vm.name: vm for vm in lost}
    return replace(
        after,
        hosts=tuple(
            replace(h, state=states[h.name]) if h.state == "down" and h.name in states else h for h in after.hosts
        ),
        vms=tuple(guests.get(vm.name, vm) for vm in after.vms),
    )


@dataclass(frozen=True, slots=True)
class _Room:
    """What a host has and what of it is taken."""

    host: Host
    memory_mib: float
    cores: float
    vcpus: float
    memory_taken_mib: float
    cores_taken: float
    vcpus_taken: float

    @classmethod
    def of(cls, host: Host, inventory: Inventory, policy: Policy) -> _Room:
        guests = [vm for vm in inventory.vms if vm.host == host.name and vm.state != "stopped"]
        limits = policy.limits
        return cls(
            host,
            host.guest_memory_mib * (1 - limits.memory_headroom),
            host.cores * (1 - limits.cpu_headroom),
            host.guest_vcpus,
            sum(vm.memory_mib for vm in guests),
            sum(vm.cpu_cores for vm in guests),
            sum(vm.vcpus for vm in guests),
        )

    @property
    def load(self) -> float:
        """The fuller of memory and CPU, as a share."""
        return max(self.memory_taken_mib / (self.memory_mib or 1.0), self.cores_taken / (self.usual_cores or 1.0))

    @property
    def usual_cores(self) -> float:
        """What CPU demand is measured by, even where there is no limit for it."""
        return min(self.cores, float(self.host.cores))

    def with_guest(self, vm: Vm) -> _Room:
        return replace(
            self,
            memory_taken_mib=self.memory_taken_mib + vm.memory_mib,
            cores_taken=self.cores_taken + vm.cpu_cores,
            vcpus_taken=self.vcpus_taken + vm.vcpus,
        )


def _unfit(vm: Vm, room: _Room, alive: Inventory, policy: Policy, topology: Topology) -> str | None:
    name = room.host.name
    for disk in vm.disks:
        store = alive.datastore_by_name.get(disk.datastore)
        if store is None or name not in store.hosts:
            return f"does not see {disk.datastore}, where its disk {disk.name} is"
    if reason := check.unmovable(alive, policy, vm, alive.host_by_name[name], topology):
        return reason
    for what, wanted, has, unit in (
        ("memory", vm.memory_mib, room.memory_mib - room.memory_taken_mib, "MiB"),
        ("CPU", vm.cpu_cores, room.cores - room.cores_taken, "cores"),
        ("vCPUs", vm.vcpus, room.vcpus - room.vcpus_taken, "vCPUs"),
    ):
        if wanted > has + ROUNDING:
            return f"{what}: {wanted:g} {unit} wanted, {max(0.0, has):g} free"
    return None


def _why(reasons: Mapping[str, str]) -> str:
    """Say why no host takes a guest: hosts with the same reason together, three reasons at most."""
    if not reasons:
        return "No host is left that takes guests."
    hosts: dict[str, list[str]] = {}
    for host, reason in reasons.items():
        hosts.setdefault(reason.rstrip("."), []).append(host)
    parts = [
        f"{', '.join(names[:3])}{f' and {len(names) - 3} more' if len(names) > 3 else ''}: {reason}"
        for reason, names in hosts.items()
    ]
    return "; ".join(parts[:3]) + (f"; and {len(parts) - 3} other reasons." if len(parts) > 3 else ".")
