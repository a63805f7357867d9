"""The one compile step: inventory, policy and objective become arrays.

Guests that must be together are one *unit*, moved as one; every other guest is a unit of its own. Stopped guests take
no part. Everything after this step works on units and host numbers only.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from drsim import check
from drsim.inventory import Inventory
from drsim.optimize.allowed import Reach, Selection, lawful_rows, pinned
from drsim.optimize.licensed import settled
from drsim.policy import Apart, NotOn, Objective, Pin, Policy, Rule, RunOn, Together
from drsim.resources import Resource, headroom, needs, resources, sizes
from drsim.space import disk_resources

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

MEMORY, VCPUS, CPU = 0, 1, 2
"""The first columns of every array of resources: configured memory (MiB), vCPUs, CPU demand (cores)."""

SPLIT = -1
"""Place of a unit whose guests are on several hosts, and of a guest that has no host yet."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Group:
    """Units that a rule wants apart or together.

    Parameters
    ----------
    name : str
        Name of the rule.
    units : array of int, shape (n,)
        Its units, each once.
    weight : array of int, shape (n,)
        Guests of the rule in each unit.
    price : float
        What a breach costs per guest; 0 if the rule must hold.
    cell : array of int, shape (H,)
        Number of the area that a host is part of: itself, or its rack or site.
    most : int
        Guests of an `apart` rule that may share an area.
    """

    name: str
    units: Ints
    weight: Ints
    price: float
    cell: Ints
    most: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Problem:
    """A placement problem in arrays; H hosts, U units, R resources: first `MEMORY`, `VCPUS`, `CPU`.

    Parameters
    ----------
    hosts : tuple of str
        Names of the hosts.
    kinds : tuple of Resource
        What the columns are.
    balanced : array of int
        Columns whose load is evened out.
    members : tuple of tuple of int
        Guests of each unit, by their number in the inventory.
    homes : tuple of tuple of int
        Host of each of these guests; `SPLIT` for one that has none yet.
    demand : array of float, shape (U, R)
        What a unit needs.
    data_mib : array of float, shape (U,)
        Memory that a migration of the whole unit carries, MiB.
    home : array of int, shape (U,)
        Host of the unit, or `SPLIT`.
    capacity : array of float, shape (H, R)
        What a host may hold, headroom left out.
    allowed_rows, allowed_of : array of bool, shape (C, H); array of int, shape (U,)
        Row ``allowed_rows[allowed_of[u]]`` tells where unit u may be in the end, its home included if it may stay.
    soft_rows, soft_of : array of float, shape (D, H); array of int, shape (U,)
        Price of unit u on each host by rules that should hold (`run_on`, `not_on`).
    pin_price : array of float, shape (U,)
        Price of moving the unit away from home by pins that should hold.
    apart, should_apart, should_together : tuple of Group
        Groups of rules that must hold, and of rules that should.
    weight : array of float, shape (H, R)
        Load per unit of demand, 1 = mean: 1 / (size of the host * mean utilisation); 0 for what is not balanced and for
        hosts that take no guests.
    leave : array of bool, shape (H,)
        Hosts to evacuate.
    size : array of float, shape (H, R)
        Size of the hosts, headroom included.
    narrowed : bool
        Whether more is closed than rules close, by a choice made before the search: what is not found is not excluded.
    """

    hosts: tuple[str, ...]
    kinds: tuple[Resource, ...]
    balanced: Ints
    members: tuple[tuple[int, ...], ...]
    homes: tuple[tuple[int, ...], ...]
    demand: Floats
    data_mib: Floats
    home: Ints
    capacity: Floats
    allowed_rows: Bools
    allowed_of: Ints
    soft_rows: Floats
    soft_of: Ints
    pin_price: Floats
    apart: tuple[Group, ...]
    should_apart: tuple[Group, ...]
    should_together: tuple[Group, ...]
    weight: Floats
    leave: Bools
    size: Floats
    member_demand: Floats
    member_data_mib: Floats
    narrowed: bool

    @property
    def units(self) -> int:
        """Number of units."""
        return len(self.members)

    def allowed(self, units: Ints | Sequence[int]) -> Bools:
        """Hosts on which the units may be in the end, shape (n, H)."""
        rows: Bools = self.allowed_rows[self.allowed_of[units]]
        return rows

    def cost_mib(self, unit: int) -> Floats:
        """Memory to carry so that the unit is on each host, MiB, shape (H,)."""
        cost: Floats = np.full(len(self.hosts), self.data_mib[unit])
        for vm, host in zip(self.members[unit], self.homes[unit], strict=True):
            if host != SPLIT:
                cost[host] -= self.member_data_mib[vm]
        cost.clip(0.0, out=cost)
        return cost

    def moving(self, move_mib: float) -> Floats:
        """Return what moving each unit costs, as memory, MiB, shape (U,): its own, and so much for the move itself.

        Units without members, guests that are only awaited, cost nothing.
        """
        there = np.array([bool(guests) for guests in self.members], dtype=np.bool_)
        cost: Floats = np.where(there, self.data_mib + move_mib, 0.0)
        return cost

    def frozen(self, units: Ints) -> Problem:
        """Return the problem with the units held at home."""
        rows = np.zeros((len(units), len(self.hosts)), dtype=np.bool_)
        rows[np.arange(len(units)), self.home[units]] = True
        of = self.allowed_of.copy()
        of[units] = len(self.allowed_rows) + np.arange(len(units))
        return replace(self, allowed_rows=np.vstack([self.allowed_rows, rows]), allowed_of=of)


