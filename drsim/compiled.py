"""The compiler behind one typed door: which functions are compiled, and how, is said in one place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
from numba.extending import register_jitable

F = TypeVar("F", bound=Callable[..., Any])


def compiled(function: F) -> F:
    """Compile a function of numbers and arrays at its first call; the machine code is kept on disk from then on.

    Other threads may run while it does. A division by zero gives infinity, as in NumPy.
    """
    return cast(F, numba.njit(cache=True, nogil=True, error_model="numpy")(function))


def inlined(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a small function into each function that calls it: arrays are passed on without cost."""
    inline: Callable[..., Any] = numba.njit(cache=True, nogil=True, error_model="numpy", inline="always")(function)
    return inline


def helper(function: F) -> F:
    """Let compiled functions call a function that stays as it is for everybody else."""
    return register_jitable(function)
