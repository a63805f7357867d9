"""The hand on a running migration: the ladder is climbed one rung at a time and never past the guest's limit."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from drsim.migration.automaton import STALLED_S
from drsim.plan import Move
from drsim.transfer import Transfer
from executor.steer import SILENT_S, STALLED_PASSES, START_S, Sight, Steering, Step


def move(limit_ms: float = 400.0, first_ms: float | None = None, **settings: object) -> Move:
    return Move(
        id="m", vm="g", source="a", target="b", reason="test", max_downtime_ms=limit_ms, first_downtime_ms=first_ms,
        transfer=Transfer(**settings),  # type: ignore[arg-type]
    )  # fmt: skip


def passes(left_mib: list[float], seconds: float = 1.0) -> list[Sight]:
    """Two looks a pass: just after its sync, and near its end."""
    sights = []
    for number, left in enumerate(left_mib, 1):
        for share, rest in ((0.0, left), (0.9, left / 10)):
            at = number + share
            sights.append(Sight(elapsed_s=at * seconds, rounds=number, remaining_mib=rest, sent_mib=1 + 100 * at))
    return sights


def steps(steering: Steering, sights: list[Sight]) -> list[Step]:
    return [step for sight in sights if (step := steering.next(sight)) is not None]


def test_a_migration_that_gets_on_is_left_alone() -> None:
    assert steps(Steering(move(first_ms=100.0)), passes([1000.0 * 0.7**k for k in range(20)])) == []


def test_the_limit_is_raised_step_by_step_to_what_the_guest_allows() -> None:
    made = steps(Steering(move(first_ms=100.0)), passes([1000.0, *[400.0] * 8]))
    assert [(step.kind, step.downtime_ms) for step in made] == [("downtime", 200.0), ("downtime", 400.0)]


def test_what_never_comes_to_rest_is_given_up_and_says_why() -> None:
    made = steps(Steering(move()), passes([1000.0, *[400.0] * (STALLED_PASSES + 3)], seconds=STALLED_S / 10))
    assert [step.kind for step in made] == ["give_up"]
    assert "400 MiB" in made[0].why
    assert "400 ms" in made[0].why


def test_short_passes_and_throttled_guests_are_given_time() -> None:
    left = [1000.0, *[400.0] * (STALLED_PASSES + 3)]
    assert steps(Steering(move()), passes(left, seconds=0.1)) == []
    assert steps(Steering(move(auto_converge=True)), passes(left, seconds=STALLED_S)) == []


def test_a_hybrid_hands_over_after_its_passes_and_only_once() -> None:
    made = steps(Steering(move(mode="hybrid", precopy_passes=3)), passes([500.0] * 20, seconds=30.0))
    assert [(step.kind, step.why) for step in made] == [("postcopy", "handed over in pass 4")]
    made = steps(Steering(move(mode="postcopy", timeout_s=5.0)), passes([500.0] * 9))
    assert [(step.kind, step.why) for step in made] == [("postcopy", "handed over in pass 1")]


def test_a_line_that_swallows_everything_is_given_up_on() -> None:
    looks = [Sight(elapsed_s=float(t), rounds=1, remaining_mib=90.0, sent_mib=min(t, 10)) for t in range(100)]
    steering = Steering(move())
    made = [(look.elapsed_s, step.kind) for look in looks if (step := steering.next(look)) is not None]
    assert made == [(10 + SILENT_S, "give_up")]


def test_a_target_may_take_its_time_to_get_ready() -> None:
    looks = [Sight(elapsed_s=float(t), rounds=0, remaining_mib=0.0) for t in range(100)]
    steering = Steering(move())
    made = [(look.elapsed_s, step.kind) for look in looks if (step := steering.next(look)) is not None]
    assert made == [(START_S, "give_up")]


def test_a_timeout_is_a_timeout() -> None:
    made = steps(Steering(move(timeout_s=4.0)), passes([1000.0 * 0.5**k for k in range(9)]))
    assert [(step.kind, step.why) for step in made] == [("give_up", "it was given up after 4 s, as planned")]


@given(
    st.lists(st.floats(0, 1e5), min_size=1, max_size=60),
    st.floats(1, 1000),
    st.none() | st.floats(1, 2000),
    st.sampled_from(["precopy", "hybrid", "postcopy"]),
    st.booleans(),
    st.none() | st.floats(1, 100),
)
def test_never_past_the_limit_and_nothing_after_the_end(
    left: list[float], limit: float, first: float | None, mode: str, auto: bool, timeout: float | None
) -> None:
    steering = Steering(move(limit, first, mode=mode, auto_converge=auto, timeout_s=timeout))
    assert steering.downtime_ms <= limit
    before, made = steering.downtime_ms, steps(steering, passes(left, seconds=10.0))
    for step in made:
        if step.kind == "downtime":
            assert before < step.downtime_ms <= limit
            before = step.downtime_ms
    assert all(step.kind == "downtime" for step in made[:-1])
