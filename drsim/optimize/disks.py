"""Which disk lies on which datastore: CP-SAT for parts of the estate that have no datastore in common.

What disks leave behind is removed by nobody here, so a disk lands only where there is room before anything has left;
then any order of the moves does.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from drsim.optimize.relieve import relieved

if TYPE_CHECKING:
    from ortools.sat.python import cp_model

BASIS = 10_000
"""Steps of a whole share: thresholds are kept to a hundredth of a per cent."""

EVEN = 0.02
"""A datastore is relieved to its threshold, but not below the mean of its part of the estate and this: what lies below
costs GiB that nobody feels."""

LARGEST, FEWER = 5_000, 8
"""Choices up to which all are weighed; beyond, disks leave only what is too full, for so many others, the emptiest."""

KILO = 1000
"""Steps of a MiB/s."""

MOVES = 4096
"""A MiB moved counts as so many moves of guests: the fewest GiB first, then the fewest guests."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """A datastore: what is in use of it now, of how much; and what may still come, in sizes that disks may grow to.

    Parameters
    ----------
    used_mib, size_mib, free_mib : float or None
        Space in use, its size, and what may come, MiB; the latter two None where not known.
    written_mib_s, rate_mib_s, free_mib_s : float or None
        The same of what is written at once, MiB/s.
    leave : bool
        Whether it is to be evacuated.
    """

    used_mib: float
    size_mib: float | None
    free_mib: float | None
    written_mib_s: float
    rate_mib_s: float | None
    free_mib_s: float | None
    leave: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A disk that can be moved.

    Parameters
    ----------
    guest : int
        Whose it is.
    at : int
        The datastore that it lies on.
    to : tuple of int
        Datastores that would do.
    paths : tuple of str
        Where it would lie there: no two disks come to one path of a datastore.
    size_mib, data_mib, writes_mib_s : float
        What it may grow to, what it holds, and what is written to it at once.
    """

    guest: int
    at: int
    to: tuple[int, ...]
    paths: tuple[str, ...]
    size_mib: float
    data_mib: float
    writes_mib_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Stock:
    """Datastores, disks that can be moved between them, thresholds (shares) and what may be moved at most."""

    stores: tuple[Store, ...]
    items: tuple[Item, ...]
    most_full: float
    most_written: float
    max_moves: int | None = None
    max_mib: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Shelved:
    """Where disks should lie.

    Parameters
    ----------
    place : tuple of int
        Datastore of each item.
    over : float
        No way to lay them has all datastores closer to their thresholds than this, a share of size or rate.
    left_mib : float
        No way leaves less on the datastores that are to be evacuated; of the items alone.
    least_mib : float
        What reaches the same moves at least so much.
    """

    place: tuple[int, ...]
    over: float
    left_mib: float
    least_mib: float


@dataclass(slots=True)
class _Part:
    """Datastores that exchange disks, and these; the levels to which they are relieved."""

    stores: list[int]
    items: list[int]
    full: float
    written: float
    floor: float
    narrowed: bool = False
    to: dict[int, tuple[int, ...]] = field(default_factory=dict)


def shelve(stock: Stock, effort_s: float, seed: int = 0) -> Shelved:
    """Choose a datastore for each disk.

    In this order: the least left on datastores that are to be evacuated; the least that the worst datastore is over its
    threshold; the least in sum; the fewest MiB moved; the fewest guests. Same input and seed: same answer.

    Parameters
    ----------
    stock : Stock
        Datastores and disks.
    effort_s : float
        Work of CP-SAT in all, in its deterministic seconds.
    seed : int
        Seed of its search.
    """
    place = [item.at for item in stock.items]
    limited = stock.max_moves is not None or stock.max_mib is not None
    parts = list(_parts(stock, whole=limited))
    over = max((part.floor for part in parts), default=0.0)
    left = least = 0.0
    todo = [part for part in parts if _is_needed(stock, part)]
    for part in todo:
        found = _Model(stock, _narrowed(stock, part), effort_s / len(todo) / 4.0, seed).solve()
        over, left, least = max(over, found.over), left + found.left_mib, least + found.least_mib
        for item, store in zip(part.items, found.place, strict=True):
            place[item] = store
    return Shelved(place=tuple(place), over=over, left_mib=left, least_mib=least)


