"""The loop of a run: wave by wave, each move written down, looked at, made, judged and written down."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar

from drsim import check
from drsim.inventory import Vm
from drsim.placement import Placement
from drsim.plan import Move, Plan
from executor.ends import ports_of
from executor.events import EventListener, MoveEnded, MoveProgress, MoveStarted, OutOfTime, StopAsked, WaveStarted
from executor.hypervisor.base import HostFacts, Hypervisor, Line, Outcome, Progress, Whereabouts, judge
from executor.lease import Holder
from executor.lifecycle import OPEN_MOVES, MoveState, RunState, run_state
from executor.preflight import Promised, recheck, way_between
from executor.refusal import Refusal
from executor.store import Clock, Step, Store
from executor.window import ALWAYS, Window

POLL_S = 0.2
"""How long a wish to stop may go unnoticed, seconds."""

LINES_S = 30.0
"""Time for measuring lines before a wave, seconds; one after the other, as together they would share what they have in
common. Those that are left then are taken as known."""

BEAT_S = 5.0
"""Interval between signs of life, seconds."""

ASKERS = 16
"""Hosts asked at the same time before a wave."""

_RESULT = {"moved": MoveState.DONE, "stayed": MoveState.FAILED, "unknown": MoveState.UNKNOWN}
_BAD = frozenset({MoveState.FAILED, MoveState.REFUSED, MoveState.UNKNOWN})

_T = TypeVar("_T")


class Lease:
    """Hosts held by this controller.

    Parameters
    ----------
    store : Store
        Where they are held.
    hosts : sequence of str
        Their names in the store.
    holder : Holder
        This controller.
    """

    def __init__(self, store: Store, hosts: Sequence[str], holder: Holder) -> None:
        self.holder = holder
        self._store = store
        self._hosts = hosts
        self._beaten_s = time.monotonic()

    def beat(self) -> None:
        """Leave a sign of life if it is time; raises `StoreError` if the hosts were given free meanwhile."""
        if time.monotonic() - self._beaten_s >= BEAT_S:
            self._beaten_s = time.monotonic()
            self._store.beat(self._hosts, self.holder)


@dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    """What the caller wants: whom to tell, when to stop, failures to bear, the time, until when moves may be under way;
    recover cut post-copies or not.
    """

    on_event: EventListener
    stop: threading.Event
    abort: threading.Event
    brake: int
    clock: Clock
    window: Window = ALWAYS
    recover: bool = False


class Carrier:
    """One run, being carried out by this thread.

    Parameters
    ----------
    run_id : str
        The run, as recorded.
    plan : Plan
        Its plan.
    hypervisor : Hypervisor
        Where.
    store : Store
        Its record.
    lease : Lease
        The hosts, held.
    actor : str
        Who asks for it.
    orders : Orders
        What the caller wants.

    Attributes
    ----------
    states : dict of str to MoveState
        States of the moves by id, as recorded.
    """

    def __init__(
        self, run_id: str, plan: Plan, hypervisor: Hypervisor, store: Store, lease: Lease, actor: str, orders: Orders
    ) -> None:
        recorded = store.moves(run_id)
        self.states = {move.id: recorded[move.id].state for move in plan.moves}
        self._run_id, self._plan, self._hypervisor, self._store = run_id, plan, hypervisor, store
        self._lease, self._actor, self._orders = lease, actor, orders
        self._aborted: set[str] = set()
        self._closed = False
        self._stop_told: set[bool] = set()
        self._now_s = _timer(hypervisor, store, run_id, orders.clock)
        self._soon = _begins(hypervisor, orders.clock)

    def reconcile(self) -> None:
        """Look for the guests of moves whose outcome is not recorded, and record what became of them."""
        for move in self._plan.moves:
            if self.states[move.id] in OPEN_MOVES:
                vm = self._vm(move)
                verdict = judge(move, _ask(partial(self._hypervisor.locate, vm), _nowhere(move)))
                state = {
                    "moved": MoveState.DONE,
                    "stayed": MoveState.PENDING,
                    "under_way": MoveState.STARTED,
                    "unknown": MoveState.UNKNOWN,
                }[verdict.status]
                if state is not self.states[move.id]:
                    self._record([Step(move_id=move.id, state=state, reason=f"Found on resuming: {verdict.text}")])
                if state is MoveState.UNKNOWN and self._orders.recover:
                    self._recover(move, vm)

    def _recover(self, move: Move, vm: Vm) -> None:
        """Let the hypervisor bring a cut post-copy to its end, and record what came of it."""
        self._record([Step(move_id=move.id, state=MoveState.STARTED, reason="Recovery asked for.")])
        outcome = _ask(
            partial(self._hypervisor.recover, move, vm, lambda progress: None),
            Outcome(status="unknown", reason="The hypervisor cannot be asked to recover it."),
        )
        self._conclude(move, outcome)

    def carry_out(self) -> RunState:
        """Do what is left to do; return the result."""
        waves = self._plan.waves
        for number, wave in enumerate(waves, start=1):
            adopted = [move for move in wave if self.states[move.id] is MoveState.STARTED]
            left = [move for move in wave if self.states[move.id] is MoveState.PENDING]
            if self._orders.stop.is_set() or self._orders.abort.is_set() or self._braked() or self._closed:
                left = []
            left = self._in_time(left)
            if adopted or left:
                self._tell(WaveStarted(number=number, of=len(waves), moves=(*adopted, *left)))
                self._migrate(self._admit(left), adopted)
        self._tell_stop(())
        if self._braked():
            reason = f"The run stopped after {self._failures()} moves that failed, were refused or ended unclear."
            self._skip([move for move in self._plan.moves if self.states[move.id] is MoveState.PENDING], reason)
        return run_state(tuple(self.states.values()))

    # Before a wave

    def _in_time(self, moves: Sequence[Move]) -> list[Move]:
        """Return the moves that end within the window; if any does not, later waves, which build on it, are closed."""
        late = self._orders.window.late(moves, self._soon())
        if late and self._orders.window.end is not None:
            self._closed = True
            detail = {"end": self._orders.window.end.isoformat(), "late": [move.id for move in late]}
            self._store.note("window_ended", actor=self._actor, run_id=self._run_id, detail=detail)
            self._tell(OutOfTime(end=self._orders.window.end, late=late))
        return [move for move in moves if move not in late]

    def _admit(self, moves: Sequence[Move]) -> list[Move]:
        """Write the intents, look at both ends, and return the moves that may be made, recorded as started."""
        ready: list[Move] = []
        for move in moves:
            reason = self._blocked(move)
            if reason:
                self._skip([move], reason)
            else:
                ready.append(move)
        self._record([Step(move_id=move.id, state=MoveState.INTENDED) for move in ready])
        admitted: list[Move] = []
        refused: list[tuple[Move, str]] = []
        looks, facts = self._observe(ready)
        lines = self._measure(ready)
        now = self._orders.clock()
        for move, (whereabouts, theirs) in zip(ready, looks, strict=True):
            refusals = recheck(
                *(move, self._plan, whereabouts, facts[move.target], self._promised(move.target, admitted)),
                source=facts[move.source],
                now=now,
                line=lines[move.source, move.target],
            )
            refusals = (*refusals, *theirs) or self._rules(move, admitted)
            if refusals:
                refused.append((move, " ".join(str(refusal) for refusal in refusals)))
            else:
                admitted.append(move)
        now_s = self._now_s()
        self._record(
            [
                *(Step(move_id=move.id, state=MoveState.REFUSED, reason=reason) for move, reason in refused),
                *(
                    Step(
                        move_id=move.id,
                        state=MoveState.STARTED,
                        started_s=now_s,
                        reason=way_between(move, self._plan, lines[move.source, move.target], now),
                    )
                    for move in admitted
                ),
            ]
        )
        for move, reason in refused:
            self._tell(MoveEnded(move=move, state=MoveState.REFUSED, reason=reason))
        return admitted

    def _blocked(self, move: Move) -> str:
        """Say which earlier move of the same guest did not get it to where this one starts."""
        for earlier in self._plan.moves:
            if earlier.id == move.id:
                return ""
            if earlier.vm == move.vm and self.states[earlier.id] is not MoveState.DONE:
                return f"Its earlier move {earlier.id} to {earlier.target} is {self.states[earlier.id]}."
        return ""

    def _observe(
        self, moves: Sequence[Move]
    ) -> tuple[list[tuple[Whereabouts, tuple[Refusal, ...]]], dict[str, HostFacts]]:
        """Ask the hosts about all moves of a wave at once, before any of them begins; and about themselves."""

        def look(move: Move) -> tuple[Whereabouts, tuple[Refusal, ...]]:
            vm = self._vm(move)
            return (
                _ask(partial(self._hypervisor.locate, vm), _nowhere(move)),
                _ask(partial(self._hypervisor.objections, move, vm), (_unasked(move),)),
            )

        def ask(host: str) -> HostFacts:
            unknown = HostFacts(host=host, state="unknown", note="it cannot be asked")
            return _ask(partial(self._hypervisor.facts, host), unknown)

        if not moves:
            return [], {}
        hosts = list(dict.fromkeys(host for move in moves for host in (move.target, move.source)))
        with ThreadPoolExecutor(min(ASKERS, len(moves) + len(hosts))) as askers:
            facts = askers.map(ask, hosts)
            looks = askers.map(look, moves)
            return list(looks), dict(zip(hosts, facts, strict=True))

    def _measure(self, moves: Sequence[Move]) -> dict[tuple[str, str], Line]:
        """Measure the lines of a wave, each once; within a host there is none."""
        late_s = time.monotonic() + LINES_S
        found: dict[tuple[str, str], Line] = {}
        for source, target in dict.fromkeys((move.source, move.target) for move in moves):
            note = "it stays within its host" if source == target else ""
            if not note and time.monotonic() > late_s:
                note = f"others took the {LINES_S:g} s that there are for this"
            unknown = Line(a=source, b=target, note=note or "it cannot be asked for")
            found[source, target] = unknown if note else _ask(partial(self._hypervisor.line, source, target), unknown)
        return found

    def _promised(self, target: str, admitted: Sequence[Move]) -> Promised:
        coming = [(move, self._vm(move)) for move in admitted if move.target == target]
        arriving = [vm for move, vm in coming if not move.storage_only]
        return Promised(
            memory_mib=float(sum(vm.memory_mib for vm in arriving)),
            vcpus=float(sum(vm.vcpus for vm in arriving)),
            disk_mib=sum(disk.size_mib for move, vm in coming for disk in vm.disks if disk.name in move.copy_disks),
            ports=sum(ports_of(move) for move, _ in coming),
        )

    def _rules(self, move: Move, admitted: Sequence[Move]) -> tuple[Refusal, ...]:
        """Check rules and capacity where the run has left its plan; where it has not, the plan was checked as a whole.

        What is to be judged is a plan of one wave from where the guests are now: those that are not known, those
        admitted and this one, all at once on both of their hosts.
        """
        if not any(state in _BAD | {MoveState.SKIPPED, MoveState.ABORTED} for state in self.states.values()):
            return ()
        hosts = dict(Placement.of(self._plan.inventory))
        hosts.update({m.vm: m.target for m in self._plan.moves if self.states[m.id] is MoveState.DONE})
        inventory = Placement(hosts).applied_to(self._plan.inventory)
        unclear = [m for m in self._plan.moves if self.states[m.id] is MoveState.UNKNOWN]

        def broken(moves: Sequence[Move]) -> Iterator[check.Violation]:
            wave = tuple(replace(m, wave=1) for m in moves)
            # Guests that belong together may be apart until the plan has ended.
            found = check.plan_violations(replace(self._plan, inventory=inventory, moves=wave))
            return (violation for violation in found if violation.kind not in _AT_THE_END)

        before = {(violation.kind, violation.subject) for violation in broken([*unclear, *admitted])}
        return tuple(
            Refusal(kind="rule", text=violation.text, remedy=violation.remedy)
            for violation in broken([*unclear, *admitted, move])
            if (violation.kind, violation.subject) not in before
        )

    # A wave

    def _migrate(self, moves: Sequence[Move], adopted: Sequence[Move]) -> None:
        """Make migrations at once; return when all have ended and are recorded."""
        news: queue.Queue[tuple[Move, Progress | Outcome | BaseException]] = queue.Queue()
        under_way: dict[str, Move] = {}
        for move in (*adopted, *moves):
            adopt = move in adopted
            self._tell(MoveStarted(move=move, adopted=adopt))
            under_way[move.id] = move
            # Daemons: a controller that gives up must not wait for migrations that carry on without it.
            threading.Thread(target=self._work, args=(move, adopt, news), name=move.id, daemon=True).start()
        unread: tuple[Move, Progress | Outcome | BaseException] | None = None
        while under_way:
            try:
                self._lease.beat()
                self._mind_stop(under_way)
                try:
                    unread = unread or news.get(timeout=POLL_S)
                except queue.Empty:
                    continue
                move, item = unread
                if isinstance(item, BaseException):
                    raise item
                event: MoveProgress | MoveEnded
                if isinstance(item, Progress):
                    event = MoveProgress(move=move, progress=item)
                else:
                    event = self._conclude(move, item)
                    del under_way[move.id]
                unread = None  # Only now: an interrupt before this line finds it again.
                self._tell(event)
            except KeyboardInterrupt:
                if self._orders.abort.is_set():
                    raise
                self._orders.stop.set()
                self._orders.abort.set()

    def _work(
        self, move: Move, adopt: bool, news: queue.Queue[tuple[Move, Progress | Outcome | BaseException]]
    ) -> None:
        """Wait for one migration, in a thread of its own; whatever happens, say what became of the guest."""
        vm = self._vm(move)

        def tell(progress: Progress) -> None:
            news.put((move, progress))

        try:
            call = self._hypervisor.watch if adopt else self._hypervisor.migrate
            news.put((move, call(move, vm, tell)))
        except Exception as error:  # An exception after a migration is no proof that it failed.
            news.put((move, self._by_looking(move, vm, tell, error)))
        except BaseException as death:
            news.put((move, death))

    def _by_looking(self, move: Move, vm: Vm, tell: Callable[[Progress], None], error: Exception) -> Outcome:
        try:
            verdict = judge(move, self._hypervisor.locate(vm))
            if verdict.status == "under_way":
                return self._hypervisor.watch(move, vm, tell)
        except Exception as second:
            return Outcome(status="unknown", reason=f"{error} The guest cannot be looked for: {second}")
        return Outcome(status=verdict.status, reason=f"{error} {verdict.text}")

    def _conclude(self, move: Move, outcome: Outcome) -> MoveEnded:
        state = _RESULT[outcome.status]
        if state is MoveState.FAILED and move.id in self._aborted:
            state = MoveState.ABORTED
        self._record([Step(move_id=move.id, state=state, reason=outcome.reason, outcome=outcome)])
        return MoveEnded(move=move, state=state, reason=outcome.reason, outcome=outcome)

    def _mind_stop(self, under_way: dict[str, Move]) -> None:
        self._tell_stop(tuple(under_way))
        if self._orders.abort.is_set():
            for move in under_way.values():
                if move.id not in self._aborted:
                    self._aborted.add(move.id)
                    _ask(partial(self._hypervisor.abort, move, self._vm(move)), None)

    # Small things

    def _tell_stop(self, under_way: tuple[str, ...]) -> None:
        aborting = self._orders.abort.is_set()
        if (aborting or self._orders.stop.is_set()) and aborting not in self._stop_told:
            self._stop_told.add(aborting)
            self._tell(StopAsked(aborting=aborting, under_way=under_way))

    def _tell(self, event: WaveStarted | MoveStarted | MoveProgress | MoveEnded | OutOfTime | StopAsked) -> None:
        self._orders.on_event(event)

    def _skip(self, moves: Sequence[Move], reason: str) -> None:
        self._record([Step(move_id=move.id, state=MoveState.SKIPPED, reason=reason) for move in moves])
        for move in moves:
            self._tell(MoveEnded(move=move, state=MoveState.SKIPPED, reason=reason))

    def _record(self, steps: Sequence[Step]) -> None:
        if steps:
            self._store.step(self._run_id, steps, actor=self._actor)
            self.states.update({step.move_id: step.state for step in steps})

    def _failures(self) -> int:
        return sum(state in _BAD for state in self.states.values())

    def _braked(self) -> bool:
        return self._failures() >= self._orders.brake

    def _vm(self, move: Move) -> Vm:
        return self._plan.inventory.vm_by_name[move.vm]


_AT_THE_END = frozenset({"together"})


def _ask(question: Callable[[], _T], otherwise: _T) -> _T:
    """Ask a hypervisor; whatever goes wrong on the way, the answer is then the one that makes nobody act."""
    try:
        return question()
    except Exception:
        return otherwise


def _unasked(move: Move) -> Refusal:
    text = f"'{move.source}' and '{move.target}' cannot be asked what they have against the move."
    return Refusal(kind="host", text=text, remedy="Bring both back in reach.")


def _nowhere(move: Move) -> Whereabouts:
    return Whereabouts(vm=move.vm, unreachable=(move.source, move.target))


def _begins(hypervisor: Hypervisor, clock: Clock) -> Callable[[], datetime]:
    """Return when, at the latest, moves of a wave begin that is looked at now; in played time looking takes none."""
    own: Callable[[], float] | None = getattr(hypervisor, "elapsed_s", None)
    if own is None:
        return lambda: clock() + timedelta(seconds=LINES_S)
    zero, zero_s = clock(), own()
    return lambda: zero + timedelta(seconds=own() - zero_s)


def _timer(hypervisor: Hypervisor, store: Store, run_id: str, clock: Clock) -> Callable[[], float]:
    """Return seconds since the run began: a hypervisor that plays in a time of its own counts itself (`elapsed_s`)."""
    own: Callable[[], float] | None = getattr(hypervisor, "elapsed_s", None)
    if own is None:
        began = datetime.fromisoformat(store.run(run_id).started_at)
        return lambda: max(0.0, (clock() - began).total_seconds())
    played_s = max(
        ((move.started_s or 0.0) + (move.total_time_s or 0.0) for move in store.moves(run_id).values()), default=0.0
    )
    zero_s = own()
    return lambda: played_s + own() - zero_s
