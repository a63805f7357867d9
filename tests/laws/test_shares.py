"""What must hold however CPU is divided by shares: two ways that share no code, and brute force by bisection."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drsim import check
from drsim.check.shares import poured
from drsim.inventory import Inventory
from drsim.policy import Objective, Policy, Shares
from drsim.sharing import Tree, entitled, fill
from tests.rules.estates import estate

NEAR = 1e-7


def bisected(capacity: float, shares: list[float], bounds: list[tuple[float, float]]) -> list[float]:
    """The same by search alone: the level at which all together have what there is."""
    if sum(most for _, most in bounds) <= capacity:
        return [most for _, most in bounds]
    whole = sum(least for least, _ in bounds)
    if whole >= capacity:
        return [least * capacity / whole if whole else 0.0 for least, _ in bounds]
    low, high = 0.0, max(most / share for share, (_, most) in zip(shares, bounds, strict=True))
    for _ in range(200):
        level = (low + high) / 2.0
        some = [min(max(level * share, least), most) for share, (least, most) in zip(shares, bounds, strict=True)]
        low, high = (level, high) if sum(some) < capacity else (low, level)
    return some


cores = st.floats(0.0, 8.0).map(lambda value: round(value, 2))
weights = st.sampled_from([1.0, 250.0, 1000.0, 1500.0, 8000.0])


@st.composite
def levels(draw: st.DrawFn) -> tuple[float, list[float], list[tuple[float, float]]]:
    count = draw(st.integers(1, 8))
    shares = [draw(weights) for _ in range(count)]
    bounds = [(min(pair), max(pair)) for pair in (draw(st.tuples(cores, cores)) for _ in range(count))]
    return draw(st.floats(0.0, 40.0).map(lambda value: round(value, 2))), shares, bounds


@given(levels())
def test_closed_form_settling_and_bisection_agree(level: tuple[float, list[float], list[tuple[float, float]]]) -> None:
    capacity, shares, bounds = level
    least, most = (np.array(column) for column in zip(*bounds, strict=True))
    expected = bisected(capacity, shares, bounds)
    assert fill(capacity, np.array(shares), least, most) == pytest.approx(expected, abs=NEAR)
    assert poured(capacity, shares, bounds) == pytest.approx(expected, abs=NEAR)


@dataclass(frozen=True)
class Case:
    """Guests that ask, a tree over them, and what there is."""

    inventory: Inventory
    policy: Policy

    @property
    def cores(self) -> float:
        return float(sum(host.cores for host in self.inventory.hosts))

    def given(self) -> dict[str, float]:
        return {vm.name: vm.cpu_cores for vm in entitled(self.inventory, self.policy, Objective()).inventory.vms}

    def asked(self) -> dict[str, float]:
        return {vm.name: vm.cpu_cores for vm in self.inventory.vms}

    def of(self, kind: str) -> list[Shares]:
        return [rule for rule in self.policy.rules if isinstance(rule, Shares) and rule.per == kind]

    def inside(self, pool: str) -> set[str]:
        """Guests in a pool and in those in it."""
        inner = [rule.name for rule in self.of("pool") if rule.within == pool]
        own = next(rule for rule in self.of("pool") if rule.name == pool).vms
        return set(own).union(*map(self.inside, inner))


@st.composite
def cases(draw: st.DrawFn) -> Case:
    count = draw(st.integers(2, 7))
    wanted = [draw(cores) for _ in range(count)]
    places = "".join(draw(st.sampled_from("12")) for _ in range(count))
    there = estate(places, hosts=2)
    size = draw(st.integers(1, 12))
    inventory = replace(
        there,
        hosts=tuple(replace(host, cores=size) for host in there.hosts),
        vms=tuple(
            replace(vm, cpu_demand_cores=wanted[n], cpu_shares=draw(st.sampled_from([None, 500.0, 3000.0])))
            for n, vm in enumerate(there.vms)
        ),
    )
    number = draw(st.integers(0, 4))
    within = [draw(st.sampled_from([None, *range(place)])) for place in range(number)]
    homes = [draw(st.sampled_from([None, *range(number)])) for _ in range(count)]
    rules: list[Shares] = []
    needed = [0.0] * (number + 1)
    for guest in range(count):
        kept = draw(st.sampled_from([0.0, 0.0, 0.5, 2.0]))
        more = draw(st.sampled_from([None, None, 0.0, 1.5]))
        rules.append(
            Shares(
                name=f"g{guest + 1}",
                vms=(f"v{guest + 1}",),
                per="guest",
                shares=draw(st.one_of(st.none(), weights)),
                kept_cores=kept,
                most_cores=None if more is None else kept + more,
            )
        )
        home = homes[guest]
        needed[-1 if home is None else home] += kept
    for place in reversed(range(number)):
        kept = draw(st.sampled_from([0.0, 1.0, 4.0]))
        more = draw(st.sampled_from([None, None, 0.0, 3.0]))
        needed[place] = max(needed[place], kept)
        rules.append(
            Shares(
                name=f"p{place}",
                vms=tuple(f"v{guest + 1}" for guest in range(count) if homes[guest] == place),
                within=None if within[place] is None else f"p{within[place]}",
                shares=draw(st.one_of(st.none(), weights)),
                kept_cores=kept,
                most_cores=None if more is None else needed[place] + more,
            )
        )
        above = within[place]
        needed[-1 if above is None else above] += needed[place]
    # Of what is said of a guest the first counts.
    rules.append(Shares(name="later", vms=("*",), per="vcpu", shares=7.0, kept_cores=3.0, most_cores=4.0))
    return Case(inventory, Policy(rules=tuple(rules)))


def test_guests_of_pools_that_hold_nothing_are_all_that_is_refused() -> None:
    """The cases drawn are such as a user may write."""

    @settings(max_examples=60)
    @given(cases())
    def sound(case: Case) -> None:
        told = {problem.expected for problem in check.policy_problems(case.policy, case.inventory)}
        assert told <= {
            "no guest and no pool is in it.",
            "it names no shares, keeps nothing and limits nothing for each guest.",
        }

    sound()


@given(cases())
def test_planner_and_checker_find_the_same(case: Case) -> None:
    shared = entitled(case.inventory, case.policy, Objective())
    inventory, policy = check.counted(case.inventory, case.policy)
    expected = [vm.cpu_cores for vm in inventory.vms]
    assert [vm.cpu_cores for vm in shared.inventory.vms] == pytest.approx(expected, abs=NEAR)
    assert not shared.inventory.has_cpu_shares
    assert not inventory.has_cpu_shares
    assert (shared.policy, shared.policy.rules) == (policy, ())


@given(cases())
def test_nobody_has_more_than_there_is_it_asks_for_or_it_may(case: Case) -> None:
    got, asked = case.given(), case.asked()
    assert sum(got.values()) <= case.cores + NEAR
    assert all(-NEAR <= got[vm] <= asked[vm] + NEAR for vm in got)
    for rule in case.of("guest"):
        assert rule.most_cores is None or got[rule.vms[0]] <= rule.most_cores + NEAR
    for rule in case.of("pool"):
        assert rule.most_cores is None or sum(got[vm] for vm in case.inside(rule.name)) <= rule.most_cores + NEAR


@given(cases())
def test_what_is_kept_is_had_where_all_that_is_kept_fits(case: Case) -> None:
    got, asked = case.given(), case.asked()
    guests = {rule.vms[0]: rule for rule in case.of("guest")}

    def may(vm: str) -> float:
        most = guests[vm].most_cores
        return asked[vm] if most is None else min(asked[vm], most)

    if sum(rule.kept_cores for rule in (*case.of("guest"), *case.of("pool"))) > case.cores:
        return
    for vm, rule in guests.items():
        assert got[vm] >= min(rule.kept_cores, asked[vm]) - NEAR

    def all_may(pool: Shares) -> float:
        inner = sum(all_may(other) for other in case.of("pool") if other.within == pool.name)
        return min(inner + sum(map(may, pool.vms)), np.inf if pool.most_cores is None else pool.most_cores)

    for pool in case.of("pool"):
        assert sum(got[vm] for vm in case.inside(pool.name)) >= min(pool.kept_cores, all_may(pool)) - NEAR


@given(cases())
def test_neighbours_at_no_bound_have_as_their_shares_are(case: Case) -> None:
    got, asked = case.given(), case.asked()
    own = {rule.vms[0]: rule for rule in case.of("guest")}
    homes = {vm: next((rule.name for rule in case.of("pool") if vm in rule.vms), None) for vm in got}

    def rate(vm: str) -> float:
        shares = own[vm].shares or case.inventory.vm_by_name[vm].cpu_shares or 1000.0
        return got[vm] / shares

    def free(vm: str) -> bool:
        rule = own[vm]
        most = asked[vm] if rule.most_cores is None else min(asked[vm], rule.most_cores)
        return min(rule.kept_cores, most) + NEAR < got[vm] < most - NEAR

    for pool in {*homes.values()}:
        rates = [rate(vm) for vm in got if homes[vm] == pool and free(vm)]
        assert rates == pytest.approx([rates[0]] * len(rates), rel=1e-6) if rates else True


@given(cases(), st.integers(0, 6))
def test_more_capacity_takes_from_nobody(case: Case, more: int) -> None:
    hosts = tuple(replace(host, cores=host.cores + more) for host in case.inventory.hosts)
    got = case.given()
    then = Case(replace(case.inventory, hosts=hosts), case.policy).given()
    assert all(then[vm] >= got[vm] - NEAR for vm in got)


@given(cases(), st.data())
def test_more_shares_of_its_own_take_from_nobody_but_others(case: Case, data: st.DataObject) -> None:
    rule = data.draw(st.sampled_from(case.of("guest")))
    now = rule.shares or case.inventory.vm_by_name[rule.vms[0]].cpu_shares or 1000.0
    richer = replace(rule, shares=now * data.draw(st.sampled_from([1.0, 1.5, 10.0])))
    rules = tuple(richer if each is rule else each for each in case.policy.rules)
    before, after = case.given(), Case(case.inventory, Policy(rules=rules)).given()
    assert after[rule.vms[0]] >= before[rule.vms[0]] - NEAR


@given(cases())
def test_one_pool_around_all_or_each_guest_in_a_pool_of_its_own_changes_nothing(case: Case) -> None:
    flat = tuple(case.of("guest"))
    bare = Case(case.inventory, Policy(rules=flat))
    around = Case(case.inventory, Policy(rules=(*flat, Shares(name="all", vms=("*",)))))
    each = tuple(
        Shares(
            name=f"own {rule.name}",
            vms=rule.vms,
            shares=rule.shares or case.inventory.vm_by_name[rule.vms[0]].cpu_shares or 1000.0,
            kept_cores=rule.kept_cores,
            most_cores=rule.most_cores,
        )
        for rule in flat
    )
    expected = list(bare.given().values())
    assert list(around.given().values()) == pytest.approx(expected, abs=NEAR)
    assert list(Case(case.inventory, Policy(rules=each)).given().values()) == pytest.approx(expected, abs=NEAR)


@given(cases())
def test_where_there_is_enough_everybody_has_what_it_asks_for_to_the_last_bit(case: Case) -> None:
    hosts = tuple(replace(host, cores=100) for host in case.inventory.hosts)
    open_ = tuple(replace(rule, most_cores=None) for rule in case.policy.rules if isinstance(rule, Shares))
    plenty = replace(case.inventory, hosts=hosts)
    shared = entitled(plenty, Policy(rules=open_), Objective())
    assert [vm.cpu_cores for vm in shared.inventory.vms] == [vm.cpu_cores for vm in plenty.vms]
    assert (shared.guests, shared.short, shared.notes) == (0, False, ())
    assert shared.policy.limits == Policy().limits


@given(cases())
def test_hosts_give_no_more_than_they_have_and_both_ways_agree_there_too(case: Case) -> None:
    felt = check.felt(case.inventory, case.policy)
    tree = Tree.of(case.inventory, case.policy.rules)
    demand = np.array([vm.cpu_cores for vm in case.inventory.vms])
    due = np.array(list(case.given().values()))
    for host in case.inventory.hosts:
        there = [each for each in felt if each.host == host.name]
        assert sum(each.gets_cores for each in there) <= host.cores + NEAR
        assert all(each.gets_cores <= each.asks_cores + NEAR for each in there)
        guests = np.array([n for n, vm in enumerate(case.inventory.vms) if vm.host == host.name], dtype=np.int64)
        got, _ = tree.only(guests).divide(float(host.cores), demand[guests], tree.parts(guests, due))
        if sum(each.asks_cores for each in there) <= host.cores:
            assert all(each.gets_cores >= each.entitled_cores - NEAR for each in there)
        assert [each.gets_cores for each in there] == pytest.approx(got.tolist(), abs=NEAR)
