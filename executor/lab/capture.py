"""Announcements on the wire: who told the network where a guest is, captured on a host's bridge."""

from __future__ import annotations

import socket
import struct
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Literal

from executor.lab import namespace

_ETH_P_ALL, _ARP, _RARP, _VLAN = 0x0003, 0x0806, 0x8035, 0x8100
# linux/if_packet.h: the kernel takes a VLAN's tag out of the frame and tells it beside.
_SOL_PACKET, _PACKET_AUXDATA, _TP_STATUS_VLAN_VALID = 263, 8, 1 << 4
_AUXDATA = struct.Struct("=IIIHHHH")


@dataclass(frozen=True, slots=True, kw_only=True)
class Announcement:
    """A frame by which switches learn where a guest is.

    Parameters
    ----------
    at_s : float
        When it was seen, on the monotonic clock, s.
    kind : {"garp", "rarp"}
        Gratuitous ARP, as a guest sends it, or RARP, as QEMU sends it on its behalf.
    mac : str
        Whom it announces.
    vlan : int or None
        VLAN that it was tagged with.
    """

    at_s: float
    kind: Literal["garp", "rarp"]
    mac: str
    vlan: int | None = None


def parse(frame: bytes, at_s: float, vlan: int | None = None) -> Announcement | None:
    """Return what a frame announces; None if it is any other frame.

    Parameters
    ----------
    frame : bytes
        From its Ethernet header on.
    at_s : float
        When it was seen.
    vlan : int or None
        Its tag, if that is not in the frame any more.

    Notes
    -----
    Formats: RFC 826 and RFC 5227 (ARP), RFC 903 (RARP), IEEE 802.1Q.
    """
    kind, at = int.from_bytes(frame[12:14], "big"), 14
    if kind == _VLAN:
        vlan, kind, at = int.from_bytes(frame[14:16], "big") & 0xFFF, int.from_bytes(frame[16:18], "big"), 18
    # Card, protocol, their lengths, operation, then sender and target: card, protocol, card, protocol.
    if kind not in (_ARP, _RARP) or len(frame) < at + 28 or frame[at : at + 6] != b"\x00\x01\x08\x00\x06\x04":
        return None
    sender, own = frame[at + 8 : at + 14], frame[at + 14 : at + 18]
    if kind == _ARP and own != frame[at + 24 : at + 28]:
        return None  # a question or an answer: nobody speaks of himself
    name: Literal["garp", "rarp"] = "rarp" if kind == _RARP else "garp"
    return Announcement(at_s=at_s, kind=name, mac=sender.hex(":"), vlan=vlan)


class Capture:
    """Listens on an interface until it is asked what was seen; nothing is lost in between (up to the buffer's 4 MiB).

    Parameters
    ----------
    pid : int
        PID 1 of the namespaces.
    interface : str
        Where to listen.
    """

    def __init__(self, pid: int, interface: str) -> None:
        def listen() -> socket.socket:
            made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
            made.setsockopt(_SOL_PACKET, _PACKET_AUXDATA, 1)
            made.bind((interface, _ETH_P_ALL))
            return made

        self._socket = namespace.in_network(pid, listen)

    def seen(self, seconds: float = 0.0) -> tuple[Announcement, ...]:
        """Return what was announced since it began or was last asked, and in the `seconds` to come."""
        found: list[Announcement] = []
        deadline = time.monotonic() + seconds
        while True:
            self._socket.settimeout(max(deadline - time.monotonic(), 0.001))
            try:
                frame, beside, _, _ = self._socket.recvmsg(2048, socket.CMSG_SPACE(_AUXDATA.size))
            except TimeoutError:
                if time.monotonic() >= deadline:
                    return tuple(found)
                continue
            vlan = None
            for level, kind, data in beside:
                if (level, kind) == (_SOL_PACKET, _PACKET_AUXDATA) and len(data) >= _AUXDATA.size:
                    status, *_, tag, _ = _AUXDATA.unpack_from(data)
                    vlan = tag & 0xFFF if status & _TP_STATUS_VLAN_VALID else None
            if (announcement := parse(frame, time.monotonic(), vlan)) is not None:
                found.append(announcement)

    def close(self) -> None:
        """Listen no longer."""
        self._socket.close()

    def __enter__(self) -> Capture:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
