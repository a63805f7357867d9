"""Several goals as one annealing: what is counted and at which price, from a state to the engine's arrays and back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from drsim.inventory import Vm
from drsim.optimize.bound import SMALL
from drsim.optimize.engine.anneal import PATIENCE
from drsim.optimize.engine.model import flat
from drsim.optimize.engine.weigh import Weighed, count, weigh, without
from drsim.optimize.even import MOVE_MIB
from drsim.optimize.problem import SPLIT, Bools, Floats, Group, Ints
from drsim.optimize.state import SLACK, State
from drsim.optimize.steps import in_steps, seats, two_seats
from drsim.policy import Goal
from drsim.resources import needs

COUNTED: tuple[Goal, ...] = ("balance", "spread", "consolidate", "defragment")
"""Goals that the engine weighs, in its order."""

STEPS_PER_UNIT, FEWEST = 4_000, 40_000
"""Steps of a search for each unit that may be moved, and at least."""

STEPS_PER_S = 1.5e6
"""Steps that fit into a second with ease."""

ROUNDS = 16
"""Parts of a search between which it looks at the clock."""

WARM, COOL, HOT, COLD = 0.05, 0.01, 2.0, 0.05
"""First and last temperature in large problems, in the price of a mean move: it begins where what is made for each goal
has come to, and shall not lose that. In small ones (`SMALL`), where little is lost by beginning anew: the first in what
a step changes of what counts most, the last in the least of these."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scales:
    """What is counted and at which price.

    Parameters
    ----------
    price : array of float, shape (S, 4)
        Price of one of what each goal of `COUNTED` counts, by rank: the last is sought, those before must not rise.
    cap : array of float, shape (S,)
        What the ranks before must not rise above.
    moving : float
        Price of moving all memory once.
    even : tuple of Group
        Groups of which every guest beyond an even spread is counted.
    flavour : Vm or None
        Guest of which further ones shall have room in one piece, where that is sought.
    takes : array of bool, shape (H,)
        Hosts that take guests.
    slots : float
        How many of these have room in all.
    floor : float
        Highest load below which evening out further is worth nothing, 1 = mean.
    """

    price: Floats
    cap: Floats
    moving: float
    even: tuple[Group, ...]
    flavour: Vm | None
    takes: Bools
    slots: float
    floor: float


@cache
def load() -> None:
    """Load what a search needs before its clock starts; compiles what is not compiled yet."""
    two, ones, none = np.arange(2), np.ones((2, 1)), np.zeros((0, 2), dtype=np.int64)
    model = Weighed(
        seats=two_seats(),
        moves=two,
        cost=ones[:, 0],
        even_from=np.zeros(3, dtype=np.int64),
        even_of=none[:, 0],
        even_weight=none[:, 0],
        even_most=none[:, 0],
        even_cells=none,
        even_inside=none,
        present=two.copy(),
        flavour=ones[0],
        takes=np.ones(2, dtype=np.bool_),
        slots=0.0,
        floor=0.0,
        price=np.ones((1, 4)),
        cap=np.full(1, np.inf),
    )
    weigh(model, two, 0.0, 0.0, PATIENCE, np.ones(1, dtype=np.uint64), 1, HOT, COLD)


def weighed(
    state: State,
    scales: Scales,
    effort: float,
    seed: int,
    out: Callable[[], bool],
    *,
    most: float = np.inf,
    most_mib: float = np.inf,
) -> State:
    """Return the state of the least weighted sum found.

    Parameters
    ----------
    state : State
        Starting point; what it breaks stays as it is.
    scales : Scales
        What is sought.
    effort : float
        Steps at most.
    seed : int
        Seed of the search.
    out : callable
        Whether to end it; asked `ROUNDS` times.
    most, most_mib : float
        Moves of guests, and memory moved, MiB, at most.
    """
    model, free = _model(state, scales)
    if not len(free):
        return state
    steps = int(min(max(STEPS_PER_UNIT * len(free), FEWEST), effort)) // ROUNDS
    hot, cold = _temperatures(model, free)
    random = np.random.default_rng(seed).integers(1, 2**63, size=1, dtype=np.uint64)
    for number in range(ROUNDS):
        if out():
            break
        heats = [hot * (cold / hot) ** (part / ROUNDS) for part in (number, number + 1)]
        weigh(model, free, most, most_mib, PATIENCE, random, steps, *heats)
    then = state.copy()
    for unit in free[model.seats.place[free] != state.place[free]].tolist():
        then.shift(unit, int(model.seats.place[unit]))
    return then