def _parts(stock: Stock, *, whole: bool) -> Iterator[_Part]:
    """Yield datastores that exchange disks with each other; all together where all share what may be moved."""
    root = list(range(len(stock.stores)))

    def find(store: int) -> int:
        while root[store] != store:
            root[store] = root[root[store]]
            store = root[store]
        return store

    for item in stock.items:
        for other in item.to:
            root[max(find(item.at), find(other))] = min(find(item.at), find(other))
    stores, items = defaultdict[int, list[int]](list), defaultdict[int, list[int]](list)
    for number in range(len(stock.stores)):
        stores[find(number)].append(number)
    for number, item in enumerate(stock.items):
        items[find(item.at)].append(number)
    parts = [_part(stock, stores[key], items[key]) for key in stores]
    if not whole:
        yield from parts
        return
    yield from (part for part in parts if not part.items)
    busy = [part for part in parts if part.items]
    if busy:
        joint = _part(stock, [s for part in busy for s in part.stores], [i for part in busy for i in part.items])
        joint.floor = max(part.floor for part in busy)
        joint.full, joint.written = (max(getattr(part, key) for part in busy) for key in ("full", "written"))
        yield joint


def _part(stock: Stock, stores: list[int], items: list[int]) -> _Part:
    """Find the levels of a part: no datastore needs to be below its mean, and one is above it whatever is moved."""
    known = [store for number in stores if (store := stock.stores[number]).size_mib is not None]
    rated = [store for number in stores if (store := stock.stores[number]).rate_mib_s is not None]
    size = sum(store.size_mib or 0.0 for store in known if not store.leave)
    rate = sum(store.rate_mib_s or 0.0 for store in rated if not store.leave)
    mean = sum(store.used_mib for store in known) / size if size else 0.0
    flow = sum(store.written_mib_s for store in rated) / rate if rate else 0.0
    floor = max(0.0, mean - stock.most_full, flow - stock.most_written if len(rated) == len(stores) else 0.0)
    if not items:
        floor = max((_over(store, stock.most_full, stock.most_written) for store in known + rated), default=0.0)
    return _Part(
        stores=stores,
        items=items,
        full=max(stock.most_full, mean + EVEN),
        written=max(stock.most_written, flow + EVEN),
        floor=floor,
    )


def _over(store: Store, full: float, written: float) -> float:
    shares = [] if store.size_mib is None else [store.used_mib / store.size_mib - full]
    return max(
        [0.0, *shares, *([] if store.rate_mib_s is None else [store.written_mib_s / store.rate_mib_s - written])]
    )


def _is_needed(stock: Stock, part: _Part) -> bool:
    stores = [stock.stores[number] for number in part.stores]
    leaving = any(stock.stores[stock.items[number].at].leave for number in part.items)
    return bool(part.items) and (leaving or any(_over(store, part.full, part.written) > 0.0 for store in stores))


def _narrowed(stock: Stock, part: _Part) -> _Part:
    """Leave all choices open, or in a large part those that matter most."""
    part.to = {number: stock.items[number].to for number in part.items}
    if sum(map(len, part.to.values())) <= LARGEST:
        return part
    part.narrowed = True

    def share(number: int) -> float:
        store = stock.stores[number]
        return max(_over(store, 0.0, 0.0), 0.0)

    for number in part.items:
        item = stock.items[number]
        source = stock.stores[item.at]
        hot = source.leave or _over(source, part.full, part.written) > 0.0
        part.to[number] = tuple(sorted(sorted(item.to, key=lambda one: (share(one), one))[:FEWER])) if hot else ()
    return part


