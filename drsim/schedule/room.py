"""What every host holds at an instant, guests under way counted on both ends."""

from __future__ import annotations

from collections import Counter, defaultdict

from drsim import check
from drsim.inventory import Disk, Inventory
from drsim.placement import Placement
from drsim.plan import Landing
from drsim.policy import Apart, Policy, select_vms
from drsim.resources import needs, present
from drsim.storage import Stores

NOTHING: tuple[tuple[Disk, ...], tuple[str, ...]] = ((), ())
"""No disks, and nowhere."""


class Room:
    """Loads and places while a plan is carried out.

    Parameters
    ----------
    inventory, policy : Inventory, Policy
        Free of problems.
    """

    def __init__(self, inventory: Inventory, policy: Policy) -> None:
        self._stores = Stores(inventory, policy)
        self._landing: dict[tuple[str, str], tuple[tuple[Disk, ...], tuple[str, ...]]] = {}
        self.place = {vm.name: vm.host for vm in inventory.vms}
        self._vms = inventory.vm_by_name
        self._kinds = present(inventory, policy.rules)
        now = check.loads(inventory, Placement.of(inventory), self._kinds)
        self._loads = {host: list(load) for host, load in now.items()}
        self._limits = {host.name: check.rooms(host, policy, self._kinds) for host in inventory.hosts}
        self._hosts = inventory.host_by_name
        self._groups: dict[str, list[Apart]] = defaultdict(list)
        self._in: dict[str, Counter[tuple[str, ...]]] = {}
        for rule in policy.rules:
            if rule.strength == "must" and isinstance(rule, Apart):
                names = [vm.name for vm in select_vms(rule.vms, inventory) if vm.state != "stopped"]
                self._in[rule.name] = Counter(rule.area(self._hosts[self.place[name]]) for name in names)
                for name in names:
                    self._groups[name].append(rule)

    def needs(self, vm: str) -> tuple[float, ...]:
        """Return what a guest needs of each resource (`drsim.resources`)."""
        return needs(self._vms[vm], self._kinds)

    def lack(self, vm: str, host: str) -> tuple[float, ...]:
        """Say how much of each resource a host lacks for a guest to come; below or at 0 nothing."""
        return tuple(
            load + need - limit
            for load, need, limit in zip(self._loads[host], self.needs(vm), self._limits[host], strict=True)
        )

    def refusal(self, vm: str, host: str) -> str | None:
        """Say what keeps a guest from going to a host now; None if nothing does."""
        for lack, kind in zip(self.lack(vm, host), self._kinds, strict=True):
            if lack > check.SLACK:
                return f"{host} lacks {lack:.5g} {kind.unit}"
        if self._stores.landing(self._vms[vm], self._hosts[host]) is None:
            return self._stores.shortage(self._vms[vm], self._hosts[host])
        return self.kept_off(vm, host)

    def travelling(self, vm: str, host: str) -> tuple[tuple[str, ...], tuple[Landing, ...]]:
        """Return the disks that a guest under way takes along, and where they land if not at the path that they had."""
        disks, where = self._landing.get((vm, host), NOTHING)
        return tuple(disk.name for disk in disks), self._stores.landings(self._vms[vm], disks, where)

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
        guest, node = self._vms[vm], self._hosts[host]
        disks, where = self._stores.travelling(guest, node), self._stores.landing(guest, node) or ()
        self._stores.enter(disks, where)
        self._landing[vm, host] = disks, where

    def withdraw(self, vm: str, host: str) -> None:
        """Let a guest not arrive after all."""
        self._add(vm, host, self.place[vm], -1)
        self._stores.enter(*self._landing.pop((vm, host), NOTHING), -1)

    def leave(self, vm: str, source: str, target: str) -> None:
        """Let a guest be gone from its source."""
        self._add(vm, source, target, -1)
        self._stores.leave(self._vms[vm], *self._landing.pop((vm, target), NOTHING))
        self.place[vm] = target

    def _add(self, vm: str, host: str, other: str, sign: int) -> None:
        """Add a guest to a host or take it away; in an area that its other host is part of too it counts once."""
        for index, need in enumerate(self.needs(vm)):
            self._loads[host][index] += sign * need
        for rule in self._groups[vm]:
            area = rule.area(self._hosts[host])
            if area != rule.area(self._hosts[other]):
                self._in[rule.name][area] += sign