def compile_problem(inventory: Inventory, policy: Policy, objective: Objective) -> Problem:
    """Compile inventory, policy and objective to arrays.

    Parameters
    ----------
    inventory, policy : Inventory, Policy
        Checked (`drsim.check`).
    objective : Objective
        Hosts to evacuate are closed to every guest.

    Returns
    -------
    Problem
        See there.
    """
    chosen = settled(inventory, policy, objective)
    narrowed, policy = chosen is not policy, chosen
    selection = Selection(inventory)
    must = [rule for rule in policy.rules if rule.strength == "must"]
    should = [rule for rule in policy.rules if rule.strength == "should"]
    index = {host.name: number for number, host in enumerate(inventory.hosts)}
    hosts = len(inventory.hosts)
    leave = np.zeros(hosts, dtype=np.bool_)
    leave[[index[name] for name in objective.hosts if name in index and objective.goal == "evacuate"]] = True

    vms = inventory.vms
    vm_home = np.array([index.get(vm.host, SPLIT) for vm in vms], dtype=np.int64)
    running = np.array([vm.state != "stopped" for vm in vms], dtype=np.bool_)
    for_disks = disk_resources(inventory, policy)
    kinds = (*resources(inventory, policy.rules), *for_disks)
    vm_demand = np.array([needs(vm, kinds) for vm in vms], dtype=np.float64).reshape(-1, len(kinds))
    vm_demand[~running] = 0.0
    vm_data = np.array([vm.data_mib if vm.host else 0.0 for vm in vms], dtype=np.float64)
    rows, row_of = _rows_of_guests(inventory, policy, must, selection, vm_home, leave)

    members = _units(must, selection, running, rows, row_of)
    unit_of = np.full(len(vms), -1, dtype=np.int64)
    for unit, guests in enumerate(members):
        unit_of[list(guests)] = unit
    home = np.array([_common(vm_home[list(guests)]) for guests in members], dtype=np.int64)
    allowed_rows, allowed_of = _rows_of_units(members, rows, row_of)
    soft_rows, soft_of, pin_price = _prices(should, selection, members, unit_of, hosts)
    size = np.array([sizes(host, kinds) for host in inventory.hosts], dtype=np.float64).reshape(-1, len(kinds))
    free = headroom(kinds, memory=policy.limits.memory_headroom, cpu=policy.limits.cpu_headroom)
    return Problem(
        hosts=tuple(host.name for host in inventory.hosts),
        kinds=kinds,
        balanced=np.flatnonzero([kind.balanced for kind in kinds]),
        members=members,
        homes=tuple(tuple(int(vm_home[vm]) for vm in guests) for guests in members),
        demand=_sums(vm_demand, members),
        data_mib=_sums(vm_data[:, None], members)[:, 0],
        home=home,
        capacity=_capacity(inventory, kinds, size * (1.0 - np.array(free)), vm_demand, vm_home),
        allowed_rows=allowed_rows,
        allowed_of=allowed_of,
        soft_rows=soft_rows,
        soft_of=soft_of,
        pin_price=pin_price,
        apart=_groups(must, Apart, selection, unit_of, inventory),
        should_apart=_groups(should, Apart, selection, unit_of, inventory),
        should_together=_groups(should, Together, selection, unit_of, inventory),
        weight=_weights(inventory, kinds, size, vm_demand, vm_home),
        leave=leave,
        size=size,
        member_demand=vm_demand,
        member_data_mib=vm_data,
        narrowed=narrowed or any(kind.narrow for kind in for_disks),
    )


