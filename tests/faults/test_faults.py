"""What goes wrong, one thing at a time, and what must come of it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

import pytest

from drsim.errors import PlanError, StoreError
from drsim.inventory import Inventory
from drsim.plan import Move
from drsim.policy import Apart
from executor.audit import from_lines, to_lines, verify
from executor.events import Event, MoveEnded, MoveStarted, StopAsked
from executor.hypervisor.base import Sighting
from executor.hypervisor.faults import Break, Elsewhere, Fault, Hang, HostBecomes, MemoryTaken, Refuse, Unclear
from executor.hypervisor.simulated import SimulatedHypervisor
from executor.lease import Holder
from executor.lifecycle import MoveState, RunState
from executor.result import RunReport
from executor.run import apply, resume
from executor.store import Store
from tests.executor.estates import assert_invariants, estate, guest, moves, plan, started_moves


def run(store: Store, *faults: Fault, **options: object) -> tuple[RunReport, SimulatedHypervisor]:
    hypervisor = SimulatedHypervisor(estate(), faults=faults)
    result = apply(plan(), hypervisor, store, actor="ann", **options)  # type: ignore[arg-type]
    assert_invariants(plan(), hypervisor, store, result)
    return result, hypervisor


def states(result: RunReport) -> list[str]:
    return [str(move.state) for move in result.moves]


def reason(result: RunReport, move_id: str) -> str:
    return next(move.reason for move in result.moves if move.move.id == move_id)


@pytest.mark.parametrize("fault", [Refuse(vm="c"), Break(vm="c", fraction=0.1), Break(vm="c", fraction=0.95)])
def test_a_migration_that_fails_leaves_its_guest_and_takes_its_dependants_with_it(store: Store, fault: Fault) -> None:
    result, _ = run(store, fault)
    assert states(result) == ["failed", "done", "refused", "done"]
    assert "'h2' would hold 10240 MiB" in reason(result, "m003")
    assert (result.state, result.exit_code) == (RunState.PARTIAL, 3)


def test_later_moves_of_the_same_guest_are_skipped(store: Store) -> None:
    result, _ = run(store, Break(vm="a"))
    assert states(result) == ["done", "failed", "done", "skipped"]
    assert "earlier move m002" in reason(result, "m004")


@pytest.mark.parametrize(
    "fault",
    [
        Unclear(vm="c", sightings=(Sighting(host="h2", state="running"), Sighting(host="h4", state="running"))),
        Unclear(vm="c", sightings=(Sighting(host="h2", state="paused"), Sighting(host="h4", state="running"))),
        Unclear(vm="c", sightings=()),
        Unclear(vm="c", sightings=(Sighting(host="h2", state="running"),), unreachable=("h4",)),
    ],
)
def test_of_an_unclear_result_the_hands_are_kept_off(store: Store, fault: Unclear) -> None:
    result, hypervisor = run(store, fault)
    assert states(result)[0] == "unknown"
    assert (result.state, result.exit_code) == (RunState.UNKNOWN, 3)
    assert "keeps its hands off" in reason(result, "m001")
    assert started_moves(store).count("m001") == 1
    assert hypervisor.locate(estate().vm_by_name["c"]).sightings == fault.sightings


def test_once_a_person_has_cleared_it_up_the_run_can_be_resumed(store: Store) -> None:
    result, hypervisor = run(store, Unclear(vm="c", sightings=()))
    again = resume(str(result.run_id), hypervisor, store, actor="ann")
    assert again.state is RunState.UNKNOWN
    assert started_moves(store).count("m001") == 1
    hypervisor.mend("c", "h4")
    last = resume(str(result.run_id), hypervisor, store, actor="ann")
    assert last.moves[0].state is MoveState.DONE
    assert "Found on resuming" in last.moves[0].reason
    assert_invariants(plan(), hypervisor, store, last)


def test_a_target_that_goes_into_maintenance_is_left_alone(store: Store) -> None:
    result, hypervisor = run(store, HostBecomes(host="h2", state="maintenance", after_moves=2))
    assert states(result) == ["done", "done", "refused", "refused"]
    assert "state maintenance" in reason(result, "m003")
    assert hypervisor.inventory().vm_by_name["e"].host == "h3"


def test_a_host_that_does_not_answer_makes_nobody_act(store: Store) -> None:
    hypervisor = SimulatedHypervisor(estate(), faults=[HostBecomes(host="h3", state="down", after_moves=2)])
    result = apply(plan(), hypervisor, store, actor="ann")
    assert started_moves(store) == ["m001", "m002"]
    assert result.moves[2].state is MoveState.REFUSED
    assert "cannot be asked" in reason(result, "m003")
    assert result.state is not RunState.DONE


@pytest.mark.parametrize(("where", "text"), [("h1", "running on h1"), (None, "nowhere else")])
def test_a_guest_that_somebody_else_moved_or_removed_is_left_alone(store: Store, where: str | None, text: str) -> None:
    result, _ = run(store, Elsewhere(vm="e", host=where, after_moves=2))
    assert states(result) == ["done", "done", "refused", "done"]
    assert text in reason(result, "m003")


def test_memory_taken_by_somebody_else_is_seen_before_the_move(store: Store) -> None:
    result, _ = run(store, MemoryTaken(host="h2", memory_mib=5000.0, after_moves=2))
    assert states(result)[2] == "refused"
    assert "by its own figures" in reason(result, "m003")


def test_two_moves_never_share_the_last_place(store: Store) -> None:
    """What another move of the wave was promised is taken, even if the host still shows it free."""
    small = estate()
    both = (
        Move(id="m001", vm="a", source="h1", target="h4", wave=1, reason="test"),
        Move(id="m002", vm="d", source="h3", target="h4", wave=1, reason="test"),
    )
    hypervisor = SimulatedHypervisor(small)
    facts = hypervisor.facts
    hypervisor.facts = lambda host: replace(facts(host), memory_free_mib=3000.0)  # type: ignore[method-assign]
    result = apply(plan(of=both), hypervisor, store, actor="ann")
    assert states(result) == ["done", "refused"]
    assert "promised to this wave" in reason(result, "m002")


def test_rules_hold_where_the_run_has_left_its_plan(store: Store) -> None:
    """e may come to h2 because c leaves it; when c stays, the rule that keeps them apart does, too."""
    small = replace(estate(), vms=(guest("a", "h1", 512), guest("c", "h2", 512), guest("e", "h3", 512)))
    two = (
        Move(id="m001", vm="c", source="h2", target="h4", wave=1, reason="test"),
        Move(id="m002", vm="e", source="h3", target="h2", wave=2, reason="test"),
        Move(id="m003", vm="a", source="h1", target="h3", wave=2, reason="test"),
    )
    the_plan = plan(small, two, rules=(Apart(name="not-both", vms=("c", "e")),))
    hypervisor = SimulatedHypervisor(small, faults=[Break(vm="c")])
    result = apply(the_plan, hypervisor, store, actor="ann")
    assert states(result) == ["failed", "refused", "done"]
    assert "not-both" in reason(result, "m002")
    assert_invariants(the_plan, hypervisor, store, result)


def test_the_brake_trips(store: Store) -> None:
    result, _ = run(store, Refuse(vm="c"), brake=1)
    assert states(result) == ["failed", "done", "skipped", "skipped"]
    assert "stopped after 1 moves" in reason(result, "m003")


class _When:
    """Sets a flag at a kind of event."""

    def __init__(self, kind: type, act: Callable[[], None]) -> None:
        self.kind, self.act, self.events = kind, act, list[Event]()

    def __call__(self, event: Event) -> None:
        self.events.append(event)
        if isinstance(event, self.kind):
            self.act()


def test_on_request_what_is_under_way_is_finished_and_nothing_else_begun(store: Store) -> None:
    stop = threading.Event()
    listener = _When(MoveStarted, stop.set)
    result, hypervisor = run(store, stop=stop, on_event=listener)
    assert states(result) == ["done", "done", "pending", "pending"]
    assert (result.state, result.exit_code) == (RunState.STOPPED, 3)
    assert [event.aborting for event in listener.events if isinstance(event, StopAsked)] == [False]
    rest = resume(str(result.run_id), hypervisor, store, actor="ann")
    assert rest.state is RunState.DONE
    assert_invariants(plan(), hypervisor, store, rest)


def test_a_migration_that_hangs_is_aborted_on_request_and_made_again_on_resuming(store: Store) -> None:
    abort = threading.Event()
    listener = _When(MoveEnded, abort.set)  # m002 ends while m001 hangs
    result, hypervisor = run(store, Hang(vm="c"), abort=abort, on_event=listener)
    assert states(result) == ["aborted", "done", "pending", "pending"]
    assert result.state is RunState.STOPPED
    rest = resume(str(result.run_id), hypervisor, store, actor="ann")
    assert rest.state is RunState.DONE
    assert started_moves(store).count("m001") == 2
    assert_invariants(plan(), hypervisor, store, rest)


def test_an_interrupt_while_migrations_are_under_way_aborts_them(store: Store) -> None:
    stop = threading.Event()
    pressed: list[Event] = []

    def press(event: Event) -> None:
        if isinstance(event, MoveEnded) and not pressed:
            pressed.append(event)
            raise KeyboardInterrupt

    result, _ = run(store, Hang(vm="c"), stop=stop, on_event=press)
    assert states(result) == ["aborted", "done", "pending", "pending"]
    assert stop.is_set()


class _Fickle(SimulatedHypervisor):
    """Says that it failed, after the guest has moved or before anything happened."""

    late = True

    def migrate(self, move, vm, on_progress):  # type: ignore[no-untyped-def]
        if self.late:
            super().migrate(move, vm, on_progress)
        raise RuntimeError("internal error: client socket is closed")


@pytest.mark.parametrize(("late", "state"), [(True, RunState.DONE), (False, RunState.FAILED)])
def test_an_exception_proves_nothing_the_guest_is_looked_for(store: Store, late: bool, state: RunState) -> None:
    hypervisor = _Fickle(estate())
    hypervisor.late = late
    result = apply(plan(), hypervisor, store, actor="ann", brake=9)
    assert result.state is state
    assert "client socket is closed" in result.moves[0].reason
    assert_invariants(plan(), hypervisor, store, result)


class _Full(Store):
    """A disk that is full after some writes."""

    left = 0

    def _append(self, *args, **kwargs):  # type: ignore[no-untyped-def]
        if self.left == 0:
            raise OSError(28, "No space left on device")
        self.left -= 1
        return super()._append(*args, **kwargs)


@pytest.mark.parametrize("writes", range(8))
def test_no_migration_begins_without_a_durable_intent(url: str, writes: int) -> None:
    store, hypervisor, asked = _Full(url), SimulatedHypervisor(estate()), []
    store.left = writes
    migrate = hypervisor.migrate
    hypervisor.migrate = lambda move, *rest: (asked.append(move.id), migrate(move, *rest))[1]  # type: ignore[method-assign]
    with pytest.raises(StoreError, match="No space left on device"):
        apply(plan(), hypervisor, store, actor="ann")
    assert set(asked) <= set(started_moves(store))
    store.left = 10**6
    if store.runs():
        result = resume("r0001", hypervisor, store, actor="ann")
        assert result.state is RunState.DONE
        assert_invariants(plan(), hypervisor, store, result)


def test_two_controllers_never_work_at_once(store: Store) -> None:
    other = Holder.here("bob")
    hypervisor = SimulatedHypervisor(estate())
    store.take([f"{hypervisor.name}/h3"], other)
    with pytest.raises(StoreError, match=rf"Process \d+ of bob .*drsim unlock {other.token}"):
        apply(plan(), hypervisor, store, actor="ann")
    assert store.runs() == ()
    assert store.unlock(other.token, actor="ann") == ("simulated/h3",)
    assert apply(plan(), hypervisor, store, actor="ann").state is RunState.DONE


def test_the_hosts_of_a_dead_process_are_taken_over(store: Store) -> None:
    dead = replace(Holder.here("bob"), born="1")  # this process number, but not this process
    hypervisor = SimulatedHypervisor(estate())
    store.take([f"{hypervisor.name}/h3"], dead)
    assert apply(plan(), hypervisor, store, actor="ann").state is RunState.DONE
    assert store.audit()[0].event == "lease_taken_over"


def test_a_controller_on_another_machine_is_never_declared_dead(store: Store) -> None:
    far = replace(Holder.here("bob"), machine="elsewhere", born="1")
    hypervisor = SimulatedHypervisor(estate())
    store.take([f"{hypervisor.name}/h3"], far)
    with pytest.raises(StoreError, match="of bob on elsewhere"):
        apply(plan(), hypervisor, store, actor="ann")


def _changed(**changes: object) -> Inventory:
    now = estate()
    return replace(now, vms=(replace(now.vms[0], **changes), *now.vms[1:]))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("now", "text"),
    [
        (_changed(host="h4"), "guest 'a' moved from h1 to h4"),
        (_changed(memory_mib=4096), "memory in MiB was 2048, is 4096"),
        (_changed(state="stopped"), "state was running, is stopped"),
        (replace(estate(), vms=estate().vms[1:]), "guest 'a' is gone"),
        (replace(estate(), vms=(*estate().vms, guest("z", "h4", 512))), "guest 'z' is new, on h4"),
        (replace(estate(), hosts=estate().hosts[:3]), "host 'h4' is gone"),
        (replace(estate(), networks=()), "network 'br0' is no longer on h1, h2, h3, h4"),
    ],
)
def test_a_plan_for_an_estate_that_changed_is_refused_before_its_first_move(
    store: Store, now: Inventory, text: str
) -> None:
    hypervisor = SimulatedHypervisor(now)
    with pytest.raises(PlanError, match=text):
        apply(plan(), hypervisor, store, actor="ann")
    assert started_moves(store) == []
    assert hypervisor.inventory() == now


def test_hostile_names_stay_data(store: Store) -> None:
    evil = "a\x1b[2J\n=cmd|'/c calc'!A1<script>"
    small = replace(estate(), vms=(replace(guest("a", "h1", 512), name=evil),))
    the_plan = plan(small, [replace(moves()[1], vm=evil)])
    result = apply(the_plan, SimulatedHypervisor(small), store, actor=evil)
    assert result.state is RunState.DONE
    text = to_lines(store.audit())
    assert text.isascii()
    assert "\x1b" not in text
    assert len(text.splitlines()) == len(store.audit())
    assert verify(from_lines(text)[0], store.head()) == ()
