"""What every host holds at an instant, guests under way counted on both ends."""

from __future__ import annotations

from collections import Counter, defaultdict

from drsim import check
from drsim.inventory import Inventory
from drsim.placement import Placement
from drsim.policy import Apart, Policy, select_vms

RESOURCES = ("MiB of memory", "vCPUs", "cores of CPU")


class Room:
    """Loads and places while a plan is carried out.

    Parameters
    ----------
    inventory, policy : Inventory, Policy
        Free of problems.
    """

    def __init__(self, inventory: Inventory, policy: Policy) -> None:
        self.place = {vm.name: vm.host for vm in inventory.vms}
        self._vms = inventory.vm_by_name
        self._loads = {host: list(load) for host, load in check.loads(inventory, Placement.of(inventory)).items()}
        self._limits = {host.name: check.rooms(host, policy) for host in inventory.hosts}
        self._hosts = inventory.host_by_name
        self._groups: dict[str, list[Apart]] = defaultdict(list)
        self._in: dict[str, Counter[tuple[str, ...]]] = {}
        for rule in policy.rules:
            if rule.strength == "must" and isinstance(rule, Apart):
                names = [vm.name for vm in select_vms(rule.vms, inventory) if vm.state != "stopped"]
                self._in[rule.name] = Counter(rule.area(self._hosts[self.place[name]]) for name in names)
                for name in names:
                    self._groups[name].append(rule)

    def needs(self, vm: str) -> tuple[float, float, float]:
        """Return what a guest needs of each of `RESOURCES`."""
        guest = self._vms[vm]
        return (guest.memory_mib, guest.vcpus, guest.cpu_cores)

    def lack(self, vm: str, host: str) -> tuple[float, ...]:
        """Say how much of each resource a host lacks for a guest to come; below or at 0 nothing."""
        return tuple(
            load + need - limit
            for load, need, limit in zip(self._loads[host], self.needs(vm), self._limits[host], strict=True)
        )

    def refusal(self, vm: str, host: str) -> str | None:
        """Say what keeps a guest from going to a host now; None if nothing does."""
        for lack, what in zip(self.lack(vm, host), RESOURCES, strict=True):
            if lack > check.SLACK:
                return f"{host} lacks {lack:.5g} {what}"
        return self.kept_off(vm, host)

    def kept_off(self, vm: str, host: str) -> str | None:
        """Say which rule keeps a guest from going to a host now; None if none does."""
        for rule in self._groups[vm]:
            area = rule.area(self._hosts[host])
            if area != rule.area(self._hosts[self.place[vm]]) and self._in[rule.name][area] >= rule.most:
                if (rule.per, rule.most) == ("host", 1):
                    return f"rule '{rule.name}' keeps it off {host}, where another of its guests is"
                return f"rule '{rule.name}' keeps it off {host}: {rule.most} of its guests share its {rule.per}"
        return None

    def enter(self, vm: str, host: str) -> None:
        """Let a guest arrive; it still counts where it comes from."""
        self._add(vm, host, self.place[vm], 1)

    def withdraw(self, vm: str, host: str) -> None:
        """Let a guest not arrive after all."""
        self._add(vm, host, self.place[vm], -1)

    def leave(self, vm: str, source: str, target: str) -> None:
        """Let a guest be gone from its source."""
        self._add(vm, source, target, -1)
        self.place[vm] = target

    def _add(self, vm: str, host: str, other: str, sign: int) -> None:
        """Add a guest to a host or take it away; in an area that its other host is part of too it counts once."""
        for index, need in enumerate(self.needs(vm)):
            self._loads[host][index] += sign * need
        for rule in self._groups[vm]:
            area = rule.area(self._hosts[host])
            if area != rule.area(self._hosts[other]):
                self._in[rule.name][area] += sign
