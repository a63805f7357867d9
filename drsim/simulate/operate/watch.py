"""When a planner is called, and about which hosts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """Hosts above a share of their CPU are put before the planner, with as many of the coolest, one site at a time.

    A planner that sees thirty hosts answers at once where one that sees a thousand takes seconds, and a hot host needs
    no more than a few that are cool. Of several sites with hot hosts that of the hottest comes first: the guests of
    one are not sent over long lines to another that is hot itself.

    Parameters
    ----------
    cpu_share : float
        CPU demand of a host over its cores from which it is hot.
    hosts : int
        Most hosts to put before the planner, the hottest first.
    """

    cpu_share: float = 0.9
    hosts: int = 32

    def scope(
        self, share: NDArray[np.float64], usable: NDArray[np.bool_], site: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Return the hosts to put before the planner; none if there is nothing to do.

        Parameters
        ----------
        share : array of float, shape (hosts,)
            CPU demand over cores.
        usable : array of bool, shape (hosts,)
            Whether a host is up and takes guests.
        site : array of int, shape (hosts,)
            The site of each.
        """
        hot = np.flatnonzero(usable & (share > self.cpu_share))
        if not hot.size:
            return hot
        here = site == site[hot[share[hot].argmax()]]
        hot = hot[here[hot]]
        hot = hot[np.argsort(-share[hot], kind="stable")][: max(1, self.hosts // 2)]
        cool = np.flatnonzero(usable & here & (share <= self.cpu_share))
        cool = cool[np.argsort(share[cool], kind="stable")][: max(hot.size, 2)]
        return np.sort(np.concatenate((hot, cool)))
