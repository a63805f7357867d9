"""Datastores and hosts as lines that copies of disks share, beside those of the network."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from drsim.inventory import Inventory
from drsim.plan import Move
from drsim.policy import Policy
from drsim.storage import Stores
from drsim.topology import LEAST_FREE, Path

DATASTORE = "datastore "
"""Before the name of a datastore as a line."""

LOADING = ("prepare", "disks")
"""Phases of a migration up to the end of its disks."""


HOME = Path(edges=(), bandwidth_mbit_s=math.inf, rtt_ms=0.0, loss=0.0)
"""Path of disks that move alone: nothing is sent between hosts."""


class DiskLines:
    """What the disks that some moves copy have to share.

    A datastore of known write rate takes no more than its guests leave of it, `LEAST_FREE` of it in any case; what a
    host copies between its datastores goes no faster than `copy_mib_s` together. What datastores can be read
    from nobody knows.

    Parameters
    ----------
    inventory : Inventory
        All of it: guests that do not move write, too.
    moves : sequence of Move
        What is played.
    copy_mib_s : float
        `drsim.migration.Parameters.copy_mib_s`.

    Attributes
    ----------
    capacity_mib_s : dict of str to float
        Rate of each.

    Notes
    -----
    Disks of one move are copied at once. Where they land on several datastores, each of these is taken to be written to
    at the rate of all of them: the prediction is then too long rather than too short.
    """

    def __init__(self, inventory: Inventory, moves: Sequence[Move], copy_mib_s: float) -> None:
        self.capacity_mib_s: dict[str, float] = {}
        self._edges: dict[str, tuple[str, ...]] = {}
        copying = [move for move in moves if move.copy_disks]
        if not copying:
            return
        rated = [store for store in inventory.datastores if store.write_rate_mib_s is not None]
        stores = Stores(inventory, Policy()) if rated else None
        free = {
            store.name: max(stores.free_mib_s(store), LEAST_FREE * (store.write_rate_mib_s or 0.0))
            for store in rated
            if stores is not None
        }
        vms, hosts = inventory.vm_by_name, inventory.host_by_name
        for move in copying:
            if move.vm not in vms or move.target not in hosts:
                continue  # whoever looks for its path says so
            edges = []
            landing = () if stores is None else stores.of_move(vms[move.vm], hosts[move.target], move)[1]
            for name in dict.fromkeys(name for name in landing if name in free):
                edges.append(f"{DATASTORE}{name}")
                self.capacity_mib_s[edges[-1]] = free[name]
            if move.storage_only:
                edges.append(f"disks of {move.source}")
                self.capacity_mib_s[edges[-1]] = copy_mib_s
            self._edges[move.id] = tuple(edges)

    def over(self, path: Path, move: Move) -> Path:
        """Return the path of a move with what its disks cross besides."""
        edges = self._edges.get(move.id, ())
        return replace(path, disk_edges=edges) if edges else path

    def datastores_mib_s(self, move: Move) -> float:
        """Return what datastores leave for the disks of a move if all moves share evenly; infinite if nobody knows."""
        crowd = Counter(edge for edges in self._edges.values() for edge in edges)
        mine = (edge for edge in self._edges.get(move.id, ()) if edge.startswith(DATASTORE))
        return min((self.capacity_mib_s[edge] / crowd[edge] for edge in mine), default=math.inf)