def sent_back(state: State, scales: Scales, units: Sequence[int]) -> tuple[Floats, Floats]:
    """Count what each goal of `COUNTED` counts, and what it would with each unit alone back at home.

    Parameters
    ----------
    state : State
        Any placement.
    scales : Scales
        What is counted.
    units : sequence of int
        Units that are not at home and have one.

    Returns
    -------
    array of float, shape (4,)
        As the state is.
    array of float, shape (n, 4)
        With each unit at home.
    """
    model, _ = _model(state, scales)
    back = np.array([without(model, unit) for unit in units]).reshape(-1, len(COUNTED) + 1)
    return count(model)[: len(COUNTED)], back[:, : len(COUNTED)]


def _temperatures(model: Weighed, free: Ints) -> tuple[float, float]:
    """Return the first and the last: from what moves one unit that counts most, to what counts least."""
    one = np.ones(4)
    seated = model.seats
    one[0] = float((seated.needs[free].mean(axis=0) * seated.load.max(axis=0, initial=0.0)).max(initial=0.0))
    changes, move = model.price[-1] * one, max(float(model.cost[free].mean()), 1e-12)
    least = min(float(changes[changes > 0.0].min()), move)
    if len(seated.place) * len(seated.use) <= SMALL:
        return HOT * max(float(changes.max()), move), COLD * least
    return WARM * move, COOL * move


def _model(state: State, scales: Scales) -> tuple[Weighed, Ints]:
    """Make the engine's arrays, and list the units that may be moved."""
    problem, steps = state.problem, in_steps(state, 1.0, 0.0)
    lost = [unit for unit in np.flatnonzero(problem.home == SPLIT).tolist() if state.seats(unit)]
    free = steps.free.copy()
    free[lost] = False
    moves = np.array([sum(host != SPLIT for host in homes) for homes in problem.homes], dtype=np.int64)
    cost = problem.data_mib + MOVE_MIB * moves
    seated = seats(state, steps)
    even = _even(state, scales.even)
    present = np.zeros(state.hosts, dtype=np.int64)
    np.add.at(present, state.place[state.place != SPLIT], seated.guests[state.place != SPLIT])
    for unit in np.flatnonzero(state.place == SPLIT).tolist():
        for _, host in state.seats(unit):
            present[host] += 1
    wanted = () if scales.flavour is None else needs(scales.flavour, problem.kinds)
    model = Weighed(
        seats=seated,
        moves=moves,
        cost=cost * (scales.moving / max(float(cost.sum()), 1.0)),
        even_from=even[0],
        even_of=even[1],
        even_weight=even[2],
        even_most=np.array([group.most for group in scales.even], dtype=np.int64),
        even_cells=np.array([group.cell for group in scales.even], dtype=np.int64).reshape(-1, state.hosts),
        even_inside=even[3],
        present=present,
        flavour=np.ceil(np.array(wanted, dtype=np.float64) * steps.scale[: len(wanted)] - SLACK),
        takes=scales.takes,
        slots=scales.slots,
        floor=scales.floor,
        price=scales.price,
        cap=scales.cap,
    )
    return model, np.flatnonzero(free)


def _even(state: State, groups: Sequence[Group]) -> tuple[Ints, Ints, Ints, Ints]:
    """Return the groups of each unit, laid one behind the other, the guests that each is of it, and the areas' sums."""
    of: list[list[int]] = [[] for _ in range(state.problem.units)]
    weight: list[list[int]] = [[] for _ in range(state.problem.units)]
    inside = np.zeros((len(groups), state.hosts), dtype=np.int64)
    for number, group in enumerate(groups):
        places = state.place[group.units]
        np.add.at(inside[number], group.cell[places[places != SPLIT]], group.weight[places != SPLIT])
        for unit, guests in zip(group.units.tolist(), group.weight.tolist(), strict=True):
            of[unit].append(number)
            weight[unit].append(guests)
    starts, flat_of = flat(of)
    return starts, flat_of, flat(weight)[1], inside
