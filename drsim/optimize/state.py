"""A placement under change: what every host holds, who may go where, what a step would do."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from drsim.optimize.problem import SPLIT, Bools, Floats, Group, Ints, Problem

SLACK = 1e-9
"""Rounding allowed when sums of demands are compared with a capacity."""


class State:
    """Places of all units and the sums that follow from them, kept up to date step by step.

    Parameters
    ----------
    problem : Problem
        Compiled problem.
    place : array of int, shape (U,), optional
        Host of each unit; by default where it is now.
    """

    def __init__(self, problem: Problem, place: Ints | None = None) -> None:
        self.problem = problem
        self.place: Ints = problem.home.copy()
        self.hosts = len(problem.hosts)
        self.use: Floats = np.zeros_like(problem.capacity)
        self.count: Ints = np.zeros((len(problem.apart), self.hosts), dtype=np.int64)
        whole = self.place != SPLIT
        np.add.at(self.use, self.place[whole], problem.demand[whole])
        for unit in np.flatnonzero(~whole).tolist():
            for vm, host in self.seats(unit):
                self.use[host] += problem.member_demand[vm]
        pairs = [
            (unit, g, w)
            for g, group in enumerate(problem.apart)
            for unit, w in zip(group.units, group.weight, strict=True)
        ]
        cells = [group.cell for group in problem.apart]
        self.cells: Ints = np.array(cells, dtype=np.int64).reshape(len(problem.apart), self.hosts)
        self.most: Ints = np.array([group.most for group in problem.apart], dtype=np.int64)
        table = np.array(pairs, dtype=np.int64).reshape(-1, 3)
        self._pair_unit, self._pair_group, self._pair_weight = table[:, 0], table[:, 1], table[:, 2]
        self.groups_of = _by_unit(self._pair_unit, self._pair_group)
        self._weight_of = _by_unit(self._pair_unit, self._pair_weight)
        seated = self.place[self._pair_unit] != SPLIT
        groups, homes = self._pair_group[seated], self.place[self._pair_unit[seated]]
        np.add.at(self.count, (groups, self.cells[groups, homes]), self._pair_weight[seated])
        for unit in self.groups_of:
            if self.place[unit] == SPLIT:
                for _, host in self.seats(unit):
                    self._tally(self.groups_of[unit], host, 1)
        self._wishes_of: dict[int, list[tuple[int, int]]] = {}
        self._wished: Ints = np.zeros((len(problem.should_apart), self.hosts), dtype=np.int64)
        for g, group in enumerate(problem.should_apart):
            for unit, weight in zip(group.units.tolist(), group.weight.tolist(), strict=True):
                self._wishes_of.setdefault(unit, []).append((g, weight))
            places = self.place[group.units]
            np.add.at(self._wished[g], group.cell[places[places != SPLIT]], group.weight[places != SPLIT])
        self._joined = frozenset(unit for group in problem.should_together for unit in group.units.tolist())
        self.priced = _priced(problem)
        self.heavy: Bools = np.zeros(problem.units, dtype=np.bool_)
        self.heavy[self._pair_unit[self._pair_weight > 1]] = True
        self.movable: Bools = problem.allowed_rows.sum(axis=1)[problem.allowed_of] > 1
        if place is not None:
            for unit in np.flatnonzero(place != self.place).tolist():
                self.shift(unit, int(place[unit]))

    def seats(self, unit: int) -> list[tuple[int, int]]:
        """Guests of a unit and their hosts as they are now; without those that have none yet."""
        pairs = zip(self.problem.members[unit], self.problem.homes[unit], strict=True)
        return [(vm, host) for vm, host in pairs if host != SPLIT]

    def copy(self) -> State:
        """Return an independent state with the same placement."""
        twin = object.__new__(State)
        twin.__dict__.update(self.__dict__)
        twin.place, twin.use, twin.count = self.place.copy(), self.use.copy(), self.count.copy()
        twin._wished = self._wished.copy()
        return twin

    def take(self, other: State) -> None:
        """Take over the placement of another state of the same problem."""
        self.place, self.use, self.count, self._wished = other.place, other.use, other.count, other._wished

    def _tally(self, groups: Ints, host: int, weight: Ints | int) -> None:
        self.count[groups, self.cells[groups, host]] += weight

    def shift(self, unit: int, host: int) -> None:
        """Put a unit on a host."""
        problem, source = self.problem, int(self.place[unit])
        groups = self.groups_of.get(unit)
        weight = self._weight_of.get(unit)
        if source == SPLIT:
            for vm, there in self.seats(unit):
                self.use[there] -= problem.member_demand[vm]
                if groups is not None:
                    self._tally(groups, there, -1)
        else:
            self.use[source] -= problem.demand[unit]
            if groups is not None and weight is not None:
                self._tally(groups, source, -weight)
        if host == SPLIT:
            for vm, there in self.seats(unit):
                self.use[there] += problem.member_demand[vm]
                if groups is not None:
                    self._tally(groups, there, 1)
        else:
            self.use[host] += problem.demand[unit]
            if groups is not None and weight is not None:
                self._tally(groups, host, weight)
        for g, many in self._wishes_of.get(unit, ()):
            cell = problem.should_apart[g].cell
            if source != SPLIT:
                self._wished[g, cell[source]] -= many
            if host != SPLIT:
                self._wished[g, cell[host]] += many
        self.place[unit] = host

    def on(self, host: int) -> Ints:
        """Units on a host that could be elsewhere."""
        return np.flatnonzero((self.place == host) & self.movable)

    def rooms(self, units: Ints | Sequence[int]) -> Bools:
        """Hosts that could take each unit as a further one, shape (n, H); its own host is not among them."""
        units = np.asarray(units, dtype=np.int64)
        mask: Bools = self.problem.allowed(units).copy()
        demand = self.problem.demand[units]
        for column in range(demand.shape[1]):
            free = self.problem.capacity[:, column] - self.use[:, column] + SLACK
            mask &= demand[:, column, None] <= free[None, :]
        mask &= ~self.crowded(units)
        seated = self.place[units] != SPLIT
        mask[np.flatnonzero(seated), self.place[units][seated]] = False
        return mask

    def crowded(self, units: Ints) -> Bools:
        """Hosts where an `apart` rule keeps each unit out, shape (n, H)."""
        mask = np.zeros((len(units), self.hosts), dtype=np.bool_)
        for row, unit in enumerate(units.tolist()):
            groups = self.groups_of.get(unit)
            if groups is not None:
                own = self._weight_of[unit][:, None]
                cells, source = self.cells[groups], int(self.place[unit])
                there = np.take_along_axis(self.count[groups], cells, axis=1)
                if source != SPLIT:
                    there -= own * (cells == cells[:, source, None])
                mask[row] = (there + own > self.most[groups][:, None]).any(axis=0)
        return mask

    def crowded_on(self, host: int) -> Bools:
        """Units that an `apart` rule keeps out of one host, shape (U,)."""
        mask = np.zeros(self.problem.units, dtype=np.bool_)
        groups, places, own = self._pair_group, self.place[self._pair_unit], self._pair_weight
        cells = self.cells[groups, host]
        inside = (places != SPLIT) & (self.cells[groups, np.maximum(places, 0)] == cells)
        there = self.count[groups, cells] - own * inside
        mask[self._pair_unit[there + own > self.most[groups]]] = True
        return mask

    def crowds(self) -> Bools:
        """Areas in which there are more units of a group than may be, shape (groups, H): by number of the area."""
        crowds: Bools = self.count > self.most[:, None]
        return crowds

    def levels(self) -> Floats:
        """Load of each host, 1 = mean utilisation, shape (H, n): of each resource that is balanced."""
        levels: Floats = (self.use * self.problem.weight)[:, self.problem.balanced]
        return levels

    def peak(self) -> float:
        """Highest load of a host, 1 = mean utilisation."""
        return float(self.levels().max(initial=0.0))

    def over(self) -> Floats:
        """Return what each host holds beyond its capacity, shape (H, R)."""
        over: Floats = np.maximum(self.use - self.problem.capacity - SLACK, 0.0)
        return over

    def over_on(self, host: int) -> Floats:
        """Return what one host holds beyond its capacity, shape (R,)."""
        over: Floats = np.maximum(self.use[host] - self.problem.capacity[host] - SLACK, 0.0)
        return over

    def moved(self) -> Ints:
        """Units that are not at home."""
        return np.flatnonzero(self.place != self.problem.home)

    def moved_guests(self) -> int:
        """Return how many guests are not where they were."""
        return sum(len(self.problem.members[unit]) for unit in self.moved().tolist())

    def moved_mib(self) -> float:
        """Memory that migrations would carry, MiB."""
        moved, problem = self.moved(), self.problem
        whole = moved[problem.home[moved] != SPLIT]
        split = moved[problem.home[moved] == SPLIT].tolist()
        return float(problem.data_mib[whole].sum() + sum(problem.cost_mib(u)[self.place[u]] for u in split))

    def price_row(self, unit: int) -> Floats:
        """Price of broken `should` rules that depends on where the unit is, for each host, shape (H,)."""
        problem = self.problem
        row = problem.soft_rows[problem.soft_of[unit]].copy()
        if problem.pin_price[unit]:
            away = np.ones(self.hosts, dtype=np.bool_)
            away[problem.home[unit]] = problem.home[unit] == SPLIT
            row += problem.pin_price[unit] * away
        place = int(self.place[unit])
        for g, own in self._wishes_of.get(unit, ()):
            group, counts = problem.should_apart[g], self._wished[g]
            if place != SPLIT:
                counts = counts.copy()
                counts[group.cell[place]] -= own
            more = np.maximum(counts + own - group.most, 0) - np.maximum(counts - group.most, 0)
            row += group.price * more[group.cell]
        for group in problem.should_together if unit in self._joined else ():
            if unit in group.units:
                own, counts = self._others(group, unit)
                largest = np.maximum(counts.max(initial=0), counts + own)
                row += group.price * (counts.sum() + own - largest)
        result: Floats = row
        return result

    def content(self, unit: int) -> bool:
        """Whether no rule that should hold is broken by where the unit is; it has one place."""
        problem, place = self.problem, int(self.place[unit])
        if unit in self._joined or problem.soft_rows[problem.soft_of[unit], place] > 0.0:
            return False
        if problem.pin_price[unit] and place != problem.home[unit]:
            return False
        wishes = ((problem.should_apart[g], self._wished[g]) for g, _ in self._wishes_of.get(unit, ()))
        return all(counts[group.cell[place]] <= group.most for group, counts in wishes)

    def _others(self, group: Group, unit: int) -> tuple[int, Ints]:
        """Guests of the group in the unit, and others of the group in each area."""
        mine = group.units == unit
        places = self.place[group.units]
        seated = ~mine & (places != SPLIT)
        areas = group.cell[places[seated]]
        counts = np.bincount(areas, weights=group.weight[seated], minlength=self.hosts).astype(np.int64)
        return int(group.weight[mine][0]), counts

    def penalty(self) -> float:
        """Price of all broken `should` rules."""
        problem, total = self.problem, 0.0
        whole = np.flatnonzero(self.place != SPLIT)
        total += float(problem.soft_rows[problem.soft_of[whole], self.place[whole]].sum())
        total += float(problem.pin_price[self.moved()].sum())
        for group in (*problem.should_apart, *problem.should_together):
            places = self.place[group.units]
            counts = np.bincount(group.cell[places[places != SPLIT]], group.weight[places != SPLIT], self.hosts)
            if group in problem.should_apart:
                total += group.price * float(np.maximum(counts - group.most, 0).sum())
            else:
                total += group.price * float(counts.sum() - counts.max(initial=0))
        return total


def _by_unit(units: Ints, values: Ints) -> dict[int, Ints]:
    """Return the values of each unit, in their order."""
    order = np.argsort(units, kind="stable")
    which, first = np.unique(units[order], return_index=True)
    return dict(zip(which.tolist(), np.split(values[order], first[1:]), strict=True)) if len(which) else {}


def _priced(problem: Problem) -> Bools:
    """Units on whose place a `should` rule has an opinion."""
    mask = (problem.soft_of > 0) | (problem.pin_price > 0)
    for group in (*problem.should_apart, *problem.should_together):
        mask[group.units] = True
    return mask
