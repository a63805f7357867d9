"""Links and classes of hosts that have constants of their own, and how they are told from noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

import numpy as np

from drsim.inventory import Host
from drsim.migration.observation import Observation
from drsim.migration.parameters import Parameters
from drsim.migration.tune import loss, tune

CELLS = 8
"""Conditions under which a group's migrations must have been made before it gets constants of its own."""

BETTER = 0.9
"""They are kept if they leave at most this share of the error on migrations of it that they were not tuned on."""


def group_keys(source: Host, target: Host) -> tuple[str, ...]:
    """Return the groups that a migration belongs to, the most special one first: link and CPUs, link, CPUs."""
    link = f"{source.site}>{target.site}"
    if source.cpu_model is None or target.cpu_model is None:
        return (link,)
    cpus = f"{source.cpu_model}>{target.cpu_model}"
    return (f"{link} {cpus}", link, cpus)


def own_constants(observations: Sequence[Observation], best: Parameters, seed: int) -> dict[str, dict[str, float]]:
    """Return by group the constants that differ there from those tuned on all.

    A group begins with the constants of all and is held near them as those are near their defaults (`tune`): few
    migrations move them little. Half of its cells judge what was tuned on the other half.
    """
    found: dict[str, dict[str, float]] = {}
    for key in sorted({key for one in observations for key in one.groups}):
        members = [one for one in observations if key in one.groups]
        cells = sorted({one.cell for one in members})
        if len(cells) < CELLS or len(members) == len(observations):
            continue
        chosen = set(np.random.default_rng([seed, 2]).permutation(cells)[::2].tolist())
        kept, judged = ([one for one in members if (one.cell in chosen) is wanted] for wanted in (True, False))
        if loss(judged, tune(kept, best)) > BETTER * loss(judged, best):
            continue
        own = tune(members, best)
        found[key] = {
            field.name: getattr(own, field.name)
            for field in fields(Parameters)
            if getattr(own, field.name) != getattr(best, field.name)
        }
    return found
