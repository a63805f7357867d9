"""Several imagined estates beside the one that there is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from drsim import check
from drsim.check.shares import shares_out
from drsim.errors import DrsimError
from drsim.inventory import Inventory
from drsim.optimize import score
from drsim.placement import Placement
from drsim.plan import Plan
from drsim.planner import make_plan
from drsim.policy import Objective, Policy
from drsim.whatif.change import Change, Drain, EmptyDatastore, apply_all
from drsim.whatif.restart import restart

BASELINE = "as it is"
"""Name of the case without a change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One imagined estate and the plan for it.

    Parameters
    ----------
    name : str
        Name of the case.
    changes : tuple of Change
        What happened, in order; empty for the baseline.
    inventory : Inventory
        The estate after the changes and after guests of failed hosts were started elsewhere; the plan starts from it.
    restarted : mapping of str to str
        Guest of a failed host to the host that it is started on.
    left : mapping of str to str
        Guest that no host takes to the reason.
    plan : Plan or None
        What would be moved then; None if no placement satisfies the rules.
    reason : str
        Why the case is not feasible; empty if it is.
    """

    name: str
    changes: tuple[Change, ...]
    inventory: Inventory
    restarted: Mapping[str, str]
    left: Mapping[str, str]
    plan: Plan | None
    reason: str

    @property
    def feasible(self) -> bool:
        """Whether every guest has a place, every rule that must hold holds, and all that was asked for is reached."""
        return not self.reason

    @property
    def target(self) -> Placement:
        """Placement at the end."""
        return Placement.of(self.inventory) if self.plan is None else self.plan.target


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Cases beside one another, the baseline first."""

    cases: tuple[Case, ...]
    policy: Policy

    @property
    def shared(self) -> bool:
        """Whether CPU is divided by shares."""
        return any(shares_out(case.inventory, self.policy) for case in self.cases)

    @property
    def table(self) -> pd.DataFrame:
        """One row a case.

        Index ``case``; columns feasible, guests_without_place, guests_restarted, hosts (those that take guests),
        guests, imbalance_before, imbalance_after (highest load over mean load, 1 is even), moves, moved_gib,
        makespan_s, max_downtime_ms, cpu_headroom_share and memory_headroom_share (free, of all hosts that take guests),
        largest_guest_mib (memory of the largest guest with one vCPU and one core that one host still takes),
        guests_short_of_cpu and cores_short (guests that get less CPU than their shares entitle them to, and how much;
        0 where nobody named shares), each with ``_before`` and ``_after``, reason. NaN where there is no plan.
        """
        rows = [_row(case, self.policy) for case in self.cases]
        return pd.DataFrame(rows, index=pd.Index([case.name for case in self.cases], name="case"))

    def report(self, *, title: str | None = None, generated_at: str | None = None) -> str:
        """Write one self-contained HTML page; the same input gives the same bytes."""
        from drsim.whatif.html import render

        return render(self, title=title, generated_at=generated_at)


def compare(
    inventory: Inventory,
    policy: Policy | None = None,
    cases: Mapping[str, Sequence[Change]] | None = None,
    *,
    time_limit_s: float = 5.0,
    seed: int = 0,
) -> Comparison:
    """Plan for the estate as it is and for each imagined one.

    Guests of a failed host are started elsewhere (`drsim.whatif.restart`), hosts to drain and datastores to empty are
    evacuated; a case without either is balanced.

    Parameters
    ----------
    inventory : Inventory
        The estate as it is.
    policy : Policy, optional
        Rules and limits; none by default.
    cases : mapping of str to sequence of Change, optional
        Name of a case to what happens in it. The baseline, ``"as it is"``, is always there.
    time_limit_s : float
        Time to search for each case, seconds.
    seed : int
        Same input and seed: same comparison.

    Returns
    -------
    Comparison
        The baseline, then the cases in their order.

    Raises
    ------
    DrsimError
        If a change names a host or a datastore that is not there, or a case wants to empty both.
    InventoryError, PolicyError
        If inventory and policy contradict themselves or each other.
    """
    policy = policy or Policy()
    wanted: dict[str, Sequence[Change]] = {BASELINE: (), **(cases or {})}
    return Comparison(
        cases=tuple(
            _case(name, tuple(changes), inventory, policy, time_limit_s, seed) for name, changes in wanted.items()
        ),
        policy=policy,
    )


