"""Units: constants, and the note that every field of a noun carries about itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

MIB = 1 << 20
"""Bytes in one MiB."""

PAGE_BYTES = 4096
"""Bytes in one guest page on x86-64; QEMU migrates RAM in pages of this size."""

MIB_S_PER_MBIT_S = 1e6 / 8 / MIB
"""MiB/s carried by 1 Mbit/s (decimal megabits, binary mebibytes)."""


@dataclass(frozen=True, slots=True)
class About:
    """Unit and meaning of a field: the source of JSON Schema texts, axis labels and documentation.

    Parameters
    ----------
    meaning : str
        One sentence.
    unit : str
        ``"MiB"``, ``"Mbit/s"``, ... or empty for a pure number, a name or a list.
    """

    meaning: str
    unit: str = ""

    def __get_pydantic_json_schema__(self, core_schema: Any, handler: Any) -> dict[str, Any]:
        """Describe the field in JSON Schema (a hook by name: this module does not know pydantic)."""
        schema: dict[str, Any] = dict(handler(core_schema))
        schema["description"] = f"{self.meaning} [{self.unit}]" if self.unit else self.meaning
        return schema
