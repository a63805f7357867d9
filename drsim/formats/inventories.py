"""Inventory files: one JSON file, or one folder of CSV files."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from drsim.canonical import compact, lines, plain
from drsim.check import inventory_problems
from drsim.errors import InventoryError
from drsim.formats.folder import read_folder, write_folder
from drsim.formats.neutral import PREFIX as NEUTRAL
from drsim.formats.neutral import read_neutral
from drsim.formats.text import read_text, write_text
from drsim.formats.traces import HUAWEI, PLANETLAB, read_huawei, read_planetlab
from drsim.formats.validate import build, check_header, parse_json
from drsim.inventory import FORMAT_VERSION, Inventory, Vm

FORMAT = "drsim-inventory"


def inventory_to_json(inventory: Inventory) -> str:
    """Write an inventory as JSON: same inventory, same bytes."""
    return lines({"format": FORMAT, "format_version": FORMAT_VERSION, **plain(inventory)})


class InventoryText:
    """Writes an inventory again and again as `inventory_to_json` does; of what is the same as before the text is kept.

    An inventory that differs from the one before in a few records costs little more than putting their texts together.
    """

    def __init__(self) -> None:
        self._before: dict[int, tuple[Any, str]] = {}
        self._now: dict[int, tuple[Any, str]] = {}

    def of(self, inventory: Inventory) -> str:
        """Return the JSON text of an inventory."""
        self._now = {}
        nouns = {field.name: getattr(inventory, field.name) for field in fields(inventory)}
        text = lines({"format": FORMAT, "format_version": FORMAT_VERSION, **nouns}, self._record)
        self._before = self._now
        return text

    def _record(self, noun: Any) -> str:
        # The noun is kept beside its text, so that its identity is not given to another while that is remembered.
        known = self._before.get(id(noun)) or (noun, compact(noun))
        self._now[id(noun)] = known
        return known[1]


def read_inventory(path: str | Path) -> Inventory:
    """Read an inventory.

    Parameters
    ----------
    path : str or Path
        JSON file; folder of CSV files; ``neutral:FILE``, ``huawei:FOLDER`` or ``planetlab:FILE`` for other people's
        clusters.

    Raises
    ------
    InventoryError
        Every problem found, with file, record, field and remedy.
    """
    place = str(path)
    if place.startswith(NEUTRAL):
        inventory = read_neutral(place.removeprefix(NEUTRAL))[0]
    elif place.startswith(HUAWEI):
        inventory = read_huawei(place.removeprefix(HUAWEI))[0]
    elif place.startswith(PLANETLAB):
        inventory = read_planetlab(place.removeprefix(PLANETLAB))
    elif Path(path).is_dir():
        inventory = read_folder(Path(path))
    else:
        text = read_text(path, InventoryError, "an inventory file written by 'drsim collect' or 'drsim convert'")
        data = check_header(parse_json(text, place, InventoryError), FORMAT, FORMAT_VERSION, place, InventoryError)
        inventory = build(Inventory, data, place, InventoryError)
    if problems := inventory_problems(inventory):
        raise InventoryError(*(replace(problem, place=f"{place}: {problem.place}") for problem in problems))
    return inventory


def read_newcomers(path: str | Path) -> tuple[Vm, ...]:
    """Read new guests from an inventory file whose guests have no host: only its ``vms`` are looked at.

    Raises
    ------
    InventoryError
        Every problem found. Whether they go with an inventory is judged by `drsim.check.newcomer_problems`.
    """
    place = str(path)
    text = read_text(path, InventoryError, "an inventory file with new guests")
    data = check_header(parse_json(text, place, InventoryError), FORMAT, FORMAT_VERSION, place, InventoryError)
    vms = data.get("vms", [])
    guests = [{"host": "", **vm} if isinstance(vm, dict) else vm for vm in vms] if isinstance(vms, list) else vms
    return build(Inventory, {"vms": guests}, place, InventoryError).vms


def write_inventory(inventory: Inventory, path: str | Path) -> None:
    """Write an inventory: JSON if the name ends with .json, else a folder of CSV files."""
    if Path(path).suffix == ".json":
        write_text(inventory_to_json(inventory), path)
    else:
        write_folder(inventory, Path(path))
