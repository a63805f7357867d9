"""The first pass: where data lies, and what sockets hold."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drsim.migration import DEFAULT, Options, predict
from drsim.migration.first import Layout, last_wire, layout, left
from drsim.migration.firsts import Layouts
from drsim.migration.guest import load
from drsim.migration.options import PLAIN
from drsim.plan import Prediction
from drsim.units import MIB_S_PER_MBIT_S, PAGE_BYTES
from tests.migration.guests import guest, line

HEADER = 1.0 + DEFAULT.page_header_bytes / PAGE_BYTES

wheres = st.tuples(st.integers(64, 4096), st.floats(0.0, 1.0), st.floats(0.0, 1.0), st.floats(0.0, 200.0))


def _where(memory: int, used: float, run: float, tail: float) -> Layout:
    p = replace(DEFAULT, zero_run=run, tail_mib=tail)
    return layout(load(guest(memory, used_mib=used * memory), (), p, PLAIN), p)


@given(wheres, st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_what_is_left_takes_what_is_left_to_send(
    of: tuple[int, float, float, float], part: float, share: float
) -> None:
    """Whatever the guest writes to: data and zeros that are left add up, and nothing is sent twice."""
    where = _where(*of)
    written = share * where.data_mib
    wire = last_wire(where, part * where.memory_mib)
    kept, other, wire_of_other = left(*where, written, wire)
    assert 0.0 <= kept <= 1.0
    assert kept * written * where.data_wire + other * wire_of_other == pytest.approx(wire, rel=1e-9, abs=1e-9)
    if wire > 0.0 and where.zero_wire > 0.0:
        assert kept * written + other == pytest.approx(part * where.memory_mib, rel=1e-6, abs=1e-6)


@given(st.lists(wheres, min_size=1, max_size=5), st.floats(0.0, 1.0))
def test_arrays_say_the_same(several: list[tuple[int, float, float, float]], part: float) -> None:
    run, tail = several[0][2:]
    p = replace(DEFAULT, zero_run=run, tail_mib=tail)
    ones = [_where(memory, used, run, tail) for memory, used, _, _ in several]
    memory, data = (np.array([getattr(one, name) for one in ones]) for name in ("memory_mib", "data_mib"))
    many = Layouts(memory, data, HEADER, p)
    wire = many.last_wire(part * memory)
    assert wire == pytest.approx([last_wire(one, part * one.memory_mib) for one in ones])
    found = np.stack(many.left(0.9 * memory, wire))
    for column, (one, one_wire) in enumerate(zip(ones, wire, strict=True)):
        assert found[:, column] == pytest.approx(left(*one, 0.9 * one.memory_mib, one_wire))


def _said(
    rtt_ms: float, cap: float | None = None, *, memory: int = 2048, limit_ms: float = 300.0, **of: float
) -> Prediction:
    return predict(
        guest(memory),
        line(1000.0, rtt_ms),
        max_downtime_ms=limit_ms,
        bandwidth_mbit_s=cap,
        parameters=replace(DEFAULT, tcp_window_mib=64.0, **of),  # type: ignore[arg-type]
        options=Options(),
    )


def test_a_guest_waits_for_what_lies_in_its_socket() -> None:
    """As much as a share of what is on its way, up to what a socket may hold; it is out no sooner and no later."""
    rate_mib_s = 1000.0 * DEFAULT.goodput * MIB_S_PER_MBIT_S
    for rtt_ms, held_mib in ((10.0, 5.0 * 0.01 * rate_mib_s), (100.0, 20.0)):
        full, none = (_said(rtt_ms, socket_share=share, socket_most_mib=20.0) for share in (5.0, 0.0))
        assert full.downtime_ms - none.downtime_ms == pytest.approx(held_mib / rate_mib_s * 1e3)
        assert full.client_gap_ms - none.client_gap_ms == pytest.approx(held_mib / rate_mib_s * 1e3)  # type: ignore[operator]
        assert (full.total_time_s, full.sent_mib) == (none.total_time_s, none.sent_mib)


def test_a_low_cap_keeps_the_socket_empty() -> None:
    full, none = (_said(100.0, 500.0, socket_share=share) for share in (5.0, 0.0))
    assert full == none


def test_while_sockets_fill_a_small_guest_is_stopped_far_above_its_limit() -> None:
    """QEMU takes what they hold for sent, in the first sample of its rate; a large guest is past that by then."""
    of = {"socket_share": 5.0, "socket_most_mib": 30.0}
    small, large = (_said(40.0, memory=memory, limit_ms=1000.0, socket_sample=1.0, **of) for memory in (256, 2048))
    assert small.rounds == 2
    assert small.downtime_ms > 1.8 * 1000.0
    assert small.sent_mib == pytest.approx(256.0 * HEADER, rel=0.01)
    assert large == _said(40.0, limit_ms=1000.0, socket_sample=0.0, **of)
