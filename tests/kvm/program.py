"""Trouble played in a lab of its own, named on the command line, a row each: what faults and kills have in common."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from executor.lab.lab import Lab, take_down
from executor.lab.state import lab_names, labs_root
from executor.lab.topology import LabTopology

Row = dict[str, Any]


def play_all(
    words: Sequence[str],
    topology: LabTopology,
    scenes: Iterable[tuple[str, Callable[[Lab], Row]]],
    *,
    label: str,
    what: str,
    about: str | None,
) -> int:
    """Play those scenes whose name holds ``--only``; print a JSON line each; 0 if each ended as it must.

    A row has the scene's name under ``label`` and says under ``good`` whether it ended as it must.
    """
    parser = argparse.ArgumentParser(prog=what, description=about)
    parser.add_argument("--only", default="", help=f"{what} whose name holds this word")
    parser.add_argument("--json", type=Path, help="file for the rows")
    arguments = parser.parse_args(words)
    if topology.name in lab_names():
        take_down(labs_root() / topology.name)
    rows: list[Row] = []
    lab = Lab.up(topology)
    try:
        for name, play in scenes:
            if arguments.only in name:
                rows.append(play(lab))
                sys.stdout.write(json.dumps(rows[-1]) + "\n")
                sys.stdout.flush()
    finally:
        lab.down()
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n")
    bad = [str(row[label]) for row in rows if not row["good"]]
    sys.stdout.write(f"{len(rows)} {what}, {len(bad)} not as they must be{': ' + ', '.join(bad) if bad else ''}\n")
    return 1 if bad else 0
