"""The search around the compiled steps: how hot, how strict, how long; of several tries the best is kept."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from drsim.optimize.engine.alike import alike
from drsim.optimize.engine.anneal import PATIENCE, anneal
from drsim.optimize.engine.approach import approach
from drsim.optimize.engine.model import Floats, Ints, Model, State, broken, cost, new_state, overfull
from drsim.optimize.engine.roomier import roomier

Gone = Callable[[], float]
"""Share of the time that is gone, 0 to 1."""

STEPS = 20_000, 1_000
"""Most and fewest steps between two looks at prices and clock."""

LOOKS = 2_000
"""Looks that a search of counted effort takes, if it is long enough for them."""

KIN = 20
"""Units alike that each unit knows."""

ANNEALED, SETTLED = 0.8, 0.9
"""Shares of the time at which the temperature has fallen, and nothing that is whole is broken again; at which a try
that is not whole yet may only be mended, or begins anew from a start that was and goes as far towards it as it can."""

RISE, FALL = 5.0, 0.01
"""What the last temperature is multiplied with for polishing what is whole, and to which part of it it then falls."""

FINE, LEAST = 0.95, 0.02
"""Share of the time at which it has fallen so far, and then falls on to this part of the price of the cheapest move:
nothing is left that a single move would save."""

PRESSURE = 1.05
"""What the price of an overrun is multiplied with at each look once the temperature has fallen."""

RELIEF = 0.5
"""Share of the proposals that from then on concern a unit on a host that holds too much, as long as there is one: of a
thousand hosts chance alone seldom finds the last few."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a search goes on from beginning to end; prices and temperatures in the price of a mean unit.

    Parameters
    ----------
    hot, cold : float
        First and last temperature.
    over : float
        First price of what a host holds over its capacity, in the price of what it holds over its safety capacity; if
        that has none, for as much of each resource as a mean unit needs.
    up, down : float
        What that price is multiplied with, host by host and resource by resource, at each look, as long as a host is
        over and as long as it is not.
    rule, rule_least : float
        First and least price of a broken rule.
    rule_up, rule_down : float
        What it is multiplied with at each look, as long as something is broken and as long as nothing is.
    lawful : bool
        Whether rules are kept on the way, too.
    swaps, homes : float
        Share of the proposals that exchange two units; that send one home.
    kins : float
        Share of the exchanges with a unit alike.
    chains : float
        Share of the exchanges in which the other unit goes home or anywhere.
    focus : float
        Share of the proposals that concern a unit on a host that holds too much.
    """

    hot: float = 0.5
    cold: float = 1e-3
    over: float = 4.0
    up: float = 1.005
    down: float = 0.9995
    rule: float = 0.5
    rule_least: float = 0.1
    rule_up: float = 1.02
    rule_down: float = 0.998
    lawful: bool = False
    swaps: float = 0.3
    homes: float = 0.4
    kins: float = 0.5
    chains: float = 0.0
    focus: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Found:
    """A placement, and how good it is.

    Parameters
    ----------
    place : array of int, shape (U,)
        Host of each unit.
    over : float
        What hosts hold over their capacity, in hosts' capacities.
    broken : int
        Rules that it breaks.
    cost : float
        What it costs.
    """

    place: Ints
    over: float
    broken: int
    cost: float

    @property
    def rank(self) -> tuple[int, float, float]:
        """The less the better: rules, then capacity, then cost."""
        return self.broken, self.over, self.cost


def search(
    model: Model,
    start: Ints,
    gone: Gone,
    *,
    effort: float = np.inf,
    seed: int = 0,
    workers: int = 2,
    recipe: Recipe | None = None,
) -> Found:
    """Look for a cheap placement until the time is up or the effort is made.

    Parameters
    ----------
    model : Model
        The problem.
    start : array of int, shape (U,)
        Placement to begin from.
    gone : callable
        Share of the time that is gone; asked from several threads.
    effort : float
        Steps of each try. If they end before the time does, the answer depends on the seed alone.
    seed : int
        Seed of the first try; each further one takes the next.
    workers : int
        Tries side by side, a thread each.
    recipe : Recipe, optional
        How to search.

    Returns
    -------
    Found
        The best placement seen, the start among them.
    """
    recipe = recipe or Recipe()
    kin = alike(model.demand[:-1], KIN, seed)
    tries = [_Try(model, start, kin, recipe, effort, seed + number) for number in range(workers)]
    if workers == 1:
        return tries[0].run(gone)
    with ThreadPoolExecutor(workers) as pool:
        found: list[Found] = list(pool.map(lambda one: one.run(gone), tries))
    return min(found, key=lambda one: one.rank)


RACE = 0.3
"""Share of the time in which the recipes run against each other."""

RECIPES = (
    Recipe(hot=0.5, over=2.0, homes=0.3),
    Recipe(hot=0.5, over=4.0, homes=0.5),
    Recipe(hot=1.0, over=1.0, homes=0.3, swaps=0.4, up=1.02, down=0.998, rule_down=0.99),
    Recipe(hot=0.2, over=4.0, homes=0.4, rule_down=0.99, focus=0.1),
)
"""No recipe suits every problem: how tight it is, and what is held on both ends, decides."""

TURNS, AGAIN = (0.7, 0.85, 1.0), Recipe(hot=0.02, over=20.0, homes=0.4, focus=0.1, swaps=0.5, chains=0.3)
"""Shares of the time at which a long try and its further turns end; the recipe by which these loosen and tighten the
best placement again. Where units are large beside hosts they settle early, and a longer search ends no cheaper."""

LARGE = 20_000
"""Units from which on the time is too short to forget the start and to find something better."""

PATIENT = Recipe(hot=0.15, over=2.0, homes=0.2, swaps=0.4)
"""Recipe for so many: colder from the beginning, and no time for short tries."""


def race(model: Model, start: Ints, gone: Gone, *, seed: int = 0, workers: int = 2) -> Found:
    """Look for a cheap placement with the recipe that does best in short tries.

    Of so many units that the time is short (`LARGE`) all tries are long ones. Where large units are that had better be
    elsewhere (`roomier`), the last of the long tries makes them go, and the first ends sooner and goes on from the best
    that there is in further turns.

    Parameters
    ----------
    model, start, gone, seed, workers
        As for `search`.

    Returns
    -------
    Found
        The best placement seen, the start among them.
    """
    if len(start) >= LARGE:
        return search(model, start, gone, seed=seed, workers=workers, recipe=PATIENT)
    kin = alike(model.demand[:-1], KIN, seed)
    rounds = -(-len(RECIPES) // workers)

    def short(number: int) -> Found:
        turn = number // workers
        begin, length = RACE * turn / rounds, RACE / rounds
        one = _Try(model, start, kin, RECIPES[number], np.inf, seed + number)
        return one.run(lambda: (gone() - begin) / length)

    def turn(place: Ints, recipe: Recipe, number: int) -> Found:
        begin = TURNS[number - 1] if number else RACE
        one = _Try(model, place, kin, recipe, np.inf, seed + 200 + number)
        return one.run(lambda: (gone() - begin) / (TURNS[number] - begin))

    def turns() -> Found:
        best = min(found[order[0]], turn(start, RECIPES[order[0]], 0), key=lambda one: one.rank)
        for number in range(1, len(TURNS)):
            best = min(best, turn(best.place, AGAIN, number), key=lambda one: one.rank)
        return best

    def long(number: int) -> Found:
        last = number == workers - 1
        if number == 0 and not last and freed is not None:
            return turns()
        problem, begin = freed if last and freed is not None else (model, start)
        recipe = RECIPES[order[1 if last and freed is None else 0]]
        one = _Try(problem, begin, kin, recipe, np.inf, seed + 100 + number)
        return one.run(lambda: (gone() - RACE) / (1.0 - RACE))

    with ThreadPoolExecutor(workers) as pool:
        found = list(pool.map(short, range(len(RECIPES))))
        order = sorted(range(len(RECIPES)), key=lambda number: found[number].rank)
        freed = roomier(model, found[order[0]].place)
        found += pool.map(long, range(workers))
    return min(found, key=lambda one: one.rank)


class _Try:
    """One thread's search."""

    def __init__(self, model: Model, start: Ints, kin: Ints, recipe: Recipe, effort: float, seed: int) -> None:
        self.model, self.start, self.kin, self.recipe, self.effort = model, start, kin, recipe, effort
        self.random = np.random.default_rng(seed).integers(1, 2**63, size=1, dtype=np.uint64)
        self.steps = int(min(STEPS[0], max(STEPS[1], effort / LOOKS)))
        # A short search has fewer looks: at each, prices change the more.
        self.pace = max(LOOKS * self.steps / effort, 1.0)
        self.price = _unit_price(model)
        cheapest = float(np.min(model.move_price, where=model.move_price > 0.0, initial=np.inf))
        self.coldest = min(FALL * recipe.cold, LEAST * cheapest / self.price)
        need = np.maximum(model.demand[:-1].mean(axis=0), 1e-12)
        # Where load has a price, what is too much costs no less; elsewhere resources weigh alike.
        price = model.load_price
        self.base = np.maximum(price, price.mean() * 0.1) if price.any() else self.price / (need * len(need))

    def run(self, gone: Gone) -> Found:
        recipe, model = self.recipe, self.model
        state, first = _measure(model, self.start)
        best, sound = first, first.broken == 0 and first.over == 0.0
        wrong, rule = first.broken, recipe.rule
        over = np.tile(self.base * recipe.over, (len(model.capacity), 1))
        hard = np.minimum(model.bar, model.capacity)
        done, strict, anew = 0, False, False
        while (share := max(done / self.effort, gone())) < 1.0:
            heat = recipe.hot * (recipe.cold / recipe.hot) ** min(share / ANNEALED, 1.0)
            if share > ANNEALED and not strict:
                strict = share > SETTLED or (wrong == 0 and not (state.full > model.capacity).any())
            if strict:
                heat = recipe.cold * RISE * (FALL / RISE) ** min((share - ANNEALED) / (FINE - ANNEALED), 1.0)
                if share > FINE:
                    heat *= (self.coldest / heat) ** ((share - FINE) / (1.0 - FINE))
            if share > SETTLED and not anew and sound and best is first:
                goal, state, wrong, anew = state.place, new_state(model, self.start), 0, True
                approach(model, state, goal, hard)
            if anew:
                heat = recipe.cold * RISE * (FALL / RISE) ** ((share - SETTLED) / (1.0 - SETTLED))
            focus = max(recipe.focus, RELIEF) if share > ANNEALED else recipe.focus
            wrong += self._anneal(
                state, over, rule, wrong, hard if strict else model.bar, strict or recipe.lawful, heat, focus
            )
            done += self.steps
            # Where something is over, the price rises until it is not; where nothing is, it comes down again.
            up, down = (PRESSURE, 1.0) if share > ANNEALED else (recipe.up, recipe.down)
            over *= np.where(state.full > model.capacity, up, down) ** self.pace
            np.clip(over, self.base * 0.1, self.base * 1e6, out=over)
            rule = min(max(rule * (recipe.rule_up if wrong else recipe.rule_down), recipe.rule_least), 1e6)
            if strict:
                best = _better(model, state, best)
        return best

    def _anneal(
        self, state: State, over: Floats, rule: float, wrong: int, bar: Floats, lawful: bool, heat: float, focus: float
    ) -> int:
        recipe, heat = self.recipe, heat * self.price
        _, change = anneal(
            self.model, state, self.model.capacity, over, bar, rule * self.price, wrong, lawful, PATIENCE, self.random,
            self.steps, heat, heat, recipe.swaps, recipe.homes, self.kin, recipe.kins, recipe.chains,
            np.flatnonzero((state.full > self.model.capacity).any(axis=1)), focus,
        )  # fmt: skip
        return int(change)


def _unit_price(model: Model) -> float:
    price = float((model.demand[:-1] * model.load_price).sum(axis=1).mean())
    return price or float(model.move_price.mean()) or 1.0


def _measure(model: Model, place: Ints) -> tuple[State, Found]:
    state = new_state(model, place)
    return state, Found(
        place=state.place.copy(), over=overfull(model, state), broken=broken(model, state), cost=cost(model, state)
    )


def _better(model: Model, state: State, best: Found) -> Found:
    """Keep the better one; what takes longer to count is counted only where it decides."""
    over = overfull(model, state)
    if best.broken == 0 and over > best.over:
        return best
    now = cost(model, state)
    if best.broken == 0 and over == best.over and now >= best.cost:
        return best
    found = Found(place=state.place.copy(), over=over, broken=broken(model, state), cost=now)
    return found if found.rank < best.rank else best
