"""The commands about the migration model: its constants, and how they are tuned on migrations that happened."""

from __future__ import annotations

import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

ParametersOption = Annotated[
    str | None,
    typer.Option(
        "--parameters", help="Calibration file, or one of default, lab-tcg, g5k, simgrid, xen, xen-2005, vmotion."
    ),
]
_JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


def parameters(
    file: Annotated[str, typer.Argument(metavar="[FILE]", help="Calibration file or preset.")] = "default",
    as_json: _JsonOption = False,
) -> None:
    """List the constants of the migration model: value, unit, source, and what tunes them."""
    from drsim.cli import console, print_json
    from drsim.formats import read_calibration
    from drsim.migration import table
    from drsim.show import parameters_view

    read = read_calibration(file)
    entries = table(read.parameters, read.uncertainty)
    if as_json:
        print_json([{key: _plain(value) for key, value in asdict(entry).items()} for entry in entries])
    else:
        console().print(parameters_view(read, entries))


def calibrate(
    source: Annotated[
        list[Path],
        typer.Argument(metavar="SOURCE...", help="Recordings (CSV, Parquet, JSON), audit exports (.jsonl)."),
    ],
    plan: Annotated[list[Path] | None, typer.Option(help="Plan that an export tells of; repeat for more.")] = None,
    base: Annotated[str, typer.Option(help="Preset to begin with.")] = "default",
    name: Annotated[str, typer.Option(help="What it holds for.")] = "calibration",
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write it here; its version counts on.")] = None,
    bootstraps: Annotated[int, typer.Option(min=0, help="Samples for the uncertainty of the constants.")] = 10,
    seed: Annotated[int, typer.Option(help="Same input and seed: same calibration.")] = 0,
    as_json: _JsonOption = False,
) -> None:
    """Tune the constants of the migration model on migrations that happened."""
    from drsim.cli import console, print_json
    from drsim.errors import DrsimError
    from drsim.formats import read_calibration, read_plan, read_recording, read_trail, write_calibration
    from drsim.formats.calibrations import PRESETS
    from drsim.migration import calibrate as tune_on
    from drsim.migration import table
    from drsim.show import parameters_view

    if base not in PRESETS:
        raise DrsimError(f"--base {base}: expected one of {', '.join(PRESETS)}.")
    plans = [read_plan(path) for path in plan or []]
    seen = [
        one for path in source for one in (read_trail(path, plans) if path.suffix == ".jsonl" else read_recording(path))
    ]
    if not seen and any(path.suffix == ".jsonl" for path in source):
        raise DrsimError("No completed migration of the export belongs to a plan that was named: add --plan FILE.")
    before = read_calibration(out) if out is not None and out.is_file() else None
    found = tune_on(
        seen,
        base=PRESETS[base],
        name=name,
        source=", ".join(path.name for path in source),
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
        before=before,
        bootstraps=bootstraps,
        seed=seed,
    )
    if out is not None:
        write_calibration(found, out, base)
    entries = table(found.parameters, found.uncertainty)
    if as_json:
        print_json({key: _plain(value) for key, value in asdict(found).items()})
        return
    changed = tuple(entry for entry in entries if entry.value != getattr(PRESETS[base], entry.name))
    console().print(parameters_view(found, changed))
    if out is not None:
        console().print(f"Written to {out}. Next: drsim plan INVENTORY --parameters {out}")
    else:
        sys.stdout.write("Not written: name a file with -o.\n")


def _plain(value: Any) -> Any:
    """Return what JSON takes: infinity as a word."""
    if isinstance(value, float) and value == float("inf"):
        return "infinite"
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value
