"""What is an announcement on the wire, and what is not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.lab.capture import Announcement, parse

macs = st.binary(min_size=6, max_size=6)
addresses = st.binary(min_size=4, max_size=4)


def frame(kind: int, operation: int, mac: bytes, sender: bytes, target: bytes, vlan: int | None = None) -> bytes:
    tag = b"" if vlan is None else b"\x81\x00" + vlan.to_bytes(2, "big")
    body = b"\x00\x01\x08\x00\x06\x04" + operation.to_bytes(2, "big") + mac + sender + bytes(6) + target
    return b"\xff" * 6 + mac + tag + kind.to_bytes(2, "big") + body


@given(macs, addresses, st.sampled_from([1, 2]), st.none() | st.integers(1, 4094))
def test_who_speaks_of_himself_announces_himself(mac: bytes, own: bytes, operation: int, vlan: int | None) -> None:
    assert parse(frame(0x0806, operation, mac, own, own, vlan), 1.5) == Announcement(
        at_s=1.5, kind="garp", mac=mac.hex(":"), vlan=vlan
    )


@given(macs, addresses, addresses)
def test_a_question_about_another_is_none(mac: bytes, own: bytes, other: bytes) -> None:
    seen = parse(frame(0x0806, 1, mac, own, other), 0.0)
    assert (seen is None) == (own != other)


@given(macs, st.none() | st.integers(1, 4094))
def test_rarp_announces_whom_qemu_speaks_for(mac: bytes, vlan: int | None) -> None:
    sent = frame(0x8035, 3, mac, bytes(4), bytes(4))
    assert parse(sent, 0.0, vlan) == Announcement(at_s=0.0, kind="rarp", mac=mac.hex(":"), vlan=vlan)


@given(st.binary(max_size=80))
def test_noise_is_no_announcement(noise: bytes) -> None:
    assert parse(b"\xff" * 12 + b"\x08\x00" + noise, 0.0) is None


@pytest.mark.parametrize("length", range(0, 42, 3))
def test_a_frame_cut_short_is_none(length: int) -> None:
    assert parse(frame(0x0806, 1, b"\x52" * 6, b"\x0a" * 4, b"\x0a" * 4)[:length], 0.0) is None
