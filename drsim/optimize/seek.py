"""One goal, sought from a state by what is made for it: alone, or where others are held (`drsim.optimize.held`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from drsim.optimize import balance
from drsim.optimize.clock import Budget
from drsim.optimize.defragment import defragment
from drsim.optimize.engine.load import load as load_engine
from drsim.optimize.mend import please
from drsim.optimize.pack import pack
from drsim.optimize.problem import Bools, Floats
from drsim.optimize.state import State
from drsim.optimize.stop import Progress, Stop
from drsim.policy import Goal


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Quest:
    """What is sought, and what it may take.

    Parameters
    ----------
    goal : str
        One of `drsim.policy.GOALS`; for those that rules alone bring about nothing is left to do.
    seed : int
        Seed of the search.
    takes : array of bool, shape (H,)
        Hosts that take guests.
    most, most_mib : float
        Moves of guests, and memory moved, MiB, at most.
    aim, bound : float
        Of balance: the highest load sought, and below which none is, 1 = mean.
    barters, near, finish : bool
        Of balance: see `drsim.optimize.balance.balance`.
    need : array of float, shape (R,), or None
        Of defragment: what one further guest needs.
    """

    goal: Goal
    seed: int
    takes: Bools
    most: float = np.inf
    most_mib: float = np.inf
    aim: float = 0.0
    bound: float = 0.0
    barters: bool = True
    near: bool = False
    finish: bool = True
    need: Floats | None = None


def ready(goal: Goal, *, barters: bool = True) -> None:
    """Load what the search for a goal needs before its clock starts; compiles what is not compiled yet."""
    if goal == "balance":
        balance.load(barters=barters)
    elif goal == "consolidate":
        load_engine()


def seek(
    state: State,
    quest: Quest,
    budget: Budget,
    *,
    on_progress: Callable[[Progress], None] | None = None,
    stop: Stop | None = None,
) -> tuple[State, float]:
    """Return the best state found, and what the search itself says about the least there can be; 0 if nothing.

    Parameters
    ----------
    state : State
        Starting point; no rule is broken that it keeps. It is changed.
    quest : Quest
        What is sought.
    budget : Budget
        Time.
    on_progress, stop
        As for `drsim.optimize.optimize`; for balance.
    """
    if quest.goal == "balance":
        return balance.balance(
            state,
            quest.aim,
            quest.bound,
            budget,
            quest.seed,
            most=quest.most,
            most_mib=quest.most_mib,
            barters=quest.barters,
            near=quest.near,
            finish=quest.finish,
            on_progress=on_progress,
            stop=stop,
        )
    if quest.goal == "consolidate":
        pack(state, budget, quest.seed, quest.most, quest.most_mib)
    elif quest.goal == "defragment" and quest.need is not None:
        freely = not np.isfinite(min(quest.most, quest.most_mib))
        defragment(state, quest.need, budget, quest.takes, quest.seed, freely=freely)
    elif quest.goal == "spread":
        please(state)
    return state, 0.0
