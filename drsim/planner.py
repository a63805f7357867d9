"""From an inventory and a wish to a plan: optimise, order, simulate, check."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Set
from dataclasses import replace
from datetime import datetime

from drsim import check
from drsim.arrive import awaiting, starts
from drsim.datastores import plan_datastores
from drsim.errors import InventoryError, PolicyError, Problem
from drsim.inventory import Inventory, Vm
from drsim.migration import DEFAULT, Calibration, Parameters
from drsim.optimize import Progress, Result, Stop, bounded, optimize, score
from drsim.placement import Placement
from drsim.plan import Move, Plan, Prediction, replay
from drsim.policy import Limits, NotOn, Objective, Policy
from drsim.quiet import QuietTimes, instant
from drsim.schedule import Schedule, schedule
from drsim.sharing import Counted, entitled
from drsim.simulate import Simulation, foresee, simulate
from drsim.storage import Stores
from drsim.terms import ranked, term_problems
from drsim.topology import Path, Topology
from drsim.travel import climb, equip_all
from drsim.version import __version__
from drsim.wires import wired
from drsim.worth import worth

STRIDES = (0.1, 0.3, 0.6)
"""Aims that are weighed beside the best balance, as shares of the way back to the present one."""

MAX_CUTS = 4
"""How often guests that cannot be moved in time are taken out and the search is run again."""


def make_plan(
    inventory: Inventory,
    policy: Policy | None = None,
    objective: Objective | None = None,
    *,
    time_limit_s: float = 10.0,
    seed: int = 0,
    parameters: Parameters = DEFAULT,
    calibration: Calibration | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    stop: Stop | None = None,
) -> Plan:
    """Decide what to move, in which order, and what it will cost.

    The simulation judges what the optimiser proposes: a guest whose memory would not come to rest within its downtime
    limit goes back to the optimiser as a guest that stays, one that no order of moves brings to its host as one that
    cannot be there, and the search goes on from what it had found.

    Parameters
    ----------
    inventory : Inventory
        What is where.
    policy : Policy, optional
        Rules and limits; none by default.
    objective : Objective, optional
        What to reach, one goal or several; by default what the policy says, else ``balance``.
    time_limit_s : float
        Time for all searches together, seconds of work. Balance sets aside of it what ``drsim plan`` takes to start,
        and to read, order, predict and check so many guests (`drsim.optimize.trade.ASIDE_S`).
    seed : int
        Same input and seed: same plan, byte for byte.
    parameters : Parameters
        Constants of the migration model.
    calibration : Calibration, optional
        Constants tuned on migrations of this estate, instead: predictions get bands.
    on_progress : callable, optional
        Told how far the search for balance is: its best score, bound, gap and time so far.
    stop : Stop, optional
        Asked now and then whether the search should end with the best that it has found.

    Returns
    -------
    Plan
        Checked move by move; `Plan.applyable` says whether it may be carried out, `Plan.notes` what a person should
        know.

    Raises
    ------
    InventoryError, PolicyError
        If they contradict themselves or each other.
    """
    policy = policy or Policy()
    objective = objective or policy.wish
    if calibration is not None:
        parameters = calibration.parameters
    if problems := check.inventory_problems(inventory):
        raise InventoryError(*problems)
    estate = awaiting(inventory, policy, objective)
    if problems := (*check.policy_problems(policy, estate), *_unknown(objective, inventory)):
        raise PolicyError(*problems)

    if policy.limits.max_minutes is not None:

        def anew(limits: Limits) -> Plan:
            return make_plan(
                inventory,
                replace(policy, limits=limits),
                objective,
                time_limit_s=time_limit_s / MAX_CUTS,
                seed=seed,
                parameters=parameters,
                calibration=calibration,
                on_progress=on_progress,
                stop=stop,
            )

        return _in_time(policy, policy.limits.max_minutes, anew)

    if objective.of_disks:
        known = calibration or Calibration(parameters=parameters)
        return plan_datastores(inventory, policy, objective, time_limit_s=time_limit_s, seed=seed, calibration=known)

    inventory = wired(inventory, policy)
    estate = awaiting(inventory, policy, objective)

    if objective.goal == "balance" and objective.horizon_s is not None:

        def toward(wish: Objective, share: float) -> Plan:
            return make_plan(
                inventory,
                policy,
                wish,
                time_limit_s=time_limit_s * share,
                seed=seed,
                parameters=parameters,
                calibration=calibration,
                on_progress=on_progress,
                stop=stop,
            )

        return _that_pays(objective, objective.horizon_s, parameters, toward)

    shared = entitled(estate, policy, objective)
    counted = shared.inventory if estate is inventory else _among(inventory, shared.inventory)
    stores = Stores(inventory, policy)
    times = QuietTimes(policy, inventory)
    start = None if objective.start_at is None else instant(objective.start_at)
    stuck = {} if start is None else _asleep(times, inventory, start)
    closed: set[tuple[str, str]] = set()
    share_s, begin = time_limit_s, None
    for _ in range(MAX_CUTS):
        narrowed = _narrowed(shared.policy, closed)
        result = optimize(
            _held(shared.inventory, stuck),
            narrowed,
            objective,
            time_limit_s=share_s,
            seed=seed,
            begin=begin,
            on_progress=on_progress,
            stop=stop,
        )
        goal = Placement({vm.name: result.placement[vm.name] for vm in inventory.vms})
        order = schedule(_held(counted, stuck), narrowed, goal, result.reasons)
        moves, climbed = _travel(inventory, policy, order.moves, parameters, calibration)
        new = {
            move.vm: _why_stuck(move)
            for move in moves
            if move.prediction is not None and not move.prediction.converges and move.vm not in stuck
        }
        if start is not None and times:
            banded = moves if calibration is None else _all_banded(moves, inventory, calibration)
            new |= {vm: why for vm, why in times.objections(banded, start).items() if vm not in stuck}
        shut = set[tuple[str, str]]()
        if objective.goal == "balance" and policy.limits.max_moves is None:
            # Nobody asked for these guests to be just there: elsewhere they may do as well.
            shut = {(vm, result.placement[vm]) for vm in order.unreached} - closed
        # Where the disks of a guest find no room it cannot be, whoever asked for it.
        shut |= {(vm, goal[vm]) for vm in order.unreached if _takes_disks(stores, inventory, vm, goal[vm])} - closed
        if not new and not shut:
            break
        stuck |= new
        closed |= shut
        share_s, begin = time_limit_s / MAX_CUTS, result.placement
    notes = tuple(climbed.values())
    if start is None and any(times.has(move.vm) for move in moves):
        notes += (
            "Some of its guests have quiet times, which 'drsim apply' keeps: plan with --start to plan for them.",
        )
    known = calibration or Calibration(parameters=parameters)
    moves = _all_banded(moves, inventory, known, only_disks=calibration is None)
    return _assemble(inventory, estate, policy, objective, shared, result, order, moves, stuck, notes, seed)


def _among(inventory: Inventory, estate: Inventory) -> Inventory:
    """Return an estate without the guests that are not in an inventory yet."""
    return replace(estate, vms=estate.vms[: len(inventory.vms)])


def _asleep(times: QuietTimes, inventory: Inventory, start: datetime) -> dict[str, str]:
    """Return the guests that have a quiet time when the plan starts, and say until when."""
    found = {vm.name: times.disturbed(vm.name, start, start) for vm in inventory.vms}
    return {
        vm: f"'{vm}' must not be moved before {seen[1]:%Y-%m-%d %H:%M} UTC."
        for vm, seen in found.items()
        if seen is not None
    }


def _all_banded(
    moves: tuple[Move, ...], inventory: Inventory, calibration: Calibration, *, only_disks: bool = False
) -> tuple[Move, ...]:
    """Return the moves with their bands; where nothing was calibrated, those whose disks travel along have wide ones.

    What lines carry is declared or measured, what disks do is neither: a time that depends on them is not to be told
    as if it were certain.
    """
    topology = Topology(inventory)
    return tuple(
        move if only_disks and not move.copy_disks else _banded(move, inventory, topology, calibration)
        for move in moves
    )


def _takes_disks(stores: Stores, inventory: Inventory, vm: str, host: str) -> bool:
    return bool(stores.travelling(inventory.vm_by_name[vm], inventory.host_by_name[host]))


def _unknown(objective: Objective, inventory: Inventory) -> Iterator[Problem]:
    """List what an objective names and the inventory does not know, and what has no meaning together."""
    yield from term_problems(objective.terms)
    if objective.terms and ranked(objective.terms)[0][0].goal != objective.goal:
        expected = f"goal is {objective.goal}, and the first of its terms is {ranked(objective.terms)[0][0].goal}."
        yield Problem(place="objective", field="goal", expected=expected, remedy="Make it with Objective.seeking(...).")
    for field in ("aim", "threshold", "horizon_s"):
        if objective.terms and getattr(objective, field) is not None:
            expected = f"it belongs to balance alone, not to '{objective.spelled}'."
            yield Problem(place="objective", field=field, expected=expected, remedy="Drop it, or seek balance alone.")
    for field, what, names, known in (
        ("hosts", "host", objective.hosts, inventory.host_by_name),
        ("datastores", "datastore", objective.datastores, inventory.datastore_by_name),
        ("like", "guest", (objective.like,) if objective.like else (), inventory.vm_by_name),
    ):
        for name in names:
            if name not in known:
                expected = f"there is no {what} '{name}' in inventory '{inventory.name}'."
                remedy = f"Name one of {', '.join(list(known)[:6])}, ..."
                yield Problem(place="objective", field=field, expected=expected, remedy=remedy)
    if objective.datastores and (objective.goal != "evacuate" or objective.hosts or objective.terms):
        expected = "datastores are evacuated, and not together with hosts."
        yield Problem(place="objective", field="datastores", expected=expected, remedy="Make two plans, or drop them.")
    if objective.start_at is not None and objective.of_disks:
        expected = "disks are moved while 'apply' may, whenever that is."
        yield Problem(place="objective", field="start_at", expected=expected, remedy="Drop it.")
    if objective.start_at is not None:
        try:
            instant(objective.start_at)
        except ValueError:
            expected = f"'{objective.start_at}' is no instant with an offset from UTC."
            remedy = "Write it as 2026-11-28T22:00+01:00."
            yield Problem(place="objective", field="start_at", expected=expected, remedy=remedy)


def _in_time(policy: Policy, minutes: float, anew: Callable[[Limits], Plan]) -> Plan:
    """Return a plan that takes no longer: as many moves as are made in that time, chosen anew."""
    limits = replace(policy.limits, max_minutes=None)
    plan = whole = anew(limits)
    while plan.makespan_s > minutes * 60.0:
        share = minutes * 60.0 / plan.makespan_s
        fewer = min(int(share * len(plan.moves)), len(plan.moves) - 1)
        plan = anew(replace(limits, max_moves=fewer))
    plan = replace(plan, policy=policy)
    if plan.moves == whole.moves:
        return plan
    note = f"{len(plan.moves)} of {len(whole.moves)} moves fit {minutes:g} minutes; all would take "
    note += f"{whole.makespan_s / 60.0:.3g}."
    return replace(plan, notes=(*plan.notes, note))


def _that_pays(
    objective: Objective, horizon_s: float, parameters: Parameters, toward: Callable[[Objective, float], Plan]
) -> Plan:
    """Return the plan of several aims that is worth most; one that only mends what must hold if none pays."""
    plain = replace(objective, horizon_s=None)
    share = 1.0 / (len(STRIDES) + 2)
    best = toward(plain, share)
    low, high = best.after.objective, max(best.before.objective, 1.0)
    aims = [low + (high - low) * stride for stride in STRIDES if high > low]
    plans = [best, *(toward(replace(plain, aim=max(aim, 1.0)), share) for aim in aims)]
    least = toward(replace(plain, aim=high), share)
    weighed = [(worth(plan, horizon_s, parameters), plan) for plan in plans]
    # What must hold is mended at any cost.
    floor = min(plan.after.violations for plan in (least, *plans))
    pays = [(each, plan) for each, plan in weighed if each.pays and plan.after.violations == floor]
    if pays:
        value, chosen = max(pays, key=lambda pair: pair[0].net_core_s)
        note = f"It pays: {value}."
    else:
        value, nearest = max(weighed, key=lambda pair: pair[0].net_core_s)
        chosen = least
        note = f"Balance to {nearest.after.objective:.4g} does not pay: {value}."
    return replace(chosen, objective=objective, notes=(*chosen.notes, *((note,) if best.moves else ())))


def _travel(
    inventory: Inventory,
    policy: Policy,
    moves: tuple[Move, ...],
    parameters: Parameters,
    calibration: Calibration | None,
) -> tuple[tuple[Move, ...], dict[str, str]]:
    """Say how each move travels and play them all; those that do not come to rest climb the ladder, and all are played
    once more. Returned beside the moves is why, by guest.
    """
    topology, why = Topology(inventory), dict[str, str]()

    def path(move: Move) -> Path:
        found = topology.path(move.source, move.target)
        assert found is not None  # the schedule has made it
        return found

    def guest(move: Move) -> Vm:
        return inventory.vm_by_name[move.vm]

    own = {} if calibration is None else calibration.by_move(inventory, moves)

    def play() -> dict[str, Prediction]:
        return foresee(inventory, moves, policy.limits, parameters, own=own, topology=topology)

    def constants(move: Move) -> Parameters:
        return own.get(move.id, parameters)

    moves = equip_all(
        moves, policy, path=path, guest=guest, constants=constants, capacity_mbit_s=topology.capacity_mbit_s
    )
    said = play()
    hard = {move.id for move in moves if not said[move.id].converges}
    if hard:  # the whole of the downtime limit for memory and of the line, before anything else
        cap = policy.limits.bandwidth_mbit_s
        moves = tuple(
            replace(move, first_downtime_ms=None, bandwidth_mbit_s=cap) if move.id in hard else move for move in moves
        )
        said = play()
        hard = {move.id for move in moves if not said[move.id].converges}
    steps = {
        move.id: step
        for move in moves
        if move.id in hard and (step := climb(move, guest(move), path(move), policy, constants(move), said[move.id]))
    }
    if steps:
        why = {step[0].vm: f"'{step[0].vm}': {step[1]}" for step in steps.values()}
        moves = tuple(steps[move.id][0] if move.id in steps else move for move in moves)
        said = play()
    return tuple(replace(move, prediction=said[move.id]) for move in moves), why


def _banded(move: Move, inventory: Inventory, topology: Topology, calibration: Calibration) -> Move:
    path = topology.path(move.source, move.target)
    if move.prediction is None or path is None:
        return move
    said = calibration.with_bands(
        move.prediction,
        inventory.vm_by_name[move.vm],
        path,
        max_downtime_ms=move.aim_downtime_ms,
        bandwidth_mbit_s=move.bandwidth_mbit_s,
        copy_disks=move.copy_disks,
    )
    return replace(move, prediction=said)


def _held(inventory: Inventory, stuck: Mapping[str, str]) -> Inventory:
    """Return the inventory with guests that cannot leave, and why."""
    if not stuck:
        return inventory
    held = (
        replace(vm, unmovable_reason=_reason(vm.name, stuck[vm.name])) if vm.name in stuck else vm
        for vm in inventory.vms
    )
    return replace(inventory, vms=tuple(held))


def _reason(vm: str, why: str) -> str:
    """Turn a sentence about a guest into the reason that follows 'it stays there: '."""
    about = why.removeprefix(f"'{vm}' ").removesuffix(".")
    return f"it {about}"


def _narrowed(policy: Policy, closed: Set[tuple[str, str]]) -> Policy:
    """Add to a policy who cannot be brought where."""
    ways = tuple(NotOn(name=f"no way to {host}: {vm}", vms=(vm,), hosts=(host,)) for vm, host in sorted(closed))
    return replace(policy, rules=policy.rules + ways)


def _why_stuck(move: Move) -> str:
    return (
        f"'{move.vm}' dirties memory faster than pre-copy to {move.target} can carry within {move.max_downtime_ms:.0f} "
        "ms of downtime. Raise its max_downtime_ms, let the policy's manners give it a ladder (auto_converge, hybrid), "
        "move it when it is quiet, or give it a faster line."
    )


def _assemble(
    inventory: Inventory,
    estate: Inventory,
    policy: Policy,
    objective: Objective,
    shared: Counted,
    result: Result,
    order: Schedule,
    moves: tuple[Move, ...],
    stuck: Mapping[str, str],
    remarks: tuple[str, ...],
    seed: int,
) -> Plan:
    reached = replay(moves, Placement.of(inventory))
    begun, left = starts(shared.inventory, shared.policy, reached, result.placement, result.reasons)
    hosts = dict.fromkeys((vm.name for vm in objective.newcomers), "") | {start.vm: start.host for start in begun}
    reached = Placement({**reached, **hosts})
    wanted_all = result.complete and not order.unreached and not left
    if objective.goal == "evacuate":
        wanted_all = wanted_all and not any(inventory.vm_by_name[vm].host in objective.hosts for vm in stuck)
    before = result.before
    if shared.policy is not policy:  # by the checker's own way
        before = bounded(score(estate, policy, objective, Placement.of(estate)), result.before)
    told = " ".join(result.notes)
    held_back = (why for vm, why in stuck.items() if _reason(vm, why) not in told)
    plan = Plan(
        inventory=inventory,
        policy=policy,
        objective=objective,
        moves=moves,
        starts=begun,
        before=before,
        after=bounded(score(estate, policy, objective, reached), result.after),
        lower_bound=result.lower_bound,
        status=result.status,
        complete=wanted_all,
        applyable=bool(moves),
        notes=(
            *result.notes,
            *order.notes,
            *order.unreached.values(),
            *left,
            *remarks,
            *held_back,
            *shared.notes,
        ),
        makespan_s=max((move.prediction.end_s for move in moves if move.prediction), default=0.0),
        seed=seed,
        tool_version=__version__,
    )
    return check.judged(plan)


def simulate_plan(
    plan: Plan, parameters: Parameters = DEFAULT, *, calibration: Calibration | None = None
) -> Simulation:
    """Play a plan on its network.

    Parameters
    ----------
    plan : Plan
        Any plan, applyable or not.
    parameters : Parameters
        Constants of the migration model.
    calibration : Calibration, optional
        Constants tuned on migrations of this estate, instead: links and classes of hosts may have their own.

    Returns
    -------
    Simulation
        Per move start, time, downtime, traffic and rounds; makespan; events; use of every line over time.
    """
    own = None
    if calibration is not None:
        parameters, own = calibration.parameters, calibration.by_move(plan.inventory, plan.moves)
    return simulate(plan.inventory, plan.moves, plan.policy.limits, parameters, own=own)
