"""Law of places: after every single event of a cluster's life each guest runs once or not at all, whatever fails."""

from __future__ import annotations

import importlib
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import simpy
from hypothesis import given, settings
from hypothesis import strategies as st

from drsim.inventory import Inventory
from drsim.policy import Policy
from drsim.simulate.operate import Abort, HostFailure, LinkFailure, operate
from drsim.simulate.operate.estate import NOWHERE
from drsim.simulate.operate.happening import Happening
from drsim.whatif import restarter
from tests.simulate.test_operate import at, detours, moving, steady, two_sites

module: Any = importlib.import_module("drsim.simulate.operate.operate")


class Witness:
    """Looks at a world after each event of its environment."""

    def __init__(self) -> None:
        self.world: Any = None
        self.looks = self.travelling = 0

    def look(self) -> None:
        estate, hypervisor = self.world._estate, self.world._hypervisor
        self.looks += 1
        place, memory = estate.place, estate.memory
        there = place != NOWHERE
        assert estate.up[place[there]].all(), "a guest runs on a host without power"
        inbound = 0.0
        for name, trip in hypervisor._trips.items():
            vm, phase = estate.vms[name], trip.run.phase
            source, target = estate.hosts[trip.move.source], estate.hosts[trip.move.target]
            on_target = phase in ("push", "confirm", "done") and not trip.run.gave_up
            expected = target if on_target else source
            assert place[vm] in (expected, NOWHERE), f"{name} counts on another host than QEMU runs it on, in {phase}"
            assert trip.arrived == on_target
            if trip.torn and not (estate.up[source] and estate.up[target]):
                assert place[vm] == NOWHERE, f"{name} lives on with half of its memory"
            inbound += 0.0 if trip.arrived else memory[vm]
            self.travelling += 1
        starting = sum(memory[vm] for vm in self.world._starting)
        assert not any(place[vm] != NOWHERE for vm in self.world._starting), "a running guest is started again"
        assert estate.taken_mib.sum() == pytest.approx(memory[there].sum() + inbound + starting)
        on = np.bincount(place[there], memory[there], len(estate.hosts))
        assert (estate.taken_mib >= on - 1e-6).all()


def lived(inventory: Inventory, happenings: list[Happening]) -> Witness:
    witness = Witness()

    class Watched(simpy.Environment):
        def step(self) -> None:
            super().step()
            witness.look()

    class World(module._World):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            witness.world = self

    with patch.object(simpy, "Environment", Watched), patch.object(module, "_World", World):
        operate(inventory, steady(inventory), happenings=happenings, restart=restarter(Policy()))
    return witness


hosts = st.sampled_from(["h1", "h2", "h3", "h4"])
back = st.sampled_from([5.0, 200.0, float("inf")])
when = st.floats(30.0, 300.0)
mishaps = st.one_of(
    st.builds(HostFailure, at_s=when, host=hosts, back_after_s=back),
    st.builds(LinkFailure, at_s=when, link=st.sampled_from(["a--b", "a--c"]), back_after_s=back),
    st.builds(Abort, at_s=when, vm=st.sampled_from(["v1", "v2", "v3", "v4"])),
)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(mishaps, min_size=1, max_size=5),
    st.sampled_from(["precopy", "postcopy", "hybrid"]),
    st.lists(st.sampled_from(["h2", "h3", "h4"]), min_size=4, max_size=4),
    st.booleans(),
)
def test_after_every_event_each_guest_runs_once_or_not_at_all(
    failures: list[Happening], mode: str, targets: list[str], second_way: bool
) -> None:
    inventory = two_sites(guests=4, memory_mib=8192)
    if second_way:
        inventory = detours(inventory)
    else:
        failures = [one for one in failures if getattr(one, "link", "") != "a--c"]
    pairs = [(f"v{number}", "h1", target) for number, target in enumerate(targets, 1)]
    witness = lived(inventory, [at(20.0, moving(inventory, *pairs, mode=mode)), *failures])
    assert witness.looks > 20
    assert witness.travelling > 0
