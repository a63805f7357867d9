"""Guests that must not be moved at given times: the calendar against every minute of it, and the plans that keep it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drsim import check
from drsim.errors import PolicyError
from drsim.formats import read_policy, write_policy
from drsim.plan import Move, Prediction
from drsim.planner import make_plan
from drsim.policy import DAYS, Objective, Policy, Quiet
from drsim.quiet import QuietTimes
from tests.rules.estates import estate

ESTATE = estate("1123")
MONDAY = datetime(2026, 11, 23, tzinfo=UTC)
WISH = Objective(goal="evacuate", hosts=("h1",))
MINUTE = timedelta(minutes=1)

times = st.builds("{:02}:{:02}".format, st.integers(0, 23), st.integers(0, 59))


def quiet_then(quiet: Quiet, instant: datetime) -> bool:
    """Whether an instant is quiet, told from the clock on the wall alone."""
    there = instant.astimezone(ZoneInfo(quiet.zone))
    now, today, yesterday = f"{there:%H:%M}", DAYS[there.weekday()], DAYS[there.weekday() - 1]
    if quiet.begin < quiet.end:
        return today in quiet.days and quiet.begin <= now < quiet.end
    return (today in quiet.days and now >= quiet.begin) or (yesterday in quiet.days and now < quiet.end)


@given(
    begin=times,
    end=times,
    days=st.sets(st.sampled_from(DAYS), min_size=1),
    zone=st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kolkata", "America/New_York"]),
    start=st.integers(0, 20 * 1440),
    lasts=st.integers(0, 300),
)
def test_the_calendar_agrees_with_every_minute_of_it(
    begin: str, end: str, days: set[str], zone: str, start: int, lasts: int
) -> None:
    quiet = Quiet(vms=("v1",), days=tuple(day for day in DAYS if day in days), begin=begin, end=end, zone=zone)
    found = QuietTimes(Policy(quiet=(quiet,)), ESTATE)
    first = MONDAY + start * MINUTE
    minutes = [first + number * MINUTE for number in range(lasts + 1)]
    disturbed = found.disturbed("v1", first, minutes[-1])
    assert (disturbed is not None) == any(quiet_then(quiet, minute) for minute in minutes)
    assert found.disturbed("v2", first, minutes[-1]) is None
    if disturbed is not None:
        # Until just before its end it is quiet.
        assert quiet_then(quiet, disturbed[1] - MINUTE)


def test_an_hour_that_the_clocks_skip_or_repeat_is_kept() -> None:
    """2026-10-25, 3:00 summer time becomes 2:00: from 2:30 to 3:30 are two hours."""
    quiet = QuietTimes(Policy(quiet=(Quiet(vms=("*",), begin="02:30", end="03:30", zone="Europe/Berlin"),)), ESTATE)
    night = datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    assert quiet.disturbed("v1", night - 2 * MINUTE, night - MINUTE) is None
    for minutes in (0, 59, 60, 119):
        assert quiet.disturbed("v1", night + minutes * MINUTE, night + minutes * MINUTE) is not None
    assert quiet.disturbed("v1", night + 120 * MINUTE, night + 120 * MINUTE) is None


def moved(plan: object) -> set[str]:
    return {move.vm for move in plan.moves}  # type: ignore[attr-defined]


def test_a_plan_for_a_time_leaves_alone_who_is_quiet_then() -> None:
    policy = Policy(quiet=(Quiet(vms=("v1",), days=DAYS[:5], begin="08:00", end="18:00", zone="Europe/Berlin"),))
    at_noon = make_plan(ESTATE, policy, replace(WISH, start_at="2026-11-23T12:00+01:00"))
    assert (moved(at_noon), at_noon.complete) == ({"v2"}, False)
    assert any("must not be moved before 2026-11-23 17:00 UTC" in note for note in at_noon.notes)
    on_saturday = make_plan(ESTATE, policy, replace(WISH, start_at="2026-11-28T12:00+01:00"))
    assert (moved(on_saturday), on_saturday.complete) == ({"v1", "v2"}, True)
    unasked = make_plan(ESTATE, policy, WISH)
    assert moved(unasked) == {"v1", "v2"}
    assert any("plan with --start" in note for note in unasked.notes)


def test_a_move_that_would_run_into_a_quiet_time_is_not_planned_and_is_found() -> None:
    """Its move lasts some hundred milliseconds: begun at 7:59:59.9 it is still under way at 8:00."""
    policy = Policy(quiet=(Quiet(vms=("v1",), begin="08:00", end="18:00"),))
    wish = replace(WISH, start_at="2026-11-23T07:59:59.900+00:00")
    made = make_plan(ESTATE, policy, wish)
    assert moved(made) == {"v2"}
    assert check.plan_violations(made) == ()
    over = replace(make_plan(ESTATE, Policy(), WISH), policy=policy, objective=wish)
    (found,) = [each for each in check.plan_violations(over) if each.kind == "quiet"]
    assert found.subject == "v1"
    assert "It may begin at 2026-11-23 18:00 UTC" in found.text


def test_what_is_never_free_is_said_to_be() -> None:
    said = Prediction(total_time_s=5.0, downtime_ms=1.0, sent_mib=1.0, rounds=1)
    move = Move(id="m", vm="v1", source="h1", target="h2", reason="test", prediction=said)
    always = QuietTimes(Policy(quiet=(Quiet(vms=("*",)),)), ESTATE).objection(move, MONDAY)
    assert always is not None
    assert "it never may" in always
    chained = (Quiet(vms=("*",), begin="00:00", end="12:00"), Quiet(vms=("*",), begin="12:00", end="13:00"))
    text = QuietTimes(Policy(quiet=chained), ESTATE).objection(move, MONDAY)
    assert text is not None
    assert "It may begin at 2026-11-23 13:00 UTC" in text


@pytest.mark.parametrize(
    ("quiet", "field", "remedy"),
    [
        (Quiet(vms=("nobody",)), "vms", "Correct it"),
        (Quiet(vms=("*",), begin="8 o'clock"), "begin", "08:30"),
        (Quiet(vms=("*",), end="24:00"), "end", "08:30"),
        (Quiet(vms=("*",), zone="Europe/Berlim"), "zone", "Did you mean Europe/Berlin?"),
    ],
)
def test_a_quiet_time_that_is_none_is_refused(quiet: Quiet, field: str, remedy: str) -> None:
    (problem,) = check.policy_problems(Policy(quiet=(quiet,)), ESTATE)
    assert (problem.place, problem.field) == ("quiet 1", field)
    assert remedy in problem.remedy


@pytest.mark.parametrize("start", ["tonight", "2026-11-23T12:00"])
def test_a_start_without_an_offset_is_refused(start: str) -> None:
    with pytest.raises(PolicyError, match="offset from UTC"):
        make_plan(ESTATE, Policy(), replace(WISH, start_at=start))


def test_a_policy_with_quiet_times_is_read_as_it_was_written(tmp_path) -> None:  # type: ignore[no-untyped-def]
    policy = Policy(quiet=(Quiet(vms=("tag:bank",), days=("mon",), begin="08:00", end="18:00", zone="Europe/Berlin"),))
    write_policy(policy, tmp_path / "p.yaml")
    assert read_policy(tmp_path / "p.yaml") == policy
    text = (tmp_path / "p.yaml").read_text(encoding="utf-8").replace("mon", "monday")
    (tmp_path / "p.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(PolicyError, match="days"):
        read_policy(tmp_path / "p.yaml")
