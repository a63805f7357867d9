"""An inventory written again and again: the same bytes as written anew, whatever changed."""

from __future__ import annotations

from dataclasses import replace
from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st

from drsim.formats import InventoryText, inventories, inventory_to_json
from drsim.inventory import Inventory
from drsim.synthetic import demo

ESTATE = demo()[0]


@given(st.lists(st.tuples(st.integers(0, len(ESTATE.vms) - 1), st.integers(0, len(ESTATE.hosts) - 1)), max_size=12))
def test_it_writes_what_is_written_anew(steps: list[tuple[int, int]]) -> None:
    text, now = InventoryText(), ESTATE
    assert text.of(now) == inventory_to_json(now)
    for vm, host in steps:
        vms = list(now.vms)
        vms[vm] = replace(vms[vm], host=now.hosts[host].name)
        hosts = tuple(replace(h, memory_used_mib=float(vm)) if n == host else h for n, h in enumerate(now.hosts))
        now = replace(now, vms=tuple(vms), hosts=hosts)
        assert text.of(now) == inventory_to_json(now)
    small = replace(now, vms=now.vms[:1], links=(), networks=())
    assert text.of(small) == inventory_to_json(small)
    assert text.of(Inventory()) == inventory_to_json(Inventory())


def test_only_what_changed_is_written_anew() -> None:
    text = InventoryText()
    text.of(ESTATE)
    other = replace(ESTATE, vms=(replace(ESTATE.vms[0], memory_mib=1), *ESTATE.vms[1:]))
    with patch.object(inventories, "compact", wraps=inventories.compact) as written:
        assert text.of(other) == inventory_to_json(other)
    records = [call.args[0] for call in written.call_args_list]
    assert records == [other.vms[0]]
