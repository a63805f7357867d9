"""Guests that run on some hosts only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Gt, MinLen

from drsim.inventory import Inventory, Name, Vm
from drsim.rules.select import Strength, running, select_hosts
from drsim.units import About


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOn:
    """The guests run on the hosts named and nowhere else. Holds at every instant."""

    kind: Literal["run_on"] = "run_on"
    name: Annotated[Name, About("Name of the rule.")]
    vms: Annotated[tuple[str, ...], MinLen(1), About("Guests: names, tag:LABEL, or * for all.")]
    hosts: Annotated[tuple[str, ...], MinLen(1), About("Hosts: names, tag:, rack: or site:.")]
    strength: Annotated[Strength, About("must or should.")] = "must"
    price: Annotated[float, Gt(0), About("What a breach of a 'should' costs, per guest.")] = 1.0

    def breakers(self, inventory: Inventory, where: Mapping[str, str]) -> list[Vm]:
        """List the guests that are elsewhere."""
        hosts = {host.name for host in select_hosts(self.hosts, inventory)}
        return [vm for vm in running(self.vms, inventory) if where[vm.name] not in hosts]

    @property
    def breach(self) -> str:
        """What a guest that breaks it is."""
        return f"outside {', '.join(self.hosts)}"
