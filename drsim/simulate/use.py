"""The use of lines over time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, overload

import numpy as np

from drsim.simulate.network import Floats, Ints

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkUse:
    """Use of a line from this time until its next sample.

    Parameters
    ----------
    edge : str
        Directed line, named as in `drsim.topology.Path`.
    time_s : float
        Seconds after the start of the plan.
    used_mbit_s, capacity_mbit_s : float
        Of the line rate, protocol headers included.
    """

    edge: str
    time_s: float
    used_mbit_s: float
    capacity_mbit_s: float


@dataclass(frozen=True, eq=False)
class LinkUses(Sequence[LinkUse]):
    """A sample of each line whenever its use changed, in the order of time; kept as columns.

    Parameters
    ----------
    names : tuple of str
        The lines.
    capacity_mbit_s : array of float, shape (lines,)
        Their rates.
    time_s, used_mbit_s : array of float, shape (n,)
        When, and what from then on.
    line : array of int, shape (n,)
        Which line, by its place in `names`.
    """

    names: tuple[str, ...]
    capacity_mbit_s: Floats
    time_s: Floats
    line: Ints
    used_mbit_s: Floats

    @classmethod
    def of(
        cls,
        names: tuple[str, ...],
        capacity_mbit_s: Floats,
        per_mbit: Floats,
        noted: Sequence[tuple[float, Ints, Floats]],
    ) -> LinkUses:
        """Put together what was noted: time, lines, and their use in MiB/s of data.

        `per_mbit` is what each line carries of it for each Mbit/s.
        """
        line = np.concatenate([lines for _, lines, _ in noted]) if noted else np.empty(0, dtype=np.int64)
        used = np.concatenate([used for _, _, used in noted]) / per_mbit[line] if noted else np.empty(0)
        time_s = np.repeat([at_s for at_s, _, _ in noted], [lines.size for _, lines, _ in noted])
        # Rounding must not show as more than there is.
        return cls(names, capacity_mbit_s, time_s.astype(np.float64), line, np.minimum(used, capacity_mbit_s[line]))

    def __len__(self) -> int:
        return self.line.size

    @overload
    def __getitem__(self, place: int) -> LinkUse: ...

    @overload
    def __getitem__(self, place: slice) -> tuple[LinkUse, ...]: ...

    def __getitem__(self, place: int | slice) -> LinkUse | tuple[LinkUse, ...]:
        if isinstance(place, slice):
            return tuple(self[number] for number in range(*place.indices(len(self))))
        line = int(self.line[place])
        return LinkUse(
            edge=self.names[line],
            time_s=float(self.time_s[place]),
            used_mbit_s=float(self.used_mbit_s[place]),
            capacity_mbit_s=float(self.capacity_mbit_s[line]),
        )

    def __iter__(self) -> Iterator[LinkUse]:
        return (self[place] for place in range(len(self)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, LinkUses):
            return NotImplemented
        return (
            self.names == other.names
            and np.array_equal(self.line, other.line)
            and np.array_equal(self.time_s, other.time_s)
            and np.array_equal(self.used_mbit_s, other.used_mbit_s)
        )

    def __hash__(self) -> int:
        return hash((self.names, self.line.size))

    def to_frame(self) -> pd.DataFrame:
        """Return the samples as a table."""
        import pandas as pd

        return pd.DataFrame(
            {
                "edge": np.array(self.names, dtype=object)[self.line],
                "time_s": self.time_s,
                "used_mbit_s": self.used_mbit_s,
                "capacity_mbit_s": self.capacity_mbit_s[self.line],
            }
        )
