"""Plans played in simulated time."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from drsim.errors import PlanError
from drsim.migration import predict
from drsim.policy import Limits
from drsim.simulate import simulate, trace
from drsim.topology import Topology
from tests.simulate.estate import estate, move


@pytest.mark.parametrize("target", ["h2", "h3", "h4"])
@pytest.mark.parametrize("cap", [None, 200.0])
def test_alone_it_is_what_was_predicted(target: str, cap: float | None) -> None:
    inventory = estate()
    one = move(2, target, bandwidth_mbit_s=cap)
    path = Topology(inventory).path("h1", target)
    assert path is not None
    expected = predict(inventory.vm_by_name["v2"], path, max_downtime_ms=300.0, bandwidth_mbit_s=cap)
    found = simulate(inventory, [one], Limits()).predictions["m2"]
    assert found.total_time_s == pytest.approx(expected.total_time_s, rel=1e-9)
    assert found.downtime_ms == pytest.approx(expected.downtime_ms, rel=1e-6)
    assert found.sent_mib == pytest.approx(expected.sent_mib, rel=1e-9)
    assert (found.rounds, found.converges) == (expected.rounds, expected.converges)


def test_two_on_one_card_take_twice_as_long() -> None:
    inventory = replace(estate(), vms=tuple(replace(vm, memory_mib=2048) for vm in estate().vms))
    alone = simulate(inventory, [move(1)], Limits()).makespan_s
    both = simulate(inventory, [move(1), move(2)], Limits())
    assert both.makespan_s == pytest.approx(2 * alone, rel=0.1)
    assert both.predictions["m1"].total_time_s == pytest.approx(both.predictions["m2"].total_time_s)


def test_opposite_directions_do_not_disturb_each_other() -> None:
    inventory = estate()
    back = replace(inventory, vms=(inventory.vms[0], replace(inventory.vms[1], host="h2")))
    there = simulate(back, [move(1)], Limits()).predictions["m1"]
    both = simulate(back, [move(1), move(2, "h1", source="h2")], Limits()).predictions["m1"]
    assert both == there


def test_a_wave_starts_when_the_one_before_has_ended() -> None:
    played = simulate(estate(), [move(1), move(2), move(3, wave=2)], Limits())
    first, second, third = (played.predictions[f"m{n}"] for n in (1, 2, 3))
    assert (first.start_s, second.start_s) == (0.0, 0.0)
    assert third.start_s == pytest.approx(max(first.end_s, second.end_s))
    assert played.makespan_s == pytest.approx(third.end_s)


def test_events_tell_the_story_in_order() -> None:
    played = simulate(estate(), [move(1), move(2, wave=2)], Limits())
    assert [(event.kind, event.move_id) for event in played.events] == [
        *(("wave_start", None), ("start", "m1"), ("switchover", "m1"), ("end", "m1"), ("wave_end", None)),
        *(("wave_start", None), ("start", "m2"), ("switchover", "m2"), ("end", "m2"), ("wave_end", None)),
    ]
    times = [event.time_s for event in played.events]
    assert times == sorted(times)


def test_lines_are_never_over_their_capacity_and_carry_what_was_sent() -> None:
    played = simulate(estate(), [move(n, f"h{n}") for n in (2, 3, 4)], Limits())
    assert all(use.used_mbit_s <= use.capacity_mbit_s for use in played.link_use)
    samples = [use for use in played.link_use if use.edge == "h1>"]
    assert samples[-1].used_mbit_s == 0.0
    mbit = sum(use.used_mbit_s * (after.time_s - use.time_s) for use, after in itertools.pairwise(samples))
    sent_mib = sum(prediction.sent_mib for prediction in played.predictions.values())
    assert mbit * 0.941 * 1e6 / 8 / 2**20 == pytest.approx(sent_mib, rel=1e-6)


def test_a_cap_of_the_policy_holds_for_moves_without_one() -> None:
    of_policy = simulate(estate(), [move(1)], Limits(bandwidth_mbit_s=100.0)).predictions["m1"]
    of_move = simulate(estate(), [move(1, bandwidth_mbit_s=100.0)], Limits()).predictions["m1"]
    assert of_policy == of_move
    assert of_policy.total_time_s > 2 * simulate(estate(), [move(1)], Limits()).makespan_s


def test_same_input_same_result() -> None:
    moves = [move(n, f"h{2 + n % 3}") for n in (1, 2, 3, 4)]
    assert simulate(estate(), moves, Limits()) == simulate(estate(), moves, Limits())


def test_no_moves_take_no_time() -> None:
    played = simulate(estate(), [], Limits())
    assert (played.makespan_s, played.predictions, played.events) == (0.0, {}, ())
    assert played.to_frames()["migrations"].empty


def test_frames_are_ready_for_a_gantt_chart() -> None:
    frames = simulate(estate(), [move(1), move(2, wave=2)], Limits()).to_frames()
    assert list(frames) == ["migrations", "events", "link_use"]
    bars = frames["migrations"].set_index("move_id")
    assert bars.loc["m2", "start_s"] == pytest.approx(bars.loc["m1", "end_s"])
    assert (bars.end_s - bars.start_s).tolist() == pytest.approx(bars.total_time_s.tolist())


def test_a_trace_is_the_course_of_one_move() -> None:
    inventory = estate()
    path = Topology(inventory).path("h1", "h3")
    assert path is not None
    points = trace(inventory.vms[0], path, move(1, "h3"))
    played = simulate(inventory, [move(1, "h3")], Limits()).predictions["m1"]
    assert points[-1].time_s == pytest.approx(played.total_time_s)
    assert points[-1].sent_mib == pytest.approx(played.sent_mib)


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        (move(7), "field 'vm': there is no guest 'v7'"),
        (move(1, "h7"), "field 'target': there is no host 'h7'"),
        (move(1, source="h7"), "field 'source': there is no host 'h7'"),
        (move(1, "h9"), "no links join h1 and h9"),
        (move(1, copy_disks=("vda",)), "vda is not among its disks"),
    ],
)
def test_moves_that_cannot_be_played_are_refused(wrong, text: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(PlanError, match=text):
        simulate(estate(), [wrong], Limits())
