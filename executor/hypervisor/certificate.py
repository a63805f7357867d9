"""From when until when a certificate is valid; pure. The few bytes of X.509 that tell it, and no more."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """A certificate that a host uses.

    Parameters
    ----------
    what : str
        Who shows it, in words.
    path : str
        Its file on the host.
    valid_from, valid_until : datetime or None
        In UTC; None if there is no such file, or none that can be read as one.
    """

    what: str
    path: str
    valid_from: datetime | None = None
    valid_until: datetime | None = None


def validity(pem: bytes) -> tuple[datetime, datetime] | None:
    """Return from when until when the first certificate of a PEM file is valid; None if there is none.

    Notes
    -----
    RFC 5280, 4.1: Certificate ::= SEQUENCE { tbsCertificate SEQUENCE { [0] version OPTIONAL, serialNumber, signature,
    issuer, validity SEQUENCE { notBefore, notAfter }, ... } ... }, in DER.
    """
    found = re.search(rb"-----BEGIN CERTIFICATE-----(.+?)-----END CERTIFICATE-----", pem, re.DOTALL)
    if found is None:
        return None
    try:
        der = base64.b64decode(b"".join(found[1].split()), validate=True)
        _, certificate, _ = _element(der)
        _, rest, _ = _element(certificate)
        tag, _, after = _element(rest)
        if tag == 0xA0:  # the version, which version 1 leaves out
            rest = after
        for _ in range(3):
            _, _, rest = _element(rest)
        _, times, _ = _element(rest)
        kind, begin, after = _element(times)
        kind_too, end, _ = _element(after)
        return _time(kind, begin), _time(kind_too, end)
    except (IndexError, ValueError, binascii.Error):
        return None


def _element(data: bytes) -> tuple[int, bytes, bytes]:
    """Split the first element off: its tag, its content, and what follows it."""
    length, start = data[1], 2
    if length & 0x80:
        count = length & 0x7F
        length, start = int.from_bytes(data[2 : 2 + count], "big"), 2 + count
    if start + length > len(data):
        raise ValueError("cut off")
    return data[0], data[start : start + length], data[start + length :]


def _time(tag: int, content: bytes) -> datetime:
    text = content.decode("ascii")
    if tag == 0x17:  # UTCTime: years 50 to 99 are of the last century
        text = ("19" if int(text[:2]) >= 50 else "20") + text
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)
