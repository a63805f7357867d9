"""A first way to relieve datastores, disk by disk, from which CP-SAT goes on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from drsim.optimize.disks import Item, Stock


def relieved(
    stock: Stock, stores: Sequence[int], to: Mapping[int, Sequence[int]], full: float, written: float
) -> dict[int, int]:
    """Choose disks that leave datastores above their levels, and the emptiest datastore for each.

    The smallest disk that is enough alone leaves, else the one that helps most for its size; no datastore is brought
    above its level, but for what must leave one that is to be evacuated.

    Parameters
    ----------
    stock : Stock
        Datastores and disks.
    stores : sequence of int
        Datastores to look at.
    to : mapping of int to sequence of int
        Disks that may move, and where to.
    full, written : float
        Levels, as shares.

    Returns
    -------
    dict of int to int
        Datastore of each of these disks; it is within all limits.
    """
    return _Relief(stock, to, full, written).run(stores)


class _Relief:
    def __init__(self, stock: Stock, to: Mapping[int, Sequence[int]], full: float, written: float) -> None:
        self._stock, self._to, self._levels = stock, to, (full, written)
        self._place = {number: stock.items[number].at for number in to}
        self._used = [[store.used_mib, store.written_mib_s] for store in stock.stores]
        self._size = [(store.size_mib, store.rate_mib_s) for store in stock.stores]
        self._free = [[store.free_mib, store.free_mib_s] for store in stock.stores]
        self._paths: set[tuple[int, str]] = set()
        self._guests: set[int] = set()
        self._moved_mib = 0.0

    def run(self, stores: Sequence[int]) -> dict[int, int]:
        for store in sorted(stores, key=lambda one: (not self._stock.stores[one].leave, -self._over(one), one)):
            here = [number for number in self._to if self._place[number] == store]
            while here and (self._stock.stores[store].leave or self._over(store) > 0.0):
                number = self._next(store, here)
                here.remove(number)
                self._move(number)
        return self._place

    def _over(self, store: int, less: Item | None = None) -> float:
        """Return by how much a datastore is above its levels in sum, one of its disks left out."""
        gone = (0.0, 0.0) if less is None else (less.data_mib, less.writes_mib_s)
        rows = zip(self._used[store], gone, self._size[store], self._levels, strict=True)
        return sum(max(0.0, (used - much) / size - level) for used, much, size, level in rows if size is not None)

    def _next(self, store: int, here: Sequence[int]) -> int:
        over = self._over(store)

        def rank(number: int) -> tuple[bool, float, int]:
            item = self._stock.items[number]
            left = self._over(store, item)
            return left > 0.0, (left - over) / (item.data_mib + 1.0) if left > 0.0 else item.data_mib, number

        return min(here, key=rank)

    def _move(self, number: int) -> None:
        stock, item = self._stock, self._stock.items[number]
        limits = stock.max_mib is not None and self._moved_mib + item.data_mib > stock.max_mib
        guests = len(self._guests | {item.guest})
        if limits or (stock.max_moves is not None and guests > stock.max_moves):
            return
        fits = [(share, store) for store in self._to[number] if (share := self._share(number, store)) is not None]
        if not fits:
            return
        _, store = min(fits)
        self._place[number] = store
        self._paths.add((store, item.paths[item.to.index(store)]))
        self._guests.add(item.guest)
        self._moved_mib += item.data_mib
        amounts = ((item.data_mib, item.size_mib), (item.writes_mib_s, item.writes_mib_s))
        for kind, (data, most) in enumerate(amounts):
            self._used[item.at][kind] -= data
            self._used[store][kind] += data
            free = self._free[store][kind]
            self._free[store][kind] = None if free is None else free - most

    def _share(self, number: int, store: int) -> float | None:
        """Return how much over its levels, or else how far from them, a disk would bring a datastore; None if it must
        not go there.
        """
        item = self._stock.items[number]
        if (store, item.paths[item.to.index(store)]) in self._paths:
            return None
        for need, free in zip((item.size_mib, item.writes_mib_s), self._free[store], strict=True):
            if free is not None and need > free:
                return None
        rows = zip(self._used[store], (item.data_mib, item.writes_mib_s), self._size[store], self._levels, strict=True)
        worst = max(
            (((used + more) / size - level) for used, more, size, level in rows if size is not None), default=0.0
        )
        return worst if worst <= 0.0 or self._stock.stores[item.at].leave else None
