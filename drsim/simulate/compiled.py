"""The kernel, compiled where that pays."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

from drsim.migration import dirty, first, leg, plain
from drsim.migration.compiled import let_in
from drsim.simulate import kernel, network, rush
from drsim.workload import curve

PAYS_FROM = 300
"""Migrations from which it is faster to load the compiled kernel (0.5 s) than to do without."""


class Kernel(NamedTuple):
    """The functions of `drsim.simulate.kernel` that others call."""

    settle: Callable[..., Any]
    begin: Callable[..., Any]
    end: Callable[..., Any]


def pays(migrations: int) -> bool:
    """Return whether so many migrations are played faster by the compiled kernel: loading it pays, or it is there."""
    return migrations >= PAYS_FROM or _compiled.cache_info().currsize > 0


def kernel_for(fast: bool) -> Kernel:
    """Return the kernel: the same results either way, to the last bit.

    Parameters
    ----------
    fast : bool
        Whether to compile it; some seconds the first time, kept on disk from then on.
    """
    return _compiled() if fast else Kernel(kernel.settle, kernel.begin, kernel.end)


@cache
def _compiled() -> Kernel:
    from drsim.compiled import compiled

    _prepare()
    uses = (leg, network)
    return Kernel(*(compiled(function, uses=uses) for function in (kernel.settle, kernel.begin, kernel.end)))


@cache
def rusher() -> Callable[..., float]:
    """Return `drsim.simulate.rush.rush`, compiled; some seconds the first time, kept on disk from then on."""
    from drsim.compiled import compiled, helper

    _prepare()
    for function in (kernel.settle, kernel.begin, kernel.end):
        helper(function)
    return compiled(rush.rush, uses=(curve, dirty, first, leg, plain, kernel, network))


@cache
def _prepare() -> None:
    from drsim.compiled import helper

    let_in()
    for function in (network.fill, kernel.to_date, *kernel.PARTS):
        helper(function)
