from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drsim.plan import Score
from drsim.report import summary
from drsim.report.text import above, count, duration, milliseconds, percent, size, verdict, visible
from tests.report.plans import estate, plan_of


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.84, "0.8 s"),
        (59.94, "59.9 s"),
        (59.96, "1 min 00 s"),
        (200, "3 min 20 s"),
        (3599.6, "1 h 00 min"),
        (7500, "2 h 05 min"),
    ],
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_units_change_where_people_change_them() -> None:
    assert [size(x) for x in (512, 1023.6, 3481.6, 1.2 * 1024**2)] == ["512 MiB", "1.0 GiB", "3.4 GiB", "1.2 TiB"]
    assert [milliseconds(x) for x in (42.4, 999.7, 1800)] == ["42 ms", "1.0 s", "1.8 s"]
    assert [count(n, "move") for n in (0, 1, 2000)] == ["0 moves", "1 move", "2,000 moves"]
    assert (percent(0.125), percent(-0.05, signed=True)) == ("12.5 %", "-5.0 %")


@given(st.text())
def test_visible_leaves_nothing_that_a_terminal_obeys(text: str) -> None:
    shown = visible(text)
    assert all(c.isprintable() or c == "\n" for c in shown)
    assert visible(shown) == shown


def test_visible_keeps_what_can_be_read() -> None:
    assert visible("größe 数据库-1 $x_1$") == "größe 数据库-1 $x_1$"
    assert visible("\x1b[31mred\u202e") == "\\x1b[31mred\\u202e"


def test_how_far_from_the_least_is_a_share_where_there_is_one() -> None:
    assert above(1.25, 1.0) == "lower bound 1, gap 20.0 %"
    assert above(3.0, 0.0) == "lower bound 0, at most 3 above the least"
    assert above(2.0, 2.0) == "lower bound 2, proven optimal"


def test_summary_says_it_all() -> None:
    text = "\n".join(summary(replace(plan_of(estate(4), 6), notes=("vm-1 stays.",), complete=False)))
    for part in (
        "balance",
        "4 hosts, 48 guests",
        "1.8, 1 violation -> 1.1",
        "lower bound 1.05, gap 4.5 %",
        "6 moves in 1 wave",
    ):
        assert part in text
    assert "47.5 GiB" in text
    assert "Warning: the plan does not reach all that was asked for." in text
    assert "Warning: vm-1 stays." in text


def test_summary_of_nothing_to_do_and_of_hostile_names() -> None:
    inventory = replace(estate(2), name="\x1b[2Jestate")
    lines = summary(replace(plan_of(estate(4), 6), inventory=inventory, moves=()))
    assert "Nothing to do." in lines
    assert not any("\x1b" in line for line in lines)


def test_verdict_counts_what_is_mended_and_what_is_not() -> None:
    plan = plan_of(estate(4), 6)
    assert verdict(plan).startswith(
        "The plan mends 1 violation and lowers peak over mean from 1.8 to 1.1 with 6 moves in "
    )
    same = replace(plan, after=replace(plan.before))
    assert verdict(same).startswith("The plan keeps its score with 6 moves")
    stuck = replace(plan, moves=(), after=Score(violations=2, penalty=0.0, objective=1.8))
    assert verdict(stuck) == "Nothing is to be done; 2 violations cannot be mended."
