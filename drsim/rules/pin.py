"""Guests that stay."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Gt, MinLen

from drsim.inventory import Inventory, Name, Vm
from drsim.rules.select import Strength, running
from drsim.units import About


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """The guests stay where they are. Holds at every instant."""

    kind: Literal["pin"] = "pin"
    name: Annotated[Name, About("Name of the rule.")]
    vms: Annotated[tuple[str, ...], MinLen(1), About("Guests: names, tag:LABEL, or * for all.")]
    strength: Annotated[Strength, About("must or should.")] = "must"
    price: Annotated[float, Gt(0), About("What a breach of a 'should' costs, per guest.")] = 1.0

    def breakers(self, inventory: Inventory, where: Mapping[str, str]) -> list[Vm]:
        """List the guests that are not where the inventory records them."""
        return [vm for vm in running(self.vms, inventory) if vm.host and where[vm.name] != vm.host]

    @property
    def breach(self) -> str:
        """What a guest that breaks it is."""
        return "moved although pinned"
