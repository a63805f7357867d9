"""Guests whose licence is paid for by the host."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Gt, MinLen

from drsim.inventory import Host, Inventory, Name, Vm
from drsim.rules.select import Area, Strength, area_of, running
from drsim.units import About


@dataclass(frozen=True, slots=True, kw_only=True)
class Licence:
    """All the guests together run on so many hosts, racks or sites at most. Holds at the end of a plan."""

    kind: Literal["licence"] = "licence"
    name: Annotated[Name, About("Name of the rule.")]
    vms: Annotated[tuple[str, ...], MinLen(1), About("Guests: names, tag:LABEL, or * for all.")]
    most: Annotated[int, Ge(1), About("Hosts, racks or sites that are licensed.")] = 1
    per: Annotated[Area, About("What is licensed: host, rack or site.")] = "host"
    strength: Annotated[Strength, About("must or should.")] = "must"
    price: Annotated[float, Gt(0), About("What a breach of a 'should' costs, per guest.")] = 1.0

    def area(self, host: Host) -> tuple[str, ...]:
        """Return what names the host, rack or site that a host is part of."""
        return area_of(host, self.per)

    def breakers(self, inventory: Inventory, where: Mapping[str, str]) -> list[Vm]:
        """List the guests outside the areas that hold most of them."""
        guests = running(self.vms, inventory)
        count = Counter(self.area(inventory.host_by_name[where[vm.name]]) for vm in guests)
        licensed = set(sorted(count, key=lambda area: (-count[area], area))[: self.most])
        return [vm for vm in guests if self.area(inventory.host_by_name[where[vm.name]]) not in licensed]

    @property
    def breach(self) -> str:
        """What a guest that breaks it is."""
        return f"beyond the {self.most} {self.per}s that hold most of them"
