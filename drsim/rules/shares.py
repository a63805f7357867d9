"""Shares: who gets how much CPU when it is short."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from annotated_types import Ge, Gt

from drsim.inventory import Inventory, Name, Vm
from drsim.rules.select import Strength
from drsim.units import About

GUEST_SHARES = 1000.0
"""Shares of a guest for which nobody named any, however many vCPUs it has: control groups count so, too."""

Holder = Literal["pool", "guest", "vcpu"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """What a pool of guests, or each guest, gets of the CPU of all hosts together when guests ask for more.

    Pools stand in a tree: in a pool are the guests that it names and no pool in it does, and the pools within it. What
    a pool gets is divided among these in proportion to their shares; nobody gets less than is kept for it as long as it
    asks for that, nor more than it asks for, nor more than its limit. Guests in no pool stand beside the outermost
    ones. Of several entries `per` guest or vCPU that name a guest the first counts; where none does, the shares that
    its hypervisor has are taken (`Vm.cpu_shares`). What this comes to is what a guest is *entitled* to (Gulati et al.,
    "VMware distributed resource management: design, implementation, and lessons learned", VMware Technical Journal
    1(1), 2012). Plans count guests with that instead of with what they ask for, and where even so CPU is short it is
    divided and not refused. Nobody breaks this rule; who gets less on its host than it is entitled to is told.

    On KVM hosts the weights of nested control groups divide CPU like this. Memory has no such weights there: a limit on
    a control group's memory makes its guests swap or be killed, and a balloon gives nothing back by itself. So shares
    of memory are refused; rule `pool` limits and keeps memory.
    """

    kind: Literal["shares"] = "shares"
    name: Annotated[Name, About("Name of the rule, and of the pool.")]
    vms: Annotated[
        tuple[str, ...], About("Guests: names, tag:LABEL, or * for all; a pool may have none of its own.")
    ] = ()
    per: Annotated[
        Holder,
        About("Who has what is named here: the pool of these guests, each guest, or each vCPU of each guest."),
    ] = "pool"
    within: Annotated[Name | None, About("Pool that this pool is in; none if it is an outermost one.")] = None
    shares: Annotated[
        float | None,
        Gt(0),
        About(
            "Shares beside its neighbours. A guest has 1000 by default, or what its hypervisor says, a pool as many as "
            "all that is in it."
        ),
    ] = None
    kept_cores: Annotated[float, Ge(0), About("Reservation: CPU that it gets at least if it asks for it.", "cores")] = (
        0.0
    )
    most_cores: Annotated[float | None, Ge(0), About("Limit: CPU that it gets at most.", "cores")] = None
    memory_shares: Annotated[
        float | None, About("Refused: KVM has no weights for memory. Use rule 'pool' to limit and keep memory.")
    ] = None
    strength: ClassVar[Strength] = "must"
    price: ClassVar[float] = 1.0

    def breakers(self, inventory: Inventory, where: Mapping[str, str]) -> list[Vm]:
        """List nobody: it says who gets how much, not who may be where."""
        return []

    @property
    def breach(self) -> str:
        """What a guest that breaks it would be."""
        return "without its share"
