"""What moves will cost, foreseen by numbers alone, is what playing them in SimPy finds."""

from __future__ import annotations

import pytest

from drsim.inventory import Inventory
from drsim.migration import LAB_TCG, Parameters
from drsim.plan import Move
from drsim.policy import Limits
from drsim.simulate import foresee, simulate
from drsim.simulate.compiled import PAYS_FROM
from drsim.transfer import Transfer
from tests.simulate.estate import estate, move

MEASURES = ("start_s", "end_s", "downtime_ms", "qemu_downtime_ms", "client_gap_ms", "sent_mib", "rounds", "converges")


def many(**more: object) -> tuple[Inventory, list[Move]]:
    """As many moves as the compiled loop is loaded for, eight to a wave, all over the city."""
    moves = [
        move(number, ("h2", "h3", "h4")[number % 3], 1 + number // 8, bandwidth_mbit_s=(None, 80.0)[number % 2], **more)
        for number in range(1, PAYS_FROM + 1)
    ]
    return estate(guests=PAYS_FROM), moves


@pytest.mark.parametrize("own", [{}, {"m7": LAB_TCG, "m8": LAB_TCG}])
def test_foreseen_is_played(own: dict[str, Parameters]) -> None:
    inventory, moves = many()
    seen = foresee(inventory, moves, Limits(), own=own)
    said = simulate(inventory, moves, Limits(), own=own).predictions
    assert list(seen) == [one.id for one in moves]
    assert {one.converges for one in seen.values()} == {True, False}
    for one in moves:
        for measure in MEASURES:
            assert getattr(seen[one.id], measure) == pytest.approx(getattr(said[one.id], measure), rel=1e-9), measure


def test_what_is_no_plain_pre_copy_is_played_as_it_is() -> None:
    inventory, moves = many(transfer=Transfer(mode="hybrid"))
    assert foresee(inventory, moves, Limits()) == simulate(inventory, moves, Limits()).predictions


def test_no_moves_cost_nothing() -> None:
    assert foresee(*many(), Limits())  # from here on the compiled loop is there
    assert foresee(estate(), [], Limits()) == {}
