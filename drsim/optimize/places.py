"""From the search's arrays to placements of guests by name, and back."""

from __future__ import annotations

import numpy as np

from drsim.inventory import Inventory
from drsim.optimize.problem import SPLIT
from drsim.optimize.state import State
from drsim.placement import Placement


def placement_of(inventory: Inventory, state: State) -> Placement:
    """Return where a state has every guest; those of a unit that is on several hosts are where they were."""
    problem = state.problem
    where = {vm.name: vm.host for vm in inventory.vms}
    for unit, members in enumerate(problem.members):
        if state.place[unit] != SPLIT:
            where |= dict.fromkeys((inventory.vms[vm].name for vm in members), problem.hosts[int(state.place[unit])])
    return Placement(where)


def settled(now: State, inventory: Inventory, placement: Placement) -> State:
    """Return the state with every unit where a placement that holds everything has it."""
    index = {name: number for number, name in enumerate(now.problem.hosts)}
    there = [index[placement[inventory.vms[members[0]].name]] for members in now.problem.members]
    return State(now.problem, np.array(there, dtype=np.int64))


def taken_over(now: State, inventory: Inventory, placement: Placement) -> State:
    """Return the state with every unit where a placement has it; those that it has on several or on none stay."""
    state = now.copy()
    index = {name: number for number, name in enumerate(now.problem.hosts)}
    for unit, members in enumerate(now.problem.members):
        places = {index.get(placement[inventory.vms[vm].name], SPLIT) for vm in members}
        host = places.pop()
        if not places and host not in (SPLIT, state.place[unit]):
            state.shift(unit, host)
    return state
