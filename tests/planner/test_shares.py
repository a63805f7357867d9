"""Plans where CPU is divided by shares: what they count, whom they move, and what they leave as it is."""

from __future__ import annotations

import itertools
import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drsim import check
from drsim.formats import plan_from_json, plan_to_json
from drsim.inventory import Inventory, Vm
from drsim.optimize import optimize, score
from drsim.placement import Placement
from drsim.plan import Plan
from drsim.planner import make_plan
from drsim.policy import Limits, Objective, Policy, Shares
from drsim.report import render, shares_table, summary
from drsim.report.shares import contention
from drsim.whatif import Drain, LoseHost, compare, comparison_view
from drsim.whatif.days import EVENED, balancer
from drsim.why import explain, rule_prices
from drsim.worth import worth
from tests.rules.estates import estate

GOLDEN = Path(__file__).parent / "golden" / "shares.json"

GOLD = Policy(
    rules=(Shares(name="gold", vms=("tag:gold",), shares=9000.0), Shares(name="rest", vms=("tag:rest",), shares=1000.0))
)


def cluster(*guests: tuple[str, str, float], hosts: int = 2) -> Inventory:
    """Guests by host, label and what they ask for, on hosts of 8 cores that are alike full of memory."""
    on = [host for host, _, _ in guests]
    there = estate("1" * len(guests), hosts=hosts, memory_mib=[1680 // on.count(host) for host in on])
    return replace(
        there,
        vms=tuple(
            replace(vm, host=host, vcpus=8, tags=(tag,), cpu_demand_cores=cores)
            for vm, (host, tag, cores) in zip(there.vms, guests, strict=True)
        ),
    )


GREEDY = cluster(
    *[("h1", "gold", 1.0)] * 7,
    *[("h2", "gold", 1.0)] * 4,
    *[("h3", "gold", 1.0)] * 5,
    *[("h2", "rest", 8.0), ("h3", "rest", 8.0)],
    hosts=3,
)
"""Two guests that ask for much beside others that ask for little, and get little where these matter more."""

NEARLY = Objective(aim=1.15)

CROWDED = cluster(*[("h1", "gold", 3.0)] * 4, ("h2", "rest", 8.0))
CROWDED = replace(CROWDED, vms=(*CROWDED.vms[:4], replace(CROWDED.vms[4], memory_mib=840)))
"""Guests that matter on a full host, and one that matters less alone on another."""


def planned(
    inventory: Inventory, policy: Policy | None = None, objective: Objective | None = None, *, seed: int = 0
) -> Plan:
    """Plan in little time: the estates are small."""
    return make_plan(inventory, policy, objective, time_limit_s=0.5, seed=seed)


def bare(plan: Plan) -> str:
    """The plan as written, but for its policy."""
    return plan_to_json(replace(plan, policy=Policy()))


def test_a_guest_that_asks_for_much_and_has_few_shares_drives_nobody_about() -> None:
    assert planned(GREEDY, None, NEARLY).moves != ()
    plan = planned(GREEDY, GOLD, NEARLY)
    assert plan.moves == ()
    assert (plan.before.objective, plan.before.violations, plan.complete) == (pytest.approx(9 / 8), 0, True)
    assert plan.notes == (
        "CPU is short: guests ask for 32 cores and hosts have 24; 2 guests count with what their shares entitle them "
        "to, not with all that is asked for.",
    )


def test_guests_that_matter_are_brought_where_they_get_what_they_are_entitled_to() -> None:
    plan = planned(CROWDED, GOLD)
    assert len(plan.moves) == 1
    assert plan.applyable
    assert plan.after.violations == 0
    assert check.plan_violations(plan) == ()
    both = contention(plan)
    lacked = [sum(each.lacks_cores for each in felt) for felt in (both.before, both.after)]
    assert lacked == pytest.approx([4.0, 1.0], abs=1e-6)
    second = next(each.vm for each in both.after if each.is_short)
    assert str(both) == (
        "4 guests get less CPU than their shares entitle them to, 4 cores in all; with the plan 3 guests get less CPU "
        f"than their shares entitle them to, 1 cores in all; '{second}' gets 2.67 of 3 cores on h1"
    )
    assert any(line.startswith("CPU by shares: 4 guests") for line in summary(plan))


def test_where_there_is_enough_the_plan_is_the_one_without_shares_to_the_last_byte() -> None:
    there = cluster(*[("h1", "gold", 1.5)] * 5, ("h1", "rest", 3.0), ("h2", "rest", 0.5), hosts=3)
    plain, shared = planned(there), planned(there, GOLD)
    assert plain.moves != ()
    assert bare(shared) == bare(plain)


def test_a_limit_bites_where_there_is_enough_too() -> None:
    there = cluster(("h1", "gold", 4.0), ("h1", "gold", 4.0), ("h2", "rest", 8.0), hosts=2)
    limited = Policy(rules=(Shares(name="rest", vms=("tag:rest",), most_cores=2.0),))
    plan = planned(there, limited)
    assert len(plan.moves) == 1
    assert plan.notes == (
        "Limits of pools or guests are reached; 1 guest counts with what its shares entitle it to, not with all that "
        "is asked for.",
    )
    assert planned(there).moves == ()


def test_the_golden_plan() -> None:
    plan = planned(CROWDED, GOLD, seed=1)
    both = contention(plan)
    told = {
        "moves": [[move.vm, move.source, move.target, move.reason] for move in plan.moves],
        "scores": [round(score.objective, 6) for score in (plan.before, plan.after)],
        "notes": list(plan.notes),
        "before": [_rounded(asdict(each)) for each in both.before],
        "after": [_rounded(asdict(each)) for each in both.after],
    }
    assert told == json.loads(GOLDEN.read_text())


def _rounded(record: dict[str, object]) -> dict[str, object]:
    return {key: round(value, 6) if isinstance(value, float) else value for key, value in record.items()}


def test_same_input_and_seed_same_plan_and_it_is_read_as_it_was_written() -> None:
    plan = planned(CROWDED, GOLD, seed=3)
    assert plan_to_json(planned(CROWDED, GOLD, seed=3)) == plan_to_json(plan)
    assert plan_from_json(plan_to_json(plan)) == plan


def test_shares_that_a_hypervisor_has_count_and_a_policy_counts_more() -> None:
    weighed = replace(
        GREEDY, vms=tuple(replace(vm, cpu_shares=1.0) if vm.tags == ("rest",) else vm for vm in GREEDY.vms)
    )
    assert planned(weighed, None, NEARLY).moves == ()
    heavy = Policy(rules=(Shares(name="heavy", vms=("tag:rest",), per="guest", shares=1e6),))
    assert [round(vm.cpu_cores, 6) for vm in check.counted(weighed, heavy)[0].vms] == [0.5] * 16 + [8.0] * 2
    assert planned(weighed, heavy, NEARLY).moves != ()


def test_where_cpu_is_short_no_host_has_too_much_of_it_and_nothing_is_to_be_mended() -> None:
    assert {each.kind for each in check.violations(CROWDED, Policy())} == {"cpu"}
    assert check.violations(CROWDED, GOLD) == ()
    plan = planned(CROWDED, GOLD, Objective(goal="repair"))
    assert (plan.moves, plan.complete) == ((), True)


def test_other_limits_hold_as_ever() -> None:
    policy = replace(GOLD, limits=Limits(max_moves=0))
    assert planned(CROWDED, policy).moves == ()
    full = replace(CROWDED, vms=tuple(replace(vm, memory_mib=8192) for vm in CROWDED.vms))
    assert {each.kind for each in check.violations(full, GOLD)} == {"memory"}


def test_new_guests_ask_beside_the_others() -> None:
    new = Vm(name="new", host="", vcpus=4, memory_mib=512, cpu_demand_cores=4.0, tags=("gold",))
    plan = planned(CROWDED, GOLD, Objective(goal="place", newcomers=(new,)))
    assert [start.vm for start in plan.starts] == ["new"]
    assert plan.complete
    assert check.plan_violations(plan) == ()
    assert [each.vm for each in contention(plan).after] == [*(vm.name for vm in CROWDED.vms), "new"]


@settings(max_examples=25, deadline=None)
@given(
    hosts=st.lists(st.sampled_from(["h1", "h2"]), min_size=5, max_size=5),
    asks=st.lists(st.sampled_from([0.5, 2.0, 5.0, 8.0]), min_size=5, max_size=5),
    tags=st.lists(st.sampled_from(["gold", "rest"]), min_size=5, max_size=5),
)
def test_no_placement_is_more_even_in_what_guests_are_entitled_to(
    hosts: list[str], asks: list[float], tags: list[str]
) -> None:
    there = cluster(*zip(hosts, tags, asks, strict=True))
    there = replace(there, vms=tuple(replace(vm, memory_mib=64) for vm in there.vms))
    policy = Policy(rules=tuple(rule for rule in GOLD.rules if rule.name in tags))
    names = [vm.name for vm in there.vms]
    ways = [Placement(dict(zip(names, way, strict=True))) for way in itertools.product(("h1", "h2"), repeat=5)]
    scores = [score(there, policy, Objective(), way) for way in ways]
    sound = [each.objective for each in scores if not each.violations]
    result = optimize(there, policy, Objective(), time_limit_s=0.5)
    assert (result.after.violations == 0) == bool(sound)
    assert not sound or result.after.objective <= min(sound) * 1.02


def test_several_goals_and_an_evacuation_count_alike() -> None:
    three = replace(CROWDED, hosts=cluster(("h1", "gold", 1.0), hosts=3).hosts)
    plan = planned(three, GOLD, Objective(goal="evacuate", hosts=("h1",)))
    assert plan.complete
    assert plan.after.violations == 0
    assert "h1" not in plan.target.values()
    assert "CPU is short: guests ask for 20 cores and hosts have 16" in plan.notes[0]
    assert "its limit is" not in render(plan)  # nothing is told as violated
    short = replace(three, hosts=(replace(three.hosts[0], state="maintenance"), *three.hosts[1:2]))
    plan = planned(short, GOLD, Objective(goal="evacuate", hosts=("h1",)))  # the one that is left is overcommitted
    assert plan.complete
    assert plan.applyable


def test_why_and_what_a_rule_costs_and_what_a_plan_saves() -> None:
    plan = planned(CROWDED, GOLD)
    (move,) = plan.moves
    found = explain(plan, move.vm)
    assert found.breaks == ()
    assert found.refused.objective == pytest.approx(plan.before.objective)
    nested = replace(GOLD, rules=(replace(GOLD.rules[0], vms=(), name="all"), *GOLD.rules))
    nested = replace(nested, rules=(nested.rules[0], replace(nested.rules[1], within="all"), nested.rules[2]))
    prices = rule_prices(planned(CROWDED, nested), time_limit_s=1.5)
    assert [price.rule for price in prices] == ["all", "gold", "rest"]
    assert worth(plan, 3600.0).saved_core_s > 0.0


def test_a_balancer_evens_out_where_there_is_nothing_to_mend_and_looks_at_parts() -> None:
    plan = balancer(GOLD)(CROWDED)
    assert plan.objective.threshold == EVENED
    assert len(plan.moves) == 1
    part = replace(CROWDED, hosts=CROWDED.hosts[1:], vms=CROWDED.vms[4:])  # no gold there
    around = Shares(name="around", shares=1.0)
    within = (around, *(replace(rule, within="around") for rule in GOLD.rules if isinstance(rule, Shares)))
    plan = balancer(Policy(rules=within))(part)
    assert [rule.name for rule in plan.policy.rules] == ["around", "rest"]
    assert plan.objective.goal == "repair"


def test_what_nothing_evens_out_crowds_nobody() -> None:
    room = replace(CROWDED, vms=tuple(replace(vm, memory_mib=100) for vm in CROWDED.vms))
    assert Objective(goal="consolidate").overcommits is False
    plan = planned(room, GOLD, Objective(goal="consolidate"))
    assert {*plan.target.values()} == {"h1", "h2"}


def test_reports_tell_who_gets_less() -> None:
    plan = planned(CROWDED, GOLD)
    table = shares_table(plan)
    assert table["lacks_cores_before"].sum() == pytest.approx(4.0)
    assert list(table.index) == [vm.name for vm in CROWDED.vms]
    page = render(plan)
    assert "CPU by shares" in page
    assert "Guests short of CPU" in page
    plain = planned(CROWDED)
    assert "CPU by shares" not in render(plain)
    assert shares_table(plain).empty


def test_what_if_tells_who_gets_less_then() -> None:
    there = cluster(*[("h1", "gold", 2.0)] * 2, *[("h2", "rest", 4.0)] * 2, *[("h3", "gold", 2.0)] * 2, hosts=3)
    compared = compare(there, GOLD, {"lose": (LoseHost("h3"),), "drain": (Drain("h3"),)}, time_limit_s=1.0)
    table = compared.table
    assert list(table["guests_without_place"]) == [0, 0, 0]
    assert list(table["feasible"]) == [True, True, True]
    assert list(table["guests_short_of_cpu_after"]) == [0, 0, 0]
    fuller = replace(there, vms=tuple(replace(vm, cpu_demand_cores=vm.cpu_cores * 1.4) for vm in there.vms))
    compared = compare(fuller, GOLD, {"lose": (LoseHost("h3"),)}, time_limit_s=1.0)
    assert list(compared.table["guests_without_place"]) == [0, 0]
    assert [vm.cpu_cores for vm in compared.cases[1].inventory.vms] == [vm.cpu_cores for vm in fuller.vms]
    assert "guests short of CPU" in str(comparison_view(compared).renderables[0].columns[-1].header)  # type: ignore[attr-defined]
    assert "guests short of" in compared.report()
    assert "guests short of" not in compare(fuller, time_limit_s=0.5).report()