def _capacity(inventory: Inventory, kinds: Sequence[Resource], capacity: Floats, demand: Floats, home: Ints) -> Floats:
    """Return the capacities; as many NUMA nodes as guests lie in now, where they do so rightly."""
    for column in (number for number, kind in enumerate(kinds) if kind.kind == "numa"):
        used = np.bincount(home[home != SPLIT], demand[home != SPLIT, column], len(inventory.hosts))
        for number in np.flatnonzero(used > capacity[:, column]).tolist():
            vms = (vm for at, vm in zip(home, inventory.vms, strict=True) if at == number and vm.state != "stopped")
            if check.fits_nodes(inventory.hosts[number], vms):
                capacity[number, column] = used[number]
    return capacity


def _weights(inventory: Inventory, kinds: Sequence[Resource], size: Floats, demand: Floats, home: Ints) -> Floats:
    counted = np.array([host.takes_guests for host in inventory.hosts], dtype=np.bool_)
    inside = counted[home] & (home != SPLIT) if len(home) else np.zeros(0, dtype=np.bool_)
    weight = np.zeros_like(size)
    for column in (number for number, kind in enumerate(kinds) if kind.balanced):
        total, room = demand[inside, column].sum(), size[counted, column].sum()
        if total > 0.0 and room > 0.0:
            usable = counted & (size[:, column] > 0.0)
            weight[usable, column] = room / total / size[usable, column]
    return weight


def _rows_of_guests(
    inventory: Inventory, policy: Policy, must: Sequence[Rule], selection: Selection, home: Ints, leave: Bools
) -> tuple[Bools, Ints]:
    """Return, by class of guest, the hosts where a guest may end; and the class of each guest."""
    reach = Reach(inventory, policy)
    lawful, lawful_of = lawful_rows(must, selection, len(inventory.vms), len(inventory.hosts))
    held = pinned(must, selection)
    rows: list[Bools] = []
    known: dict[bytes, int] = {}
    of = np.zeros(len(inventory.vms), dtype=np.int64)
    for number, vm in enumerate(inventory.vms):
        row = np.zeros(len(inventory.hosts), dtype=np.bool_) if number in held else reach.row(vm)
        if home[number] != SPLIT:
            row[home[number]] = inventory.hosts[home[number]].has_nodes(vm)
        row = row & lawful[lawful_of[number]] & ~leave
        key = np.packbits(row).tobytes()
        if key not in known:
            known[key] = len(rows)
            rows.append(row)
        of[number] = known[key]
    return np.array(rows, dtype=np.bool_).reshape(len(rows), len(inventory.hosts)), of


def _units(
    must: Sequence[Rule], selection: Selection, running: Bools, rows: Bools, row_of: Ints
) -> tuple[tuple[int, ...], ...]:
    """Join guests that must be together; guests with no host in common stay apart, for no placement joins them."""
    parent = list(range(len(running)))

    def root(vm: int) -> int:
        while parent[vm] != vm:
            parent[vm] = parent[parent[vm]]
            vm = parent[vm]
        return vm

    for rule in must:
        if isinstance(rule, Together):
            guests = [vm for vm in selection.vms(rule.vms) if running[vm]]
            for vm in guests[1:]:
                first, other = sorted((root(guests[0]), root(vm)))
                parent[other] = first
    units: dict[int, list[int]] = {}
    for vm in np.flatnonzero(running).tolist():
        units.setdefault(root(vm), []).append(vm)
    joined: list[tuple[int, ...]] = []
    for guests in units.values():
        if len(guests) > 1 and not rows[row_of[guests]].all(axis=0).any():
            joined.extend((vm,) for vm in guests)
        else:
            joined.append(tuple(guests))
    return tuple(sorted(joined))


