"""The only readers and writers: inventory, policy and plan files, and other people's clusters."""

from drsim.formats.attributes import fields
from drsim.formats.calibrations import calibration_to_yaml, read_calibration, write_calibration
from drsim.formats.demands import read_demand
from drsim.formats.folder import from_frames, to_frames
from drsim.formats.inventories import (
    InventoryText,
    inventory_to_json,
    read_inventory,
    read_newcomers,
    write_inventory,
)
from drsim.formats.neutral import read_neutral, write_placement
from drsim.formats.plans import plan_from_json, plan_to_json, read_plan, write_plan
from drsim.formats.policies import read_policy, write_policy
from drsim.formats.recordings import observations_of, read_recording, read_trail
from drsim.formats.schemas import schema
from drsim.formats.tables import write_tables
from drsim.formats.text import write_text

__all__ = [
    "InventoryText",
    "calibration_to_yaml",
    "fields",
    "from_frames",
    "inventory_to_json",
    "observations_of",
    "plan_from_json",
    "plan_to_json",
    "read_calibration",
    "read_demand",
    "read_inventory",
    "read_neutral",
    "read_newcomers",
    "read_plan",
    "read_policy",
    "read_recording",
    "read_trail",
    "schema",
    "to_frames",
    "write_calibration",
    "write_inventory",
    "write_placement",
    "write_plan",
    "write_policy",
    "write_tables",
    "write_text",
]
