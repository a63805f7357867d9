"""JSON Schema of the files."""

from __future__ import annotations

from typing import Any, Literal

from drsim import inventory, plan, policy
from drsim.formats.validate import KINDS, adapter

VERSIONS = {"inventory": inventory.FORMAT_VERSION, "policy": policy.FORMAT_VERSION, "plan": plan.FORMAT_VERSION}


def schema(kind: Literal["inventory", "policy", "plan"]) -> dict[str, Any]:
    """Return the JSON Schema of a file, header included; units and meanings stand in the descriptions."""
    noun: Any = KINDS[kind]
    body = adapter(noun).json_schema()
    header = {
        "format": {"const": f"drsim-{kind}", "description": "Which format this is."},
        "format_version": {"const": VERSIONS[kind], "description": "Version of the format."},
    }
    if kind == "plan":
        header["hash"] = {"type": "string", "description": "SHA-256 of the plan in canonical form."}
        header["inventory_fingerprint"] = {"type": "string", "description": "SHA-256 of its inventory."}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **body,
        "properties": {**header, **body["properties"]},
        "required": [*header, *body.get("required", [])],
        "additionalProperties": False,
    }
