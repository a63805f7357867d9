"""Balance by barter: the least memory moved with which every host's load is below an aim.

Cell by cell: a linear relaxation says what room on each host is worth and which units may pay to leave, then units are
bartered between hosts at these prices, in a simulated annealing, until nothing is above its limit.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np

from drsim.optimize.cells import cells
from drsim.optimize.clock import Budget
from drsim.optimize.engine.alike import alike
from drsim.optimize.engine.anneal import PATIENCE
from drsim.optimize.engine.barter import BAR, LIMIT, OVER, PRICE, USE, Market, barter, bring
from drsim.optimize.engine.model import Floats, Ints, rings
from drsim.optimize.prices import prices
from drsim.optimize.problem import SPLIT
from drsim.optimize.state import State
from drsim.optimize.steps import Steps, groups_of_units, in_steps
from drsim.resources import BASE

MOVE_MIB = 128.0
"""What a move costs beside its memory, as memory, MiB: connection, switchover and the operator's attention."""

STEPS_PER_UNIT = 40_000
"""Steps, for each unit that may pay to leave, after which a search has settled."""

STEPS_PER_S, PRICING_S = 5e6, 3e-5
"""Steps that fit into a second with ease where three resources are counted, and seconds that a unit takes in the
relaxation, so that the count ends the search and not the clock: the same input and seed give the same placement."""

START_S, ASIDE_S, SEARCHED = 0.9, 1.2e-4, 0.25
"""What the command ``drsim plan`` takes besides, seconds: to start, and for each unit to read, order, predict and check
it. Steps are counted for the rest of the time limit, for this share of it at least, so that the whole keeps it."""

LEAST_STEPS, LEAST_S = 100, 1e-4
"""Steps and seconds for each unit that a search gets in any case: with fewer it ends where nothing is even, and all
that it has moved is for nothing."""

HURRY = 0.3
"""Share of the time at its end in which the clock, not the count, says how far the search is."""

LOOKS, TELLING, EXTRA = 500, 25, 3.0
"""How often prices and temperature change; after so many of these it is told how far the search is; up to so many times
as many if something is above its limit in the end."""

NEAR = 0.3
"""A unit takes part if what lacks for its leaving to pay is below this share of its cost."""

LARGE = 0.3
"""Nor can it be told what pays on a host too full whose limit a single unit takes up by more than this share."""

HOT, COLD, COOLED = 0.1, 0.003, 0.9
"""First and last temperature, in the cost of a mean unit, and the share of the search at which the last is reached."""

BELOW = 0.7
"""What a host charges below its limit, in the relaxation's price: a host filled to the brim is worth something."""

ABOVE = 0.3, 2.0
"""What it charges in addition above the limit, first and last, in the relaxation's price."""

OWN = 0.8
"""Share of this that goes by its own price; the rest by the mean over the hosts."""

UP, DOWN, LEAST, FINAL, FINAL_UP = 1.02, 0.996, 0.2, 0.8, 1.06
"""What a host's charge is multiplied with at each look as long as it is above a limit, and as long as it is not; the
least it falls to; the share of the search after which it rises faster, by how much, falls no more, and placements are
kept. Where it went on falling hosts would go above their limits again and again, and some be there in the end."""

KIN, SUITS = 16, 50
"""Units alike, and hosts that suit, which each unit knows."""


@cache
def load() -> None:
    """Load what a search needs before its clock starts; compiles what is not compiled yet."""
    ones, two = np.ones((2, 1)), np.arange(2)
    prices(ones, ones[:, 0], two, ones, ones, two >= 0)
    small, none = two.astype(np.int32), np.zeros(0, dtype=np.int64)
    market = Market(
        hosts=np.ones((2, 5)),
        needs=ones,
        price=ones[:, 0],
        home=small,
        place=small.copy(),
        allowed=np.ones((1, 2), dtype=np.bool_),
        kind=small * 0,
        groups_from=np.zeros(3, dtype=np.int64),
        groups_of=none,
        most=none,
        cells=none.reshape(0, 2),
        inside=none.reshape(0, 2),
        after=small.copy(),
        before=small.copy(),
        first=small.copy(),
        alike=alike(ones, 1, 0).astype(np.int32),
        suits=small.reshape(2, 1),
    )
    barter(market, PATIENCE, np.ones(1, dtype=np.uint64), 1, 1.0)


