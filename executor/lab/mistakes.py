"""What is wrong with a topology or an experiment, told to whoever wrote the file."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from drsim.errors import DataError, Problem

EXAMPLES = "executor/lab/examples"

_PLAIN = {"unexpected_keyword_argument": "There is no such field", "missing": "It is missing"}
"""What pydantic calls by the words of Python."""


def mistakes(path: Path, error: ValidationError, *, whole: str, example: str) -> DataError:
    """Return all mistakes of a file, each with its place; members of lists are counted from 1.

    Parameters
    ----------
    path : Path
        The file.
    error : pydantic.ValidationError
        What was found.
    whole : str
        What the file describes.
    example : str
        File beside the examples that shows every field.
    """
    found = []
    for detail in error.errors():
        words = [str(part + 1) if isinstance(part, int) else part for part in detail["loc"]]
        told = _PLAIN.get(detail["type"], detail["msg"])
        shown = "" if detail["type"] == "missing" else f" (found {detail['input']!r})"
        found.append(
            Problem(
                place=f"{path}: {' '.join(words[:-1]) or whole}",
                field=words[-1] if words else None,
                expected=f"{told}{shown}.",
                remedy=f"Correct it; {EXAMPLES}/{example} shows what can be there.",
            )
        )
    return DataError(*found)
