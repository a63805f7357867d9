"""What became of a move, from where its guest was seen."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import executor
from drsim.plan import Move
from executor.hypervisor.base import Hypervisor, Sighting, Whereabouts, judge

MOVE = Move(id="m001", vm="web", source="h1", target="h2", reason="test")


def seen(*places: str, unreachable: tuple[str, ...] = ()) -> Whereabouts:
    sightings = []
    for place in places:
        host, state, *job = place.split()
        sightings.append(Sighting(host=host, state=state, job=bool(job)))
    return Whereabouts(vm="web", sightings=tuple(sightings), unreachable=unreachable)


@pytest.mark.parametrize(
    ("whereabouts", "status"),
    [
        (seen("h2 running"), "moved"),
        (seen("h2 running", "h1 stopped"), "moved"),
        (seen("h1 running"), "stayed"),
        (seen("h1 running", "h2 incoming"), "stayed"),
        (seen("h1 running", "h2 stopped"), "stayed"),
        (seen("h1 running", unreachable=("h9",)), "stayed"),
        (seen("h1 running job", "h2 incoming job"), "under_way"),
        (seen("h1 paused job", "h2 running job"), "under_way"),
        (seen("h1 running", "h2 running"), "unknown"),
        (seen("h1 paused", "h2 running"), "unknown"),
        (seen("h1 paused"), "unknown"),
        (seen("h1 paused", "h2 incoming"), "unknown"),
        (seen("h1 running", "h3 incoming"), "unknown"),
        (seen("h3 running"), "unknown"),
        (seen("h1 stopped"), "unknown"),
        (seen(), "unknown"),
        (seen("h1 running", unreachable=("h2",)), "unknown"),
        (seen("h2 running", unreachable=("h1",)), "unknown"),
        (seen("h1 unknown"), "unknown"),
    ],
)
def test_judgement(whereabouts: Whereabouts, status: str) -> None:
    verdict = judge(MOVE, whereabouts)
    assert verdict.status == status
    assert ("keeps its hands off" in verdict.text) == (status == "unknown")


@pytest.mark.parametrize(
    ("whereabouts", "says"),
    [
        (seen("h2 incoming"), "never resume it"),
        (seen("h1 paused", "h2 incoming"), "look at h1, resume"),
        (seen("h1 paused"), "look at h1, resume"),
        (seen(), "No copy runs: look into QEMU's log"),
    ],
)
def test_a_copy_that_was_still_coming_in_is_never_to_be_resumed(whereabouts: Whereabouts, says: str) -> None:
    assert says in judge(MOVE, whereabouts).text


states = st.sampled_from(["running", "paused", "incoming", "stopped", "unknown"])
hosts = ["h1", "h2", "h3"]


@given(st.dictionaries(st.sampled_from(hosts), st.tuples(states, st.booleans())), st.sets(st.sampled_from(hosts)))
def test_a_result_is_told_only_if_exactly_one_copy_runs_and_both_ends_answered(
    found: dict[str, tuple[str, bool]], unreachable: set[str]
) -> None:
    sightings = tuple(Sighting(host=h, state=s, job=j) for h, (s, j) in found.items() if h not in unreachable)
    verdict = judge(MOVE, Whereabouts(vm="web", sightings=sightings, unreachable=tuple(unreachable)))
    running = [s.host for s in sightings if s.state == "running"]
    if verdict.status in ("moved", "stayed"):
        assert running == [MOVE.target if verdict.status == "moved" else MOVE.source]
        assert not unreachable & {"h1", "h2"}


FORBIDDEN = ("destroy", "shutdown", "reboot", "undefine", "suspend", "create", "createxml", "managedsave", "resume")


def test_the_protocol_has_no_verb_that_starts_or_stops_a_guest() -> None:
    verbs = {name for name in vars(Hypervisor) if not name.startswith("_")}
    assert verbs == {
        *("inventory", "locate", "facts", "line", "objections", "migrate", "watch", "recover", "abort", "close"),
    }


def test_nothing_outside_the_lab_calls_such_a_verb() -> None:
    """I2: on no way through the executor is a guest stopped or started."""
    root = Path(executor.__file__).parent
    files = [path for path in root.rglob("*.py") if "lab" not in path.relative_to(root).parts[0]]
    calls = [
        f"{path.name}:{node.lineno} {node.func.attr}"
        for path in files
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
        if node.func.attr.lower().removesuffix("flags") in FORBIDDEN
        # A pool's methods of these names make an empty volume for a disk to be copied into, and forget the pool.
        if (path.name, node.func.attr) not in {("libvirt_volumes.py", "createXML"), ("libvirt_files.py", "destroy")}
    ]
    assert calls == []


@pytest.mark.parametrize(
    ("halves", "says"),
    [
        ({"h1": "paused", "h2": "running"}, "--recover"),
        ({"h2": "running"}, "the half on h1 is gone"),
        ({"h1": "paused"}, "Never resume it"),
        ({"h1": "running"}, "QEMU on h1 let the old copy run again"),
        ({"h1": "running", "h2": "running"}, "Stop that on h1 at once"),
    ],
)
def test_a_torn_guest_is_left_alone_and_what_is_said_is_true_of_the_halves_that_are_left(
    halves: dict[str, str], says: str
) -> None:
    sightings = tuple(Sighting(host=host, state=state, severed=True) for host, state in halves.items())  # type: ignore[arg-type]
    verdict = judge(MOVE, Whereabouts(vm="web", sightings=sightings))
    assert verdict.status == "unknown"
    assert "hands off" in verdict.text
    assert says in verdict.text
