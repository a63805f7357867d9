"""What guests are entitled to and what they get on their hosts: found in plain Python, apart from the planner's way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from drsim.inventory import Inventory, Vm
from drsim.placement import Placement
from drsim.policy import CPU_DIVIDED, Objective, Policy, Shares, select_vms
from drsim.rules.shares import GUEST_SHARES

NEAR = 1e-9
"""What sums of floats may be off by, as a share."""

NOTHING = 1e-9
"""Part of a pool that counts on a host where its guests are entitled to nothing: they get what others leave there."""

BALANCE = Objective()
"""What is sought where nobody says."""

FELT_CORES = 1e-4
"""What a guest may lack without feeling it, cores."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Felt:
    """The CPU of one guest.

    Parameters
    ----------
    vm, host : str
        The guest, and where it is.
    asks_cores : float
        What it asks for.
    entitled_cores : float
        What it would get if all hosts that take guests were one.
    gets_cores : float
        What it gets on its host.
    kept_cores : float
        What is kept for this guest by itself, as far as it asks for it.
    """

    vm: str
    host: str
    asks_cores: float
    entitled_cores: float
    gets_cores: float
    kept_cores: float = 0.0

    @property
    def lacks_cores(self) -> float:
        """How much less it gets than it is entitled to."""
        return max(0.0, self.entitled_cores - self.gets_cores)

    @property
    def is_short(self) -> bool:
        """Whether it gets less than it is entitled to."""
        return self.lacks_cores > FELT_CORES

    @property
    def is_below_kept(self) -> bool:
        """Whether it gets less than is kept for it: more is kept on its host than there is."""
        return self.gets_cores < self.kept_cores - FELT_CORES


def shares_out(inventory: Inventory, policy: Policy) -> bool:
    """Whether CPU is divided by shares: a policy or a hypervisor names some."""
    return inventory.has_cpu_shares or any(isinstance(rule, Shares) for rule in policy.rules)


def counted(inventory: Inventory, policy: Policy, objective: Objective = BALANCE) -> tuple[Inventory, Policy]:
    """Return what to judge a placement by: guests with what they are entitled to, the policy without rules `shares`.

    Where CPU is short, hosts have no limit for CPU demand: it is divided there, and `felt` tells who lacks how much.

    Parameters
    ----------
    inventory, policy : Inventory, Policy
        Free of problems.
    objective : Objective
        What is sought: nobody is entitled to what hosts have that are to be evacuated, and it says whether hosts may
        hold too much.
    """
    if not shares_out(inventory, policy):
        return inventory, policy
    pools = _Pools(inventory, policy)
    running = [vm for vm in inventory.vms if vm.state != "stopped"]
    cores = _cores(inventory, objective)
    moments = [
        {vm.name: vm.cpu_ahead_cores[part] if part >= 0 and vm.cpu_ahead_cores else vm.cpu_cores for vm in running}
        for part in range(-1, inventory.parts_ahead)  # now, and ahead
    ]
    asking = [_Asking(pools, demand) for demand in moments]
    given = [each.given(cores) for each in asking]
    short = any(each.may_have[None] > cores * (1.0 + NEAR) for each in asking)
    vms = tuple(_with(vm, moments, given) for vm in inventory.vms)
    rules = tuple(rule for rule in policy.rules if not isinstance(rule, Shares))
    limits = replace(policy.limits, cpu_headroom=CPU_DIVIDED) if short and objective.overcommits else policy.limits
    return replace(inventory, vms=vms), replace(policy, rules=rules, limits=limits)


