"""What guests are entitled to when CPU is short: a tree of pools with reservations, limits and shares, filled up.

This is the planner's way, in arrays and closed form. The checker (`drsim.check.shares`) finds the same by another one
and shares no code with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drsim.inventory import Inventory, Vm
from drsim.policy import CPU_DIVIDED, Objective, Policy, Shares
from drsim.rules.shares import GUEST_SHARES

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

NEAR = 1e-9
"""What sums of floats may be off by, as a share."""

LEAST_PART = 1e-9
"""Part of a pool that counts where its guests are entitled to nothing: they get what others leave."""


def fill(capacity: float, shares: Floats, least: Floats, most: Floats) -> Floats:
    """Divide a capacity in proportion to shares, between what each must and may have.

    Each gets ``min(max(level * shares, least), most)``, with the one level at which nothing is left over; `most` where
    there is enough for that, and the same part of `least` where there is not even enough for that. What all have
    together grows with the level in straight pieces that meet where one of them leaves its least or reaches its most,
    so the level is read off the piece on which the capacity lies.

    Parameters
    ----------
    capacity : float
        What there is.
    shares : array of float, shape (n,)
        Above 0 where `most` is.
    least, most : array of float, shape (n,)
        ``0 <= least <= most``.

    Returns
    -------
    array of float, shape (n,)
        Their sum is the smaller one of the capacity and the sum of `most`.
    """
    if most.sum() <= capacity * (1.0 + NEAR):
        return most.copy()
    given = np.zeros(len(most))
    if capacity <= 0.0:
        return given
    whole = float(least.sum())
    if whole >= capacity:
        return least * (capacity / whole)
    some = most > 0.0
    shares, least, most = shares[some], least[some], most[some]
    at = np.concatenate([least / shares, most / shares])
    slope = np.concatenate([shares, -shares])
    order = np.argsort(at, kind="stable")
    at, slope = at[order], np.cumsum(slope[order])[:-1]
    have = whole + np.concatenate([[0.0], np.cumsum(slope * np.diff(at))])
    piece = min(max(int(np.searchsorted(have, capacity)) - 1, 0), len(slope) - 1)
    level = at[piece] + (capacity - have[piece]) / max(float(slope[piece]), 1e-300)
    given[some] = np.clip(min(level, at[piece + 1]) * shares, least, most)
    return given


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tree:
    """Pools and guests with what each may have; P pools, each after the one that it is in, and G guests.

    Parameters
    ----------
    within : tuple of int
        Pool that each pool is in; P for none.
    pool_shares, pool_kept, pool_most : array of float, shape (P,)
        Shares beside its neighbours; reservation and limit, cores.
    pool : array of int, shape (G,)
        Pool that each guest is in, and in none of those in it; P for none.
    shares, kept, most : array of float, shape (G,)
        The same of each guest.
    """

    within: tuple[int, ...]
    pool_shares: Floats
    pool_kept: Floats
    pool_most: Floats
    pool: Ints
    shares: Floats
    kept: Floats
    most: Floats

    @classmethod
    def of(cls, inventory: Inventory, rules: Iterable[Any]) -> Tree:
        """Compile rules `shares`; guests are in the inventory's order."""
        named = [rule for rule in rules if isinstance(rule, Shares)]
        pools = _parents_first([rule for rule in named if rule.per == "pool"])
        number = {rule.name: place for place, rule in enumerate(pools)}
        within = tuple(len(pools) if rule.within is None else number[rule.within] for rule in pools)
        vms = inventory.vms
        pool = np.full(len(vms), len(pools), dtype=np.int64)
        for place, rule in enumerate(pools):
            pool[_numbers(rule, inventory)] = place
        shares = np.array([GUEST_SHARES if vm.cpu_shares is None else vm.cpu_shares for vm in vms], dtype=np.float64)
        by_default, kept, most = shares.copy(), np.zeros(len(vms)), np.full(len(vms), np.inf)
        vcpus = np.array([vm.vcpus for vm in vms], dtype=np.float64)
        for rule in reversed([rule for rule in named if rule.per != "pool"]):
            guests = _numbers(rule, inventory)
            times = vcpus[guests] if rule.per == "vcpu" else 1.0
            shares[guests] = by_default[guests] if rule.shares is None else rule.shares * times
            kept[guests] = rule.kept_cores * times
            most[guests] = (np.inf if rule.most_cores is None else rule.most_cores) * times
        there = np.array([vm.state != "stopped" for vm in vms], dtype=np.bool_)
        whole: Floats = np.bincount(pool[there], shares[there], len(pools) + 1).astype(np.float64)
        for place in reversed(range(len(pools))):
            own = pools[place].shares
            whole[place] = whole[place] if own is None else own
            whole[within[place]] += whole[place]
        return cls(
            within=within,
            pool_shares=whole[:-1],
            pool_kept=np.array([rule.kept_cores for rule in pools], dtype=np.float64),
            pool_most=np.array([np.inf if r.most_cores is None else r.most_cores for r in pools], dtype=np.float64),
            pool=pool,
            shares=shares,
            kept=kept,
            most=most,
        )

    def only(self, guests: Ints) -> Tree:
        """Return the same pools with some of the guests."""
        return replace(
            self, pool=self.pool[guests], shares=self.shares[guests], kept=self.kept[guests], most=self.most[guests]
        )

    def unlimited(self) -> Tree:
        """Return the same without limits: whatever is there is used."""
        return replace(self, most=np.full(len(self.most), np.inf), pool_most=np.full(len(self.pool_most), np.inf))

    def sums(self, cores: Floats) -> Floats:
        """Add up by pool what its guests, and those of the pools in it, have or ask for, cores, shape (P,)."""
        found: Floats = np.bincount(self.pool, cores, len(self.within) + 1).astype(np.float64)
        for place in reversed(range(len(self.within))):
            found[self.within[place]] += found[place]
        return found[:-1]

    def parts(self, guests: Ints, given: Floats) -> Floats:
        """Return how much of each pool some of the guests stand for, by what all are entitled to, shape (P,)."""
        whole = self.sums(given)
        here = self.only(guests).sums(given[guests])
        part: Floats = np.maximum(np.divide(here, whole, out=np.zeros_like(here), where=whole > 0.0), LEAST_PART)
        return part

    def divide(self, capacity: float, demand: Floats, part: Floats | None = None) -> tuple[Floats, bool]:
        """Divide a capacity among the guests.

        Parameters
        ----------
        capacity : float
            Cores.
        demand : array of float, shape (G,)
            What each guest asks for, cores; 0 for those that do not run.
        part : array of float, shape (P,), optional
            How much of the shares, the reservation and the limit of each pool is here, as `parts` has it for a host:
            where there is room none gets less than it is entitled to. All of it by default.

        Returns
        -------
        array of float, shape (G,)
            What each gets, cores.
        bool
            Whether there is less than all may have.
        """
        pools = len(self.within)
        part = np.ones(pools) if part is None else part
        most_each = np.minimum(demand, self.most)
        least_each = np.minimum(self.kept, most_each)
        most = np.bincount(self.pool, most_each, pools + 1)
        least = np.bincount(self.pool, least_each, pools + 1)
        inside: list[list[int]] = [[] for _ in range(pools + 1)]
        for place in reversed(range(pools)):
            if most[place] > 0.0:
                if np.isfinite(self.pool_most[place]):
                    most[place] = min(most[place], self.pool_most[place] * part[place])
                least[place] = min(max(least[place], self.pool_kept[place] * part[place]), most[place])
                inside[self.within[place]].append(place)
                most[self.within[place]] += most[place]
                least[self.within[place]] += least[place]
        order = np.argsort(self.pool, kind="stable")
        first = np.searchsorted(self.pool[order], np.arange(pools + 2))
        amount = np.zeros(pools + 1)
        amount[pools] = max(capacity, 0.0)
        given = np.zeros(len(demand))
        for place in (pools, *range(pools)):
            guests, below = order[first[place] : first[place + 1]], np.array(inside[place], dtype=np.int64)
            got = fill(
                float(amount[place]),
                np.concatenate([self.shares[guests], self.pool_shares[below] * part[below]]),
                np.concatenate([least_each[guests], least[below]]),
                np.concatenate([most_each[guests], most[below]]),
            )
            given[guests], amount[below] = got[: len(guests)], got[len(guests) :]
        return given, bool(most[pools] > capacity * (1.0 + NEAR))