class _Model:
    """One part as CP-SAT sees it."""

    def __init__(self, stock: Stock, part: _Part, effort_s: float, seed: int) -> None:
        from ortools.sat.python import cp_model

        self._stock, self._part, self._effort_s, self._seed = stock, part, effort_s, seed
        self._model: cp_model.CpModel = cp_model.CpModel()
        self._goes: dict[tuple[int, int], Any] = {}
        for number in part.items:
            item, ways = stock.items[number], []
            for store in part.to[number]:
                if self._fits(item, stock.stores[store]):
                    self._goes[number, store] = self._model.new_bool_var("")
                    ways.append(self._goes[number, store])
            self._model.add_at_most_one(ways)
        self._loads: list[tuple[Any, int, int, int, list[tuple[int, tuple[int, int]]]]] = []
        self._spent = False
        self._over = self._uses()
        self._peak = self._model.new_int_var(0, 10**9, "")
        for over in self._over:
            self._model.add(over <= self._peak)
        self._one_a_path()
        self._moved = self._guests()
        self._data = {number: round(stock.items[number].data_mib) for number in part.items}
        if stock.max_mib is not None:
            exact = sum(int(-(-stock.items[n].data_mib * KILO // 1)) * go for (n, _), go in self._goes.items())
            self._model.add(exact <= int(stock.max_mib * KILO + 1e-3))
        if stock.max_moves is not None:
            self._model.add(sum(self._moved.values()) <= stock.max_moves)

    @staticmethod
    def _fits(item: Item, store: Store) -> bool:
        roomy = store.free_mib is None or item.size_mib <= store.free_mib + 1e-6
        return roomy and (store.free_mib_s is None or item.writes_mib_s <= store.free_mib_s + 1e-6)

    def _uses(self) -> list[Any]:
        """Keep what may come, and return by how much each datastore is over its level, one variable a resource."""
        coming = defaultdict[int, list[tuple[int, Any]]](list)
        going = defaultdict[int, list[tuple[int, tuple[int, int]]]](list)
        for (number, target), go in self._goes.items():
            coming[target].append((number, go))
            going[self._stock.items[number].at].append((number, (number, target)))
        overs = []
        for number in self._part.stores:
            store = self._stock.stores[number]
            if store.free_mib is not None and coming[number]:
                sizes = sum(int(-(-self._stock.items[i].size_mib * KILO // 1)) * go for i, go in coming[number])
                self._model.add(sizes <= int(max(0.0, store.free_mib) * KILO + 1e-3))
            if store.free_mib_s is not None and coming[number]:
                writes = sum(int(-(-self._stock.items[i].writes_mib_s * KILO // 1)) * go for i, go in coming[number])
                self._model.add(writes <= int(max(0.0, store.free_mib_s) * KILO + 1e-3))
            if store.leave:
                continue
            for used, size, level, step, key in (
                (store.used_mib, store.size_mib, self._part.full, 1, "data_mib"),
                (store.written_mib_s, store.rate_mib_s, self._part.written, KILO, "writes_mib_s"),
            ):
                if size is None:
                    continue
                change = [(round(getattr(self._stock.items[i], key) * step), (i, number)) for i, _ in coming[number]]
                change += [(-round(getattr(self._stock.items[i], key) * step), way) for i, way in going[number]]
                total = round(used * step) + sum(much * self._goes[way] for much, way in change)
                whole = max(1, round(size * step))
                most = BASIS * (round(used * step) + sum(max(much, 0) for much, _ in change)) // whole + 1
                over = self._model.new_int_var(0, most, "")
                allowed = int(level * BASIS + 1e-6)
                self._model.add(BASIS * total <= whole * (over + allowed))
                self._loads.append((over, round(used * step), whole, allowed, change))
                overs.append(over)
        return overs

    def _one_a_path(self) -> None:
        ways: dict[tuple[int, str], list[Any]] = defaultdict(list)
        for (number, store), go in self._goes.items():
            item = self._stock.items[number]
            ways[store, item.paths[item.to.index(store)]].append(go)
        for those in ways.values():
            if len(those) > 1:
                self._model.add_at_most_one(those)

    def _guests(self) -> dict[int, Any]:
        moved: dict[int, Any] = {}
        for (number, _), go in self._goes.items():
            guest = self._stock.items[number].guest
            if guest not in moved:
                moved[guest] = self._model.new_bool_var("")
            self._model.add(go <= moved[guest])
        return moved

    def solve(self) -> Shelved:
        """Reach one aim after the other, and hold what was reached."""
        part = self._part
        ways: dict[int, list[int]] = {number: [] for number in part.items}
        for number, store in self._goes:
            ways[number].append(store)
        place = relieved(self._stock, part.stores, ways, part.full, part.written)
        leaving = [number for number in self._part.items if self._stock.stores[self._stock.items[number].at].leave]
        sizes = {number: round(self._stock.items[number].size_mib) for number in leaving}
        gone = sum(sizes[n] * go for (n, _), go in self._goes.items() if n in sizes)
        left, place = self._least(sum(sizes.values()) - gone, place) if leaving else (0.0, place)
        worst, place = self._least(self._peak, place) if self._over else (0.0, place)
        if self._over:
            _, place = self._least(sum(self._over), place)
        moved = MOVES * sum(self._data[n] * go for (n, _), go in self._goes.items()) + sum(self._moved.values())
        least, place = self._least(moved, place)
        return Shelved(
            place=tuple(place[number] for number in self._part.items),
            over=0.0 if self._part.narrowed or worst <= 1.0 else self._at_least(worst),
            left_mib=left,
            least_mib=0.0 if self._part.narrowed else least / MOVES,
        )

    def _at_least(self, worst: float) -> float:
        """Return the bound of the worst datastore as a share over its threshold; rounding is given away."""
        stores = [self._stock.stores[number] for number in self._part.stores]
        sizes = [store.size_mib for store in stores if store.size_mib]
        shifts = [self._part.full - self._stock.most_full] if sizes else []
        if any(store.rate_mib_s for store in stores):
            shifts.append(self._part.written - self._stock.most_written)
        rough = any(item.data_mib % 1.0 for item in self._stock.items)
        given = len(self._part.items) / min(sizes, default=1.0) if rough else 0.0
        return max(0.0, (worst - 1.0) / BASIS + min(shifts) - given)

    def _hint(self, place: dict[int, int]) -> None:
        """Tell CP-SAT a way whole, so that it goes on from there."""
        self._model.clear_hints()  # type: ignore[no-untyped-call]
        for (number, store), go in self._goes.items():
            self._model.add_hint(go, int(place[number] == store))
        moved = {self._stock.items[n].guest for n, store in place.items() if store != self._stock.items[n].at}
        for guest, variable in self._moved.items():
            self._model.add_hint(variable, int(guest in moved))
        worst = 0
        for over, used, whole, allowed, change in self._loads:
            total = used + sum(much for much, (number, store) in change if place[number] == store)
            value = max(0, -(-BASIS * total // whole) - allowed)
            self._model.add_hint(over, value)
            worst = max(worst, value)
        self._model.add_hint(self._peak, worst)

    def _least(self, aim: Any, place: dict[int, int]) -> tuple[float, dict[int, int]]:
        """Minimise an aim from what was found so far; return its bound and what is found, and hold it to that."""
        from ortools.sat.python import cp_model

        if isinstance(aim, int):
            return float(aim), place
        if self._spent:
            return 0.0, place
        self._hint(place)
        self._model.minimize(aim)
        solver = cp_model.CpSolver()
        solver.parameters.num_workers = 1
        solver.parameters.random_seed = self._seed % (1 << 31)
        solver.parameters.max_deterministic_time = self._effort_s
        status = solver.solve(self._model)
        if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
            self._spent = True  # what comes next would not be held to this aim
            return 0.0, place
        self._model.add(aim <= round(solver.objective_value))
        found = {number: self._stock.items[number].at for number in self._part.items}
        found |= {number: store for (number, store), go in self._goes.items() if solver.value(go)}
        return max(0.0, solver.best_objective_bound), found


def residual(stock: Stock, place: Sequence[int]) -> tuple[Store, ...]:
    """Return the datastores with disks laid there: what has come takes room, what has left is still in the way."""
    stores = list(stock.stores)
    for item, where in zip(stock.items, place, strict=True):
        if where != item.at:
            there = stores[where]
            stores[where] = replace(
                there,
                free_mib=None if there.free_mib is None else there.free_mib - item.size_mib,
                free_mib_s=None if there.free_mib_s is None else there.free_mib_s - item.writes_mib_s,
            )
    return tuple(stores)