def _common(homes: Ints) -> int:
    return int(homes[0]) if (homes == homes[0]).all() else SPLIT


def _sums(values: Floats, members: Sequence[tuple[int, ...]]) -> Floats:
    if not members:
        return np.zeros((0, values.shape[1]))
    flat = np.concatenate([np.array(guests) for guests in members])
    starts = np.cumsum([0, *(len(guests) for guests in members[:-1])])
    sums: Floats = np.add.reduceat(values[flat], starts, axis=0)
    return sums


def _rows_of_units(members: Sequence[tuple[int, ...]], rows: Bools, row_of: Ints) -> tuple[Bools, Ints]:
    joint = list(rows)
    of = np.zeros(len(members), dtype=np.int64)
    for unit, guests in enumerate(members):
        if len(guests) == 1:
            of[unit] = row_of[guests[0]]
        else:
            of[unit] = len(joint)
            joint.append(rows[row_of[list(guests)]].all(axis=0))
    return np.array(joint, dtype=np.bool_).reshape(len(joint), rows.shape[1]), of


def _groups(
    rules: Sequence[Rule],
    kind: type[Apart] | type[Together],
    selection: Selection,
    unit_of: Ints,
    inventory: Inventory,
) -> tuple[Group, ...]:
    groups = []
    cells: dict[str, Ints] = {"host": np.arange(len(inventory.hosts), dtype=np.int64)}
    for rule in rules:
        if isinstance(rule, kind):
            units = unit_of[selection.vms(rule.vms)]
            which, count = np.unique(units[units >= 0], return_counts=True)
            price = 0.0 if rule.strength == "must" else rule.price
            per, most = (rule.per, rule.most) if isinstance(rule, Apart) else ("host", 1)
            if per not in cells and isinstance(rule, Apart):
                cells[per] = _cells(rule, inventory)
            groups.append(
                Group(
                    name=rule.name,
                    units=which,
                    weight=count.astype(np.int64),
                    price=price,
                    cell=cells[per],
                    most=most,
                )
            )
    return tuple(group for group in groups if group.weight.sum() > group.most)


def _cells(rule: Apart, inventory: Inventory) -> Ints:
    """Return the number of the area of each host."""
    known: dict[tuple[str, ...], int] = {}
    return np.array([known.setdefault(rule.area(host), len(known)) for host in inventory.hosts], dtype=np.int64)


def _prices(
    should: Iterable[Rule], selection: Selection, members: Sequence[tuple[int, ...]], unit_of: Ints, hosts: int
) -> tuple[Floats, Ints, Floats]:
    of = np.zeros(len(members), dtype=np.int64)
    pin_price = np.zeros(len(members))
    concerned: dict[int, list[int]] = {}
    masks: list[Floats] = []
    for rule in should:
        guests = [vm for vm in selection.vms(rule.vms) if unit_of[vm] >= 0]
        if isinstance(rule, Pin):
            np.add.at(pin_price, unit_of[guests], rule.price)
        if isinstance(rule, RunOn | NotOn):
            mask = np.zeros(hosts)
            mask[selection.hosts(rule.hosts)] = 1.0
            masks.append(rule.price * (1.0 - mask if isinstance(rule, RunOn) else mask))
            for vm in guests:
                concerned.setdefault(int(unit_of[vm]), []).append(len(masks) - 1)
    rows = [np.zeros(hosts)]
    known: dict[tuple[int, ...], int] = {(): 0}
    for unit, which in concerned.items():
        key = tuple(sorted(which))
        if key not in known:
            known[key] = len(rows)
            rows.append(np.add.reduce([masks[index] for index in key]))
        of[unit] = known[key]
    return np.array(rows), of, pin_price
