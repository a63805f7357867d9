"""Carry a plan out: apply it, or go on with a run that was interrupted.

One thread decides and writes the record; each migration has a thread that waits for it. Whatever is about to be done
is durable before it is done, and what came of it is durable before the next thing is done.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event as Flag

from drsim import check
from drsim.errors import PlanError, Problem, StoreError
from drsim.formats import plan_to_json, read_plan
from drsim.inventory import Inventory
from drsim.plan import Plan
from drsim.quiet import QuietTimes
from executor.carry import Carrier, Lease, Orders
from executor.drift import Change, differences
from executor.events import EventListener, RunEnded, RunStarted
from executor.hypervisor.base import Hypervisor
from executor.lease import Holder
from executor.lifecycle import MoveState, RunState
from executor.result import MoveReport, RunReport, tell
from executor.store import Clock, Store, utc_now
from executor.window import ALWAYS, Window

BRAKE = 3
"""Moves that may fail before nothing new is started."""

_RESUMABLE = (RunState.RUNNING, RunState.STOPPED, RunState.UNKNOWN)


def apply(
    plan: Plan,
    hypervisor: Hypervisor,
    store: Store,
    *,
    actor: str,
    on_event: EventListener = lambda event: None,
    stop: Flag | None = None,
    abort: Flag | None = None,
    brake: int = BRAKE,
    clock: Clock = utc_now,
    window: Window = ALWAYS,
) -> RunReport:
    """Carry a plan out, exactly as it is.

    Parameters
    ----------
    plan : Plan
        Complete and checked; it is checked once more here.
    hypervisor : Hypervisor
        Where.
    store : Store
        Durable record.
    actor : str
        Who asks for it.
    on_event : callable
        Told what happens, from this thread.
    stop : threading.Event, optional
        Once set, what is under way is finished and nothing new is started; the run can be resumed.
    abort : threading.Event, optional
        Once set, migrations under way are stopped, too, and their guests stay where they are. A `KeyboardInterrupt` in
        this thread while migrations are under way does the same.
    brake : int
        Moves that may fail (or be refused, or end unclear) before nothing new is started.
    clock : callable
        Returns the time in UTC.
    window : Window
        A move that might outlast its end is not begun, nor is any wave after it; the run can be resumed. Its beginning
        is for the caller to wait for.

    Returns
    -------
    RunReport
        ``nothing`` if there is nothing to do, or every guest is already where the plan leads.

    Raises
    ------
    PlanError
        Before anything was done: the plan is not applyable, breaks a rule, would move guests in their quiet times, or
        the estate is no longer the one that it was made for; each change is named.
    StoreError
        The record cannot be written, or another controller is at work. Migrations under way carry on; resume the run.
    """
    if not plan.moves:
        return _nothing(plan, store)
    _refuse_unfit(plan)
    with _holding(plan, hypervisor, store, actor) as lease:
        now = hypervisor.inventory()
        changes = differences(plan.inventory, now)
        if any(change.refuses for change in changes):
            if _is_there(plan, now):
                return _nothing(plan, store)
            texts = [change.text for change in changes if change.refuses]
            store.note("apply_refused", actor=actor, detail={"plan_hash": plan.hash, "changes": texts})
            raise _stale(changes)
        _refuse_disturbing(plan, clock())
        run_id = store.begin(plan, plan_to_json(plan), estate=hypervisor.name, actor=actor)
        remarks = tuple(change.text for change in changes)
        orders = Orders(on_event=on_event, stop=stop or Flag(), abort=abort or Flag(), brake=brake, clock=clock)
        orders = replace(orders, window=window)
        carrier = Carrier(run_id, plan, hypervisor, store, lease, actor, orders)
        on_event(RunStarted(run_id=run_id, plan=plan, states=dict(carrier.states), resumed=False, remarks=remarks))
        return _finish(run_id, plan, store, actor, carrier.carry_out(), on_event)


def resume(
    run_id: str,
    hypervisor: Hypervisor,
    store: Store,
    *,
    actor: str,
    on_event: EventListener = lambda event: None,
    stop: Flag | None = None,
    abort: Flag | None = None,
    brake: int = BRAKE,
    clock: Clock = utc_now,
    window: Window = ALWAYS,
    recover: bool = False,
) -> RunReport:
    """Go on with a run that stopped, whose controller died, or that ended with something unknown.

    Looks first: a guest found on its target has moved; one on its source is moved again; a migration still under way
    is followed to its end; of anything else the hands are kept off. A run that has ended is only reported.

    Parameters
    ----------
    run_id : str
        The run; the other parameters are those of `apply`.
    recover : bool
        Whether post-copies that lost their connection are brought to their end over a new one.

    Raises
    ------
    StoreError
        As `apply`; also if there is no such run, or it belongs to another estate.
    """
    plan = plan_of(store, run_id)
    estate = store.run(run_id).estate
    if estate != hypervisor.name:
        raise StoreError(f"Run {run_id} was made on {estate}, not on {hypervisor.name}. Resume it there.")
    with _holding(plan, hypervisor, store, actor) as lease:
        if store.run(run_id).state not in _RESUMABLE:
            return _report(store, run_id, plan)
        store.set_state(run_id, RunState.RUNNING, actor=actor)
        orders = Orders(on_event=on_event, stop=stop or Flag(), abort=abort or Flag(), brake=brake, clock=clock)
        orders = replace(orders, window=window, recover=recover)
        carrier = Carrier(run_id, plan, hypervisor, store, lease, actor, orders)
        carrier.reconcile()
        on_event(RunStarted(run_id=run_id, plan=plan, states=dict(carrier.states), resumed=True))
        return _finish(run_id, plan, store, actor, carrier.carry_out(), on_event)


def rehearse(plan: Plan, hypervisor: Hypervisor, begin: datetime) -> None:
    """Look now at whether a plan could be begun later, so that a mistake shows while somebody is there to mend it.

    Nothing is held or recorded; `apply` looks at all of it again.

    Parameters
    ----------
    plan : Plan
        To be applied.
    hypervisor : Hypervisor
        Where.
    begin : datetime
        When, timezone-aware: quiet times are those of then.

    Raises
    ------
    PlanError
        As `apply`.
    """
    _refuse_unfit(plan)
    changes = differences(plan.inventory, hypervisor.inventory())
    if any(change.refuses for change in changes):
        raise _stale(changes)
    _refuse_disturbing(plan, begin)


def plan_of(store: Store, run_id: str) -> Plan:
    """Return the plan of a run as it was recorded."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / f"{run_id}.json"
        file.write_text(store.plan_json(run_id), encoding="utf-8")
        return read_plan(file)


