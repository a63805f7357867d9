"""Files as text: read with a clear refusal, written complete or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from drsim.errors import DataError, Problem


def refuse(error: type[DataError], place: str, expected: str, remedy: str, field: str | None = None) -> DataError:
    """Compose the refusal of one thing."""
    return error(Problem(place=place, field=field, expected=expected, remedy=remedy))


def read_text(path: str | Path, error: type[DataError], what: str) -> str:
    """Read a text file.

    Raises
    ------
    DataError
        Of the class given: missing, forbidden, a folder, empty, or not text.
    """
    place = str(path)
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as found:
        raise refuse(error, place, f"it is no text file (byte {found.start}).", f"Name {what}.") from found
    except OSError as found:
        raise refuse(error, place, f"it cannot be read: {found.strerror}.", f"Name {what}.") from found
    if not text.strip():
        raise refuse(error, place, "it is empty.", f"Name {what}.")
    return text


def write_text(text: str, path: str | Path) -> None:
    """Write a text file, complete or not at all; folders on the way are made.

    Raises
    ------
    DataError
        If it cannot be written there.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(temporary, 0o644)
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError as found:
        remedy = "Name a place that you may write to, and where no file stands in the way of a folder."
        raise refuse(DataError, str(path), f"it cannot be written: {found.strerror}.", remedy) from found
