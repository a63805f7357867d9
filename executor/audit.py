"""The record of what was done: append-only, each entry bound to the one before it by a hash.

The chain shows an entry that was changed, dropped, inserted or moved. That its tail was cut off shows only to somebody
who knows the last hash: the report of each run names it, and `verify` takes it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from drsim.canonical import fingerprint
from drsim.errors import Problem

GENESIS = "0" * 64
"""Hash before the first record."""

_REMEDY = "Treat the records from here on as not proven; compare with a copy that was exported earlier."


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One entry.

    Parameters
    ----------
    sequence : int
        1, 2, 3, ... without gaps.
    at : str
        When, ISO 8601 in UTC.
    actor : str
        Who asked for it.
    event : str
        ``run_started``, ``move_intended``, ``move_started``, ``move_ended``, ``run_ended``, ...
    run_id, move_id : str or None
        What it is about.
    detail : mapping
        Plain JSON values.
    previous, hash : str
        SHA-256 of the record before; of this one, `previous` included.
    """

    sequence: int
    at: str
    actor: str
    event: str
    run_id: str | None
    move_id: str | None
    detail: Mapping[str, Any]
    previous: str
    hash: str


def seal(
    last: Record | None,
    *,
    at: str,
    actor: str,
    event: str,
    run_id: str | None = None,
    move_id: str | None = None,
    detail: Mapping[str, Any] | None = None,
) -> Record:
    """Return the record that comes after `last` (None: the first of all)."""
    content: dict[str, Any] = {
        "sequence": 1 if last is None else last.sequence + 1,
        "at": at,
        "actor": actor,
        "event": event,
        "run_id": run_id,
        "move_id": move_id,
        # Through JSON and back: what is hashed is what a reader of the export will hash.
        "detail": json.loads(json.dumps(detail or {}, allow_nan=False)),
        "previous": GENESIS if last is None else last.hash,
    }
    return Record(**content, hash=fingerprint(content))


def verify(records: Sequence[Record], head: str | None = None) -> tuple[Problem, ...]:
    """Check a chain from its first record on.

    Parameters
    ----------
    records : sequence of Record
        All records, in the order in which they were stored.
    head : str, optional
        Hash that the last record must have, from a report or an earlier export; without it a cut tail goes unnoticed.

    Returns
    -------
    tuple of Problem
        What does not fit, in order; empty if the chain is whole, and every migration was announced before it began.
    """
    problems: list[Problem] = []
    previous, expected = GENESIS, 1
    for record in records:
        place = f"audit record {record.sequence}"
        content = asdict(record)
        written = content.pop("hash")
        if record.sequence != expected:
            problems.append(_problem(place, f"Record {expected} was expected here: one was dropped, added or moved."))
        if record.previous != previous:
            problems.append(_problem(place, "It does not follow the record before it: one was dropped or replaced."))
        if fingerprint(content) != written:
            problems.append(
                _problem(place, "Its content does not match its hash: it was changed after it was written.")
            )
        previous, expected = written, record.sequence + 1
    if head is not None and previous != head:
        problems.append(
            _problem(
                "audit trail", f"Its last hash is {previous}, not {head}: its tail was cut off or it was replaced."
            )
        )
    return (*problems, *_unannounced(records))


def _problem(place: str, expected: str) -> Problem:
    return Problem(place=place, expected=expected, remedy=_REMEDY)


def _unannounced(records: Iterable[Record]) -> Iterable[Problem]:
    """Find migrations that began without an intent written before."""
    intended: set[tuple[str | None, str | None]] = set()
    for record in records:
        key = (record.run_id, record.move_id)
        if record.event == "move_intended":
            intended.add(key)
        elif record.event == "move_started" and key not in intended:
            yield _problem(f"audit record {record.sequence}", f"Move {record.move_id} was started without an intent.")


def to_lines(records: Iterable[Record]) -> str:
    """Export as JSON Lines, one record a line, pure ASCII (a guest's name cannot steer a terminal)."""
    return "".join(json.dumps(asdict(record), sort_keys=True, separators=(",", ":")) + "\n" for record in records)


def from_lines(text: str) -> tuple[tuple[Record, ...], tuple[Problem, ...]]:
    """Read an export; lines that are no records are told as problems and left out."""
    names = {field.name for field in fields(Record)}
    records: list[Record] = []
    problems: list[Problem] = []
    for number, line in enumerate(text.splitlines(), start=1):
        try:
            content = json.loads(line)
        except ValueError:
            content = None
        if isinstance(content, dict) and content.keys() == names and isinstance(content["sequence"], int):
            records.append(Record(**content))
        else:
            problems.append(_problem(f"audit export, line {number}", "This is not an audit record."))
    if not problems and to_lines(records) != text:
        problems.append(_problem("audit export", "It is not written as drsim writes it: something was changed in it."))
    return tuple(records), tuple(problems)
