"""Broken files: each is refused in one paragraph that names the place and the remedy."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from drsim import check
from drsim.errors import DataError, PlanError, PolicyError
from drsim.formats import from_frames, plan_to_json, read_inventory, read_plan, read_policy, to_frames, write_inventory
from drsim.formats.inventories import FORMAT
from drsim.plan import Plan, Score
from drsim.synthetic import demo

INVENTORY, POLICY = demo()
JARGON = re.compile(r"Traceback|pydantic|type=|https?://|\bstr_type\b|ValidationError|dataclass", re.IGNORECASE)


def data() -> dict[str, Any]:
    return {"format": FORMAT, "format_version": 1, **json.loads(json.dumps(asdict(INVENTORY)))}


def vm(which: str, /, **changes: Any) -> Callable[[dict[str, Any]], None]:
    def change(content: dict[str, Any]) -> None:
        next(record for record in content["vms"] if record["name"] == which).update(changes)

    return change


def host(which: str, /, **changes: Any) -> Callable[[dict[str, Any]], None]:
    def change(content: dict[str, Any]) -> None:
        next(record for record in content["hosts"] if record["name"] == which).update(changes)

    return change


def top(**changes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda content: content.update(changes)


LEAF = {"a": "main", "b": "s1", "bandwidth_mbit_s": 100.0}
LAN = asdict(INVENTORY.networks[0])
LOCAL = {"name": "nfs", "kind": "local", "hosts": ["h1", "h2", "h3", "h4", "h5", "h6"]}

CONTENT = [
    (vm("db-1", memory_mib="64 GiB"), ["vms 'db-1'", "memory_mib", "64 GiB", "whole number"]),
    (vm("db-1", memory_mib="4096"), ["vms 'db-1'", "memory_mib", "4096"]),
    (vm("db-1", memory_mib=-5), ["vms 'db-1'", "memory_mib", "-5", "at least 1"]),
    (vm("db-1", vcpus=1.5), ["vms 'db-1'", "vcpus", "1.5"]),
    (vm("db-1", host="h99"), ["vms 'db-1'", "host", "h99"]),
    (vm("db-1", name="db-2"), ["vms 'db-2'", "used 2 times"]),
    (vm("db-1", memory_used_mib=99999.0), ["vms 'db-1'", "memory_used_mib", "99999"]),
    (vm("db-1", memroy=1), ["vms 'db-1'", "memroy", "Did you mean 'memory_mib'"]),
    (vm("db-1", state="asleep"), ["vms 'db-1'", "state", "asleep", "running"]),
    (vm("db-1", nics=[{"network": "br7"}]), ["vms 'db-1'", "br7"]),
    (
        vm("db-1", disks=[{"name": "vda", "datastore": "nfs", "size_mib": -1}]),
        ["vms 'db-1'", "disks 'vda'", "size_mib"],
    ),
    (vm("db-1", disks=[{"name": "vda", "datastore": "tape", "size_mib": 1}]), ["vms 'db-1'", "tape"]),
    (vm("db-1", dirty=[{"size_mib": 1e9, "dirty_rate_mib_s": 1}]), ["vms 'db-1'", "dirty"]),
    (host("h1", site="moon"), ["hosts 'h1'", "site", "moon"]),
    (host("h1", cores=0), ["hosts 'h1'", "cores", "at least 1"]),
    (host("h1", uri="qemu+tcp://root:secret@h1/system"), ["hosts 'h1'", "uri", "password"]),
    (host("h1", reserved_memory_mib=999999), ["hosts 'h1'", "reserved_memory_mib"]),
    (top(datastores=[LOCAL]), ["datastores 'nfs'", "local"]),
    (top(switches=[{"name": "s1"}], links=[LEAF, LEAF]), ["links 'main--s1'", "joined twice", "sum of the rates"]),
    (top(switches=[{"name": "main"}]), ["switches 'main'", "site has the same name"]),
    (top(switches=[{"name": "h1"}]), ["switches 'h1'", "host has the same name"]),
    (top(links=[LEAF]), ["links 'main--s1'", "no site or switch 's1'"]),
    (
        top(switches=[{"name": "s1"}], links=[LEAF | {"other_mbit_s": 200.0}]),
        ["links 'main--s1'", "other_mbit_s", "200 Mbit/s of others", "100"],
    ),
    (
        host("h1", nics=[{"name": "e0", "rate_mbit_s": 1000.0, "switch": "s9"}]),
        ["hosts 'h1', card 'e0'", "switch", "no switch 's9'"],
    ),
    (
        top(links=[{"a": "main", "b": "main", "bandwidth_mbit_s": 1.0}]),
        ["links 'main--main'", "both ends are the same"],
    ),
    (top(hosts={}), ["hosts", "list"]),
    (
        top(networks=[LAN | {"exceptions": [{"host": "h9", "bridge": "br1"}]}]),
        ["networks 'br0'", "exceptions", "h9"],
    ),
    (
        top(networks=[LAN | {"exceptions": [{"host": "h1", "bridge": "br1"}] * 2}]),
        ["networks 'br0'", "exceptions", "2 times"],
    ),
    (host("h1", uri="qemu://[h1/system"), ["hosts 'h1'", "uri", "no URI"]),
    (top(format_version=9), ["format_version", "9", "version 1"]),
    (top(format="something"), ["format", "something", "drsim-inventory"]),
]


def refusal(read: Callable[[Path], object], path: Path, *words: str) -> str:
    with pytest.raises(DataError) as error:
        read(path)
    text = str(error.value)
    for word in (str(path), *words):
        assert word in text
    assert not JARGON.search(text), text
    for problem in error.value.problems:
        assert problem.remedy.endswith((".", "?", "repair"))
        assert len(str(problem)) < 700
    return text


@pytest.mark.parametrize(("change", "words"), CONTENT)
def test_a_wrong_record_is_named(tmp_path: Path, change: Callable[[dict[str, Any]], None], words: list[str]) -> None:
    content = data()
    change(content)
    path = tmp_path / "inventory.json"
    path.write_text(json.dumps(content))
    refusal(read_inventory, path, *words)


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"", ["empty"]),
        (b" \n", ["empty"]),
        (b"\x89PNG\r\n\x1a\n\x00\xff", ["no text file"]),
        (b"[1, 2]", ["expected an object"]),
        (b'{"format": "drsim-inventory", "hosts": [', ["line 1, column"]),
        (b'{"format": "drsim-inventory", "name": NaN}', ["NaN"]),
        (b"<html>", ["not JSON"]),
        (b'{"format": ' + b"9" * 5000 + b"}", ["too many digits"]),
        (b"[" * 5000, ["nested"]),
    ],
)
def test_a_file_that_is_no_inventory(tmp_path: Path, raw: bytes, words: list[str]) -> None:
    path = tmp_path / "inventory.json"
    path.write_bytes(raw)
    refusal(read_inventory, path, *words)


def test_a_missing_file_and_a_folder_without_tables(tmp_path: Path) -> None:
    refusal(read_inventory, tmp_path / "none.json", "No such file")
    refusal(read_inventory, tmp_path, "inventory.csv", "drsim convert")


@pytest.mark.parametrize(
    ("table", "old", "new", "words"),
    [
        ("vms", ",4,", ",four,", ["vms.csv, row 2", "vms 'web-1'", "vcpus", "four"]),
        ("vms", "name,host", "name", ["vms.csv", "column 'host' is missing"]),
        ("sites", "name", "name;tags", ["sites.csv", "semicolons"]),
        ("vms", "name,host", "name,hosst", ["hosst", "Known are"]),
        ("vm_disks", "web-1,vda", "web-99,vda", ["vm_disks.csv, row 2", "vm", "web-99"]),
        ("hosts", "h1,main,32", "h1,main", ["hosts.csv, row 2", "cells"]),
        ("hosts", "h1,main,32", 'h1,main,"32', ["hosts.csv", "line"]),
    ],
)
def test_a_wrong_cell_is_named(tmp_path: Path, table: str, old: str, new: str, words: list[str]) -> None:
    write_inventory(INVENTORY, tmp_path / "c")
    path = tmp_path / "c" / f"{table}.csv"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(DataError) as error:
        read_inventory(tmp_path / "c")
    assert not JARGON.search(str(error.value)), str(error.value)
    for word in words:
        assert word in str(error.value)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    refusal(lambda path: write_inventory(INVENTORY, path), tmp_path / "file", "cannot be written", "Name a place")


def test_values_of_pandas_and_numpy_are_taken_or_refused_by_name() -> None:
    frames = to_frames(INVENTORY)
    frames["vms"]["vcpus"] = pd.Series(list(np.asarray(frames["vms"]["vcpus"], dtype=np.int64)), dtype=object)
    frames["inventory"]["captured_at"] = pd.Timestamp("2026-11-23T08:00:00+00:00")
    frames["hosts"]["cpu_model"] = pd.NA
    read = from_frames(frames)
    assert read.vms == INVENTORY.vms
    assert read.captured_at == INVENTORY.captured_at
    assert {host.cpu_model for host in read.hosts} == {None}
    frames["vms"].loc[3, "cpu_demand_cores"] = np.inf
    with pytest.raises(DataError, match=r"frames 'vms', row 3: .*field 'cpu_demand_cores': .*finite"):
        from_frames(frames)


HEAD = "format: drsim-policy\nformat_version: 1\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["empty"]),
        ("rules: []", ["format", "drsim-policy"]),
        (HEAD + "rules: [", ["line"]),
        (HEAD + "rules: []\nrules: []", ["'rules' stands twice", "line 4"]),
        (HEAD + "rules: [{kind: near, name: a, vms: [x]}]", ["rules 'a'", "near", "together"]),
        (HEAD + "rules: [{kind: apart, vms: [x]}]", ["name", "missing"]),
        (HEAD + "rules: [{kind: apart, name: a, vms: []}]", ["rules 'a'", "vms"]),
        (HEAD + "rules: [{kind: apart, name: a, vms: [x], price: 0}]", ["rules 'a'", "price", "more than 0"]),
        (HEAD + "rules: [{kind: apart, name: a, vms: [x], hosts: [y]}]", ["rules 'a'", "hosts"]),
        (HEAD + "limits: {moves_per_host: 0}", ["moves_per_host", "at least 1"]),
        (HEAD + "limits: {memory_headroom: 2}", ["memory_headroom", "at most 0.95"]),
        ("- 1", ["mapping"]),
        (HEAD + "rules: [{kind: apart, name: 2026-01-01, vms: [x]}]", ["quote dates"]),
        (HEAD + "rules: [{kind: [a], name: a, vms: [x]}]", ["rules 'a'", "kind"]),
        (HEAD + "rules: [{kind: apart, name: a, vms: [x], price: .inf}]", ["finite"]),
        (HEAD + "a: &a [x]\nrules: *a", ["anchors"]),
    ],
)
def test_a_wrong_policy_is_refused(tmp_path: Path, text: str, words: list[str]) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(text)
    refusal(read_policy, path, *words)


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ("[{kind: apart, name: a, vms: [nobody]}]", ["rules 'a'", "nobody"]),
        ("[{kind: run_on, name: a, vms: [db-1], hosts: [h99]}]", ["rules 'a'", "h99"]),
        ("[{kind: pin, name: a, vms: [db-1]}, {kind: pin, name: a, vms: [db-2]}]", ["rules 'a'", "2 times"]),
        ("[{kind: apart, name: a, vms: [db-1, db-2]}, {kind: together, name: b, vms: [db-1, db-2]}]", ["'a'", "apart"]),
        ("[{kind: pin, name: a, vms: [db-1]}, {kind: not_on, name: b, vms: [db-1], hosts: [h1]}]", ["'b'", "db-1"]),
        (
            "[{kind: run_on, name: a, vms: [db-1], hosts: [h1]}, {kind: run_on, name: b, vms: [db-1], hosts: [h2]}]",
            ["'b'"],
        ),
        ("[{kind: apart, name: a, vms: ['tag:web']}]", ["rules 'a'", "8 guests", "6 hosts"]),
        (
            "[{kind: together, name: a, vms: [gpu-1, mail-1]}, {kind: pin, name: p, vms: [mail-1]}]",
            ["rules 'a'", "apart"],
        ),
    ],
)
def test_contradictory_rules_are_named(tmp_path: Path, rules: str, words: list[str]) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(f"{HEAD}rules: {rules}")
    problems = check.policy_problems(read_policy(path), INVENTORY)
    text = str(PolicyError(*problems))
    assert problems
    for word in words:
        assert word in text


def test_a_plan_that_was_edited_is_refused(tmp_path: Path) -> None:
    score = Score(violations=0, penalty=0.0, objective=1.0)
    path = tmp_path / "plan.json"
    text = plan_to_json(Plan(inventory=INVENTORY, policy=POLICY, before=score, after=score))
    path.write_text(text)
    assert read_plan(path).inventory == INVENTORY
    for old, new in (('"seed": 0', '"seed": 7'), ('"vcpus": 4', '"vcpus": 5')):
        assert old in text
        path.write_text(text.replace(old, new, 1))
        with pytest.raises(PlanError, match="edited"):
            read_plan(path)


def test_an_unknown_host_of_an_empty_inventory_is_no_crash() -> None:
    assert check.inventory_problems(replace(INVENTORY, hosts=(), sites=(), vms=(), datastores=(), networks=())) == ()
