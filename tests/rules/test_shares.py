"""Rules `shares`: how they are written, what is refused, and who is entitled to what by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from drsim import check
from drsim.errors import PolicyError
from drsim.formats import fields, inventory_to_json, read_inventory, read_policy, schema, write_policy
from drsim.inventory import Inventory
from drsim.policy import Objective, Policy, Shares
from drsim.report.shares import lacking
from drsim.sharing import entitled
from tests.rules.estates import estate

HEAD = "format: drsim-policy\nformat_version: 1\nrules:\n"

TREE = (
    Shares(name="prod", vms=("v1",), shares=3000.0, kept_cores=2.0),
    Shares(name="batch", vms=("v2", "v3"), shares=1000.0, most_cores=6.0),
    Shares(name="nightly", vms=("v4",), within="batch", shares=2000.0),
    Shares(name="mine", vms=("v2",), per="guest", shares=4000.0),
    Shares(name="each", vms=("tag:odd",), per="vcpu", most_cores=8.0),
)


def asking(*cores: float, hosts: int = 1, size: int = 8) -> Inventory:
    """Guests v1, v2, ... that ask for so much, on hosts of so many cores, one after the other."""
    there = estate("".join(str(number % hosts + 1) for number in range(len(cores))), hosts=hosts)
    return replace(
        there,
        hosts=tuple(replace(host, cores=size) for host in there.hosts),
        vms=tuple(replace(vm, cpu_demand_cores=each) for vm, each in zip(there.vms, cores, strict=True)),
    )


def gets(inventory: Inventory, *rules: Shares) -> list[float]:
    return [round(vm.cpu_cores, 6) for vm in entitled(inventory, Policy(rules=rules), Objective()).inventory.vms]


def test_they_are_read_as_they_were_written(tmp_path: Path) -> None:
    write_policy(Policy(rules=TREE), tmp_path / "policy.yaml")
    assert read_policy(tmp_path / "policy.yaml") == Policy(rules=TREE)
    assert check.policy_problems(Policy(rules=TREE), estate("1111")) == ()
    (tmp_path / "short.yaml").write_text(HEAD + "- {kind: shares, name: gold, vms: ['tag:odd'], shares: 4000}\n")
    assert read_policy(tmp_path / "short.yaml").rules == (Shares(name="gold", vms=("tag:odd",), shares=4000.0),)
    assert "Refused" in fields("Shares").loc["memory_shares", "meaning"]
    assert schema("policy")["$defs"]["Shares"]["properties"]["shares"]["description"].startswith("Shares beside")


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ("shares: 0", "field 'shares': found 0; expected more than 0."),
        ("kept_cores: -1", "field 'kept_cores': found -1; expected at least 0."),
        ("most_cores: lots", "field 'most_cores': found \"lots\"; expected a number."),
        ("shares: .inf", "field 'shares': found inf; expected a number, neither NaN nor infinite."),
        ("per: core", "field 'per': found \"core\"; expected one of 'pool', 'guest' or 'vcpu'."),
        ("strength: should", "field 'strength': unknown field."),
        ("cpu_shares: 3", "field 'cpu_shares': unknown field. Did you mean 'shares'?"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_with_its_place(tmp_path: Path, record: str, said: str) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(HEAD + f"- {{kind: shares, name: gold, vms: [v1], {record}}}\n")
    with pytest.raises(PolicyError) as refused:
        read_policy(path)
    assert f"policy.yaml: rules 'gold', {said}" in str(refused.value)


@pytest.mark.parametrize(
    ("rules", "place", "field", "said", "remedy"),
    [
        ((Shares(name="p", vms=("v1",), memory_shares=10.0),), "p", "memory_shares", "no weights for memory", "'pool'"),
        ((Shares(name="p", vms=("v1",), within="x"),), "p", "within", "there is no pool 'x'", "per: pool"),
        ((Shares(name="p", vms=("nobody",)),), "p", "vms", "'nobody' is no guest", "use *"),
        ((Shares(name="p"),), "p", "vms", "no guest and no pool is in it", "Name guests"),
        ((Shares(name="p", per="guest", shares=1.0),), "p", "vms", "names no guests", "tag:LABEL"),
        ((Shares(name="p", vms=("v1",), per="guest"),), "p", "shares", "for each guest", "drop the rule"),
        (
            (Shares(name="p", vms=("v1",), kept_cores=4.0, most_cores=2.0),),
            "p",
            "kept_cores",
            "4 cores are kept for it, and its limit is 2",
            "Keep less",
        ),
        (
            (Shares(name="p", vms=("v1",)), Shares(name="q", vms=("v1", "v2"))),
            "q",
            "vms",
            "'v1' is in it and in pool 'p'",
            "in one of them",
        ),
        (
            (Shares(name="p", vms=("v1",), within="q"), Shares(name="q", within="p")),
            "p",
            "within",
            "it lies within itself: 'p' within 'q' within 'p'",
            "within none",
        ),
        (
            (
                Shares(name="p", most_cores=3.0),
                Shares(name="q", vms=("v1",), within="p", kept_cores=2.0),
                Shares(name="r", vms=("v2",), within="p"),
                Shares(name="s", vms=("v2",), per="guest", kept_cores=1.5),
            ),
            "p",
            "most_cores",
            "3.5 cores are kept for what is in it, and its limit is 3",
            "Raise it",
        ),
        (
            (Shares(name="p", vms=("v1",)), Shares(name="q", vms=("v2",), per="vcpu", within="p", shares=2.0)),
            "q",
            "within",
            "it is about each vcpu",
            "let per be 'pool'",
        ),
        ((Shares(name="p", vms=("v1",), shares=float("nan")),), "p", "shares", "found nan", "Correct it"),
    ],
)
def test_what_contradicts_itself_is_refused(
    rules: tuple[Shares, ...], place: str, field: str, said: str, remedy: str
) -> None:
    (found,) = check.policy_problems(Policy(rules=rules), estate("12"))
    assert (found.place, found.field) == (f"rules '{place}'", field)
    assert said in found.expected
    assert remedy in found.remedy


def test_a_low_share_asks_in_vain_and_a_high_one_does_not() -> None:
    inventory = asking(6.0, 6.0)
    assert gets(inventory) == [6.0, 6.0]
    assert gets(inventory, Shares(name="p", vms=("v1",), shares=3000.0)) == [6.0, 2.0]
    assert gets(inventory, Shares(name="p", vms=("v1",), shares=1000.0)) == [4.0, 4.0]


def test_what_is_kept_comes_first_and_limits_hold() -> None:
    inventory = asking(8.0, 8.0)
    assert gets(inventory, Shares(name="p", vms=("v1",), shares=9000.0, most_cores=3.0)) == [3.0, 5.0]
    assert gets(inventory, Shares(name="p", vms=("v1",), shares=1.0, kept_cores=5.0)) == [5.0, 3.0]
    many = Shares(name="p", vms=("*",), per="guest", kept_cores=8.0)
    assert gets(inventory, many) == [4.0, 4.0]  # twice what there is is kept


def test_a_tree_is_filled_from_its_root() -> None:
    inventory = asking(8.0, 8.0, 8.0, 8.0)
    # prod 3000 : batch 1000 -> 6 : 2; in batch v2 4000, v3 1000, nightly 2000
    assert gets(inventory, *TREE) == [6.0, round(8 / 7, 6), round(2 / 7, 6), round(4 / 7, 6)]


def test_a_pool_without_shares_has_those_of_all_in_it_and_the_first_entry_counts() -> None:
    inventory = asking(8.0, 8.0, 8.0, 8.0)
    pool = Shares(name="p", vms=("v1", "v2", "v3"))
    assert gets(inventory, pool) == [2.0, 2.0, 2.0, 2.0]
    first, later = (Shares(name=n, vms=("v1",), per="guest", shares=s) for n, s in (("a", 5000.0), ("b", 9.0)))
    assert gets(inventory, pool, first, later) == [5.0, 1.0, 1.0, 1.0]


def test_shares_for_each_vcpu_and_of_the_hypervisor() -> None:
    inventory = asking(8.0, 8.0)
    vms = tuple(replace(vm, vcpus=count) for vm, count in zip(inventory.vms, (1, 3), strict=True))
    assert gets(replace(inventory, vms=vms), Shares(name="each", vms=("*",), per="vcpu", shares=10.0)) == [2.0, 6.0]
    set_there = replace(
        inventory, vms=tuple(replace(vm, cpu_shares=s) for vm, s in zip(vms, (3000.0, None), strict=True))
    )
    assert gets(set_there) == [6.0, 2.0]  # without any rule
    assert gets(set_there, Shares(name="policy", vms=("v1",), per="guest", shares=1000.0)) == [4.0, 4.0]


def test_stopped_guests_and_hosts_that_take_none_do_not_count() -> None:
    inventory = asking(6.0, 6.0, 6.0, hosts=2)
    stopped = replace(inventory, vms=(*inventory.vms[:2], replace(inventory.vms[2], state="stopped")))
    rule = Shares(name="p", vms=("v3", "v1"))
    assert gets(stopped, rule) == [6.0, 6.0, 6.0]
    away = replace(stopped, hosts=(stopped.hosts[0], replace(stopped.hosts[1], state="maintenance")))
    assert gets(away, rule) == [4.0, 4.0, 6.0]


def test_time_ahead_is_divided_part_by_part() -> None:
    inventory = asking(2.0, 2.0)
    ahead = replace(inventory, vms=tuple(replace(vm, cpu_ahead_cores=(1.0, 8.0)) for vm in inventory.vms))
    shared = entitled(ahead, Policy(rules=(Shares(name="p", vms=("v1",), shares=3000.0),)), Objective())
    assert [vm.cpu_ahead_cores for vm in shared.inventory.vms] == [(1.0, 6.0), (1.0, 2.0)]
    assert [vm.cpu_cores for vm in shared.inventory.vms] == [2.0, 2.0]
    assert shared.short
    inventory, _ = check.counted(ahead, Policy(rules=(Shares(name="p", vms=("v1",), shares=3000.0),)), Objective())
    assert [vm.cpu_ahead_cores for vm in inventory.vms] == [(1.0, 6.0), (1.0, 2.0)]


def test_who_gets_less_on_its_host_than_it_is_entitled_to() -> None:
    inventory = replace(asking(6.0, 6.0, 2.0, hosts=2), vms=asking(6.0, 6.0, 2.0).vms)  # all on h1, h2 is empty
    felt = check.felt(inventory, Policy(rules=(Shares(name="p", vms=("v1",), shares=6000.0),)))
    told = [(each.vm, each.entitled_cores, round(each.gets_cores, 6), each.is_short) for each in felt]
    assert told == [("v1", 6.0, 6.0, False), ("v2", 6.0, 1.0, True), ("v3", 2.0, 1.0, True)]
    kept = Shares(name="kept", vms=("v2", "v3"), per="guest", kept_cores=6.0)
    felt = check.felt(inventory, Policy(rules=(kept,)))
    assert [(each.kept_cores, round(each.gets_cores, 6), each.is_below_kept) for each in felt] == [
        (0.0, 0.0, False),
        (6.0, 6.0, False),
        (2.0, 2.0, False),
    ]
    both = replace(kept, vms=("v1", "v2"))
    felt = check.felt(inventory, Policy(rules=(both,)))
    assert [each.is_below_kept for each in felt] == [True, True, False]
    assert lacking(felt).endswith(", 6 cores in all, 2 of them less than is kept for them")
    assert check.felt(inventory, Policy()) == ()
    assert [v.kind for v in check.violations(inventory, Policy())] == ["cpu"]


def test_a_pool_counts_on_each_host_with_the_part_of_its_guests_there() -> None:
    inventory = asking(6.0, 6.0, 2.0, 6.0, hosts=2)  # v1, v3 on h1; v2, v4 on h2
    rules = (
        Shares(name="p", vms=("v1", "v2"), shares=1000.0, most_cores=6.0),
        Shares(name="q", vms=("v3", "v4"), shares=1000.0, kept_cores=8.0),
    )
    felt = {each.vm: each for each in check.felt(inventory, Policy(rules=rules))}
    assert felt["v1"].gets_cores == pytest.approx(3.0)  # half of the limit of p
    assert felt["v3"].gets_cores == pytest.approx(2.0)
    assert felt["v4"].gets_cores == pytest.approx(6.0)  # three quarters of what is kept for q
    assert felt["v2"].gets_cores == pytest.approx(2.0)


def test_an_inventory_without_shares_is_written_and_hashed_as_ever(tmp_path: Path) -> None:
    plain = estate("12")
    assert "cpu_shares" not in inventory_to_json(plain)
    some, wrong = (replace(plain, vms=(replace(plain.vms[0], cpu_shares=s), plain.vms[1])) for s in (2000.0, 0.0))
    assert [(each.place, each.field) for each in check.inventory_problems(wrong)] == [("vms 'v1'", "cpu_shares")]
    assert some.fingerprint != plain.fingerprint
    (tmp_path / "i.json").write_text(inventory_to_json(some))
    assert read_inventory(tmp_path / "i.json") == some
