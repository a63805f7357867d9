"""What is sought, when it is more than one thing: goals weighed against each other, or one after the other.

``spread>balance=1,defragment=0.5`` reads: spread risk first; among the placements that are no worse in that, the one
whose balance and half its fragmentation are least together. Goals of one rank add up in *shares*: 0 is the best there
can be. 1 is a cluster whose busiest host carries twice the mean (`balance`); one with as many guests beyond an even
spread as it has guests (`spread`); one with every host in use (`consolidate`); one with none of the room that there is
in one piece (`defragment`); one with all still to be done (`evacuate`, `place`).
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, get_args

from annotated_types import Ge, Gt

from drsim.errors import DrsimError, Problem
from drsim.units import About

Goal = Literal["balance", "evacuate", "consolidate", "repair", "place", "spread", "defragment", "storage"]
GOALS: tuple[Goal, ...] = get_args(Goal)

FIRST: tuple[Goal, ...] = ("evacuate", "place")
"""Goals that are reached or not: they come first and alone, whatever is sought then."""

THEN, BESIDE = ">", ","


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """One of several goals."""

    goal: Annotated[Goal, About("balance, consolidate, spread, defragment; evacuate and place only first.")]
    weight: Annotated[float, Gt(0), About("What a share of it counts, beside the other goals of its rank.")] = 1.0
    rank: Annotated[
        int, Ge(1), About("Goals of rank 1 come first; others are sought among placements no worse in those before.")
    ] = 1

    def __str__(self) -> str:
        return self.goal if self.weight == 1.0 else f"{self.goal}={self.weight:g}"


def ranked(terms: Sequence[Term]) -> tuple[tuple[Term, ...], ...]:
    """Return the goals by rank, each rank in the order in which they are named."""
    ordered = sorted(terms, key=lambda term: term.rank)
    return tuple(tuple(group) for _, group in itertools.groupby(ordered, key=lambda term: term.rank))


def spelled(terms: Sequence[Term]) -> str:
    """Write goals as they are written on the command line: ``spread>balance,defragment=0.5``."""
    return THEN.join(BESIDE.join(map(str, rank)) for rank in ranked(terms))


def parse_terms(text: str) -> tuple[Term, ...]:
    """Read goals: those of one rank with commas between, ranks with ``>`` between, a weight after ``=``.

    Raises
    ------
    DrsimError
        If a goal is not known, or a weight is no number.
    """
    return tuple(
        _term(part.strip(), text, rank)
        for rank, parts in enumerate(text.split(THEN), 1)
        for part in parts.split(BESIDE)
    )


def _term(part: str, text: str, rank: int) -> Term:
    goal, given, weight = part.partition("=")
    for known in GOALS:
        if goal.strip() == known:
            break
    else:
        raise DrsimError(
            f"--objective '{text}': found '{goal.strip()}'; expected one of {', '.join(GOALS)}, or several: "
            "'balance=1,spread=0.5' weighs them, 'spread>balance' seeks one after the other."
        )
    try:
        return Term(goal=known, weight=float(weight) if given else 1.0, rank=rank)
    except ValueError:
        raise DrsimError(
            f"--objective '{text}': found weight '{weight.strip()}' of {goal.strip()}; expected a number above 0."
        ) from None


def term_problems(terms: Sequence[Term], place: str = "objective") -> Iterator[Problem]:
    """List what has no meaning together.

    Parameters
    ----------
    terms : sequence of Term
        Goals that are sought together.
    place : str
        Where they are written.
    """
    if not terms:
        return

    def found(expected: str, remedy: str) -> Problem:
        return Problem(place=f"{place} '{spelled(terms)}'", field="terms", expected=expected, remedy=remedy)

    for term in terms:
        if not (term.weight > 0.0 and math.isfinite(term.weight)):
            yield found(f"the weight of {term.goal} is {term.weight:g}; expected a number above 0.", "Correct it.")
    for goal, times in Counter(term.goal for term in terms).items():
        if times > 1:
            yield found(f"{goal} is named {times} times.", "Name each goal once.")
    if len(terms) > 1 and any(term.goal == "repair" for term in terms):
        yield found("what must hold is mended first, whatever is sought.", "Drop repair.")
    if len(terms) > 1 and any(term.goal == "storage" for term in terms):
        yield found("storage moves disks and leaves guests where they are.", "Make a plan of its own for it.")
    first = ranked(terms)[0]
    for term in terms:
        if len(terms) > 1 and term.goal in FIRST and first != (term,):
            expected = f"{term.goal} is done or not done: no share of it is worth so much of anything else."
            others = BESIDE.join(str(other) for other in terms if other.goal not in FIRST) or "balance"
            yield found(expected, f"Put it first: '{term.goal}{THEN}{others}'.")
