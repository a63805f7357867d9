"""The kernel, compiled where that pays."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

from drsim.migration import leg
from drsim.simulate import kernel, network

PAYS_FROM = 300
"""Migrations from which it is faster to load the compiled kernel (0.5 s) than to do without."""


class Kernel(NamedTuple):
    """The functions of `drsim.simulate.kernel` that others call."""

    settle: Callable[..., Any]
    begin: Callable[..., Any]
    end: Callable[..., Any]


@cache
def kernel_for(fast: bool) -> Kernel:
    """Return the kernel: the same results either way, to the last bit.

    Parameters
    ----------
    fast : bool
        Whether to compile it; some seconds the first time, kept on disk from then on.
    """
    if not fast:
        return Kernel(kernel.settle, kernel.begin, kernel.end)
    from drsim.compiled import compiled, helper

    for function in (leg.net_rate, leg.wait_s, network.fill, kernel.to_date, *kernel.PARTS):
        helper(function)
    return Kernel(compiled(kernel.settle), compiled(kernel.begin), compiled(kernel.end))
