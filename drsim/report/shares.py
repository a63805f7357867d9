"""Who gets less CPU than its shares entitle it to: before a plan and with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from drsim import check
from drsim.check import Felt
from drsim.placement import Placement
from drsim.plan import Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Contention:
    """The CPU of guests, by guest.

    Parameters
    ----------
    before, after : tuple of Felt
        As the inventory records it, and with the plan; new guests come last. Empty where nobody named shares.
    """

    before: tuple[Felt, ...]
    after: tuple[Felt, ...]

    @property
    def told(self) -> bool:
        """Whether there are shares, so that there is something to tell."""
        return bool(self.before or self.after)

    @property
    def short(self) -> tuple[tuple[Felt | None, Felt], ...]:
        """Guests that get less than they are entitled to before or after, those that lack most after first."""
        was = {each.vm: each for each in self.before}
        pairs = [(was.get(each.vm), each) for each in self.after]
        lacking = [pair for pair in pairs if pair[1].is_short or (pair[0] is not None and pair[0].is_short)]
        return tuple(sorted(lacking, key=lambda pair: -pair[1].lacks_cores))

    def __str__(self) -> str:
        if not self.short:
            return "every guest gets the CPU that its shares entitle it to"
        worst = max(self.after, key=lambda each: each.lacks_cores)
        said = f"{lacking(self.before)}; with the plan {lacking(self.after)}"
        return f"{said}; {most_lacking(worst)}" if worst.is_short else said


def contention(plan: Plan) -> Contention:
    """Tell what guests get before a plan and with it."""
    started = {start.vm: start.host for start in plan.starts}
    new = tuple(vm for vm in plan.objective.newcomers if vm.name in started)
    then = replace(plan.inventory, vms=plan.inventory.vms + new) if new else plan.inventory
    return Contention(
        before=check.felt(plan.inventory, plan.policy, objective=plan.objective),
        after=check.felt(then, plan.policy, Placement({**plan.target, **started}), plan.objective),
    )


def lacking(guests: Sequence[Felt]) -> str:
    """Say how many lack how much: ``3 guests get less CPU than their shares entitle them to, 2.4 cores in all``."""
    short = [each.lacks_cores for each in guests if each.is_short]
    if not short:
        return "none gets less CPU than its shares entitle it to"
    verb, whose = ("gets", "its shares entitle it") if len(short) == 1 else ("get", "their shares entitle them")
    number = "1 guest" if len(short) == 1 else f"{len(short):,} guests"
    below = sum(each.is_below_kept for each in guests)
    kept = f", {below} of them less than is kept for them" if below else ""
    return f"{number} {verb} less CPU than {whose} to, {sum(short):.3g} cores in all{kept}"


def most_lacking(guest: Felt) -> str:
    """Say what a guest gets: ``'v1' gets 1.2 of 3 cores on h1``."""
    return f"'{guest.vm}' gets {guest.gets_cores:.3g} of {guest.entitled_cores:.3g} cores on {guest.host}"
