"""The command line as a user and a script meet it: exit codes, one paragraph for an error, JSON for machines."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest

from drsim.cli import main
from drsim.formats import read_inventory, read_plan, write_inventory, write_policy
from tests.planner.test_shares import CROWDED, GOLD

DEMO = Path(__file__).parents[2] / "data" / "demo"
CLUSTER, POLICY = str(DEMO / "inventory"), str(DEMO / "policy.yaml")


@dataclass(frozen=True)
class Said:
    code: int
    out: str
    err: str


Run = Callable[..., Said]


@pytest.fixture
def drsim(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    monkeypatch.setenv("DRSIM_STORE", f"sqlite:///{tmp_path / 'runs.sqlite'}")

    def run(*words: object) -> Said:
        monkeypatch.setattr(sys, "argv", ["drsim", *map(str, words)])
        with pytest.raises(SystemExit) as stop:
            main()
        said = capsys.readouterr()
        assert "Traceback" not in said.out + said.err
        return Said(int(stop.value.code or 0), said.out, said.err)

    return run


@pytest.fixture
def plan_file(drsim: Run, tmp_path: Path) -> Path:
    path = tmp_path / "plan.json"
    said = drsim("plan", CLUSTER, POLICY, "--objective", "balance", "--time-limit", 2, "--seed", 1, "-o", path)
    assert said.code == 2, said.out + said.err
    return path


def test_check_finds_what_is_broken_in_the_demo(drsim: Run) -> None:
    said = drsim("check", CLUSTER, POLICY)
    assert said.code == 2
    as_json = drsim("check", CLUSTER, POLICY, "--json")
    assert as_json.code == 2
    assert all(violation["subject"] for violation in json.loads(as_json.out)["violations"])


def test_plan_shows_bound_and_gap_and_writes_a_plan_that_mends(drsim: Run, plan_file: Path) -> None:
    said = drsim("show", plan_file)
    assert said.code == 0
    assert "lower bound" in said.out
    plan = read_plan(plan_file)
    assert plan.applyable
    assert plan.after.violations == 0 < plan.before.violations
    shown = json.loads(drsim("show", plan_file, "--json").out)
    assert shown["hash"] == plan.hash
    assert len(shown["moves"]) == len(plan.moves)


def test_the_same_seed_gives_the_same_bytes(drsim: Run, plan_file: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.json"
    drsim("plan", CLUSTER, POLICY, "--time-limit", 2, "--seed", 1, "-o", again)
    assert again.read_bytes() == plan_file.read_bytes()


def test_simulate_tells_every_move(drsim: Run, plan_file: Path) -> None:
    assert drsim("simulate", plan_file).code == 0
    played = json.loads(drsim("simulate", plan_file, "--json").out)
    plan = read_plan(plan_file)
    assert set(played["moves"]) == {move.id for move in plan.moves}
    assert played["makespan_s"] == plan.makespan_s


def test_a_window_is_read_before_anything_is_done(drsim: Run, plan_file: Path) -> None:
    said = drsim("apply", plan_file, "--on", f"simulated:{CLUSTER}", "--yes", "--at", "2020-11-28T22:00+01:00")
    assert (said.code, said.out) == (1, "")
    assert "--at 2020-11-28T22:00+01:00 lies in the past" in said.err


def test_apply_report_runs_and_audit(drsim: Run, plan_file: Path, tmp_path: Path) -> None:
    cluster, page, trail = tmp_path / "cluster.json", tmp_path / "report.html", tmp_path / "trail.jsonl"
    assert drsim("convert", CLUSTER, cluster).code == 0
    said = drsim("apply", plan_file, "--on", f"simulated:{cluster}", "--yes", "--report", page)
    assert said.code == 0, said.out + said.err
    assert "<svg" in page.read_text()
    target = read_plan(plan_file).target
    assert {vm.name: vm.host for vm in read_inventory(cluster).vms} == dict(target)
    (run,) = json.loads(drsim("runs", "--json").out)["runs"]
    assert run["state"] == "done"
    later = tmp_path / "later.html"
    assert drsim("report", "--run", run["id"], "-o", later).code == 0
    stamp = re.compile(r"\d{4}-\d\d-\d\dT[\d:]+\+00:00")
    assert stamp.sub("", later.read_text()) == stamp.sub("", page.read_text())
    assert drsim("audit", run["id"], "--jsonl", trail).code == 0
    assert drsim("audit", "--file", trail).code == 0
    lines = trail.read_text().splitlines()
    trail.write_text("\n".join(lines[:2] + lines[3:]) + "\n")
    assert drsim("audit", "--file", trail).code == 1


def test_a_plan_for_a_cluster_that_has_changed_is_refused_and_says_what_changed(
    drsim: Run, plan_file: Path, tmp_path: Path
) -> None:
    cluster = tmp_path / "cluster.json"
    drsim("convert", CLUSTER, cluster)
    moved = read_plan(plan_file).moves[0]
    data = json.loads(cluster.read_text())
    vm = next(vm for vm in data["vms"] if vm["name"] == moved.vm)
    vm["host"] = moved.target
    cluster.write_text(json.dumps(data))
    said = drsim("apply", plan_file, "--on", f"simulated:{cluster}", "--yes")
    assert said.code == 1
    assert moved.vm in said.err
    assert moved.target in said.err
    assert json.loads(drsim("runs", "--json").out)["runs"] == []


def test_what_if_compares_with_the_estate_as_it_is(drsim: Run, tmp_path: Path) -> None:
    page = tmp_path / "what-if.html"
    host = read_inventory(CLUSTER).hosts[0].name
    words = ("what-if", CLUSTER, POLICY, "--change", f"lose:{host}", "--change", "grow:10", "--time-limit", 1)
    said = drsim(*words, "--report", page)
    assert said.code == 0, said.err
    assert host in said.out
    assert "<html" in page.read_text()
    assert len(json.loads(drsim(*words, "--json").out)) == 3


def test_what_a_simulation_writes_is_the_same_each_time_byte_for_byte(
    drsim: Run, plan_file: Path, tmp_path: Path
) -> None:
    for name in ("one", "two"):
        said = drsim("simulate", plan_file, "--out", tmp_path / name)
        assert said.code == 0, said.err
    names = {path.name for path in (tmp_path / "one").iterdir()}
    assert names == {"migrations.parquet", "events.parquet", "link_use.parquet", "gantt.svg", "links.svg"}
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    drsim("simulate", plan_file, "--replications", 30, "--out", tmp_path / "many")
    assert len(pd.read_parquet(tmp_path / "many" / "plan.parquet")) == 30


def test_operate_lives_through_days_with_and_without_a_balancer(drsim: Run, tmp_path: Path) -> None:
    host = read_inventory(CLUSTER).hosts[0].name
    words = ("operate", CLUSTER, POLICY, "--days", 0.5, "--happening", f"fail:{host}@06:00+1h")
    said = drsim(*words, "--out", tmp_path / "days")
    assert said.code == 0, said.err
    assert f"{host} has lost power" in said.out
    both = json.loads(drsim(*words, "--json").out)
    assert list(both) == ["nobody in charge", "balancer"]
    assert both["balancer"]["ready_core_hours"] <= both["nobody in charge"]["ready_core_hours"]
    hosts = pd.read_parquet(tmp_path / "days" / "balancer" / "hosts.parquet")
    assert len(hosts) == 144 * len(read_inventory(CLUSTER).hosts)
    assert "<svg" in (tmp_path / "days" / "nobody-in-charge" / "hosts.svg").read_text()


def test_operate_takes_recorded_demand(drsim: Run, tmp_path: Path) -> None:
    names = [vm.name for vm in read_inventory(CLUSTER).vms]
    rows = [(time_s, vm, 0.1) for time_s in (0.0, 300.0, 600.0) for vm in names]
    path = tmp_path / "demand.csv"
    pd.DataFrame(rows, columns=["time_s", "vm", "cpu_cores"]).to_csv(path, index=False)
    said = drsim("operate", CLUSTER, "--demand", path, "--json")
    assert json.loads(said.out)["nobody in charge"]["ready_core_hours"] == 0.0
    pd.DataFrame(rows[:-1], columns=["time_s", "vm", "cpu"]).to_csv(path, index=False)
    assert "no column 'cpu_cores'" in drsim("operate", CLUSTER, "--demand", path).err


def test_operate_replays_what_happened_beside_the_balancer(drsim: Run, tmp_path: Path) -> None:
    estate = read_inventory(CLUSTER)
    vm, host = estate.vms[0], next(h.name for h in estate.hosts if h.name != estate.vms[0].host)
    rows = [(time_s, one.name, 0.1, 1000.0) for time_s in (0.0, 300.0, 600.0) for one in estate.vms]
    demand, moved = tmp_path / "demand.csv", tmp_path / "moved.csv"
    pd.DataFrame(rows, columns=["time_s", "vm", "cpu_cores", "memory_used_mib"]).to_csv(demand, index=False)
    moved.write_text(f"time_s,vm,host\n450,{vm.name},{host}\n")
    words = ("operate", CLUSTER, "--demand", demand, "--moved", moved)
    said = drsim(*words, "--change", f"add:2:{host}", "--out", tmp_path, "--json")
    more = f"balancer, add 2 like {host}"
    assert list(json.loads(said.out)) == ["nobody in charge", "as it happened", "balancer", more], said.err
    hosts = pd.read_parquet(tmp_path / f"balancer-add-2-like-{host}" / "hosts.parquet")
    assert hosts.host.nunique() == len(estate.hosts) + 2
    guests = pd.read_parquet(tmp_path / "as-it-happened" / "vms.parquet").set_index("vm")
    assert guests.host[vm.name] == host
    assert "<svg" in (tmp_path / "as-it-happened" / "links.svg").read_text()
    moved.write_text(f"time_s,vm,host\nnoon,{vm.name},{host}\n")
    assert "row 1: 'noon' is no time" in drsim(*words).err
    moved.write_text("time_s,vm\n")
    assert "column host is missing" in drsim(*words).err


def test_the_page_of_a_plan_says_how_surely_it_fits(drsim: Run, plan_file: Path, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    words = ("report", plan_file, "-o", page, "--replications", 25)
    assert drsim(*words).code == 0
    assert "half of 25 replications" in page.read_text()
    assert "Chance to end in its window" not in page.read_text()
    assert drsim(*words, "--window", 100000).code == 0
    assert re.search(r"Chance to end in its window</dt>\s*<dd>100", page.read_text())


def test_evacuate_by_the_command_line(drsim: Run, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    host = read_inventory(CLUSTER).hosts[-1].name
    said = drsim("plan", CLUSTER, POLICY, "--objective", "evacuate", "--host", host, "--time-limit", 2, "-o", path)
    assert said.code == 2, said.err
    plan = read_plan(path)
    left = [vm for vm, where in plan.target.items() if where == host]
    assert plan.complete == (not left)


def test_new_guests_are_placed_and_said_where(drsim: Run, tmp_path: Path) -> None:
    new, path = tmp_path / "new.json", tmp_path / "plan.json"
    guests = [{"name": "fresh-1", "vcpus": 2, "memory_mib": 4096}, {"name": "fresh-2", "vcpus": 2, "memory_mib": 8192}]
    new.write_text(json.dumps({"format": "drsim-inventory", "format_version": 1, "vms": guests}))
    said = drsim("plan", CLUSTER, POLICY, "--objective", "place", "--new", new, "-o", path)
    assert said.code == 2
    plan = read_plan(path)
    assert [start.vm for start in plan.starts] == ["fresh-1", "fresh-2"]
    assert all(f"start {start.vm} on {start.host}" in said.out for start in plan.starts)
    assert plan.objective.newcomers[0].host == ""


def test_a_plan_for_the_day_ahead_knows_its_hours(drsim: Run, tmp_path: Path) -> None:
    estate, series, path = read_inventory(CLUSTER), tmp_path / "demand.csv", tmp_path / "plan.json"
    rows = [f"{hour * 3600},{vm.name},{vm.cpu_cores}" for hour in range(24) for vm in estate.vms]
    series.write_text("time_s,vm,cpu_cores\n" + "\n".join(rows) + "\n")
    words = ("plan", CLUSTER, POLICY, "--demand", series, "--quantile", 0.9, "--parts", 4, "--time-limit", 2)
    assert drsim(*words, "-o", path).code == 2
    plan = read_plan(path)
    assert plan.inventory.parts_ahead == 4
    assert plan.after.violations == 0


@pytest.mark.parametrize("kind", ["inventory", "policy", "plan"])
def test_schema(drsim: Run, kind: str) -> None:
    schema = json.loads(drsim("schema", kind).out)
    assert "description" in json.dumps(schema)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("check", "nowhere.json"), "nowhere.json"),
        (("show", CLUSTER), CLUSTER),
        (("plan", CLUSTER, "--objective", "shuffle"), "balance, evacuate, consolidate, repair"),
        (("plan", CLUSTER, "--objective", "evacuate"), "--host"),
        (("plan", CLUSTER, "--objective", "evacuate", "--host", "h99"), "h99"),
        (("plan", CLUSTER, "--host", "h1"), "--host"),
        (("plan", CLUSTER, "--objective", "place"), "--new FILE"),
        (("plan", CLUSTER, "--objective", "repair", "--threshold", "3"), "--threshold"),
        (("plan", CLUSTER, "--like", "web-1"), "--like"),
        (("plan", CLUSTER, "--objective", "defragment", "--like", "nobody"), "there is no guest 'nobody'"),
        (("what-if", CLUSTER), "--change"),
        (("what-if", CLUSTER, "--change", "burn:all"), "burn:all"),
        (("operate", CLUSTER, "--happening", "fail:nobody@10:00"), "nobody"),
        (("operate", CLUSTER, "--happening", "burn:h1@10:00"), "maintain:HOST@HH:MM+3h"),
        (("operate", CLUSTER, "--change", "lose:h1"), "expected add:COUNT:LIKE"),
        (("operate", CLUSTER, "--demand", "nowhere.parquet"), "nowhere.parquet"),
        (("apply", "nowhere.json", "--yes"), "nowhere.json"),
        (("resume", "r0099"), "r0099"),
        (("report", "--run", "r0099"), "r0099"),
        (("report",), "--run"),
        (("report", CLUSTER), CLUSTER),
        (("collect",), "--hosts-file"),
        (("schema", "house"), "inventory, policy or plan"),
        (("plan",), "INVENTORY"),
        (("plan", CLUSTER, "--nope"), "--nope"),
        (("plan", CLUSTER, "--time-limit", "soon"), "--time-limit"),
        (("nothing",), "nothing"),
        (("lab", "status", "--name", "none"), "none"),
    ],
)
def test_a_mistake_is_one_paragraph_and_exit_code_1(drsim: Run, words: tuple[str, ...], expected: str) -> None:
    said = drsim(*words)
    assert said.code == 1
    assert said.out == ""
    assert said.err.startswith("Error: ")
    assert expected in said.err


def test_help_lists_every_command(drsim: Run) -> None:
    said = drsim("--help")
    assert said.code == 0
    computing, acting = "check plan show simulate what-if operate report", "collect apply resume audit lab"
    for command in (*computing.split(), *acting.split()):
        assert command in said.out


def test_a_front_is_listed_drawn_and_written(drsim: Run, tmp_path: Path) -> None:
    words = ("front", CLUSTER, POLICY, "--points", 3, "--time-limit", 3)
    said = drsim(*words, "--out", tmp_path / "front", "--plot", tmp_path / "front.png")
    assert said.code == 0, said.err
    assert said.out.count("suggested") == 1
    plans = [read_plan(str(path)) for path in sorted((tmp_path / "front").iterdir())]
    assert (tmp_path / "front.png").read_bytes().startswith(b"\x89PNG")
    rows = json.loads(drsim(*words, "--json").out)
    assert [row["moves"] for row in rows] == [len(plan.moves) for plan in plans]


def test_moves_are_explained(drsim: Run, plan_file: Path) -> None:
    plan = read_plan(str(plan_file))
    said = drsim("explain", plan_file, "--rules", "--time-limit", 4)
    assert said.code == 0, said.err
    for vm in {move.vm for move in plan.moves}:
        assert f"{vm}: " in said.out
    for rule in plan.policy.rules:
        assert rule.name in said.out
    told = json.loads(drsim("explain", plan_file, plan.moves[0].vm, "--json").out)
    assert [each["vm"] for each in told["guests"]] == [plan.moves[0].vm]
    assert drsim("explain", plan_file, "nobody").code == 1


def test_aim_and_horizon_belong_to_balance(drsim: Run) -> None:
    said = drsim("plan", CLUSTER, POLICY, "--objective", "consolidate", "--aim", 1.2)
    assert (said.code, "--objective balance" in said.err) == (1, True)
    weighed = json.loads(drsim("plan", CLUSTER, POLICY, "--horizon", 4, "--time-limit", 2, "--json").out)
    assert weighed["objective"]["horizon_s"] == 14400.0


def test_disks_are_planned_shown_and_moved_without_their_guests(drsim: Run, tmp_path: Path) -> None:
    disk = {"name": "vda", "datastore": "old", "size_mib": 100.0, "path": "/old/a.raw"}
    stores = [{"name": name, "kind": "local", "path": f"/{name}", "hosts": ["h1"]} for name in ("old", "new")]
    estate = {
        "format": "drsim-inventory",
        "format_version": 1,
        "sites": [{"name": "s"}],
        "hosts": [{"name": "h1", "site": "s", "cores": 4, "memory_mib": 1024}],
        "datastores": stores,
        "vms": [{"name": "a", "host": "h1", "vcpus": 1, "memory_mib": 64, "disks": [disk]}],
    }
    file, plan = tmp_path / "estate.json", tmp_path / "plan.json"
    file.write_text(json.dumps(estate))
    assert drsim("plan", file, "--storage-only", "--vm", "a").code == 1
    assert drsim("plan", file, "--vm", "a", "--to", "new").code == 1
    said = drsim("plan", file, "--storage-only", "--vm", "a", "--to", "new", "-o", plan)
    assert said.code == 2, said.err
    assert "vda on h1" in said.out
    assert "vda on h1" in drsim("simulate", plan).out
    chance = json.loads(drsim("simulate", plan, "--replications", 40, "--window", 60, "--json").out)
    assert chance["chance_within_window"] == 1.0
    assert "move disks of 'a' on h1" in drsim("apply", plan, "--dry-run").out
    said = drsim("apply", plan, "--on", f"simulated:{file}", "--yes")
    assert said.code == 0, said.out + said.err
    assert read_inventory(file).vms[0].disks[0].path == "/new/a.raw"
    assert "not removed" in drsim("show", plan).out


def test_datastores_are_evened_out_emptied_explained_and_applied(drsim: Run, tmp_path: Path) -> None:
    def disk(name: str) -> dict[str, object]:
        return {"name": "vda", "datastore": "old", "size_mib": 100.0, "path": f"/old/{name}.raw"}

    estate = {
        "format": "drsim-inventory",
        "format_version": 1,
        "sites": [{"name": "s"}],
        "hosts": [{"name": "h1", "site": "s", "cores": 4, "memory_mib": 1024}],
        "datastores": [
            {"name": name, "kind": "local", "path": f"/{name}", "hosts": ["h1"], "capacity_mib": 300.0}
            for name in ("old", "new")
        ],
        "vms": [
            {"name": name, "host": "h1", "vcpus": 1, "memory_mib": 64, "disks": [disk(name)]}
            for name in ("a", "b", "c")
        ],
    }
    file, plan = tmp_path / "estate.json", tmp_path / "plan.json"
    file.write_text(json.dumps(estate))
    for words in (
        ("--objective", "balance", "--datastore", "old"),
        ("--objective", "evacuate", "--datastore", "old", "--host", "h1"),
        ("--objective", "balance", "--most-full", 0.5),
        ("--objective", "storage", "--start", "2026-11-28T22:00+01:00"),
    ):
        assert drsim("plan", file, *words).code == 1
    said = drsim("plan", file, "--objective", "storage", "-o", plan)
    assert said.code == 2, said.err
    assert "old is 100% -> 67% full" in said.out
    assert f"drsim apply {plan}" in " ".join(said.out.split())
    assert drsim("plan", file, "--objective", "storage", "--most-full", 1).code == 0
    assert "If it stayed: score 20 (+20)" in drsim("explain", plan).out
    assert drsim("simulate", plan).code == 0
    assert drsim("apply", plan, "--on", f"simulated:{file}", "--yes").code == 0
    assert drsim("report", "--run", "r0001", "-o", tmp_path / "run.html").code == 0
    emptied = drsim("plan", file, "--objective", "evacuate", "--datastore", "old")
    assert "evacuate old" in emptied.out
    assert emptied.code == 2


def test_check_tells_who_gets_less_cpu_than_its_shares_entitle_it_to(drsim: Run, tmp_path: Path) -> None:
    estate, policy = tmp_path / "estate.json", tmp_path / "policy.yaml"
    write_inventory(CROWDED, estate)
    write_policy(GOLD, policy)
    said = drsim("check", estate, policy)
    assert said.code == 0
    assert "CPU by shares: 4 guests get less CPU than their shares entitle them to, 4 cores in all." in said.out
    assert [line.split() for line in said.out.splitlines() if line.split()[:1] == ["v1"]] == [
        ["v1", "h1", "3.00", "3.00", "2.00"]
    ]
    short = json.loads(drsim("check", estate, policy, "--json").out)["short_of_cpu"]
    assert [each["vm"] for each in short] == ["v1", "v2", "v3", "v4"]
    plain = drsim("check", estate, "--json")
    assert plain.code == 2
    assert set(json.loads(plain.out)) == {"violations"}
    said = drsim("plan", estate, policy, "--time-limit", 0.5)
    assert said.code == 2
    assert "with the plan 3 guests get less" in said.out
    refused = tmp_path / "memory.yaml"
    refused.write_text(policy.read_text().replace("shares: 9000.0", "memory_shares: 4000", 1))
    said = drsim("check", estate, refused)
    assert said.code == 1
    assert "rules 'gold', field 'memory_shares': KVM has no weights for memory" in said.err
