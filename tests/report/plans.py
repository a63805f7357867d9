"""Small plans made by hand: what the report is tested with needs no optimiser."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from drsim.inventory import Host, HostNic, Inventory, Site, Vm
from drsim.plan import Move, Part, Plan, Prediction, Score
from drsim.policy import Limits, Policy
from drsim.report import Actual

GUESTS_PER_HOST = 12


def estate(hosts: int, *, seed: int = 0, skew: float = 0.8) -> Inventory:
    """A site of equal hosts; the first are fuller than the last."""
    random = np.random.default_rng(seed)
    weights = np.linspace(1 + skew, 1 - skew, hosts)
    wanted = random.choice(hosts, size=GUESTS_PER_HOST * hosts, p=weights / weights.sum())
    return Inventory(
        name="trial",
        sites=(Site(name="s1"),),
        hosts=tuple(
            Host(
                name=f"h{i + 1:03d}",
                site="s1",
                cores=32,
                memory_mib=131072,
                nics=(HostNic(name="eth0", rate_mbit_s=10000),),
            )
            for i in range(hosts)
        ),
        vms=tuple(
            Vm(
                name=f"vm-{i:04d}",
                host=f"h{h + 1:03d}",
                vcpus=4,
                memory_mib=4096 * int(random.integers(1, 4)),
                cpu_demand_cores=float(np.round(random.uniform(0.2, 2.5), 2)),
            )
            for i, h in enumerate(wanted)
        ),
    )


def plan_of(inventory: Inventory, moves: int, *, wave_size: int = 16, seed: int = 0) -> Plan:
    """A plan that moves guests from the first half of the hosts to the second, in waves; not claimed to be good."""
    random = np.random.default_rng(seed)
    names = [host.name for host in inventory.hosts]
    half = len(names) // 2
    leaving = [vm for vm in inventory.vms if vm.host in set(names[:half])][
        :: max(1, len(inventory.vms) // (2 * moves))
    ][:moves]
    assert len(leaving) == moves
    made, clock = [], 0.0
    for first in range(0, moves, wave_size):
        end = clock
        for i, vm in enumerate(leaving[first : first + wave_size], start=first):
            total_s = round(float(random.uniform(3, 25)) * vm.memory_mib / 4096, 3)
            made.append(
                Move(
                    id=f"m{i + 1:03d}",
                    vm=vm.name,
                    source=vm.host,
                    target=names[half + i % (len(names) - half)],
                    reason=f"{vm.host} is fuller than the mean",
                    wave=first // wave_size + 1,
                    prediction=Prediction(
                        start_s=clock,
                        total_time_s=total_s,
                        downtime_ms=round(float(random.uniform(20, 280)), 1),
                        sent_mib=vm.memory_mib * 1.08,
                        rounds=int(random.integers(2, 9)),
                    ),
                )
            )
            end = max(end, clock + total_s)
        clock = end
    return Plan(
        inventory=inventory,
        policy=Policy(limits=Limits(memory_headroom=0.1)),
        moves=tuple(made),
        before=Score(violations=1, penalty=0.0, objective=1.8, unit="peak over mean"),
        after=Score(violations=0, penalty=0.0, objective=1.1, unit="peak over mean"),
        lower_bound=1.05,
        makespan_s=clock,
        tool_version="test",
    )


def outcome_of(plan: Plan, *, seed: int = 1) -> tuple[Actual, ...]:
    """Outcomes near the predictions; the last move failed."""
    random = np.random.default_rng(seed)
    records = []
    for move in plan.moves:
        p = move.prediction
        assert p is not None
        noise = float(random.uniform(0.85, 1.25))
        records.append(
            Actual(
                move_id=move.id,
                status="done" if move is not plan.moves[-1] else "failed",
                started_s=p.start_s * 1.05,
                total_time_s=p.total_time_s * noise,
                downtime_ms=p.downtime_ms * noise,
                sent_mib=p.sent_mib * noise,
                rounds=p.rounds,
                reason="" if move is not plan.moves[-1] else "the target refused it",
            )
        )
    return tuple(records)


def of_two_goals(plan: Plan) -> Plan:
    """The same plan, as one that spreads guests first and balances then."""
    first = Part(goal="spread", value=9.0, unit="guests beyond", share=0.9, lower_bound=4.0)
    second = Part(goal="balance", rank=2, weight=0.5, value=1.8, unit="times the mean", share=0.8, lower_bound=1.0)
    after = (replace(first, value=4.0, share=0.4), replace(second, value=1.25, share=0.25))
    return replace(plan, before=replace(plan.before, parts=(first, second)), after=replace(plan.after, parts=after))
