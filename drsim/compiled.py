"""The compiler behind one typed door: which functions are compiled, and how, is said in one place."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar, cast

import numba
from numba.extending import register_jitable

F = TypeVar("F", bound=Callable[..., Any])

BLAS, ASKS_FOR_IT = "scipy.linalg.cython_blas", "numba.np.arraymath"
"""What numba multiplies matrices with, and its module that looks for it when the first compiled function is called."""


def spare_blas() -> None:
    """Keep numba from loading SciPy's linear algebra for nothing, which takes longer than many a plan.

    For a process that is drsim's own: nothing that drsim compiles multiplies matrices. A function that does still finds
    what it needs; only `numpy.cov` and `numpy.corrcoef` cannot be compiled any more.
    """
    if BLAS in sys.modules or ASKS_FOR_IT in sys.modules:
        return
    missing: dict[str, Any] = {BLAS: None}
    sys.modules.update(missing)
    try:
        importlib.import_module(ASKS_FOR_IT)
    finally:
        del sys.modules[BLAS]


def compiled(function: F, *, uses: Sequence[ModuleType] = ()) -> F:
    """Compile a function of numbers and arrays at its first call; the machine code is kept on disk from then on.

    Other threads may run while it does. A division by zero gives infinity, as in NumPy.

    Parameters
    ----------
    function : callable
        What to compile.
    uses : sequence of module
        Where functions that it calls stand: numba watches its own file only, and would go on with what they were.
    """
    made = numba.njit(cache=True, nogil=True, error_model="numpy")(function)
    kept: Any = getattr(made, "_cache", None)
    index = Path(getattr(getattr(kept, "_cache_file", None), "_index_path", ""))
    files = [Path(module.__file__) for module in uses if module.__file__]
    if files and index.is_file() and index.stat().st_mtime < max(file.stat().st_mtime for file in files):
        kept.flush()
    return cast(F, made)


def inlined(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a small function into each function that calls it: arrays are passed on without cost."""
    inline: Callable[..., Any] = numba.njit(cache=True, nogil=True, error_model="numpy", inline="always")(function)
    return inline


def helper(function: F) -> F:
    """Let compiled functions call a function that stays as it is for everybody else."""
    return register_jitable(function)