def felt(
    inventory: Inventory, policy: Policy, placement: Placement | None = None, objective: Objective = BALANCE
) -> tuple[Felt, ...]:
    """Tell what each guest that is not stopped asks for, is entitled to and gets on its host, in the inventory's order.

    A host's cores are divided as those of all hosts are; of the shares, the reservation and the limit of a pool as
    large a part counts on a host as of what its guests are entitled to, so that on a host with room none gets less than
    that. None where nobody named shares.

    Parameters
    ----------
    inventory, policy : Inventory, Policy
        Free of problems.
    placement : Placement, optional
        Judged instead of where the guests are.
    objective : Objective
        What is sought, as for `counted`.
    """
    if not shares_out(inventory, policy):
        return ()
    placement = placement or Placement.of(inventory)
    pools = _Pools(inventory, policy)
    demand = {vm.name: vm.cpu_cores for vm in inventory.vms if vm.state != "stopped" and placement[vm.name]}
    given = _Asking(pools, demand).given(_cores(inventory, objective))
    whole = pools.sums(given)
    there: dict[str, dict[str, float]] = {host.name: {} for host in inventory.hosts}
    for vm, cores in demand.items():
        there[placement[vm]][vm] = cores
    got: dict[str, float] = {}
    for host in inventory.hosts:
        here = pools.sums({vm: given[vm] for vm in there[host.name]})
        parts = {name: max(here[name] / cores if cores > 0.0 else 0.0, NOTHING) for name, cores in whole.items()}
        got |= _Asking(pools, there[host.name], parts).given(float(host.cores))
    return tuple(
        Felt(
            vm=vm,
            host=placement[vm],
            asks_cores=cores,
            entitled_cores=given[vm],
            gets_cores=got[vm],
            kept_cores=pools.bounds(vm, cores)[0],
        )
        for vm, cores in demand.items()
    )


def _cores(inventory: Inventory, objective: Objective) -> float:
    return float(
        sum(host.cores for host in inventory.hosts if host.takes_guests and host.name not in objective.emptied)
    )


def _with(vm: Vm, moments: Sequence[Mapping[str, float]], given: Sequence[Mapping[str, float]]) -> Vm:
    if vm.cpu_shares is not None:
        vm = replace(vm, cpu_shares=None)
    if vm.name not in given[0]:
        return vm
    asked, gets = ([moment[vm.name] for moment in each] for each in (moments, given))
    if all(have >= want * (1.0 - NEAR) for have, want in zip(gets, asked, strict=True)):
        return vm
    return replace(vm, cpu_demand_cores=gets[0], cpu_ahead_cores=tuple(gets[1:]))


class _Pools:
    """The tree, by names; None is the root."""

    def __init__(self, inventory: Inventory, policy: Policy) -> None:
        shares = [rule for rule in policy.rules if isinstance(rule, Shares)]
        self.rules = {rule.name: rule for rule in shares if rule.per == "pool"}
        self.nested: dict[str | None, list[str]] = {}
        for rule in self.rules.values():
            self.nested.setdefault(rule.within, []).append(rule.name)
        self.home: dict[str, str] = {}
        for name in sorted(self.rules, key=self._depth):
            for vm in select_vms(self.rules[name].vms, inventory):
                self.home[vm.name] = name
        self._own: dict[str, Shares] = {}
        for rule in shares:
            if rule.per != "pool":
                for vm in select_vms(rule.vms, inventory):
                    self._own.setdefault(vm.name, rule)
        self._vms = inventory.vm_by_name
        inside: dict[str | None, float] = {}
        for vm in inventory.vms:
            if vm.state != "stopped":
                home = self.home.get(vm.name)
                inside[home] = inside.get(home, 0.0) + self.shares(vm.name)
        self.pool_shares: dict[str, float] = {}
        for name in sorted(self.rules, key=self._depth, reverse=True):
            own, above = self.rules[name].shares, self.rules[name].within
            self.pool_shares[name] = inside.get(name, 0.0) if own is None else own
            inside[above] = inside.get(above, 0.0) + self.pool_shares[name]

    def _depth(self, name: str) -> int:
        above = self.rules[name].within
        return 0 if above is None else 1 + self._depth(above)

    def sums(self, cores: Mapping[str, float]) -> dict[str, float]:
        """Add up by pool what guests have, those of the pools in it included."""
        found = dict.fromkeys(self.rules, 0.0)
        for vm, amount in cores.items():
            name = self.home.get(vm)
            while name is not None:
                found[name] += amount
                name = self.rules[name].within
        return found

    def shares(self, vm: str) -> float:
        """Return the shares of a guest beside its neighbours."""
        rule, guest = self._own.get(vm), self._vms[vm]
        if rule is None or rule.shares is None:
            return GUEST_SHARES if guest.cpu_shares is None else guest.cpu_shares
        return rule.shares * (guest.vcpus if rule.per == "vcpu" else 1)

    def bounds(self, vm: str, wanted: float) -> tuple[float, float]:
        """Return what a guest must get and what it may get."""
        rule = self._own.get(vm)
        if rule is None:
            return 0.0, wanted
        times = self._vms[vm].vcpus if rule.per == "vcpu" else 1
        most = wanted if rule.most_cores is None else min(wanted, rule.most_cores * times)
        return min(rule.kept_cores * times, most), most