Tell = Callable[[float, float], None]
"""Called with the highest load so far, and with what loads are above the aim, over all hosts."""


def trade(
    state: State,
    aim: float,
    budget: Budget,
    seed: int,
    *,
    after: float = 0.0,
    share: float = 1.0,
    tell: Tell = lambda peak, excess: None,
) -> None:
    """Bring every host's load below an aim for as little memory moved as can be found, in place.

    Cells in which none is above it are left as they are.

    Parameters
    ----------
    state : State
        Starting point; no rule is broken that it keeps.
    aim : float
        Load that no host should exceed, 1 = mean.
    budget : Budget
        Time; the search takes most of what is left.
    seed : int
        Seed of the search.
    after, share : float
        Shares of the time limit that have passed when it begins, and when it ends.
    tell : callable
        Told now and then how far it is.
    """
    problem = state.problem
    if not problem.units or state.peak() <= aim:
        return
    cluster = in_steps(state, aim, MOVE_MIB)
    place = cluster.place.copy()
    count = state.count.copy()
    size = np.divide(1.0, problem.weight, out=np.zeros_like(problem.weight), where=problem.weight > 0.0)
    size = (size / np.maximum(size.sum(axis=0), 1e-12))[:, cluster.priced]
    levels = (state.use * problem.weight)[:, cluster.priced]
    parts = cells(levels, size, seed)
    all_levels = state.levels().max(axis=1)
    counted = cluster.demand.shape[1] + sum(map(len, state.groups_of.values())) / problem.units
    pace = STEPS_PER_S * min(1.0, len(BASE) / counted)
    above = np.asarray((cluster.use > cluster.limit).any(axis=1))
    parts = [hosts for hosts in parts if above[hosts].any()]
    units_of = [np.flatnonzero(np.isin(place, hosts) & (state.place != SPLIT)) for hosts in parts]
    left = whole = sum(len(units) for units in units_of)
    search_s = max(budget.limit_s - START_S - ASIDE_S * problem.units, SEARCHED * budget.limit_s) * (share - after)
    for number, (hosts, units) in enumerate(zip(parts, units_of, strict=True)):
        if budget.stopped():
            break
        begin = budget.elapsed_s
        window = max((budget.limit_s * share - begin) * len(units) / max(left, 1), LEAST_S * len(units))
        left -= len(units)
        fits = max((search_s / whole - PRICING_S) * pace, LEAST_STEPS) * len(units)

        def hurry(begin: float = begin, window: float = window) -> float:
            if budget.stopped():
                return 1.0
            return 1.0 - (1.0 - (budget.elapsed_s - begin) / window) / HURRY

        def look(use: Floats, hosts: Ints = hosts) -> None:
            all_levels[hosts] = (use * (problem.weight / cluster.scale)[hosts]).max(axis=1)
            tell(float(all_levels.max()), float(np.maximum(all_levels - aim, 0.0).sum()))

        _barter(state, cluster, hosts, units, place, count, fits, hurry, look, seed + number)
    for unit in np.flatnonzero(place != cluster.place).tolist():
        state.shift(unit, int(place[unit]))


