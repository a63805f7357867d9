"""The chain: whatever is done to it shows."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.audit import Record, from_lines, seal, to_lines, verify

EVENTS = ["run_started", "move_intended", "move_started", "move_ended", "run_ended"]


def chain(length: int = 10) -> list[Record]:
    records: list[Record] = []
    for number in range(length):
        records.append(
            seal(
                records[-1] if records else None,
                at=f"2026-01-01T00:00:{number:02d}.000+00:00",
                actor="ann",
                event=EVENTS[number % 5],
                run_id="r0001",
                move_id="m001",
                detail={"state": "done", "sent_mib": 1.5, "rounds": number},
            )
        )
    return records


@given(st.integers(0, 12))
def test_a_whole_chain_verifies_also_after_export(length: int) -> None:
    records = chain(length)
    head = records[-1].hash if records else None
    read, problems = from_lines(to_lines(records))
    assert problems == ()
    assert list(read) == records
    assert verify(read, head) == ()


@given(st.data())
def test_any_change_of_any_byte_of_an_export_shows(data: st.DataObject) -> None:
    text = to_lines(chain(4))
    at = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.characters(min_codepoint=32, max_codepoint=126).filter(lambda c: c != text[at]))
    records, problems = from_lines(text[:at] + other + text[at + 1 :])
    assert problems or verify(records, chain(4)[-1].hash)


@pytest.mark.parametrize("index", range(10))
def test_a_dropped_record_shows(index: int) -> None:
    records = chain()
    head = records[-1].hash
    del records[index]
    assert verify(records, head)


@pytest.mark.parametrize("index", range(9))
def test_records_that_changed_places_show(index: int) -> None:
    records = chain()
    records[index], records[index + 1] = records[index + 1], records[index]
    assert verify(records)


def test_a_cut_tail_shows_to_who_knows_the_head_only() -> None:
    records = chain()
    assert verify(records[:-3]) == ()
    assert "cut off" in verify(records[:-3], records[-1].hash)[0].expected


def test_a_trail_replaced_as_a_whole_shows_to_who_knows_the_head() -> None:
    forged = chain(9)
    assert verify(forged) == ()
    assert verify(forged, chain(10)[-1].hash)


def test_a_record_forged_with_its_own_hash_made_right_still_shows() -> None:
    records = chain()
    old = records[4]
    records[4] = seal(records[3], at=old.at, actor="eve", event=old.event, run_id="r0001", move_id="m001")
    assert verify(records)


def test_an_added_field_is_no_record() -> None:
    text = to_lines(chain(1)).replace('{"', '{"more":1,"', 1)
    assert from_lines(text)[1]


def test_a_migration_without_an_intent_shows() -> None:
    lone = seal(None, at="2026-01-01T00:00:00.000+00:00", actor="ann", event="move_started", run_id="r1", move_id="m1")
    assert "without an intent" in verify([lone])[0].expected
    assert verify([replace(lone, event="run_started")])  # and its hash no longer fits
