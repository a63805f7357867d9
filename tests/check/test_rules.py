"""What breaks a rule: each kind once broken and once just kept, and rules that a plan makes worse."""

from __future__ import annotations

from dataclasses import replace

import pytest

from drsim import check
from drsim.inventory import Host, Inventory, Site, Vm
from drsim.placement import Placement
from drsim.plan import Move, Plan, Score
from drsim.policy import Apart, NotOn, Objective, Pin, Policy, Rule, RunOn, Together
from drsim.schedule import schedule

HOSTS = tuple(Host(name=name, site="s", cores=4, memory_mib=4096, cpu_overcommit=1.0) for name in ("a", "b", "c"))


def estate(**homes: str) -> Inventory:
    vms = tuple(Vm(name=name, host=host, vcpus=1, memory_mib=1024) for name, host in homes.items())
    return Inventory(sites=(Site(name="s"),), hosts=HOSTS, vms=vms)


def stopped(inventory: Inventory, name: str) -> Inventory:
    return replace(inventory, vms=tuple(replace(v, state="stopped") if v.name == name else v for v in inventory.vms))


@pytest.mark.parametrize(
    ("rule", "broken", "kept"),
    [
        (Apart(name="r", vms=("x", "y")), {"x": "a", "y": "a"}, {"x": "a", "y": "b"}),
        (Together(name="r", vms=("x", "y")), {"x": "a", "y": "b"}, {"x": "a", "y": "a"}),
        (RunOn(name="r", vms=("x",), hosts=("b",)), {"x": "a"}, {"x": "b"}),
        (NotOn(name="r", vms=("x",), hosts=("a",)), {"x": "a"}, {"x": "b"}),
    ],
)
def test_a_rule_is_broken_or_just_kept_and_never_by_a_stopped_guest(
    rule: Rule, broken: dict[str, str], kept: dict[str, str]
) -> None:
    policy = Policy(rules=(rule,))
    (found,) = check.violations(estate(**broken), policy)
    assert (found.kind, found.subject) == (rule.kind, "r")
    assert check.violations(estate(**kept), policy) == ()
    assert check.violations(stopped(estate(**broken), "x"), policy) == ()


def test_a_pin_is_broken_by_a_move() -> None:
    policy, here = Policy(rules=(Pin(name="r", vms=("x",)),)), estate(x="a")
    assert check.violations(here, policy) == ()
    assert [found.kind for found in check.violations(here, policy, Placement({"x": "b"}))] == ["pin"]


def test_a_host_that_is_just_full_and_one_that_is_overfull() -> None:
    full = estate(v="a", w="a", x="a", y="a")
    assert check.violations(full, Policy()) == ()
    over = estate(v="a", w="a", x="a", y="a", z="a")
    assert {found.kind for found in check.violations(over, Policy())} == {"memory", "vcpus", "cpu"}
    assert check.violations(stopped(over, "z"), Policy()) == ()


def moved(inventory: Inventory, policy: Policy, *moves: tuple[str, str, str]) -> Plan:
    zero = Score(violations=0, penalty=0.0, objective=0.0, unit="")
    made = tuple(
        Move(id=f"m{n}", vm=vm, source=source, target=target, reason="test", wave=n)
        for n, (vm, source, target) in enumerate(moves, 1)
    )
    return Plan(inventory=inventory, policy=policy, objective=Objective(), moves=made, before=zero, after=zero)


def test_a_broken_rule_that_a_plan_leaves_as_it_is_and_one_that_it_makes_worse() -> None:
    here = estate(u="a", v="a", w="a", x="b")
    policy = Policy(rules=(Together(name="r", vms=("u", "v", "w", "x")),))
    assert check.plan_violations(moved(here, policy, ("x", "b", "c"))) == ()
    (found,) = check.plan_violations(moved(here, policy, ("w", "a", "c")))
    assert (found.kind, found.subject) == ("together", "r")
    assert check.plan_violations(moved(here, policy, ("x", "b", "a"))) == ()


def test_a_stopped_guest_is_in_nobodys_way() -> None:
    here = stopped(estate(x="a", y="b"), "y")
    policy = Policy(rules=(Apart(name="r", vms=("x", "y")),))
    ordered = schedule(here, policy, Placement({"x": "b", "y": "b"}), {})
    assert [(move.vm, move.target) for move in ordered.moves] == [("x", "b")]
    assert check.plan_violations(moved(here, policy, ("x", "a", "b"))) == ()