def _barter(
    state: State,
    cluster: Steps,
    hosts: Ints,
    units: Ints,
    place: Ints,
    count: Ints,
    fits: float,
    hurry: Callable[[], float],
    look: Callable[[Floats], None],
    seed: int,
) -> None:
    """Search one cell; changes the places and counts."""
    problem, priced = state.problem, cluster.priced
    use, limit = cluster.use[hosts], cluster.limit[hosts]
    if not (use > limit).any():
        return
    local = np.full(state.hosts, -1, dtype=np.int64)
    local[hosts] = np.arange(len(hosts))
    worth = prices(
        cluster.demand[units][:, priced],
        np.where(place[units] == problem.home[units], cluster.cost[units], 0.0),
        local[place[units]],
        use[:, priced],
        limit[:, priced],
        cluster.free[units],
    )
    away = place[units] != problem.home[units]
    pays = cluster.free[units] & (away | (worth.leaving < NEAR * cluster.cost[units]))
    # Where a large unit cannot leave in part, as the relaxation would have it, all others may have to.
    large = (cluster.demand[units] > LARGE * np.maximum(cluster.limit[place[units]], 1.0))[:, priced].any(axis=1)
    torn = np.intersect1d(hosts[(use > limit).any(axis=1)], place[units[large]])
    pays |= cluster.free[units] & np.isin(place[units], torn)
    # Nor does a guest of a tag leave in part: any of those that are too many on a host may be the one.
    tags = np.array([kind.kind == "spread" for kind in problem.kinds], dtype=np.bool_)
    many = (cluster.use > cluster.limit) & tags
    pays |= cluster.free[units] & ((cluster.demand[units] > 0.0) & many[place[units]]).any(axis=1)
    units = units[pays]
    if len(units) < 2:
        return
    market, base = _market(state, cluster, hosts, units, local, place, count, worth.room, seed)
    random = np.random.default_rng(seed).integers(1, 2**63, size=1, dtype=np.uint64)
    resources = cluster.demand.shape[1]
    rows = market.hosts.reshape(len(hosts), 5, resources)
    unit_price = float(market.price.mean())
    effort = min(STEPS_PER_UNIT * len(units), fits)
    steps = max(int(effort / LOOKS), 1)
    charge = np.ones_like(limit)
    best, least = None, np.inf
    share, done = 0.0, 0
    while share < 1.0 or (best is None and done < EXTRA * LOOKS and hurry() < 1.0):
        over = rows[:, USE] > rows[:, LIMIT]
        charge *= np.where(over, *((FINAL_UP, 1.0) if share > FINAL else (UP, DOWN)))
        np.clip(charge, LEAST, 1e6, out=charge)
        rows[:, OVER] = base * charge * ABOVE[0] * (ABOVE[1] / ABOVE[0]) ** share
        heat = HOT * (COLD / HOT) ** min(share / COOLED, 1.0)
        barter(market, PATIENCE, random, steps, heat * unit_price)
        done += 1
        share = min(max(done / LOOKS, hurry()), 1.0)
        if done % TELLING == 0:
            look(rows[:, USE])
        if share > FINAL and not (rows[:, USE] > rows[:, LIMIT]).any():
            cost = float(market.price[market.place != market.home].sum())
            if cost < least:
                best, least = market.place.copy(), cost
    if best is not None:
        for unit in np.flatnonzero(best != market.place).tolist():
            bring(market, unit, int(best[unit]))
    place[units] = hosts[market.place]


def _market(
    state: State,
    cluster: Steps,
    hosts: Ints,
    units: Ints,
    local: Ints,
    place: Ints,
    count: Ints,
    room: Floats,
    seed: int,
) -> tuple[Market, Floats]:
    """Lay out what takes part; returned beside it is the price of room above a limit, shape (h, R)."""
    problem = state.problem
    needs, cost = cluster.demand[units], cluster.cost[units]
    resources = needs.shape[1]
    rows = np.zeros((len(hosts), 5, resources))
    rows[:, USE], rows[:, LIMIT], rows[:, BAR] = cluster.use[hosts], cluster.limit[hosts], cluster.bar[hosts]
    rows[:, PRICE][:, cluster.priced] = BELOW * room
    base = np.tile(float(cost.mean()) / np.maximum(needs.mean(axis=0), 1e-12), (len(hosts), 1))
    base[:, cluster.priced] = OWN * room + (1.02 - OWN) * room.mean(axis=0)
    allowed = np.ascontiguousarray(problem.allowed_rows[:, hosts])
    kinds = problem.allowed_of[units]
    charges = needs[:, cluster.priced] @ room.T
    charges[~allowed[kinds]] = np.inf
    suits = np.argsort(charges, axis=1, kind="stable")[:, : min(SUITS, len(hosts))]
    here = local[place[units]]
    after, before, first = rings(here, len(hosts))
    home = np.where(problem.home[units] == SPLIT, -1, local[problem.home[units]])
    groups_from, groups_of = groups_of_units(state, units)
    small = np.int32
    return Market(
        hosts=rows.reshape(len(hosts), 5 * resources),
        needs=needs,
        price=cost,
        home=home.astype(small),
        place=here.astype(small),
        allowed=allowed,
        kind=kinds.astype(small),
        groups_from=groups_from,
        groups_of=groups_of,
        most=state.most,
        cells=np.ascontiguousarray(state.cells[:, hosts]),
        inside=count,
        after=after.astype(small),
        before=before.astype(small),
        first=first.astype(small),
        alike=alike(needs, KIN, seed).astype(small),
        suits=suits.astype(small),
    ), base
