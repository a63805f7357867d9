"""Balance: every load below an aim by barter, single steps and CP-SAT; as even as few moves get it where not more are
allowed.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from drsim.optimize import exact
from drsim.optimize.bound import SMALL
from drsim.optimize.cells import HOSTS as CELL
from drsim.optimize.clock import Budget
from drsim.optimize.few import few
from drsim.optimize.few import load as load_few
from drsim.optimize.level import descend
from drsim.optimize.problem import SPLIT, Ints
from drsim.optimize.state import SLACK, State
from drsim.optimize.stop import Progress, Stop
from drsim.optimize.trade import load as load_trade
from drsim.optimize.trade import trade

IN_ONE_CELL, IN_MANY = (0.88, 0.9, 0.98), (0.82, 0.88, 0.97)
"""Shares of the time by which barter ends, single steps that mend what it leaves above the aim, and barter in those
cells where anything is still above: with many cells there is often one."""

NEARBY = 0.2
"""Share of the time for single steps from a placement that is good but for a little; then that is bartered for."""

SPARE = 1.5
"""A search for balance is not begun if not even so many times the fewest moves are allowed that any balance takes."""

EFFORT_S, EFFORT, ROUNDS = 2.0, 0.3, 8
"""CP-SAT's work on a whole small problem, deterministic seconds, but this share of the time limit at most; it gets a
tenth of that on each neighbourhood; rounds."""


def load(*, barters: bool) -> None:
    """Load what a search needs before its clock starts; compiles what is not compiled yet."""
    (load_trade if barters else load_few)()


def enough(state: State, aim: float, most: float) -> bool:
    """Whether so many moves allow to look for every load below an aim at all."""
    return bool(most >= SPARE * _least_moves(state, aim))


def balance(
    state: State,
    aim: float,
    bound: float,
    budget: Budget,
    seed: int,
    *,
    most: float = np.inf,
    most_mib: float = np.inf,
    barters: bool = True,
    near: bool = False,
    finish: bool = True,
    on_progress: Callable[[Progress], None] | None = None,
    stop: Stop | None = None,
) -> tuple[State, float]:
    """Return the evenest state found, and what is known of the least highest load then.

    Parameters
    ----------
    state : State
        Starting point; no rule is broken that it keeps. It is changed.
    aim, bound : float
        Highest load sought, and below which none is, 1 = mean.
    budget : Budget
        Time.
    seed : int
        Seed of the searches.
    most, most_mib : float
        Moves of guests, and memory moved, MiB, at most.
    barters : bool
        Whether the aim is sought at all (`enough`), or what few moves can do.
    near : bool
        Whether the start is good but for a little.
    finish : bool
        Whether CP-SAT may end it, which moves what it likes.
    on_progress, stop
        As for `drsim.optimize.optimize`.
    """
    start, then = state.copy(), state
    if barters:
        told = _Told(budget, bound, aim, on_progress, stop)
        bound = _barter(then, budget, seed, told, near=near, finish=finish, bound=bound, aim=aim)
        if budget.ended and then.peak() > start.peak():
            then = start.copy()
    if np.isfinite(min(most, most_mib)) and (then.peak() > aim or _spent(then, most, most_mib)):
        then = start.copy()
        moves = int(most) if np.isfinite(most) else state.problem.units
        few(then, moves, budget, seed, most_mib=most_mib)
        then = then if then.peak() <= start.peak() else start
    return then, bound


def _spent(state: State, most: float, most_mib: float) -> bool:
    return state.moved_guests() > most or state.moved_mib() > most_mib


class _Told:
    """Passes on how far a search is, and asks whether it should end."""

    def __init__(
        self,
        budget: Budget,
        bound: float,
        aim: float,
        on_progress: Callable[[Progress], None] | None,
        stop: Stop | None,
    ) -> None:
        self._budget, self._bound, self._aim, self._pass_on = budget, bound, aim, on_progress
        self._peak = self._excess = float("inf")
        if stop is not None:
            budget.ask = lambda: stop(self._now())

    def __call__(self, peak: float, excess: float) -> None:
        """Note how far it is."""
        better = peak < self._peak
        self._peak, self._excess = min(peak, self._peak), min(excess, self._excess)
        if better and self._pass_on is not None:
            self._pass_on(self._now())

    def state(self, state: State) -> None:
        """Note a placement."""
        self(state.peak(), float(np.maximum(state.levels().max(axis=1) - self._aim, 0.0).sum()))

    def _now(self) -> Progress:
        peak = self._peak
        gap = (peak - self._bound) / peak if peak else 0.0
        return Progress(
            objective=peak, lower_bound=self._bound, gap=gap, excess=self._excess, elapsed_s=self._budget.elapsed_s
        )


def _barter(
    state: State, budget: Budget, seed: int, told: _Told, *, near: bool, finish: bool, bound: float, aim: float
) -> float:
    """Bring every load below the aim, in place; returns what is known of the bound then."""
    told.state(state)
    searched, stepped, again = IN_ONE_CELL if state.hosts <= CELL else IN_MANY
    if near:
        descend(state, aim, budget, share=NEARBY)
    barters = not near or state.hosts > CELL  # in one cell nothing would stay as it was
    if barters and state.peak() > aim:
        trade(state, aim, budget, seed, after=NEARBY if near else 0.0, share=searched, tell=told)
    descend(state, aim, budget, share=stepped)
    if barters and state.peak() > aim and not budget.out(stepped):
        before = state.copy()
        trade(state, aim, budget, seed, after=stepped, share=again, tell=told)
        descend(state, aim, budget)
        if state.peak() > before.peak():
            state.take(before)
    told.state(state)
    if not finish:
        return bound
    if state.problem.units * state.hosts <= SMALL and not budget.out(0.9):
        answer = exact.solve(state, np.arange(state.hosts), _effort_s(budget), seed, budget.left_s)
        if answer.place is not None and answer.peak < state.peak() - 1e-6 and state.peak() > aim:
            _place(state, exact.units_on(state, np.arange(state.hosts)), answer.place)
        if not state.priced.any() and not state.problem.narrowed and not np.any(state.place == SPLIT):
            bound = max(bound, answer.bound)
        told.state(state)
    else:
        _neighbourhoods(state, aim, budget, seed, lambda: told.state(state))
    return bound


def _least_moves(state: State, aim: float) -> int:
    """Bound the moves from below that bring every load below an aim: the guests that need most leave first."""
    problem, least = state.problem, 0
    for host in np.flatnonzero((state.levels() > aim).any(axis=1)).tolist():
        units = np.flatnonzero(state.place == host)
        fewest = 0
        for column in np.flatnonzero(problem.weight[host]).tolist():
            much = float(state.use[host, column] - aim / problem.weight[host, column])
            needs = np.cumsum(np.sort(problem.demand[units, column])[::-1])
            fewest = max(fewest, int(np.searchsorted(needs, much - SLACK)) + 1 if much > SLACK else 0)
        least += fewest
    return least


def _neighbourhoods(state: State, aim: float, budget: Budget, seed: int, tell: Callable[[], None]) -> None:
    """Let CP-SAT rearrange the worst host among a few others, again and again, while that lowers the peak."""
    random = np.random.default_rng(seed)
    for _ in range(ROUNDS):
        levels = state.levels().max(axis=1)
        if levels.max(initial=0.0) <= aim or budget.out(0.9):
            return
        worst = int(levels.argmax())
        cool = np.flatnonzero(levels < aim)
        others = random.choice(cool, size=min(3, len(cool)), replace=False) if len(cool) else cool
        hosts = np.unique(np.append(others, worst))
        answer = exact.solve(state, hosts, _effort_s(budget) / 10, seed, max(budget.left_s, 0.0))
        if answer.place is not None and answer.peak < levels[worst] - 1e-6:
            _place(state, exact.units_on(state, hosts), answer.place)
            tell()


def _effort_s(budget: Budget) -> float:
    return min(EFFORT_S, EFFORT * budget.limit_s)


def _place(state: State, units: Ints, place: Ints) -> None:
    for unit, host in zip(units.tolist(), place.tolist(), strict=True):
        if state.place[unit] != host:
            state.shift(unit, host)
