"""Guests that share a host."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Gt, MinLen

from drsim.inventory import Inventory, Name, Vm
from drsim.rules.select import Strength, running
from drsim.units import About


@dataclass(frozen=True, slots=True, kw_only=True)
class Together:
    """The guests share one host. Holds at the end of a plan: on the way they follow one another."""

    kind: Literal["together"] = "together"
    name: Annotated[Name, About("Name of the rule.")]
    vms: Annotated[tuple[str, ...], MinLen(1), About("Guests: names, tag:LABEL, or * for all.")]
    strength: Annotated[Strength, About("must or should.")] = "must"
    price: Annotated[float, Gt(0), About("What a breach of a 'should' costs, per guest.")] = 1.0

    def breakers(self, inventory: Inventory, where: Mapping[str, str]) -> list[Vm]:
        """List the guests that are not with the most of them."""
        guests = running(self.vms, inventory)
        count = Counter(where[vm.name] for vm in guests)
        most = max(count, key=lambda host: (count[host], host), default=None)
        return [vm for vm in guests if where[vm.name] != most]

    @property
    def breach(self) -> str:
        """What a guest that breaks it is."""
        return "not with the others"