def report(store: Store, run_id: str) -> RunReport:
    """Return what is on record about a run."""
    return _report(store, run_id, plan_of(store, run_id))


def _report(store: Store, run_id: str, plan: Plan) -> RunReport:
    run, reports = store.run(run_id), _moves(store, run_id, plan)
    text = tell(run.state, reports, run_id)
    return RunReport(run_id=run_id, state=run.state, moves=reports, audit_head=store.head(), text=text)


def _moves(store: Store, run_id: str, plan: Plan) -> tuple[MoveReport, ...]:
    stored = store.moves(run_id)
    return tuple(
        MoveReport(
            move=move,
            state=stored[move.id].state,
            reason=stored[move.id].reason,
            started_s=stored[move.id].started_s,
            total_time_s=stored[move.id].total_time_s,
            downtime_ms=stored[move.id].downtime_ms,
            sent_mib=stored[move.id].sent_mib,
            rounds=stored[move.id].rounds,
        )
        for move in plan.moves
    )


def _finish(run_id: str, plan: Plan, store: Store, actor: str, state: RunState, on_event: EventListener) -> RunReport:
    store.set_state(run_id, state, actor=actor, text=tell(state, _moves(store, run_id, plan), run_id))
    result = _report(store, run_id, plan)
    on_event(RunEnded(report=result))
    return result


def _nothing(plan: Plan, store: Store) -> RunReport:
    moves = tuple(MoveReport(move=move, state=MoveState.DONE, reason="It was there already.") for move in plan.moves)
    text = "Nothing to do: every guest is already where the plan leads." if moves else "The plan holds no moves."
    return RunReport(run_id=None, state=RunState.NOTHING, moves=moves, audit_head=store.head(), text=text)


def _refuse_unfit(plan: Plan) -> None:
    """Refuse a plan that says itself that it must not be applied, or that the checker finds fault with."""
    if not plan.applyable:
        notes = " ".join(plan.notes)
        raise PlanError(
            Problem(place="plan", field="applyable", expected=f"It is false. {notes}", remedy="Make a new plan.")
        )
    broken = check.plan_violations(plan)
    if broken:
        raise PlanError(
            *(Problem(place="plan", expected=violation.text, remedy=violation.remedy) for violation in broken)
        )


def _refuse_disturbing(plan: Plan, now: datetime) -> None:
    """Refuse a plan that, begun now, would move guests in their quiet times."""
    found = QuietTimes(plan.policy, plan.inventory).objections(plan.moves, now)
    remedy = "Apply it at another time, or make a plan for now that leaves them out: drsim plan --start."
    if found:
        raise PlanError(*(Problem(place=f"move of {vm}", expected=why, remedy=remedy) for vm, why in found.items()))


def _stale(changes: Iterable[Change]) -> PlanError:
    place, remedy = "The estate has changed since the plan was made", "Make a new plan from a fresh inventory."
    return PlanError(*(Problem(place=place, expected=each.text, remedy=remedy) for each in changes if each.refuses))


def _is_there(plan: Plan, now: Inventory) -> bool:
    """Whether the only thing that changed is that the plan was carried out."""
    reached = plan.target.applied_to(plan.inventory)
    for move in plan.moves:
        disks = now.vm_by_name[move.vm].disks if move.vm in now.vm_by_name else ()
        paths = {disk.name: disk.path for disk in disks}
        if any(paths.get(landing.disk) != landing.path for landing in move.landings):
            return False
    copied = {move.vm for move in plan.moves if move.copy_disks}
    # Where copied disks lie afterwards is the target's business; the plan does not say.
    landed = tuple(
        replace(vm, disks=now.vm_by_name[vm.name].disks) if vm.name in copied and vm.name in now.vm_by_name else vm
        for vm in reached.vms
    )
    # A folder that its last disk has left is no datastore any more.
    stores = tuple(store for store in reached.datastores if store.name in now.datastore_by_name)
    return not any(c.refuses for c in differences(replace(reached, vms=landed, datastores=stores), now))


@contextmanager
def _holding(plan: Plan, hypervisor: Hypervisor, store: Store, actor: str) -> Iterator[Lease]:
    """Hold all hosts of the plan's estate, so that nobody else works on them."""
    hosts = [f"{hypervisor.name}/{host.uri or host.name}" for host in plan.inventory.hosts]
    lease = Lease(store, hosts, Holder.here(actor))
    store.take(hosts, lease.holder)
    try:
        yield lease
    except BaseException:
        with suppress(StoreError):
            store.release(lease.holder)
        raise
    store.release(lease.holder)