class _Asking:
    """What some guests ask for at an instant: all of them, or those of one host.

    Parameters
    ----------
    pools : _Pools
        The tree.
    demand : mapping of str to float
        Cores, by guest.
    parts : mapping of str to float, optional
        How much of each pool is here, as a share; all of it by default.
    """

    def __init__(self, pools: _Pools, demand: Mapping[str, float], parts: Mapping[str, float] | None = None) -> None:
        self._pools, self._demand = pools, demand
        self._part = dict.fromkeys(pools.rules, 1.0) if parts is None else parts
        self._members: dict[str | None, list[str]] = {}
        for vm in demand:
            self._members.setdefault(pools.home.get(vm), []).append(vm)
        self.may_have: dict[str | None, float] = {}
        self._must_have: dict[str | None, float] = {}
        self._add_up(None)

    def _add_up(self, name: str | None) -> None:
        """Find what a pool may have and must have, and those in it before."""
        guests, inner = self._members.get(name, ()), self._pools.nested.get(name, ())
        for each in inner:
            self._add_up(each)
        bounds = [self._pools.bounds(vm, self._demand[vm]) for vm in guests]
        may = sum(most for _, most in bounds) + sum(self.may_have[each] for each in inner)
        must = sum(least for least, _ in bounds) + sum(self._must_have[each] for each in inner)
        if name is not None:
            rule = self._pools.rules[name]
            part = self._part[name]
            may = may if rule.most_cores is None else min(may, rule.most_cores * part)
            must = min(max(must, rule.kept_cores * part), may)
        self.may_have[name], self._must_have[name] = may, must

    def given(self, capacity: float) -> dict[str, float]:
        """Return what each guest gets of a capacity, cores."""
        pools, found = self._pools, dict.fromkeys(self._demand, 0.0)
        waiting: list[tuple[str | None, float]] = [(None, capacity)]
        while waiting:
            name, amount = waiting.pop()
            guests = self._members.get(name, [])
            inner = [each for each in pools.nested.get(name, ()) if self.may_have[each] > 0.0]
            bounds = [pools.bounds(vm, self._demand[vm]) for vm in guests]
            bounds += [(self._must_have[each], self.may_have[each]) for each in inner]
            weights = [pools.shares(vm) for vm in guests]
            weights += [pools.pool_shares[each] * self._part[each] for each in inner]
            got = poured(amount, weights, bounds)
            found.update(zip(guests, got, strict=False))
            waiting.extend(zip(inner, got[len(guests) :], strict=True))
        return found


def poured(capacity: float, weights: Sequence[float], bounds: Sequence[tuple[float, float]]) -> list[float]:
    """Divide a capacity in proportion to weights, each within its bounds, by settling one side of them at a time.

    All are given their part of what is left; those that it puts below their least and above their most pull the sum up
    and down. Whichever side pulls harder is settled for good, for what is left for the others then only moves that way.

    Parameters
    ----------
    capacity : float
        What there is.
    weights : sequence of float
        Above 0.
    bounds : sequence of (float, float)
        What each must and may have.
    """
    if sum(most for _, most in bounds) <= capacity * (1.0 + NEAR):
        return [most for _, most in bounds]
    whole = sum(least for least, _ in bounds)
    if whole >= capacity:
        return [least * max(capacity, 0.0) / whole if whole > 0.0 else 0.0 for least, _ in bounds]
    got = [0.0] * len(weights)
    left, open_ = capacity, list(range(len(weights)))
    while open_:
        level = left / sum(weights[i] for i in open_)
        low = [i for i in open_ if level * weights[i] < bounds[i][0]]
        high = [i for i in open_ if level * weights[i] > bounds[i][1]]
        if not low and not high:
            for i in open_:
                got[i] = level * weights[i]
            break
        up = sum(bounds[i][0] - level * weights[i] for i in low)
        down = sum(level * weights[i] - bounds[i][1] for i in high)
        settled = low if up > down else high
        for i in settled:
            got[i] = bounds[i][0] if up > down else bounds[i][1]
        left -= sum(got[i] for i in settled)
        chosen = set(settled)
        open_ = [i for i in open_ if i not in chosen]
    return got