def _parents_first(pools: Sequence[Shares]) -> list[Shares]:
    ordered: dict[str, Shares] = {}
    while len(ordered) < len(pools):
        for rule in pools:
            if rule.within is None or rule.within in ordered:
                ordered.setdefault(rule.name, rule)
    return list(ordered.values())


def _numbers(rule: Shares, inventory: Inventory) -> list[int]:
    return sorted({number for word in rule.vms for number in inventory.vm_numbers.get(word, ())})


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """What to plan with where CPU is divided by shares.

    Parameters
    ----------
    inventory : Inventory
        With what guests are entitled to instead of their CPU demand.
    policy : Policy
        Without rules `shares`, for they are seen to; where CPU is short, without a limit on the CPU demand of a host.
    guests : int
        Guests that are entitled to less than they ask for now.
    short : bool
        Whether guests ask for more, within their limits, than the hosts have, now or in the time ahead.
    asked_cores, cores : float
        What guests ask for now, and what the hosts have.
    """

    inventory: Inventory
    policy: Policy
    guests: int = 0
    short: bool = False
    asked_cores: float = 0.0
    cores: float = 0.0

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know: who does not count with what it asks for, and why."""
        if not self.guests:
            return ()
        number = "1 guest counts" if self.guests == 1 else f"{self.guests} guests count"
        less = "what its shares entitle it" if self.guests == 1 else "what their shares entitle them"
        why = "Limits of pools or guests are reached"
        if self.short:
            why = f"CPU is short: guests ask for {self.asked_cores:.4g} cores and hosts have {self.cores:.4g}"
        return (f"{why}; {number} with {less} to, not with all that is asked for.",)


def entitled(inventory: Inventory, policy: Policy, objective: Objective) -> Counted:
    """Return an inventory and a policy to plan with.

    What hosts that take guests have is divided, now and in each part of the time ahead. Where there is enough for
    everybody and nobody is at a limit, guests count with what they ask for, to the last bit.

    Parameters
    ----------
    inventory, policy : Inventory, Policy
        Free of problems.
    objective : Objective
        What hosts have that are to be evacuated is not divided; and it says whether hosts may hold too much.
    """
    rules = tuple(rule for rule in policy.rules if rule.kind == "shares")
    if not rules and not inventory.has_cpu_shares:
        return Counted(inventory=inventory, policy=policy)
    vms, tree = inventory.vms, Tree.of(inventory, rules)
    runs = np.array([vm.state != "stopped" for vm in vms], dtype=np.bool_)
    cores = float(
        sum(host.cores for host in inventory.hosts if host.takes_guests and host.name not in objective.emptied)
    )
    rows = [np.where(runs, [vm.cpu_cores for vm in vms], 0.0)]
    for part in range(inventory.parts_ahead):
        ahead = [vm.cpu_ahead_cores[part] if vm.cpu_ahead_cores else vm.cpu_cores for vm in vms]
        rows.append(np.where(runs, ahead, 0.0))
    found = [tree.divide(cores, row) for row in rows]
    given = np.array([each for each, _ in found])
    less = given < np.array(rows) * (1.0 - NEAR)
    short = any(lacking for _, lacking in found)
    limits = replace(policy.limits, cpu_headroom=CPU_DIVIDED) if short and objective.overcommits else policy.limits
    counted = tuple(
        _counted(vm, given[:, number].tolist(), changed=bool(less[:, number].any())) for number, vm in enumerate(vms)
    )
    return Counted(
        inventory=replace(inventory, vms=counted),
        policy=replace(policy, rules=tuple(rule for rule in policy.rules if rule.kind != "shares"), limits=limits),
        guests=int(less[0].sum()),
        short=short,
        asked_cores=float(rows[0].sum()),
        cores=cores,
    )


def _counted(vm: Vm, cores: Sequence[float], *, changed: bool) -> Vm:
    if changed:
        return replace(vm, cpu_shares=None, cpu_demand_cores=cores[0], cpu_ahead_cores=tuple(cores[1:]))
    return vm if vm.cpu_shares is None else replace(vm, cpu_shares=None)
