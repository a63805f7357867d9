"""Guests that keep their distance."""

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
class Apart:
    """No two of the guests share a host; or at most so many a host, a rack or a site. Holds at every instant."""

    kind: Literal["apart"] = "apart"
    name: Annotated[Name, About("Name of the rule.")]
    vms: Annotated[tuple[str, ...], MinLen(1), About("Guests: names, tag:LABEL, or * for all.")]
    per: Annotated[
        Area, About("What they must not share: host, rack or site. A host without a rack is one itself.")
    ] = "host"
    most: Annotated[int, Ge(1), About("How many of them may share one.")] = 1
    strength: Annotated[Strength, About("must or should.")] = "must"
    price: Annotated[float, Gt(0), About("What a breach of a 'should' costs, per guest.")] = 1.0

    def area(self, host: Host) -> tuple[str, ...]:
        """Return what names the host, rack or site that a host is part of."""
        return area_of(host, self.per)

    def breakers(self, inventory: Inventory, where: Mapping[str, str]) -> list[Vm]:
        """List the guests beyond the number that may share an area, in the inventory's order."""
        seen: Counter[tuple[str, ...]] = Counter()
        beyond = []
        for vm in running(self.vms, inventory):
            area = self.area(inventory.host_by_name[where[vm.name]])
            seen[area] += 1
            if seen[area] > self.most:
                beyond.append(vm)
        return beyond

    @property
    def breach(self) -> str:
        """What a guest that breaks it is."""
        return f"more than {self.most} of them on one {self.per}"
