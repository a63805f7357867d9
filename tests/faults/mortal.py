"""A controller that dies at an appointed write."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Literal

import pytest
from sqlalchemy.engine import Connection

from executor.hypervisor.faults import ControllerKilled
from executor.lease import Holder
from executor.store import Store

When = Literal["before", "after"]


class MortalStore(Store):
    """Dies at its `fuse`-th write, before it is durable or just after; a dead one writes nothing any more."""

    fuse = 0
    when: When = "before"
    _writes = 0
    _dead = False

    @contextmanager
    def _write(self) -> Iterator[Connection]:
        self._writes += 1
        if self._dead or (self._writes == self.fuse and self.when == "before"):
            self._dead = True
            raise ControllerKilled
        with super()._write() as connection:
            yield connection
        if self._writes == self.fuse:
            self._dead = True
            raise ControllerKilled


def mortal(url: str, fuse: int, when: When) -> MortalStore:
    store = MortalStore(url)
    store.fuse, store.when = fuse, when
    return store


@contextmanager
def another_process() -> Iterator[None]:
    """Let a controller that is begun in here be one of a process that is dead by the time anybody looks."""
    here = Holder.here
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Holder, "here", lambda actor: replace(here(actor), born="1"))
        yield
