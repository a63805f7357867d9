"""Calibration files: constants of the migration model for an estate, YAML for people; JSON is YAML, too."""

from __future__ import annotations

from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import yaml

from drsim.errors import DataError
from drsim.formats.text import read_text, refuse, write_text
from drsim.formats.validate import build, check_header
from drsim.migration import DEFAULT, G5K, LAB_TCG, SIMGRID, VMOTION, XEN, XEN_2005, Calibration, Parameters

FORMAT = "drsim-calibration"
FORMAT_VERSION = 1

PRESETS = {
    "default": DEFAULT,
    "lab-tcg": LAB_TCG,
    "g5k": G5K,
    "simgrid": SIMGRID,
    "xen": XEN,
    "xen-2005": XEN_2005,
    "vmotion": VMOTION,
}
"""Sets of constants by name; a file names the one that it changes."""


def read_calibration(path: str | Path) -> Calibration:
    """Read a calibration: a file, or the name of a preset.

    A file written by hand needs only ``format``, ``format_version`` and ``parameters``: the constants that differ from
    those of ``base`` (default). Without residuals its predictions have wide bands.

    Raises
    ------
    DataError
        What is wrong, with its remedy.
    """
    place = str(path)
    if place in PRESETS:
        return Calibration(name=place, source="preset", parameters=PRESETS[place])
    text = read_text(path, DataError, "a calibration written by 'drsim calibrate', or one of " + ", ".join(PRESETS))
    try:
        loaded = yaml.safe_load(text)
    except yaml.YAMLError as found:
        expected = f"it is not YAML: {str(found).splitlines()[0]}."
        raise refuse(DataError, place, expected, "Correct it there.") from found
    if not isinstance(loaded, dict):
        raise refuse(DataError, place, "it holds no record.", "Name a file written by 'drsim calibrate'.")
    data = check_header(loaded, FORMAT, FORMAT_VERSION, place, DataError)
    base = data.pop("base", "default")
    if base not in PRESETS:
        raise refuse(DataError, place, f"'{base}' is unknown.", f"Name one of {', '.join(PRESETS)}.", "base")
    given = data.pop("parameters", {})
    if not isinstance(given, dict):
        raise refuse(DataError, place, "it is no record.", "Give constants by name.", "parameters")
    checked = build(Parameters, given, f"{place}: parameters", DataError, strict=False)
    chosen = replace(PRESETS[base], **{name: getattr(checked, name) for name in given})
    read = build(Calibration, data, place, DataError, strict=False)
    for key, own in read.groups.items():
        build(Parameters, own, f"{place}: groups: {key}", DataError, strict=False)
    return replace(read, parameters=chosen)


def calibration_to_yaml(calibration: Calibration, base: str = "default") -> str:
    """Write a calibration as YAML; of its constants, those that differ from the preset `base`."""
    known = PRESETS[base]
    found: dict[str, Any] = {"format": FORMAT, "format_version": FORMAT_VERSION}
    for key, value in asdict(calibration).items():
        if key == "parameters":
            found["base"] = base
            found[key] = {
                field.name: value[field.name]
                for field in fields(Parameters)
                if value[field.name] != getattr(known, field.name)
            }
        elif isinstance(value, dict):
            found[key] = {name: list(one) if isinstance(one, tuple) else one for name, one in value.items()}
        else:
            found[key] = value
    text: str = yaml.safe_dump(found, sort_keys=False, allow_unicode=True, width=120, default_flow_style=None)
    return text


def write_calibration(calibration: Calibration, path: str | Path, base: str = "default") -> None:
    """Write a calibration file."""
    write_text(calibration_to_yaml(calibration, base), path)
