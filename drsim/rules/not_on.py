"""Guests that run anywhere but on some hosts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Gt, MinLen

from drsim.inventory import Inventory, Name, Vm
from drsim.rules.select import Strength, running, select_hosts
from drsim.units import About


@dataclass(frozen=True, slots=True, kw_only=True)
class NotOn:
    """The guests run on none of the hosts named. Holds at every instant."""

    kind: Literal["not_on"] = "not_on"
    name: Annotated[Name, About("Name of the rule.")]
    vms: Annotated[tuple[str, ...], MinLen(1), About("Guests: names, tag:LABEL, or * for all.")]
    hosts: Annotated[tuple[str, ...], MinLen(1), About("Hosts: names, tag:, rack: or site:.")]
    strength: Annotated[Strength, About("must or should.")] = "must"
    price: Annotated[float, Gt(0), About("What a breach of a 'should' costs, per guest.")] = 1.0

    def breakers(self, inventory: Inventory, where: Mapping[str, str]) -> list[Vm]:
        """List the guests that are there."""
        hosts = {host.name for host in select_hosts(self.hosts, inventory)}
        return [vm for vm in running(self.vms, inventory) if where[vm.name] in hosts]

    @property
    def breach(self) -> str:
        """What a guest that breaks it is."""
        return f"on {', '.join(self.hosts)}"
