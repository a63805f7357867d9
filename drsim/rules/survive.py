"""Guests that outlive their hosts."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, MinLen

from drsim.inventory import Host, Inventory, Name, Vm
from drsim.rules.restart import Ruins
from drsim.rules.select import Area, Strength, area_of, running
from drsim.units import About


@dataclass(frozen=True, slots=True, kw_only=True)
class Survive:
    """Whatever so many hosts, racks or sites fail at once, the guests on them can start again on the rest.

    Each such loss is played: every guest is given a host that has room, its networks, its disks and no rule against it;
    headroom may be used up, for that is what it is kept for. No other guest is moved. Holds at the end of a plan.
    """

    kind: Literal["survive"] = "survive"
    name: Annotated[Name, About("Name of the rule.")]
    vms: Annotated[tuple[str, ...], MinLen(1), About("Guests: names, tag:LABEL, or * for all.")] = ("*",)
    lost: Annotated[int, Ge(1), About("How many fail at once.")] = 1
    per: Annotated[Area, About("What fails: host, rack or site.")] = "host"
    strength: Annotated[Strength, About("must or should.")] = "must"
    price: Annotated[float, Gt(0), About("What a breach of a 'should' costs, per guest.")] = 1.0

    def area(self, host: Host) -> tuple[str, ...]:
        """Return what names the host, rack or site that a host is part of."""
        return area_of(host, self.per)

    def losses(self, inventory: Inventory, where: Mapping[str, str]) -> list[tuple[str, ...]]:
        """List the losses that matter, each as the hosts that fail: so many areas with guests of the rule."""
        areas: dict[tuple[str, ...], list[str]] = {}
        for host in inventory.hosts:
            areas.setdefault(self.area(host), []).append(host.name)
        used = {self.area(inventory.host_by_name[where[vm.name]]) for vm in running(self.vms, inventory)}
        at_once = min(self.lost, len(used))
        return [
            tuple(itertools.chain.from_iterable(areas[area] for area in some))
            for some in itertools.combinations(sorted(used), at_once)
            if some
        ]

    def breakers(self, inventory: Inventory, where: Mapping[str, str], beside: Sequence[Any] = ()) -> list[Vm]:
        """List the guests that find no host after some loss; `beside` are the rules that must hold then, too."""
        ruins = Ruins(inventory, where, beside)
        named = {vm.name for vm in running(self.vms, inventory)}
        left: dict[str, Vm] = {}
        for hosts in self.losses(inventory, where):
            left |= {vm.name: vm for vm in ruins.homeless(hosts, named)}
        return [vm for vm in inventory.vms if vm.name in left]

    @property
    def breach(self) -> str:
        """What a guest that breaks it is."""
        return f"no host left to start on when {self.lost} {self.per}{'s fail' if self.lost > 1 else ' fails'}"
