"""Searches that end early: by gap, without progress, on demand; the best so far is kept."""

from __future__ import annotations

import signal

import pytest

from drsim.cli_search import watched
from drsim.optimize import GapBelow, Progress, Stalled, any_of, optimize
from drsim.policy import Objective, Policy
from drsim.synthetic import cluster


def at(elapsed_s: float, objective: float, excess: float = 1.0, gap: float | None = 0.5) -> Progress:
    return Progress(objective=objective, lower_bound=1.0, gap=gap, excess=excess, elapsed_s=elapsed_s)


def test_a_small_gap_ends_a_search() -> None:
    stop = GapBelow(0.1)
    assert not stop(at(1.0, 2.0))
    assert not stop(at(1.0, 2.0, gap=None))
    assert stop(at(1.0, 1.1, gap=0.1))


def test_a_search_stalls_when_neither_measure_falls() -> None:
    stop = Stalled(2.0)
    assert not stop(at(1.0, 2.0, 9.0))
    assert not stop(at(2.5, 2.0, 8.0))
    assert not stop(at(4.0, 2.0, 8.5))
    assert stop(at(4.5, 2.0, 8.0))
    assert any_of(GapBelow(0.0), Stalled(0.0))(at(0.0, 1.5))
    assert not any_of(GapBelow(0.0), Stalled(1.0))(at(0.0, 1.5))


def test_progress_only_gets_better_and_ends_at_the_answer() -> None:
    seen: list[Progress] = []
    result = optimize(cluster(20, 400, 1), Policy(), Objective(), time_limit_s=1.0, on_progress=seen.append)
    values = [progress.objective for progress in seen]
    assert values[0] == pytest.approx(result.before.objective)
    assert values == sorted(values, reverse=True)
    assert len(values) > 5
    assert result.after.objective == pytest.approx(values[-1], rel=0.02)


@pytest.mark.parametrize("asked", [1, 5, 400])
def test_whenever_it_is_ended_the_answer_keeps_the_rules_and_is_no_worse(asked: int) -> None:
    count = 0

    def stop(progress: Progress) -> bool:
        nonlocal count
        count += 1
        return count >= asked

    made = cluster(20, 400, 1)
    result = optimize(made, Policy(), Objective(), time_limit_s=1.0, stop=stop)
    assert result.after.violations == 0
    assert result.after.objective <= result.before.objective
    assert count < asked + 3
    if asked == 400:
        assert result.after.objective < result.before.objective


def test_the_first_ctrl_c_ends_the_search_and_the_second_one_everything() -> None:
    with watched(None, None) as stop:
        assert not stop(at(1.0, 2.0))
        signal.raise_signal(signal.SIGINT)
        assert stop(at(1.0, 2.0))
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
