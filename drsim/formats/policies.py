"""Policy files: YAML for people, JSON is YAML, too."""

from __future__ import annotations

import re
import typing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from drsim.errors import PolicyError, Problem
from drsim.formats.neutral import PREFIX, read_neutral
from drsim.formats.text import read_text, refuse, write_text
from drsim.formats.traces import HUAWEI, read_huawei
from drsim.formats.validate import build, check_header
from drsim.policy import FORMAT_VERSION, Limits, Manner, Policy, Quiet, Rule, Storing, Wire
from drsim.transfer import Transfer

FORMAT = "drsim-policy"


class _Loader(yaml.SafeLoader):
    """Safe YAML whose keys stand once."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        if isinstance(key, str) and key in seen:
            raise yaml.constructor.ConstructorError(None, None, f"the key '{key}' stands twice", key_node.start_mark)
        seen.add(str(key))
    built: dict[Any, Any] = loader.construct_mapping(node, deep=True)
    return built


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def read_policy(path: str | Path) -> Policy:
    """Read a policy from a YAML or JSON file, or that of ``neutral:FILE`` or ``huawei:FOLDER``.

    Raises
    ------
    PolicyError
        Every problem with its rule and its remedy. Whether the rules fit an inventory is judged by `drsim.check`.
    """
    place = str(path)
    if place.startswith(PREFIX):
        return read_neutral(place.removeprefix(PREFIX))[1]
    if place.startswith(HUAWEI):
        return read_huawei(place.removeprefix(HUAWEI))[1]
    text = read_text(path, PolicyError, "a policy file (YAML)")
    if re.search(r"(^|[\s\[{,:-])[&*][\w.]+", text):
        raise refuse(
            PolicyError,
            place,
            "it uses anchors or aliases (& and *).",
            "Write the rules out; quote texts that begin so.",
        )
    try:
        data = yaml.load(text, _Loader)
    except RecursionError as error:
        raise refuse(PolicyError, place, "it is nested too deeply.", "Write it flat.") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise refuse(
            PolicyError, place, f"{where}{getattr(error, 'problem', 'not YAML')}.", "Correct it there."
        ) from error
    if not isinstance(data, dict):
        raise refuse(PolicyError, place, "expected a mapping with rules and limits.", "See 'drsim schema policy'.")
    data = check_header(data, FORMAT, FORMAT_VERSION, place, PolicyError)
    kinds = {kind.__dataclass_fields__["kind"].default for kind in typing.get_args(Rule)}
    rules = data.get("rules") or []
    bad = [
        Problem(
            place=f"{place}: rules {rule.get('name')!r}" if isinstance(rule, dict) else f"{place}: rules",
            field="kind",
            expected=f"found {rule.get('kind') if isinstance(rule, dict) else rule!r}; "
            f"expected one of {', '.join(sorted(kinds))}.",
            remedy="Correct it.",
        )
        for rule in (rules if isinstance(rules, list) else [])
        if not isinstance(rule, dict) or not isinstance(rule.get("kind"), str) or rule["kind"] not in kinds
    ]
    if bad:
        raise PolicyError(*bad)
    return build(Policy, data, place, PolicyError)


def _manner(manner: Manner) -> dict[str, Any]:
    plain = asdict(Transfer())
    transfer = {key: value for key, value in asdict(manner.transfer).items() if value != plain[key]}
    record: dict[str, Any] = {"vms": list(manner.vms)}
    if transfer:
        record["transfer"] = transfer
    if manner.ladder:
        record["ladder"] = list(manner.ladder)
    return record


def _listed(record: Quiet | Storing | Wire) -> dict[str, Any]:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(record).items()}


def write_policy(policy: Policy, path: str | Path) -> None:
    """Write a policy as YAML; what has its default is left out."""
    default = asdict(Limits())
    limits = {key: value for key, value in asdict(policy.limits).items() if value != default[key]}
    rules = []
    for rule in policy.rules:
        given = {key: value for key, value in asdict(rule).items() if value is not None}
        record = {key: list(value) if isinstance(value, tuple) else value for key, value in given.items()}
        if rule.strength == "must":
            record.pop("strength", None)
        if rule.price == 1.0:
            record.pop("price", None)
        rules.append(record)
    data = {"format": FORMAT, "format_version": FORMAT_VERSION, "limits": limits, "rules": rules}
    if policy.manners:
        data["manners"] = [_manner(manner) for manner in policy.manners]
    if policy.storing:
        data["storing"] = [_listed(wish) for wish in policy.storing]
    if policy.quiet:
        data["quiet"] = [_listed(quiet) for quiet in policy.quiet]
    if policy.objective:
        data["objective"] = [asdict(term) for term in policy.objective]
    if policy.wires:
        data["wires"] = [{**_listed(wire), "bridges": [asdict(each) for each in wire.bridges]} for wire in policy.wires]
    write_text(yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=100), path)
