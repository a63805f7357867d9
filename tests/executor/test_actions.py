"""A plan as printable calls, compared with a golden file (rewrite it with DRSIM_GOLDEN=write)."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, replace
from pathlib import Path

from drsim.transfer import Transfer
from executor.actions import actions
from tests.executor.estates import estate, moves, plan

GOLDEN = Path(__file__).parent / "golden" / "actions.json"


def test_actions_are_those_on_record() -> None:
    small = estate()
    small = replace(
        small,
        hosts=tuple(
            replace(h, uri=f"qemu+tls://{h.name}/system", peer_uri=f"qemu+tls://{h.name}.migration/system")
            for h in small.hosts
        ),
    )
    first, *others = moves()
    how = Transfer(mode="hybrid", tls=True, synchronous_writes=True, timeout_s=600.0)
    first = replace(first, copy_disks=("vda",), bandwidth_mbit_s=500.0, max_downtime_ms=250.0, transfer=how)
    wanted = [first, *others]
    found = actions(plan(small, wanted))
    text = json.dumps([{**asdict(action), "text": str(action)} for action in found], indent=2) + "\n"
    if os.environ.get("DRSIM_GOLDEN") == "write":
        GOLDEN.parent.mkdir(exist_ok=True)
        GOLDEN.write_text(text)
    assert text == GOLDEN.read_text()