def _case(
    name: str, changes: tuple[Change, ...], inventory: Inventory, policy: Policy, time_limit_s: float, seed: int
) -> Case:
    restarted = restart(inventory, apply_all(changes, inventory), policy)
    drained = tuple(dict.fromkeys(change.host for change in changes if isinstance(change, Drain)))
    emptied = tuple(dict.fromkeys(change.datastore for change in changes if isinstance(change, EmptyDatastore)))
    if drained and emptied:
        raise DrsimError(f"what-if '{name}': hosts and datastores are not emptied by one plan. Make two cases of it.")
    objective = Objective()
    if drained or emptied:
        objective = Objective(goal="evacuate", hosts=drained, datastores=emptied)
    left = dict(restarted.left)
    reasons = [_named(left)] if left else []
    plan = make_plan(restarted.inventory, policy, objective, time_limit_s=time_limit_s, seed=seed)
    stuck = {vm: _stuck(vm, host, plan) for vm, host in plan.target.items() if host in drained}
    left |= {vm: why for vm, why in stuck.items() if restarted.inventory.vm_by_name[vm].state != "stopped"}
    if not plan.complete:
        reasons.append(f"{plan.objective.goal}: not all that was asked for is reached.")
    if plan.after.violations:
        reasons.append(f"{plan.after.violations} rules or capacities stay violated.")
    return Case(
        name=name,
        changes=changes,
        inventory=restarted.inventory,
        restarted=restarted.placed,
        left=left,
        plan=plan,
        reason=" ".join(reasons),
    )


def _named(left: Mapping[str, str]) -> str:
    names = list(left)
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"No place for {', '.join(names[:5])}{more}."


def _stuck(vm: str, host: str, plan: Plan) -> str:
    return next((note for note in plan.notes if f"'{vm}'" in note), f"It stays on {host}.")


def _row(case: Case, policy: Policy) -> dict[str, object]:
    inventory, target = case.inventory, case.target
    room = _free(inventory, target, policy)
    row: dict[str, object] = {
        "feasible": case.feasible,
        "guests_without_place": len(case.left),
        "guests_restarted": len(case.restarted),
        "hosts": sum(host.takes_guests for host in inventory.hosts),
        "guests": len(inventory.vms),
        "imbalance_before": _imbalance(inventory, policy, Placement.of(inventory)),
        "imbalance_after": _imbalance(inventory, policy, target),
        "moves": np.nan,
        "moved_gib": np.nan,
        "makespan_s": np.nan,
        "max_downtime_ms": np.nan,
    }
    if case.plan is not None:
        known = [move.prediction for move in case.plan.moves if move.prediction is not None]
        row["moves"] = len(case.plan.moves)
        row["moved_gib"] = sum(p.sent_mib for p in known) / 1024
        row["makespan_s"] = case.plan.makespan_s
        row["max_downtime_ms"] = max((p.downtime_ms for p in known), default=0.0)
    return {**row, **room, **_short(case, policy), "reason": case.reason}


def _short(case: Case, policy: Policy) -> dict[str, object]:
    """Who gets less CPU than its shares entitle it to, before and after the plan."""
    row: dict[str, object] = {}
    for when, placement in (("before", Placement.of(case.inventory)), ("after", case.target)):
        lacking = [each.lacks_cores for each in check.felt(case.inventory, policy, placement) if each.is_short]
        row |= {f"guests_short_of_cpu_{when}": len(lacking), f"cores_short_{when}": float(sum(lacking))}
    return row


def _imbalance(inventory: Inventory, policy: Policy, placement: Placement) -> float:
    return score(inventory, policy, Objective(), placement).objective


def _free(inventory: Inventory, placement: Placement, policy: Policy) -> dict[str, object]:
    """Room left on the hosts that take guests."""
    hosts = [host for host in inventory.hosts if host.takes_guests]
    taken = {host.name: [0.0, 0.0, 0.0] for host in inventory.hosts}
    for vm in inventory.vms:
        if vm.state != "stopped":
            used = taken[placement[vm.name]]
            used[0] += vm.cpu_cores
            used[1] += vm.memory_mib
            used[2] += vm.vcpus
    cores, memory = sum(h.cores for h in hosts), sum(h.guest_memory_mib for h in hosts)
    limits = policy.limits
    largest = 0.0
    for host in hosts:
        cpu, mib, vcpus = taken[host.name]
        if host.cores * (1 - limits.cpu_headroom) - cpu >= 1 and host.guest_vcpus - vcpus >= 1:
            largest = max(largest, host.guest_memory_mib * (1 - limits.memory_headroom) - mib)
    return {
        "cpu_headroom_share": 1 - sum(taken[h.name][0] for h in hosts) / cores if cores else 0.0,
        "memory_headroom_share": 1 - sum(taken[h.name][1] for h in hosts) / memory if memory else 0.0,
        "largest_guest_mib": int(largest),
    }
